"""Which rows attend together, and that it makes no difference to them."""

from __future__ import annotations

import random

import pytest
import torch

from llm_core.decoding import llama_attention
from llm_core.decoding.kv_cache import BLOCK_TOKENS
from llm_core.decoding.llama_attention import RUN_OVERHEAD, group_runs
from llm_core.decoding.llama_decoder import LlamaDecoder
from tests.support.tiny_models import tiny_model


def padding_cost(runs) -> int:
    return sum((stop - first) * read + RUN_OVERHEAD for first, stop, read in runs)


def test_a_long_row_attends_by_itself():
    assert group_runs([5, 60, 40]) == [(0, 3, BLOCK_TOKENS)]
    assert group_runs([BLOCK_TOKENS - 1]) == [(0, 1, BLOCK_TOKENS)]
    assert group_runs([BLOCK_TOKENS]) == [(0, 1, 2 * BLOCK_TOKENS)]
    assert group_runs([5] * 15 + [2000] + [5] * 16) == [(0, 15, BLOCK_TOKENS), (15, 16, 2048), (16, 32, BLOCK_TOKENS)]


def test_every_row_once_and_never_dearer_than_all_together_or_all_apart():
    chance = random.Random(1)
    for _ in range(300):
        lengths = [int(2 ** chance.uniform(0, 11)) for _ in range(chance.randint(1, 40))]
        runs = group_runs(lengths)
        assert [row for first, stop, _ in runs for row in range(first, stop)] == list(range(len(lengths)))
        for first, stop, read in runs:
            assert max(lengths[first:stop]) + 1 <= read < max(lengths[first:stop]) + 1 + BLOCK_TOKENS
        assert padding_cost(runs) <= padding_cost(
            [(row, row + 1, group_runs([length])[0][2]) for row, length in enumerate(lengths)]
        )


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("lengths", [(300, 9, 9, 9), (9, 9, 300), (3, 400, 5, 7, 6, 8, 300)])
def test_the_same_together_and_apart(precision, lengths, monkeypatch):
    decoder = LlamaDecoder(tiny_model("llama"), 512, precision)
    logits = []
    for run_cost in (0, 10**9):
        monkeypatch.setattr(llama_attention, "RUN_OVERHEAD", run_cost)
        cache = decoder.new_cache(2**28)
        for row, length in enumerate(lengths):
            decoder.prefill([(row + place) % 90 + 1 for place in range(length)], cache, cache.append())
        logits.append(decoder.step([7] * len(lengths), cache))
    assert len(group_runs(list(lengths))) == 1
    torch.testing.assert_close(logits[0], logits[1], atol=1e-4 if precision == "float32" else 0.1, rtol=0)
