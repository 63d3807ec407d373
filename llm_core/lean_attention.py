"""Attention over a `KeyValueCache` as it lies: a chunk of one row, or one token of every row.

Both write the new keys and values to their places, then read whole blocks of the cache under a mask; nothing is copied,
padded or concatenated. The `attend_*` functions are compiled by TorchScript with the layers that call them.

Shapes: `qkv [tokens, heads + 2 kv_heads, size]` holds queries, keys and values in this order; a layer's storage is
`[2, rows, kv_heads, capacity, size]`; results are `[tokens, heads * size]`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from llm_core.kv_cache import KeyValueCache, whole_blocks

PRODUCT_ROWS = 4
"""From this many rows on, two batched products are faster than the fused kernel, in bfloat16 on a processor (measured:
up to twice as fast for 32 rows). In float32 the fused kernel is as fast for any number."""


class Pass(NamedTuple):
    """Which tokens a pass adds to the cache, and what they attend to."""

    positions: Tensor
    mask: Tensor
    """Added to scores: 0 or minus infinity, in the shape that the attention in question takes."""
    slots: Tensor
    """Of a step: where each key and value goes, in a layer's storage seen as a list of vectors."""
    read: int
    """Positions of the cache that are attended to."""
    row: int
    """Of a chunk: the row that takes all tokens, from position `start` on. A step has -1, and a token for each row."""
    start: int
    by_products: bool
    """Of a step: two batched products in place of the fused kernel."""


def chunk_pass(cache: KeyValueCache, row: int, count: int, groups: int) -> Pass:
    """`count` tokens behind those that the row has; `groups` query heads share a key head."""
    start = cache.lengths[row]
    positions = torch.arange(start, start + count, device=cache.device)
    read = whole_blocks(start + count)
    # The queries of all heads that share a key head stand in one list under it, so the mask repeats.
    mask = _mask(positions, read, cache.dtype).repeat(groups, 1)
    return Pass(positions, mask, positions, read, row, start, False)


def step_pass(cache: KeyValueCache, kv_heads: int) -> Pass:
    """A token for each row, whatever their lengths."""
    device = cache.device
    positions = torch.tensor(cache.lengths, device=device)
    read = whole_blocks(max(cache.lengths) + 1)
    # Storage as vectors: keys of row 0, head 0 at all positions, then of head 1, ..., then of row 1, ...; then values.
    row, kind, head = (torch.arange(count, device=device) for count in (cache.rows, 2, kv_heads))
    vectors = (row[:, None, None] + kind[:, None] * cache.row_capacity) * kv_heads + head
    slots = (vectors * cache.capacity + positions[:, None, None]).flatten()
    mask = _mask(positions, read, cache.dtype)
    by_products = cache.dtype == torch.bfloat16 and cache.rows >= PRODUCT_ROWS and device.type == "cpu"
    mask = mask.repeat_interleave(kv_heads, 0)[:, :, None] if by_products else mask[:, None, None]
    return Pass(positions, mask, slots, read, -1, 0, by_products)


def attend_chunk(storage: Tensor, qkv: Tensor, new: Pass, heads: int) -> Tensor:
    count, size, kv_heads = qkv.shape[0], qkv.shape[2], storage.shape[2]
    place = storage[:, new.row, :, new.start : new.start + count]
    place.copy_(qkv[:, heads:].view(count, 2, kv_heads, size).permute(1, 2, 0, 3))
    queries = qkv[:, :heads].transpose(0, 1).reshape(1, kv_heads, -1, size)
    held = storage[:, new.row : new.row + 1, :, : new.read]
    mixed = functional.scaled_dot_product_attention(queries, held[0], held[1], new.mask)
    return mixed.reshape(heads, count, size).transpose(0, 1).reshape(count, -1)


def attend_step(storage: Tensor, qkv: Tensor, new: Pass, heads: int) -> Tensor:
    rows, size, kv_heads = qkv.shape[0], qkv.shape[2], storage.shape[2]
    storage.view(-1, size).index_copy_(0, new.slots, qkv[:, heads:].reshape(-1, size))
    if not new.by_products:
        queries = qkv[:, :heads].unflatten(1, [kv_heads, -1])
        held = storage[:, :rows, :, : new.read]
        return functional.scaled_dot_product_attention(queries, held[0], held[1], new.mask).reshape(rows, -1)
    pairs = storage.view(2, -1, storage.shape[3], size)[:, : rows * kv_heads, : new.read]
    queries = qkv[:, :heads].reshape(rows * kv_heads, -1, size)
    # Keys by queries, not queries by keys: the order in which a product with a few queries is fast.
    scores = torch.baddbmm(new.mask, pairs[0], queries.transpose(1, 2), beta=1.0, alpha=size**-0.5)
    return torch.bmm(scores.transpose(1, 2).softmax(-1), pairs[1]).view(rows, -1)


def _mask(positions: Tensor, read: int, dtype: torch.dtype) -> Tensor:
    """`[len(positions), read]`: 0 up to each position, minus infinity behind it."""
    hidden = torch.arange(read, device=positions.device) > positions[:, None]
    return torch.zeros(hidden.shape, dtype=dtype, device=positions.device).masked_fill_(hidden, -torch.inf)
