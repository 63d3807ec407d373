"""Runs through the real engine and store on the toy: order, Stop, failures that stay their own, many readers."""

from __future__ import annotations

import dataclasses
import threading
import time

import pytest

from llm_core import Engine, GenerationRequest, ModelStore, NucleusError, PromptSpec, SampleRequest
from llm_core.engine import engine as engine_module
from llm_core.generation import record as generation_record
from llm_core.models.progress import Progress
from samplers import SamplerConfig
from tests.support.batch_generation import token_ids
from tests.support.toy_model import toy_model

PATIENCE = 30.0


def make_request(
    text: str = "Hello", model_id: str = "toy", seed: int = 1, rows: int = 1, **fields
) -> GenerationRequest:
    """Rows with seeds from `seed` on. Fields of a row go to the rows, others to the request."""
    shared = {name: fields.pop(name) for name in list(fields) if name in ("session", "deadline_seconds", "precision")}
    request = tuple(SampleRequest(SamplerConfig(seed=seed + row), **fields) for row in range(rows))
    return GenerationRequest(model_id, PromptSpec(text), request, **shared)


def make_slow_toy():
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


def wait_until_finished(run):
    assert run.wait(PATIENCE), run.status
    return run


def test_stop_on_a_waiting_run_ends_it_while_all_places_are_taken(monkeypatch):
    monkeypatch.setattr(engine_module, "MAX_ACTIVE_SAMPLES", 1)
    engine = Engine(ModelStore(loader=lambda model_id, report: make_slow_toy()))
    writing = engine.submit(make_request(max_output_tokens=200))
    while not writing.samples[0].events():
        time.sleep(0.01)
    waiting = engine.submit(make_request(seed=2, max_output_tokens=5))
    waiting.cancel()
    wait_until_finished(waiting)
    assert waiting.samples[0].finish_reason == "cancelled"
    assert writing.active
    writing.cancel()
    wait_until_finished(writing)


def test_a_run_is_recorded_and_replays(engine):
    first = wait_until_finished(engine.submit(make_request(max_output_tokens=20)))
    again = wait_until_finished(engine.submit(make_request(max_output_tokens=20)))
    assert first.status == "finished"
    [row], [replayed] = first.samples, again.samples
    assert row.finish_reason in ("length", "end")
    assert token_ids(row) == token_ids(replayed)
    assert row.text == replayed.text
    assert first.rendered.text.endswith("<|assistant|>")
    assert row.tokens_per_second > 0
    assert row.events(5) == row.events()[5:]
    assert replayed.cached_tokens == len(first.rendered.token_ids) - 1


