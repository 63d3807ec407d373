"""Compute attention over a `KeyValueCache` in place: for a chunk of one row, or for one token of every row.

Both write the new keys and values to their places, then read whole blocks of the cache under a mask; nothing is copied,
padded or concatenated. TorchScript compiles the `attend_*` functions together with the layers that call them.

Shapes: `qkv [tokens, heads + 2 kv_heads, size]` holds queries, keys and values in this order; a layer's storage is `[2,
rows, kv_heads, capacity, size]`; results are `[tokens, heads * size]`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from llm_core.decoding.kv_cache import KeyValueCache, round_up_to_blocks

MIN_MATMUL_ROWS = 4
"""Number of rows from which a step in bfloat16 attends by two batched products.

They are up to twice as fast as the fused kernel for 32 rows, and slower for one. In float32 both are equally fast, and
the products are used for any number of rows: their sums do not depend on the other rows or on the number of threads,
those of the fused kernel do.
"""

RUN_OVERHEAD = 512
"""Cost of another attention operation, in positions that one row reads."""


class ForwardPass(NamedTuple):
    """Plan of one pass: the tokens that it adds to the cache, and the positions that they attend to."""

    positions: Tensor
    slots: Tensor
    """Vector index of each new key and value of a step, in a layer's storage seen as a list of vectors."""
    row: int
    """Row that takes all tokens of a chunk, from position `start` on; -1 for a step, which has a token for each row."""
    start: int
    by_products: bool
    """Whether a step uses two batched products in place of the fused kernel."""
    runs: list[tuple[int, int, int]]
    """Groups `(first, stop, read)`: rows `first .. stop - 1` attend together, to the first `read` positions of the
    cache."""
    masks: list[Tensor]
    """Mask of each run, added to its scores: 0 or minus infinity, in the shape that its kind of attention takes."""


def plan_chunk_pass(cache: KeyValueCache, row: int, count: int, groups: int) -> ForwardPass:
    """Return the pass that adds `count` tokens to the end of a row; `groups` query heads share a key head."""
    start = cache.lengths[row]
    positions = torch.arange(start, start + count, device=cache.device)
    read = round_up_to_blocks(start + count)
    # The queries of all heads that share a key head are listed one after the other, so the mask repeats.
    mask = _mask(positions, read, cache.dtype).repeat(groups, 1)
    return ForwardPass(positions, positions, row, start, False, [(row, row + 1, read)], [mask])


def plan_step_pass(cache: KeyValueCache, kv_heads: int) -> ForwardPass:
    """Return the pass that adds one token to each row, whatever their lengths."""
    device = cache.device
    positions = torch.tensor(cache.lengths, device=device)
    # Storage as vectors: keys of row 0, head 0 at all positions, then head 1, ..., then row 1, ...; then the values.
    row, kind, head = (torch.arange(count, device=device) for count in (cache.rows, 2, kv_heads))
    vectors = (row[:, None, None] + kind[:, None] * cache.row_capacity) * kv_heads + head
    slots = (vectors * cache.capacity + positions[:, None, None]).flatten()
    exact = cache.dtype == torch.float32
    by_products = (exact or cache.rows >= MIN_MATMUL_ROWS) and device.type == "cpu"
    runs = group_runs(cache.lengths)
    masks = [_mask(positions[first:stop], read, cache.dtype) for first, stop, read in runs]
    masks = [mask.repeat_interleave(kv_heads, 0)[:, :, None] if by_products else mask[:, None, None] for mask in masks]
    return ForwardPass(positions, slots, -1, 0, by_products, runs, masks)


def group_runs(lengths: list[int]) -> list[tuple[int, int, int]]:
    """Return the runs `(first, stop, read)` of neighboring rows that attend together in a step.

    All rows of a run read as far as the longest of them, and runs are joined while the added reading costs less than
    another operation. So one long row does not slow all down.
    """
    runs: list[tuple[int, int, int]] = []
    for row, length in enumerate(lengths):
        first, stop, read = row, row + 1, round_up_to_blocks(length + 1)
        while runs:
            before, middle, other = runs[-1]
            apart = (middle - before) * other + (stop - first) * read + RUN_OVERHEAD
            if (stop - before) * max(read, other) > apart:
                break
            first, read = before, max(read, other)
            runs.pop()
        runs.append((first, stop, read))
    return runs


def attend_chunk(storage: Tensor, qkv: Tensor, new: ForwardPass, heads: int) -> Tensor:
    """Write a chunk's keys and values to its row, and return the attention of its queries, `[tokens, heads * size]`."""
    count, size, kv_heads = qkv.shape[0], qkv.shape[2], storage.shape[2]
    place = storage[:, new.row, :, new.start : new.start + count]
    place.copy_(qkv[:, heads:].view(count, 2, kv_heads, size).permute(1, 2, 0, 3))
    queries = qkv[:, :heads].transpose(0, 1).reshape(1, kv_heads, -1, size)
    first, stop, read = new.runs[0]
    held = storage[:, first:stop, :, :read]
    mixed = functional.scaled_dot_product_attention(queries, held[0], held[1], new.masks[0])
    return mixed.reshape(heads, count, size).transpose(0, 1).reshape(count, -1)


def attend_step(storage: Tensor, qkv: Tensor, new: ForwardPass, heads: int) -> Tensor:
    """Write one key and value a row, and return the attention of each row's query, `[rows, heads * size]`."""
    rows, size, kv_heads = qkv.shape[0], qkv.shape[2], storage.shape[2]
    storage.view(-1, size).index_copy_(0, new.slots, qkv[:, heads:].reshape(-1, size))
    queries = qkv[:, :heads].reshape(rows, kv_heads, -1, size)
    mixed: list[Tensor] = []
    for place, (first, stop, read) in enumerate(new.runs):
        if new.by_products:
            held = storage.view(2, -1, storage.shape[3], size)[:, first * kv_heads : stop * kv_heads, :read]
            # Keys by queries, not queries by keys: this order is fast for few queries.
            by_head = queries[first:stop].flatten(0, 1).transpose(1, 2)
            scores = torch.baddbmm(new.masks[place], held[0], by_head, beta=1.0, alpha=size**-0.5)
            mixed.append(torch.bmm(scores.transpose(1, 2).softmax(-1), held[1]).view(stop - first, -1))
        else:
            held = storage[:, first:stop, :, :read]
            one = functional.scaled_dot_product_attention(queries[first:stop], held[0], held[1], new.masks[place])
            mixed.append(one.reshape(stop - first, -1))
    return mixed[0] if len(mixed) == 1 else torch.cat(mixed)


def _mask(positions: Tensor, read: int, dtype: torch.dtype) -> Tensor:
    """Return a mask `[len(positions), read]`: 0 up to each position, minus infinity behind it."""
    hidden = torch.arange(read, device=positions.device) > positions[:, None]
    return torch.zeros(hidden.shape, dtype=dtype, device=positions.device).masked_fill_(hidden, -torch.inf)
