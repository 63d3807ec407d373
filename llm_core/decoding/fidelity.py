"""Measure how far a decoder's distributions are from another one's, usually float32's, on a fixed text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from llm_core.decoding.decoder import Decoder

FIDELITY_TEXT = """\
The sky looks blue because air scatters short wavelengths of sunlight more strongly than long ones. At sunset
the light crosses more air, most of the blue is gone before it arrives, and reds remain. Q: A farmer has 17 sheep and
all but 9 run away. How many are left? A: 9, because "all but 9" means that nine stay. def area(radius): return 3.14159
* radius ** 2  # for a circle. Hà Nội là thủ đô của Việt Nam; phở là món ăn nổi tiếng. 1. Boil water. 2. Add the tea."""
"""Fixed text of English prose, a riddle, code, Vietnamese and a list: about 150 tokens of most tokenizers."""

FIDELITY_BATCH_SIZE = 32
"""Number of positions compared in one step."""


class Fidelity(NamedTuple):
    """Closeness of a decoder to a reference."""

    mean_kl: float
    """Mean divergence from the reference to the decoder over all positions, in nats."""
    top1: float
    """Share of positions where both give the same token the highest probability, in [0, 1]."""


def measure_fidelity(decoder: Decoder, reference: Decoder, ids: Sequence[int]) -> Fidelity:
    """Return the fidelity of the distributions after every token of `ids` but the first."""
    return compare_logits(collect_logits(decoder, ids), collect_logits(reference, ids))


def compare_logits(found: Tensor, expected: Tensor) -> Fidelity:
    """Return the fidelity of logits `found` to `expected`, both `[positions, V]`."""
    log_found, log_expected = found.double().log_softmax(-1), expected.double().log_softmax(-1)
    kl = torch.nn.functional.kl_div(log_found, log_expected, reduction="batchmean", log_target=True)
    top1 = (found.argmax(-1) == expected.argmax(-1)).float().mean()
    return Fidelity(float(kl), float(top1))


def collect_logits(decoder: Decoder, ids: Sequence[int]) -> Tensor:
    """Return logits `[len(ids) - 1, V]` after each token but the first, all from decoding steps: each position has a
    row that holds the tokens before it."""
    cache = decoder.new_cache(2**63)
    decoder.prefill(ids[:-1], cache, cache.append())
    everything = cache.copy_out(0, len(ids) - 1)
    while cache.rows:
        cache.remove(0)
    parts = []
    for start in range(1, len(ids), FIDELITY_BATCH_SIZE):
        positions = range(start, min(start + FIDELITY_BATCH_SIZE, len(ids)))
        for position in positions:
            cache.put(cache.append(), everything.first(position))
        parts.append(decoder.step([ids[position] for position in positions], cache))
        while cache.rows:
            cache.remove(cache.rows - 1)
    return torch.cat(parts)