def test_many_threads_submit_and_everyone_gets_their_own_answer(engine):
    alone = {
        seed: wait_until_finished(engine.submit(make_request(seed=seed, max_output_tokens=8))).samples[0].text
        for seed in range(6)
    }
    runs: dict[int, object] = {}
    threads = [
        threading.Thread(
            target=lambda s=seed: runs.update({s: engine.submit(make_request(seed=s, max_output_tokens=8))})
        )
        for seed in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {seed: wait_until_finished(run).samples[0].text for seed, run in runs.items()} == alone


def test_stop_keeps_what_was_produced():
    engine = Engine(ModelStore(loader=lambda model_id, report: make_slow_toy()))
    run = engine.submit(make_request(max_output_tokens=240))
    row = run.samples[0]
    while len(row.events()) < 2:
        time.sleep(0.01)
    run.cancel()
    wait_until_finished(run)
    assert (run.status, row.finish_reason) == ("finished", "cancelled")
    assert 2 <= len(row.events()) < 240


def test_a_bad_prompt_is_refused_at_once(engine):
    with pytest.raises(NucleusError, match="empty"):
        engine.submit(make_request("  "))


def test_a_failing_run_fails_alone(engine):
    broken = engine.submit(GenerationRequest("toy", PromptSpec("Hi"), (SampleRequest(SamplerConfig(top_k=10**6)),)))
    too_long = engine.submit(make_request("x" * 400))
    healthy = engine.submit(make_request(max_output_tokens=5))
    assert wait_until_finished(broken).error.code == "top_k_above_vocabulary"
    assert wait_until_finished(too_long).error.code == "prompt_too_long"
    assert wait_until_finished(healthy).status == "finished"


def test_an_unexpected_exception_ends_its_batch_and_not_the_engine(monkeypatch, caplog):
    models = {name: dataclasses.replace(toy_model()) for name in ("bad", "toy")}
    made = engine_module._make_batch

    def make(model, precision):
        batch = made(model, precision)
        if model is models["bad"]:
            batch.decoder.step = lambda ids, cache: {}["bang"]
        return batch

    monkeypatch.setattr(engine_module, "_make_batch", make)
    engine = Engine(ModelStore(loader=lambda model_id, report: models[model_id]))
    bad, good = engine.submit(make_request(model_id="bad", rows=2)), engine.submit(make_request())
    assert wait_until_finished(bad).error.code == "engine_failed"
    assert "KeyError" in str(bad.error)
    assert "bang" in caplog.text
    assert wait_until_finished(good).status == "finished"
    assert engine.active_samples == 0


def test_two_precisions_in_turns_are_made_once_and_a_model_that_left_goes(monkeypatch):
    made, make = [], engine_module._make_batch

    def counted(model, precision):
        made.append((model.id, precision))
        return make(model, precision)

    monkeypatch.setattr(engine_module, "_make_batch", counted)
    store = ModelStore(1, loader=lambda model_id, report: dataclasses.replace(toy_model(), id=model_id))
    engine = Engine(store)
    for model_id, precision in (("a", "float32"), ("a", "bfloat16"), ("a", "float32"), ("a", "bfloat16")):
        wait_until_finished(engine.submit(make_request(model_id=model_id, precision=precision, max_output_tokens=1)))
    assert made == [("a", "float32"), ("a", "bfloat16")]
    wait_until_finished(engine.submit(make_request(model_id="b", max_output_tokens=1)))
    assert [model.id for model, _ in engine._batches] == ["b"]
    engine.close()


def test_a_row_that_ends_as_its_batch_fails_is_not_left_behind(engine, caplog):
    wait_until_finished(engine.submit(make_request(max_output_tokens=2)))
    [batch] = [future.result() for future in engine._batches.values()]
    runs, steps = [], []
    real = batch.decoder.step

    def step(ids, cache):
        if len(runs) == 2:
            steps.append(len(ids))
        if len(steps) == 3:
            runs[0].cancel()  # it leaves at the beginning of the next turn
        if len(steps) == 4:
            raise MemoryError("injected")
        return real(ids, cache)

    batch.decoder.step = step
    for seed in (1, 2):
        runs.append(engine.submit(make_request(seed=seed, max_output_tokens=240)))  # noqa: PERF401 (the step looks at it)
    assert wait_until_finished(runs[0]).samples[0].finish_reason == "cancelled"
    assert wait_until_finished(runs[1]).error.code == "engine_failed"
    deadline = time.monotonic() + PATIENCE
    while engine.active_samples and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (engine.active_samples, engine.waiting_samples, engine.active_bytes) == (0, 0, 0)
    assert wait_until_finished(engine.submit(make_request(max_output_tokens=3))).status == "finished"


def test_what_the_model_cannot_do_is_said_clearly(engine):
    odd = wait_until_finished(
        engine.submit(make_request(precision="int4"))
    )  # the toy's matrices are too small for its blocks
    assert odd.error.code == "precision_unavailable"
    assert "int4" in str(odd.error)
    assert wait_until_finished(engine.submit(make_request())).status == "finished"


def test_a_model_that_does_not_load_fails_its_runs_and_can_be_retried():
    attempts = []

    def loader(model_id, report):
        attempts.append(model_id)
        if len(attempts) == 1:
            raise NucleusError("model_no_weights", model=model_id)
        return toy_model()

    store = ModelStore(loader=loader)
    engine = Engine(store)
    assert wait_until_finished(engine.submit(make_request())).error.code == "model_no_weights"
    assert (
        wait_until_finished(engine.submit(make_request())).error.code == "model_no_weights"
    )  # not tried again by itself
    store.request("toy", retry=True)
    assert wait_until_finished(engine.submit(make_request())).status == "finished"
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
    waiting, stopped = engine.submit(make_request(model_id="slow")), engine.submit(make_request(model_id="slow"))
    quick = engine.submit(make_request(max_output_tokens=5))
    assert wait_until_finished(quick).status == "finished"
    assert waiting.status == "waiting"
    assert engine.position(stopped) == 1
    assert store.request("slow").progress.fraction == 0.25
    stopped.cancel()
    assert wait_until_finished(stopped).samples[0].finish_reason == "cancelled"
    gate.set()
    assert wait_until_finished(waiting).status == "finished"


def test_the_queue_is_bounded(monkeypatch):
    monkeypatch.setattr(engine_module, "MAX_WAITING_SAMPLES", 2)
    gate = threading.Event()
    engine = Engine(ModelStore(loader=lambda model_id, report: gate.wait(PATIENCE) and toy_model()))
    runs = [engine.submit(make_request()) for _ in range(2)]
    with pytest.raises(NucleusError, match="waiting"):
        engine.submit(make_request())
    gate.set()
    assert all(wait_until_finished(run).status == "finished" for run in runs)


def test_a_run_nobody_reads_is_ended(monkeypatch):
    monkeypatch.setattr(generation_record, "ABANDONED_AFTER_SECONDS", 0.1)
    engine = Engine(ModelStore(loader=lambda model_id, report: make_slow_toy()))
    run = engine.submit(make_request(max_output_tokens=240))
    deadline = time.monotonic() + PATIENCE
    while run.active and time.monotonic() < deadline:  # looking at the status is not reading
        time.sleep(0.05)
    assert run.error.code == "run_abandoned"
    assert len(run.samples[0].events()) < 240


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
    engine = Engine(ModelStore(loader=lambda model_id, report: make_slow_toy()))
    running, waiting = engine.submit(make_request(max_output_tokens=240)), engine.submit(make_request(model_id="later"))
    while not running.samples[0].events():
        time.sleep(0.01)
    engine.close()
    assert running.samples[0].finish_reason == waiting.samples[0].finish_reason == "cancelled"
    assert waiting.wait(1)
    assert engine._thread not in threading.enumerate()


def test_rows_of_one_run_share_its_prompt_and_end_on_their_own(engine):
    run = wait_until_finished(engine.submit(make_request(rows=12, max_output_tokens=10)))
    alone = [
        wait_until_finished(engine.submit(make_request(seed=1 + row, max_output_tokens=10))).samples[0]
        for row in range(12)
    ]
    assert [token_ids(row) for row in run.samples] == [token_ids(row) for row in alone]
    assert sum(row.cached_tokens == 0 for row in run.samples) == 1


def test_one_row_can_be_stopped_while_the_others_go_on():
    engine = Engine(ModelStore(loader=lambda model_id, report: make_slow_toy()))
    run = engine.submit(make_request(rows=3, max_output_tokens=30))
    while not all(row.events() for row in run.samples):
        time.sleep(0.01)
    run.samples[1].cancel()
    wait_until_finished(run)
    assert run.samples[1].finish_reason == "cancelled"
    assert len(run.samples[1].events()) < 30
    assert {run.samples[0].finish_reason, run.samples[2].finish_reason} <= {"length", "end"}


def test_sessions_take_turns(monkeypatch):
    monkeypatch.setattr(engine_module, "MAX_ACTIVE_SAMPLES", 2)
    gate = threading.Event()
    engine = Engine(ModelStore(loader=lambda model_id, report: gate.wait(PATIENCE) and toy_model()))
    greedy = [engine.submit(make_request(rows=6, session="greedy", max_output_tokens=6)) for _ in range(3)]
    modest = engine.submit(make_request(session="modest", max_output_tokens=6))
    assert engine.position(greedy[0]) == 0
    assert engine.position(modest) == 1
    assert engine.position(greedy[2]) == 3
    gate.set()
    wait_until_finished(modest)
    assert greedy[2].active
    for run in greedy:
        wait_until_finished(run)


def test_a_deadline_ends_rows_as_they_are():
    engine = Engine(ModelStore(loader=lambda model_id, report: make_slow_toy()))
    run = wait_until_finished(engine.submit(make_request(max_output_tokens=240, deadline_seconds=0.5)))
    assert run.samples[0].finish_reason == "deadline"
    assert len(run.samples[0].events()) < 240


@pytest.mark.parametrize("rows", [0, 65])
def test_the_number_of_rows_is_bounded(engine, rows):
    with pytest.raises(NucleusError, match="Use 1 to 64"):
        engine.submit(make_request(rows=rows))


def test_kept_keys_and_values_hold_a_full_context_and_less_than_those_of_active_samples():
    full_context = 8192 * 46_080  # the built-in model's window, and its bytes for one token
    assert full_context <= engine_module.PREFIX_BYTES <= engine_module.CACHE_BYTES


def test_background_work_does_not_keep_the_process_from_its_end():
    work = engine_module._run_in_background(lambda: threading.current_thread().daemon)
    assert work.result(PATIENCE)


def test_a_dead_thread_fails_its_runs_clearly_and_the_next_request_starts_another(engine, monkeypatch, caplog):
    wait_until_finished(engine.submit(make_request(max_output_tokens=2)))
    with monkeypatch.context() as broken:
        broken.setattr(Engine, "_cancel_unwanted", lambda self: 1 / 0)
        run = wait_until_finished(engine.submit(make_request(rows=2, max_output_tokens=50)))
        assert run.status == "failed"
        assert run.error.code == "engine_failed"
    assert "the engine's thread ended" in caplog.text
    again = wait_until_finished(engine.submit(make_request(max_output_tokens=5)))
    assert again.status == "finished"
    assert engine.active_samples == 0
