"""The prefix cache finds the longest shared beginning, and nothing where nothing is shared."""

from __future__ import annotations

import torch

from llm_core.decoding.kv_cache import Prefix
from llm_core.engine.prefix_cache import PrefixCache


def make_cache(*entries: tuple[int, ...]) -> PrefixCache:
    cache = PrefixCache(2**20)
    for ids in entries:
        cache.store(ids, Prefix((torch.zeros(2, 1, len(ids), 4),), len(ids)))
    return cache


def test_the_longest_shared_beginning_is_found():
    cache = make_cache((1, 2, 9), (1, 2, 3, 4))
    found = cache.longest((1, 2, 3, 5))
    assert found is not None
    assert (found.length, found.layers[0].shape[2]) == (3, 3)


def test_nothing_is_found_where_nothing_is_shared():
    cache = make_cache((1, 2, 3))
    assert cache.longest((2, 3)) is None
    assert cache.longest(()) is None
