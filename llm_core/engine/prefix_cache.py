"""Keep the keys and values of token sequences that a model has read, so that shared prefixes are not read again.

Bounded in bytes; the least recently used entry is evicted first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from llm_core.decoding.kv_cache import Prefix


class PrefixCache:
    """Cache of prefixes of one decoder; the entries are in its precision."""

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self._entries: OrderedDict[tuple[int, ...], tuple[torch.Tensor, Prefix]] = OrderedDict()

    @property
    def nbytes(self) -> int:
        return sum(prefix.nbytes for _, prefix in self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def longest(self, ids: Sequence[int]) -> Prefix | None:
        """Return the longest cached prefix of `ids`, or None."""
        wanted = torch.tensor(ids, dtype=torch.int32)
        best, length = None, 0
        for key, (tokens, _) in self._entries.items():
            shorter = min(len(tokens), len(wanted))
            if shorter <= length:
                continue
            apart = (tokens[:shorter] != wanted[:shorter]).nonzero()
            shared = int(apart[0]) if len(apart) else shorter
            if shared > length:
                best, length = key, shared
        if best is None:
            return None
        self._entries.move_to_end(best)
        return self._entries[best][1].first(length)

    def store(self, ids: Sequence[int], prefix: Prefix) -> None:
        """Keep `prefix` as the keys and values of `ids`. Entries that only hold the beginning of `ids` are dropped."""
        key = tuple(ids)
        if len(key) == 0 or prefix.nbytes > self.budget_bytes:
            return
        if any(len(other) >= len(key) and other[: len(key)] == key for other in self._entries):
            return
        for other in [other for other in self._entries if key[: len(other)] == other]:
            del self._entries[other]
        self._entries[key] = (torch.tensor(key, dtype=torch.int32), prefix)
        while self.nbytes > self.budget_bytes:
            self._entries.popitem(last=False)
