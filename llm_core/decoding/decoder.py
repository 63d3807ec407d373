"""Define the decoder contract of the engine: prefill a prompt into one row's cache, then decode one token for every
row.

`llm_core.decoding.factory` makes the decoder that fits a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from llm_core.decoding.kv_cache import KeyValueCache


class UnsupportedModel(Exception):
    """Raised for a model whose own logits no decoder reproduces; the text says why."""


class Decoder(Protocol):
    """Model over a `KeyValueCache`, for one thread at a time. Token ids are those of the model's tokenizer."""

    precision: str
    vocab_size: int
    context_window: int

    def new_cache(self, budget_bytes: int) -> KeyValueCache:
        """Return an empty cache of this model's shapes."""
        ...

    def prefill(self, ids: Sequence[int], cache: KeyValueCache, row: int) -> Tensor:
        """Append `ids` to one row and return the logits `[V]`, float32, that follow the last of them.

        A long prompt may go in chunk by chunk, with calls for other rows in between. Raises `CacheFull`.
        """
        ...

    def step(self, ids: Sequence[int], cache: KeyValueCache) -> Tensor:
        """Append one token to every row, `ids[row]`, and return logits `[rows, V]`, float32. Raises `CacheFull`.

        After an exception all rows have their old length, so the step can be tried again with other rows.
        """
        ...
