"""Precision `auto`: for the number of rows at hand the fastest of the formats that stay close to float32.

Which one that is depends on the processor, so it is measured when the model is loaded, in a few seconds: few rows wait
for the weights to be read, and four bits are read fastest; many rows wait for arithmetic, where bfloat16 is fastest
with AVX-512 and float16 with AVX2, which has to convert bfloat16. All formats share one cache in bfloat16, so a row may
pass from one to the other at any step.
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
"""Nats, mean over the positions of a fixed text, from float32's distribution to the format's."""
MIN_TOP1 = 0.95
"""Share of its positions where both have the same most probable token."""

PRECISION_CANDIDATES = ("int4", "float16", "int8", "bfloat16")
"""Four bits are exact for a model that comes from a 4-bit GGUF and too coarse for others; int8 is tried where they are;
float16 and bfloat16 are always close, and only x86 has the former."""

TIMED_BATCH_SIZES = (1, 2, 4, 8, 16, 32)
_FIDELITY_TOKENS = 65
_CONTEXT = 32
_REPEATS = 2


class AutoPrecisionDecoder:
    """See `Decoder` for the contract. A chunk of a prompt counts as so many rows."""

    precision = "auto"

    def __init__(self, model: Any, context_window: int, text_ids: Sequence[int]) -> None:
        """`text_ids` are `fidelity.TEXT` in the model's tokens. Raises `FormatUnavailable` if no format qualifies."""
        self.context_window = context_window
        self.fidelity: dict[str, Fidelity] = {}
        """Of each format that was tried."""
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
        """Of a step, by format and number of rows."""
        self.choice = {rows: min(decoders, key=lambda name: self.seconds[name][rows]) for rows in TIMED_BATCH_SIZES}
        """The format used from so many rows on."""
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
    """The fastest of a few steps behind a short context, for each decoder and each number of `ROWS`. They share a cache
    and take turns, so that what else the machine does meanwhile slows down all of them."""
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
    """The fixed text in this model's tokens."""
    return list(tokenizer(FIDELITY_TEXT, add_special_tokens=False)["input_ids"])
