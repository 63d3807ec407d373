"""Measure our chain beside transformers' logits processors with the same settings, on the same random logits.

The peer runs row by row, the only way in which it takes rows with settings of their own. Sides alternate within a
round; a figure is the median over the rounds of the ratio within a round.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch
import transformers as hf

from samplers import RowState, SamplerChain, SamplerConfig, summarize

VOCABULARIES = (49_152, 151_936, 262_144)
BATCHES = (1, 8, 32)
ROUNDS = 7
SPREAD = 3.0
"""Standard deviation of the logits: about as peaked as a language model between two words."""


def measure() -> dict[str, object]:
    """Return for every size milliseconds of both sides, and the ratios ours / theirs, traced / plain, sort / ours.

    `max_difference` is the largest gap between the two sides' probabilities.
    """
    torch.set_num_threads(max(1, torch.get_num_threads() - 1))  # the engine's choice beside a busy page
    cases = [_measure_case(vocab, batch) for vocab in VOCABULARIES for batch in BATCHES]
    return {
        "transformers": hf.__version__,
        "threads": torch.get_num_threads(),
        "cases": cases,
        **_compare_with_forward(),
    }


def _measure_case(vocab: int, batch: int) -> dict[str, object]:
    logits = torch.randn(batch, vocab, generator=torch.Generator().manual_seed(vocab)) * SPREAD
    rows = [
        RowState(SamplerConfig(temperature=0.6 + 0.02 * row, top_k=40 + row, top_p=0.9, seed=row))
        for row in range(batch)
    ]
    configs = [row.config for row in rows]
    chain = SamplerChain(configs)
    peers = [
        hf.LogitsProcessorList(
            [hf.TemperatureLogitsWarper(c.temperature), hf.TopKLogitsWarper(c.top_k), hf.TopPLogitsWarper(c.top_p)]
        )
        for c in configs
    ]
    ids = torch.zeros(1, 1, dtype=torch.int64)

    def ours() -> torch.Tensor:
        return chain.probs(logits, rows)

    def theirs() -> torch.Tensor:
        return torch.cat([peer(ids, logits[row : row + 1]).softmax(-1) for row, peer in enumerate(peers)])

    def recorded() -> torch.Tensor:
        return chain.probs(logits, rows, [])

    def step() -> list[int]:
        return chain.sample(logits, rows).tokens

    def traced_step() -> None:
        recording: list = []
        summarize(recording, chain.sample(logits, rows, recording).tokens)

    sides = {"ours": ours, "theirs": theirs, "recorded": recorded, "step": step, "traced_step": traced_step}
    times = alternate(sides | {"full_sort": lambda: logits.sort(-1, descending=True)})
    return {
        "vocabulary": vocab,
        "rows": batch,
        "max_difference": float((ours() - theirs()).abs().max()),
        "ours_to_theirs": median_ratio(times["ours"], times["theirs"]),
        "recorded_to_plain_chain": median_ratio(times["recorded"], times["ours"]),
        "traced_to_plain_step": median_ratio(times["traced_step"], times["step"]),
        "trace_to_theirs": round(
            median_ratio(times["traced_step"], times["theirs"]) - median_ratio(times["step"], times["theirs"]), 3
        ),
        "sort_to_ours": median_ratio(times["full_sort"], times["ours"]),
        "milliseconds": {name: round(median(each) * 1000, 2) for name, each in times.items()},
    }


def _compare_with_forward() -> dict[str, object]:
    """Measure a traced step of 8 rows beside one float32 forward pass of the built-in model for 8 rows."""
    from transformers import DynamicCache

    from llm_core.models.language_model import load

    model = load("builtin", lambda progress: None)
    rows = [RowState(SamplerConfig(temperature=0.8, top_k=40, top_p=0.95, seed=row)) for row in range(8)]
    chain = SamplerChain([row.config for row in rows])
    prompt = torch.tensor([list(model.tokenizer("The sea is wide and deep, and").input_ids)] * 8)
    with torch.inference_mode():
        cache = DynamicCache(config=model.model.config)
        logits = model.model(prompt, cache=cache, logits_to_keep=1).logits[:, -1]

        def forward() -> None:
            model.model(prompt[:, :1], cache=cache, logits_to_keep=1)
            cache.crop(-1)

        def traced_step() -> None:
            recording: list = []
            summarize(recording, chain.sample(logits, rows, recording).tokens)

        times = alternate({"forward": forward, "traced_step": traced_step})
    return {
        "traced_step_to_forward": median_ratio(times["traced_step"], times["forward"]),
        "forward_milliseconds": round(median(times["forward"]) * 1000, 1),
        "traced_step_milliseconds": round(median(times["traced_step"]) * 1000, 2),
    }


def alternate(sides: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Return the seconds of each side in each round, after one round that does not count."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, run in sides.items():
            began = time.perf_counter()
            run()
            if turn:
                times[name].append(time.perf_counter() - began)
    return times


def median_ratio(above: list[float], below: list[float]) -> float:
    """Return the median of the ratios within a round."""
    return round(median(a / b for a, b in zip(above, below, strict=True)), 3)
