"""Store the keys and values of every row that is being decoded, in memory that is allocated ahead.

Each layer is one tensor `[2, rows, heads, capacity, size]`: keys, then values; a row's token `t` lies at position `t`.
Rows are dense: a row that leaves is replaced by the last one. **Positions beyond a row's length hold zeros**, so
attention may read them under a mask: memory that was never written, or a NaN of an earlier row, would poison the sum.

Storage doubles when it is full, in rows and in positions, as long as it stays inside `budget_bytes`; near the limit it
takes exactly what is needed, and beyond it `CacheFull` is raised and nothing changes. On the CPU, zeroed pages cost
memory only once they are written, so resident memory follows the tokens held and not the storage.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK_TOKENS = 64
"""Tokens in a block. Capacity comes in whole blocks, and attention reads whole blocks: its sums are then grouped in the
same way whatever the length of the longest row, so a row gets bit for bit the same result in any batch (measured; see
tests)."""


def round_up_to_blocks(length: int) -> int:
    """Return `length` rounded up to whole blocks."""
    return -(-length // BLOCK_TOKENS) * BLOCK_TOKENS


class CacheFull(Exception):
    """Raised if the requested rows would take more bytes than the budget."""


@dataclass(frozen=True, slots=True)
class LayerShape:
    """Shape of one layer's entry for a token: `heads` keys and as many values, of `size` numbers each."""

    heads: int
    size: int


@dataclass(frozen=True, slots=True, eq=False)
class Prefix:
    """First `length` tokens of a row, one tensor `[2, heads, length, size]` a layer. Never written to."""

    layers: tuple[Tensor, ...]
    length: int

    @property
    def nbytes(self) -> int:
        """Bytes of these tokens. A prefix cut from a longer one keeps the longer one's memory alive."""
        return sum(layer.numel() * layer.element_size() for layer in self.layers)

    def first(self, length: int) -> Prefix:
        """Return a view of the first `length` tokens. Raises `ValueError` for a length outside the prefix."""
        if not 0 <= length <= self.length:
            raise ValueError(f"length={length}: this prefix has {self.length} tokens")
        return Prefix(tuple(layer[:, :, :length] for layer in self.layers), length)


