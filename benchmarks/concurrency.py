"""Measure forty clients on one engine, all at once and one after another, with four samplers of 64 tokens each.

Then submit, stop, branch and walk away at random for some time (NUCLEUS_BENCH_MINUTES, default 1), with faults
injected, after which no sample, byte of active cache or thread may be left.
"""

from __future__ import annotations

import logging
import os
import random
import resource
import threading
import time
from statistics import median, quantiles

import torch

from llm_core import Engine, GenerationRequest, ModelStore, PromptSpec, Run, SampleRequest
from llm_core.generation import record
from llm_core.models.builtin import MODEL_ID
from samplers import SamplerConfig

CLIENTS = 40
TOKENS = 64
TRICKLE_SECONDS = 0.5
PRECISION = os.environ.get("NUCLEUS_BENCH_PRECISIONS", "float32")
SAMPLERS = [
    SamplerConfig(temperature=0, min_new_tokens=TOKENS),
    SamplerConfig(min_new_tokens=TOKENS),
    SamplerConfig(top_k=40, min_new_tokens=TOKENS),
    SamplerConfig(temperature=0.8, top_p=0.9, min_new_tokens=TOKENS),
]


def measure() -> dict[str, object]:
    """Return seconds; `fairness` is the slowest client's time over the fastest's."""
    engine = Engine(ModelStore())
    _wait_until_ended(engine.submit(_make_request(0, tokens=2)))
    out: dict[str, object] = {"precision": PRECISION, "threads": torch.get_num_threads()}
    out["burst"] = _measure_crowd(engine, pause=0.0)
    out["trickle"] = _measure_crowd(engine, pause=TRICKLE_SECONDS)
    out["soak"] = _run_soak_test(engine, 60 * float(os.environ.get("NUCLEUS_BENCH_MINUTES", "1")))
    out["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    engine.close()
    return out


def _make_request(client: int, tokens: int = TOKENS) -> GenerationRequest:
    prompt = PromptSpec(f"Person {client} asks: what is a good name for a boat, and why?")
    rows = tuple(SampleRequest(sampler, tokens) for sampler in SAMPLERS)
    return GenerationRequest(MODEL_ID, prompt, rows, PRECISION, session=str(client))


def _wait_until_ended(run: Run) -> Run:
    assert run.wait(1200)
    return run


def _measure_crowd(engine: Engine, pause: float) -> dict[str, object]:
    waits: list[float] = []
    totals: list[float] = []
    failures: list[str] = []

    def client(number: int) -> None:
        began = time.perf_counter()
        run = engine.submit(_make_request(number))
        while run.active and not any(row.events() for row in run.samples):
            time.sleep(0.02)
        waits.append(time.perf_counter() - began)
        _wait_until_ended(run)
        totals.append(time.perf_counter() - began)
        failures.extend(str(row.error) for row in run.samples if row.error or len(row.events()) != TOKENS)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
        time.sleep(pause)
    for thread in threads:
        thread.join()
    total = time.perf_counter() - began
    return {
        "total": round(total, 1),
        "tokens_per_second": round(CLIENTS * len(SAMPLERS) * TOKENS / total, 1),
        "first_token_median": round(median(waits), 2),
        "first_token_95th": round(quantiles(waits, n=20)[18], 2),
        "fairness": round(max(totals) / min(totals), 2),
        "failures": len(failures),
    }


def _run_soak_test(engine: Engine, seconds: float) -> dict[str, object]:
    chance = random.Random(1)
    logging.getLogger("llm_core.engine.engine").setLevel(logging.CRITICAL)  # the faults are meant
    threads_before = threading.active_count()
    record.ABANDONED_AFTER_SECONDS = 2.0
    until = time.monotonic() + seconds
    runs: list[Run] = []
    counts = dict.fromkeys(("submitted", "stopped", "abandoned", "branched", "faults"), 0)
    while time.monotonic() < until:
        time.sleep(chance.random() * 0.2)
        for run in runs:
            if chance.random() < 0.9:
                run.touch()
        deed = chance.random()
        if deed < 0.5 or not runs:
            rows = tuple(
                SampleRequest(SamplerConfig(seed=chance.randrange(99)), chance.randint(1, 80))
                for _ in range(chance.randint(1, 6))
            )
            prompt = PromptSpec("Tell me about " + "the sea " * chance.choice((1, 1, 5, 60)))
            runs.append(
                engine.submit(GenerationRequest(MODEL_ID, prompt, rows, PRECISION, session=str(chance.randrange(8))))
            )
            counts["submitted"] += 1
        elif deed < 0.65:
            chance.choice(runs).cancel()
            counts["stopped"] += 1
        elif deed < 0.75:
            runs.remove(chance.choice(runs))  # nobody reads it any more
            counts["abandoned"] += 1
        elif deed < 0.95:
            old = chance.choice(runs)
            begin = tuple(event.token_id for event in old.samples[0].events()[: chance.randint(0, 20)])
            row = SampleRequest(SamplerConfig(seed=chance.randrange(99)), 20, prefix_ids=begin)
            runs.append(engine.submit(GenerationRequest(MODEL_ID, old.request.prompt, (row,), PRECISION)))
            counts["branched"] += 1
        else:
            _break_one_step(engine)
            counts["faults"] += 1
        runs = runs[-12:]
    for run in runs:
        run.cancel()
    quiet_by = time.monotonic() + 60
    while (engine.active_samples or engine.waiting_samples) and time.monotonic() < quiet_by:
        time.sleep(0.1)
    return counts | {
        "rows_left": engine.active_samples + engine.waiting_samples,
        "active_bytes_left": engine.active_bytes,
        "threads_left": threading.active_count() - threads_before,
    }


def _break_one_step(engine: Engine) -> None:
    """Make the next forward pass of some batch fail, as it would without memory."""
    for future in list(engine._batches.values()):
        if future.done() and not future.exception():
            decoder = future.result().decoder

            def fail(*args, decoder=decoder):
                del decoder.step
                raise MemoryError("injected")

            decoder.step = fail
