"""Runs through the real engine and store on the toy: order, Stop, failures that stay their own, many readers."""

from __future__ import annotations

import dataclasses
import threading
import time

import pytest

from llm_core import Engine, GenerationRequest, ModelStore, NucleusError, PromptSpec
from llm_core import engine as engine_module
from llm_core.progress import Progress
from samplers import SamplerConfig
from tests.toy import toy_model

PATIENCE = 30.0


def request(text: str = "Hello", model_id: str = "toy", seed: int = 1, **fields) -> GenerationRequest:
    return GenerationRequest(model_id, PromptSpec(text), SamplerConfig(seed=seed), **fields)


def slow_toy():
    """The toy with a pause before each forward pass, so that a test can step in."""
    toy = toy_model()

    class Slow:
        def __init__(self, model):
            self._model = model

        def __getattr__(self, name):
            return getattr(self._model, name)

        def __call__(self, *args, **options):
            time.sleep(0.02)
            return self._model(*args, **options)

    return dataclasses.replace(toy, model=Slow(toy.model))


@pytest.fixture
def engine() -> Engine:
    return Engine(ModelStore(loader=lambda model_id, report: toy_model()))


def finished(run):
    assert run.wait(PATIENCE), run.status
    return run


def test_a_run_is_recorded_and_replays(engine):
    first = finished(engine.submit(request(max_output_tokens=20)))
    again = finished(engine.submit(request(max_output_tokens=20)))
    assert first.status == "finished"
    assert first.finish_reason in ("length", "end")
    assert [e.token_id for e in first.events()] == [e.token_id for e in again.events()]
    assert first.text == again.text
    assert first.rendered.text.endswith("<|assistant|>")
    assert first.tokens_per_second > 0
    assert first.events(5) == first.events()[5:]


def test_many_threads_submit_and_everyone_gets_their_own_answer(engine):
    alone = {seed: finished(engine.submit(request(seed=seed, max_output_tokens=8))).text for seed in range(6)}
    runs: dict[int, object] = {}
    threads = [
        threading.Thread(target=lambda s=seed: runs.update({s: engine.submit(request(seed=s, max_output_tokens=8))}))
        for seed in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {seed: finished(run).text for seed, run in runs.items()} == alone


def test_stop_keeps_what_was_produced():
    engine = Engine(ModelStore(loader=lambda model_id, report: slow_toy()))
    run = engine.submit(request(max_output_tokens=240))
    while len(run.events()) < 2:
        time.sleep(0.01)
    run.cancel()
    finished(run)
    assert run.finish_reason == "cancelled"
    assert 2 <= len(run.events()) < 240


def test_a_bad_prompt_is_refused_at_once(engine):
    with pytest.raises(NucleusError, match="empty"):
        engine.submit(request("  "))


def test_a_failing_run_fails_alone(engine):
    broken = engine.submit(GenerationRequest("toy", PromptSpec("Hi"), SamplerConfig(top_k=10**6)))
    too_long = engine.submit(request("x" * 400))
    healthy = engine.submit(request(max_output_tokens=5))
    assert finished(broken).error.code == "top_k_above_vocabulary"
    assert finished(too_long).error.code == "prompt_too_long"
    assert finished(healthy).status == "finished"


def test_an_unexpected_exception_ends_its_run_and_not_the_engine(caplog):
    toy = toy_model()

    class Exploding:
        config, generation_config = toy.model.config, toy.model.generation_config
        get_output_embeddings = toy.model.get_output_embeddings

        def __call__(self, *args, **options):
            raise RuntimeError("bang")

    models = {"bad": dataclasses.replace(toy, model=Exploding()), "toy": toy}
    engine = Engine(ModelStore(loader=lambda model_id, report: models[model_id]))
    bad, good = engine.submit(request(model_id="bad")), engine.submit(request())
    assert finished(bad).error.code == "engine_failed"
    assert "RuntimeError" in str(bad.error)
    assert "bang" in caplog.text
    assert finished(good).status == "finished"


def test_a_model_that_does_not_load_fails_its_runs_and_can_be_retried():
    attempts = []

    def loader(model_id, report):
        attempts.append(model_id)
        if len(attempts) == 1:
            raise NucleusError("model_no_weights", model=model_id)
        return toy_model()

    store = ModelStore(loader=loader)
    engine = Engine(store)
    assert finished(engine.submit(request())).error.code == "model_no_weights"
    assert finished(engine.submit(request())).error.code == "model_no_weights"  # not tried again by itself
    store.request("toy", retry=True)
    assert finished(engine.submit(request())).status == "finished"
    assert len(attempts) == 2


def test_a_model_still_loading_holds_up_nobody_else_and_its_run_can_be_stopped():
    gate = threading.Event()

    def loader(model_id, report):
        report(Progress("downloading", 1, 4))
        if model_id == "slow":
            gate.wait(PATIENCE)
        return toy_model()

    store = ModelStore(loader=loader)
    engine = Engine(store)
    waiting, stopped = engine.submit(request(model_id="slow")), engine.submit(request(model_id="slow"))
    quick = engine.submit(request(max_output_tokens=5))
    assert finished(quick).status == "finished"
    assert waiting.status == "waiting"
    assert engine.position(stopped) == 1
    assert store.request("slow").progress.fraction == 0.25
    stopped.cancel()
    assert finished(stopped).finish_reason == "cancelled"
    gate.set()
    assert finished(waiting).status == "finished"


def test_the_queue_is_bounded(monkeypatch):
    monkeypatch.setattr(engine_module, "MAX_WAITING", 2)
    gate = threading.Event()
    engine = Engine(ModelStore(loader=lambda model_id, report: gate.wait(PATIENCE) and toy_model()))
    runs = [engine.submit(request()) for _ in range(2)]
    with pytest.raises(NucleusError, match="waiting"):
        engine.submit(request())
    gate.set()
    assert all(finished(run).status == "finished" for run in runs)


def test_a_run_nobody_reads_is_ended(monkeypatch):
    monkeypatch.setattr(engine_module, "ABANDONED_SECONDS", 0.1)
    engine = Engine(ModelStore(loader=lambda model_id, report: slow_toy()))
    run = engine.submit(request(max_output_tokens=240))
    deadline = time.monotonic() + PATIENCE
    while run.active and time.monotonic() < deadline:  # looking at the status is not reading
        time.sleep(0.05)
    assert run.error.code == "run_abandoned"
    assert len(run.events()) < 240


def test_the_store_loads_each_model_once_and_keeps_the_latest():
    loads: list[str] = []

    def loader(model_id, report):
        loads.append(model_id)
        return toy_model()

    store = ModelStore(capacity=2, loader=loader)
    for model_id in ("a", "b", "a", "c", "a", "b"):
        store.request(model_id).result.result(PATIENCE)
    assert loads == ["a", "b", "c", "b"]  # "b" had to go when "c" came, since "a" was used in between


def test_closing_ends_runs_and_the_thread():
    engine = Engine(ModelStore(loader=lambda model_id, report: slow_toy()))
    running, waiting = engine.submit(request(max_output_tokens=240)), engine.submit(request(max_output_tokens=240))
    while not running.events():
        time.sleep(0.01)
    engine.close()
    assert running.finish_reason == "cancelled"
    assert waiting.events() == []
    assert engine._thread not in threading.enumerate()
