"""Measure decoding on the built-in model with full traces, beside transformers' `generate` and llama.cpp's own server.

Every side writes 64 tokens a sample, with temperature 0.8, top-K 40 and top-P 0.95, and may not end before. Sides
alternate within a round; a ratio is the median over the rounds of the ratio within a round.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from statistics import median

import torch

from benchmarks.llama_cpp import run_llama_server
from benchmarks.samplers import alternate, median_ratio
from llm_core import Engine, GenerationRequest, ModelStore, PromptSpec, SampleRequest
from llm_core.decoding.thread_tuning import default_thread_count
from llm_core.models.builtin import GGUF_MEMBER, MODEL_ID
from llm_core.paths import cache_directory
from llm_core.prompts.rendering import render
from samplers import SamplerConfig

TOKENS = 64
ROUNDS = 5
LONG_PROMPT = 512
SAMPLERS = [
    SamplerConfig(temperature=0),
    SamplerConfig(),
    SamplerConfig(temperature=0.7),
    SamplerConfig(top_k=40),
    SamplerConfig(top_p=0.9),
    SamplerConfig(temperature=0.8, top_k=40, top_p=0.95),
]
MIXED = SAMPLERS[-1]


def measure() -> dict[str, object]:
    """Return ratios of seconds, ours / theirs, so below 1 is faster, and the median seconds of each side."""
    engine = Engine(ModelStore())
    precisions = os.environ.get("NUCLEUS_BENCH_PRECISIONS", "float32,auto").split(",")
    for precision in precisions:
        _generate_with_engine(engine, precision, [PromptSpec("Hello.")], [MIXED], tokens=2)
    model = engine._models.request(MODEL_ID).result.result()
    gguf = cache_directory() / "models" / GGUF_MEMBER.rsplit("/", 1)[-1]
    vars(model)["end_ids"] = frozenset()  # nobody's answer ends early; a sampler stage to that end would cost time
    fresh = itertools.count()

    def prompts(count: int) -> list[PromptSpec]:
        """Return prompts that were never read before, so that no side's cache holds them."""
        return [PromptSpec(f"Describe sea number {next(fresh)} in a few sentences.") for _ in range(count)]

    def generate(count: int = 1) -> None:
        """Generate in a thread that ends: OpenMP's helpers of a thread that stays would slow down those of the
        engine's."""
        side = threading.Thread(target=generate_here, args=(count,))
        side.start()
        side.join()

    def generate_here(count: int) -> None:
        torch.set_num_threads(default_thread_count())
        [text] = (render(prompt, model).text for prompt in prompts(1))
        for seed in range(count):
            ids = torch.tensor([model.tokenizer(text, add_special_tokens=False)["input_ids"]])
            torch.manual_seed(seed)
            model.model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=True,
                temperature=0.8,
                top_k=40,
                top_p=0.95,
                max_new_tokens=TOKENS,
                min_new_tokens=TOKENS,
                pad_token_id=0,
            )

    def llama_cpp(count: int, answers: int = 1) -> None:
        texts = [render(prompt, model).text for prompt in prompts(count)]
        llama.complete(texts * answers, TOKENS)

    def ours(count: int, samplers: list[SamplerConfig]) -> None:
        _generate_with_engine(engine, precision, prompts(count), samplers)

    results: dict[str, object] = {
        "transformers": version("transformers"),
        "xllamacpp": version("xllamacpp"),
        "threads": default_thread_count(),
    }
    with run_llama_server(gguf, threads=default_thread_count()) as llama:
        for precision in precisions:
            results[precision] = {
                "one_stream": _compare_sides(
                    ours=lambda: ours(1, [MIXED]), generate=generate, llama_cpp=lambda: llama_cpp(1)
                ),
                "requests_8": _compare_sides(ours=lambda: ours(8, [MIXED]), llama_cpp=lambda: llama_cpp(8)),
                "requests_32": _compare_sides(ours=lambda: ours(32, [MIXED]), llama_cpp=lambda: llama_cpp(32)),
                "six_samplers": _compare_sides(
                    ours=lambda: ours(1, SAMPLERS),
                    one_sampler=lambda: ours(1, [MIXED]),
                    six_generate=lambda: generate(6),
                ),
                "best_of_16": _compare_sides(ours=lambda: ours(1, [MIXED] * 16), llama_cpp=lambda: llama_cpp(1, 16)),
                "same_prompt_again": _measure_prompt_reuse(engine, precision),
            }
    engine.close()
    return results


def _compare_sides(**sides: Callable[[], None]) -> dict[str, object]:
    times = alternate(sides, ROUNDS)
    ratios = {f"to_{name}": median_ratio(times["ours"], each) for name, each in times.items() if name != "ours"}
    return ratios | {"seconds": {name: round(median(each), 3) for name, each in times.items()}}


def _generate_with_engine(
    engine: Engine, precision: str, prompts: list[PromptSpec], samplers: list[SamplerConfig], tokens: int = TOKENS
) -> None:
    rows = tuple(SampleRequest(sampler, tokens) for sampler in samplers)
    runs = [engine.submit(GenerationRequest(MODEL_ID, prompt, rows, precision)) for prompt in prompts]
    for run in runs:
        assert run.wait(600)
        assert run.error is None, run.error
        assert all(len(row.events()) == tokens for row in run.samples)


def _measure_prompt_reuse(engine: Engine, precision: str) -> dict[str, object]:
    """Measure the time to the first token of a long prompt that is new, and of the same one directly after."""
    cold, warm = [], []
    for turn in range(ROUNDS):
        text = f"Note {time.time_ns()}: " + "the sea is wide and deep. " * (LONG_PROMPT // 7)
        for times in (cold, warm):
            request = GenerationRequest(MODEL_ID, PromptSpec(text), (SampleRequest(MIXED, 1),), precision)
            began = time.perf_counter()
            run = engine.submit(request)
            assert run.wait(600)
            if turn:
                times.append(time.perf_counter() - began)
    assert run.rendered is not None
    return {
        "warm_to_cold": median_ratio(warm, cold),
        "prompt_tokens": len(run.rendered.token_ids),
        "seconds": {"cold": round(median(cold), 3), "warm": round(median(warm), 3)},
    }
