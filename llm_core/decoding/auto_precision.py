"""Choose precision `auto`: for each batch size the fastest of the formats that stay close to float32.

The choice depends on the processor, so it is measured when the model is loaded, in a few seconds. With few rows,
reading the weights dominates, and four bits are read fastest; with many rows, arithmetic dominates, where bfloat16 is
fastest with AVX-512 and float16 with AVX2, which has to convert bfloat16. All formats share one cache in bfloat16, so a
row may switch from one to another at any step.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from llm_core.decoding.fidelity import FIDELITY_TEXT, Fidelity, collect_logits, compare_logits
from llm_core.decoding.kv_cache import KeyValueCache
from llm_core.decoding.llama_decoder import LlamaDecoder, PrecisionFormats
from llm_core.decoding.quantized_linear import FormatUnavailable
from llm_core.decoding.transformers_decoder import TransformersDecoder

MAX_MEAN_KL = 0.005
"""Largest mean divergence from float32's distribution to the format's, in nats, over the positions of a fixed text."""
MIN_TOP1 = 0.95
"""Smallest share of positions where both have the same most probable token."""

PRECISION_CANDIDATES = ("int4", "float16", "int8", "bfloat16")
"""Formats to try, in order. Four bits are exact for a model from a 4-bit GGUF and too coarse for others, for which int8
is tried; float16 and bfloat16 are always close, and float16 exists on x86 only."""

TIMED_BATCH_SIZES = (1, 2, 4, 8, 16, 32)
_FIDELITY_TOKENS = 65
_CONTEXT = 32
_REPEATS = 2


class AutoPrecisionDecoder:
    """Decoder (see `Decoder` for the contract) that switches formats by batch size; a prompt chunk of n tokens counts
    as n rows."""

    precision = "auto"

    def __init__(self, model: Any, context_window: int, text_ids: Sequence[int]) -> None:
        """Measure all formats. `text_ids` are `FIDELITY_TEXT` in the model's tokens. Raises `FormatUnavailable` if no
        format qualifies."""
        self.context_window = context_window
        self.fidelity: dict[str, Fidelity] = {}
        """Fidelity of each format that was tried, by name."""
        expected = collect_logits(TransformersDecoder(model, context_window), text_ids[:_FIDELITY_TOKENS])
        head: nn.Module | None = None
        decoders: dict[str, LlamaDecoder] = {}
        for name in PRECISION_CANDIDATES:
            if name == "int8" and "int4" in decoders:
                continue
            try:
                decoder = LlamaDecoder(model, context_window, name, PrecisionFormats(name, torch.bfloat16), head)
            except FormatUnavailable:
                continue
            head = decoder.head
            self.fidelity[name] = compare_logits(collect_logits(decoder, text_ids[:_FIDELITY_TOKENS]), expected)
            if self.fidelity[name].mean_kl <= MAX_MEAN_KL and self.fidelity[name].top1 >= MIN_TOP1:
                decoders[name] = decoder
        if not decoders:
            raise FormatUnavailable("no format stays close enough to float32 on this text")
        self.seconds = measure_step_seconds(decoders)
        """Seconds a step, by format and number of rows."""
        self.choice = {rows: min(decoders, key=lambda name: self.seconds[name][rows]) for rows in TIMED_BATCH_SIZES}
        """Format used from a number of rows on."""
        self._decoders = {rows: decoders[name] for rows, name in self.choice.items()}
        self.vocab_size = self._decoders[1].vocab_size

    def new_cache(self, budget_bytes: int) -> KeyValueCache:
        return self._decoders[1].new_cache(budget_bytes)

    def prefill(self, ids: Sequence[int], cache: KeyValueCache, row: int) -> Tensor:
        return self._decoder_for(len(ids)).prefill(ids, cache, row)

    def step(self, ids: Sequence[int], cache: KeyValueCache) -> Tensor:
        return self._decoder_for(len(ids)).step(ids, cache)

    def _decoder_for(self, rows: int) -> LlamaDecoder:
        return self._decoders[max(count for count in TIMED_BATCH_SIZES if count <= max(rows, 1))]


def measure_step_seconds(decoders: Mapping[str, LlamaDecoder]) -> dict[str, dict[int, float]]:
    """Return the fastest of a few steps behind a short context, in seconds, for each decoder and each of
    `TIMED_BATCH_SIZES`.

    The decoders share a cache and take turns, so that other load on the machine slows all of them down alike.
    """
    first = next(iter(decoders.values()))
    cache = first.new_cache(2**63)
    first.prefill([1] * _CONTEXT, cache, cache.append())
    context = cache.copy_out(0, _CONTEXT)
    seconds: dict[str, dict[int, float]] = {name: {} for name in decoders}
    for rows in TIMED_BATCH_SIZES:
        while cache.rows < rows:
            cache.put(cache.append(), context)
        for _ in range(_REPEATS):
            for name, decoder in decoders.items():
                began = time.perf_counter()
                decoder.step([1] * rows, cache)
                taken = time.perf_counter() - began
                seconds[name][rows] = min(taken, seconds[name].get(rows, taken))
    return seconds


def encode_fidelity_text(tokenizer: Any) -> list[int]:
    """Return `FIDELITY_TEXT` in this model's tokens."""
    return list(tokenizer(FIDELITY_TEXT, add_special_tokens=False)["input_ids"])