class KeyValueCache:
    """Keys and values of rows `0 .. len(lengths) - 1`, each with its own length."""

    def __init__(
        self,
        shapes: Sequence[LayerShape],
        *,
        dtype: torch.dtype,
        budget_bytes: int,
        max_length: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.lengths: list[int] = []
        """Number of tokens in each row. Decoders add to it; all other code uses the methods below."""
        self.layers: list[Tensor] = []
        """Storage of each layer, `[2, row_capacity, heads, capacity, size]`."""
        self.row_capacity = 0
        self.capacity = 0
        """Number of tokens that each row can hold without growing."""
        self.budget_bytes = budget_bytes
        self.max_length = max_length
        self.dtype = dtype
        self._shapes = tuple(shapes)
        self.device = torch.device(device)
        self.bytes_per_token = 2 * dtype.itemsize * sum(shape.heads * shape.size for shape in self._shapes)
        self._allocate(0, 0)

    @property
    def rows(self) -> int:
        return len(self.lengths)

    @property
    def nbytes(self) -> int:
        """Bytes of storage allocated: `row_capacity x capacity` tokens, used or not."""
        return self.row_capacity * self.capacity * self.bytes_per_token

    def fits(self, rows: int, length: int) -> bool:
        """Return whether `rows` rows, the longest of `length` tokens, fit within the budget."""
        return (
            length <= self.max_length and rows * round_up_to_blocks(length) * self.bytes_per_token <= self.budget_bytes
        )

    def reserve(self, rows: int, length: int) -> None:
        """Allocate storage for `rows` rows of up to `length` tokens. Raises `CacheFull`, and then nothing changes."""
        if rows <= self.row_capacity and length <= min(self.capacity, self.max_length):
            return
        rows, length = max(rows, self.rows), max([length, *self.lengths])
        if not self.fits(rows, length):
            raise CacheFull(f"{rows} rows of {length} tokens do not fit in {self.budget_bytes} bytes")
        roomy_rows = self.row_capacity if rows <= self.row_capacity else 1 << (rows - 1).bit_length()
        roomy = self.capacity if length <= self.capacity else max(round_up_to_blocks(length), 2 * self.capacity)
        roomy = min(roomy, round_up_to_blocks(self.max_length))
        tight = round_up_to_blocks(length)
        for new_rows, capacity in ((roomy_rows, roomy), (rows, roomy), (roomy_rows, tight), (rows, tight)):
            if new_rows * capacity * self.bytes_per_token <= self.budget_bytes:
                self._allocate(new_rows, capacity)
                return

    def trim(self) -> None:
        """Free the storage that the present rows do not need."""
        self._allocate(self.rows, round_up_to_blocks(max(self.lengths, default=0)))

    def append(self) -> int:
        """Add an empty row and return its index, always the last. Raises `CacheFull`."""
        self.reserve(self.rows + 1, max([1, *self.lengths]))
        self.lengths.append(0)
        return self.rows - 1

    def remove(self, row: int) -> int:
        """Drop `row` and move the last row into its place. Returns the moved row's old index: `row` if none moved."""
        last = self.rows - 1
        length, moved = self.lengths[row], self.lengths[last]
        if row != last:
            for layer in self.layers:
                layer[:, row, :, :moved] = layer[:, last, :, :moved]
            self._zero(row, moved, length)
            self.lengths[row] = moved
        self._zero(last, 0, moved)
        self.lengths.pop()
        return last

    @contextmanager
    def extend(self, rows: range, count: int) -> Iterator[None]:
        """Make room for `count` more tokens in each of `rows`, which the `with` block writes behind the existing ones.

        The tokens count once the block ends; if it raises, they are zeroed and the rows are as before. Raises
        `CacheFull` before the block.
        """
        longest = max(self.lengths[row] for row in rows)
        self.reserve(self.rows, longest + count)
        try:
            yield
        except BaseException:
            for row in rows:
                self._zero(row, self.lengths[row], self.lengths[row] + count)
            raise
        for row in rows:
            self.lengths[row] += count

    def truncate(self, row: int, length: int) -> None:
        """Drop the row's tokens from position `length` on. Raises `ValueError` for a length outside the row."""
        if not 0 <= length <= self.lengths[row]:
            raise ValueError(f"length={length}: row {row} has {self.lengths[row]} tokens")
        self._zero(row, length, self.lengths[row])
        self.lengths[row] = length

    def copy_out(self, row: int, length: int) -> Prefix:
        """Return an independent copy of the row's first `length` tokens. Raises `ValueError` for a length outside the
        row."""
        if not 0 <= length <= self.lengths[row]:
            raise ValueError(f"length={length}: row {row} has {self.lengths[row]} tokens")
        return Prefix(tuple(layer[:, row, :, :length].clone() for layer in self.layers), length)

    def put(self, row: int, prefix: Prefix) -> None:
        """Fill an empty row with a prefix. Raises `CacheFull`, and `ValueError` if the row is not empty."""
        if self.lengths[row]:
            raise ValueError(f"row {row} is not empty")
        self.reserve(self.rows, prefix.length)
        for layer, kept in zip(self.layers, prefix.layers, strict=True):
            layer[:, row, :, : prefix.length] = kept
        self.lengths[row] = prefix.length

    def _zero(self, row: int, start: int, stop: int) -> None:
        if start < stop:
            for layer in self.layers:
                layer[:, row, :, start:stop] = 0

    @torch.inference_mode(False)  # a tensor made in inference mode could not be written to outside it
    def _allocate(self, rows: int, capacity: int) -> None:
        """Move to storage of another size, layer by layer, so that only one layer is ever held twice."""
        old, used = self.layers, max(self.lengths, default=0)
        self.layers = []
        for place, shape in enumerate(self._shapes):
            layer = _zeros((2, rows, shape.heads, capacity, shape.size), self.dtype, self.device)
            if used:
                layer[:, : self.rows, :, :used] = old[place][:, : self.rows, :, :used]
                old[place] = layer[:, :0]  # frees the storage that was copied
            self.layers.append(layer)
        self.row_capacity, self.capacity = rows, capacity


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return zeros; on the CPU directly from the operating system, which provides zeroed pages as they are written
    (`torch.zeros` writes all of them at once: half a second a gigabyte)."""
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    import numpy as np

    words = torch.from_numpy(np.zeros(shape, {2: np.int16, 4: np.int32}[dtype.itemsize]))
    return words.view(dtype)
