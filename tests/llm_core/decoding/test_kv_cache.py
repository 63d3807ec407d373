"""Rows come, grow, move, shrink and go; what they hold stays theirs, and nothing else is left behind."""

from __future__ import annotations

import random

import pytest
import torch

from llm_core.decoding.kv_cache import BLOCK_TOKENS, CacheFull, KeyValueCache, LayerShape

SHAPES = [LayerShape(2, 4), LayerShape(1, 8)]


def make_cache(budget_tokens: int = 10**6, **options) -> KeyValueCache:
    options = {"dtype": torch.float32, "max_length": 2048} | options
    per_token = 2 * 4 * sum(shape.heads * shape.size for shape in SHAPES)
    return KeyValueCache(SHAPES, budget_bytes=budget_tokens * per_token, **options)


def write(cache: KeyValueCache, row: int, values: list[float]) -> None:
    """Append one token a value, every number of it that value."""
    start = cache.lengths[row]
    with cache.extend(range(row, row + 1), len(values)):
        for layer in cache.layers:
            layer[:, row, :, start : start + len(values)] = torch.tensor(values)[:, None]


def read_rows(cache: KeyValueCache, row: int) -> list[float]:
    """What `write` wrote, after checking that all layers agree and that nothing follows it."""
    length = cache.lengths[row]
    for layer in cache.layers:
        assert (layer[:, row, :, length:] == 0).all()
        assert (layer[:, row, :, :length] == cache.layers[0][0, row, 0, :length, :1]).all()
    return cache.layers[0][0, row, 0, :length, 0].tolist()


def test_random_traffic_against_lists():
    """A thousand random operations, each mirrored on plain lists; unused rows and positions hold zeros throughout."""
    chance = random.Random(3)
    cache, model, kept = make_cache(), [], []
    for number in range(1, 1001):
        action = chance.choice(["append", "write", "write", "write", "remove", "truncate", "copy", "put", "trim"])
        row = chance.randrange(len(model)) if model else None
        if action == "append" and len(model) < 9:
            assert cache.append() == len(model)
            model.append([])
        elif action == "trim" and chance.random() < 0.2:
            cache.trim()
        elif row is None:
            continue
        elif action == "write":
            values = [float(number)] * chance.choice([1, 1, 7, 70])
            write(cache, row, values)
            model[row] = model[row] + values
        elif action == "remove" and chance.random() < 0.6:
            last = cache.remove(row)
            assert last == len(model) - 1
            model[row] = model[last]
            model.pop()
        elif action == "truncate":
            length = chance.randint(0, len(model[row]))
            cache.truncate(row, length)
            model[row] = model[row][:length]
        elif action == "copy":
            length = chance.randint(0, len(model[row]))
            kept.append((cache.copy_out(row, length), model[row][:length]))
        elif action == "put" and kept and not model[row]:
            prefix, values = chance.choice(kept)
            length = chance.randint(0, prefix.length)
            cache.put(row, prefix.first(length))
            model[row] = values[:length]
        assert [read_rows(cache, place) for place in range(cache.rows)] == model
        assert all((layer[:, cache.rows :] == 0).all() for layer in cache.layers)
        assert cache.nbytes == sum(layer.numel() * 4 for layer in cache.layers)
    assert len(kept) > 20
    assert max(map(len, model)) > BLOCK_TOKENS


def test_a_prefix_is_a_copy_and_counts_its_bytes():
    cache = make_cache()
    cache.append()
    write(cache, 0, [1.0, 2.0, 3.0])
    prefix = cache.copy_out(0, 2)
    cache.truncate(0, 0)
    write(cache, 0, [9.0])
    other = make_cache()
    other.append()
    other.put(0, prefix)
    assert read_rows(other, 0) == [1.0, 2.0]
    assert (prefix.length, prefix.nbytes) == (2, 2 * cache.bytes_per_token)
    assert prefix.first(1).nbytes == cache.bytes_per_token
    for length in (-1, 3):
        with pytest.raises(ValueError, match="has 2 tokens"):
            prefix.first(length)


def test_a_failed_pass_leaves_no_trace():
    cache = make_cache()
    cache.append()
    write(cache, 0, [1.0])

    def fail() -> None:
        with cache.extend(range(1), 3):
            cache.layers[0][:, 0, :, 1:4] = torch.nan
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert read_rows(cache, 0) == [1.0]


def test_growth_doubles_and_moves_everything():
    cache = make_cache()
    cache.append()
    sizes = set()
    for token in range(1000):
        write(cache, 0, [float(token)])
        sizes.add(cache.capacity)
    assert read_rows(cache, 0) == [float(token) for token in range(1000)]
    assert sizes == {BLOCK_TOKENS, 2 * BLOCK_TOKENS, 4 * BLOCK_TOKENS, 8 * BLOCK_TOKENS, 16 * BLOCK_TOKENS}


def test_never_beyond_the_budget_and_all_of_it():
    cache = make_cache(budget_tokens=5 * BLOCK_TOKENS)
    for _ in range(5):
        cache.append()
    with pytest.raises(CacheFull):
        cache.append()
    assert cache.rows == 5
    write(cache, 0, [1.0] * BLOCK_TOKENS)
    before = cache.nbytes
    with pytest.raises(CacheFull):
        write(cache, 0, [1.0])
    assert (read_rows(cache, 0), cache.nbytes) == ([1.0] * BLOCK_TOKENS, before)
    for _ in range(4):
        cache.remove(1)
    write(cache, 0, [2.0] * (4 * BLOCK_TOKENS))  # rows given back become room for length
    assert read_rows(cache, 0) == [1.0] * BLOCK_TOKENS + [2.0] * (4 * BLOCK_TOKENS)
    assert cache.nbytes <= cache.budget_bytes
    assert not cache.fits(1, 5 * BLOCK_TOKENS + 1)
    cache.remove(0)
    cache.trim()
    assert cache.nbytes == 0


def test_no_row_outgrows_the_context_window():
    cache = make_cache(max_length=300)
    cache.append()
    for count in (130, 170):
        write(cache, 0, [1.0] * count)
    with pytest.raises(CacheFull):
        write(cache, 0, [1.0])
    assert cache.capacity == 5 * BLOCK_TOKENS  # not doubled beyond what a row can ever hold


def test_bfloat16_takes_half_the_bytes():
    cache = make_cache(dtype=torch.bfloat16)
    cache.append()
    write(cache, 0, [1.5, 2.5])
    assert read_rows(cache, 0) == [1.5, 2.5]
    assert cache.bytes_per_token == make_cache().bytes_per_token // 2


@pytest.mark.parametrize("wrong", [lambda c: c.truncate(0, 3), lambda c: c.copy_out(0, 3), lambda c: c.truncate(0, -1)])
def test_refuses_lengths_a_row_has_not(wrong):
    cache = make_cache()
    cache.append()
    write(cache, 0, [1.0, 2.0])
    with pytest.raises(ValueError, match="row 0 has 2 tokens"):
        wrong(cache)
    with pytest.raises(ValueError, match="not empty"):
        cache.put(0, cache.copy_out(0, 1))
