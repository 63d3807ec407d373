"""Decode any transformers causal model over a `KeyValueCache`, through the model's own forward pass.

The model receives a transformers `Cache` that writes each row's new keys and values to its place in ours, explicit
position ids, and explicit masks: rows of different lengths then share a pass whatever positions the model uses, and a
sliding window is a mask over the whole row. Models that cannot work this way (recurrent state, positions or scalings
that depend on the batch) are detected by `check_decoder` and refused.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from llm_core.decoding.decoder import UnsupportedModel
from llm_core.decoding.kv_cache import BLOCK_TOKENS, KeyValueCache, LayerShape

_MASKED = ("full_attention", "sliding_attention")
"""Kinds of attention that are a causal mask, with or without a window."""
_BATCH_DEPENDENT_ROTARY = {"dynamic", "longrope"}


class TransformersDecoder:
    """Decoder (see `Decoder` for the contract) in `float32` or `bfloat16`; a precision other than the model's copies
    the weights."""

    def __init__(self, model: Any, context_window: int, precision: str = "float32") -> None:
        if precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision={precision!r}: expected 'float32' or 'bfloat16'")
        dtype = getattr(torch, precision)
        self.precision = precision
        self.context_window = context_window
        self.vocab_size: int = model.get_output_embeddings().weight.shape[0]
        self._model = model if model.dtype == dtype else copy.deepcopy(model).to(dtype)
        self._dtype = dtype
        self._device = model.device
        text = model.config.get_text_config()
        self._window = getattr(text, "sliding_window", None) or 0
        kinds = getattr(text, "layer_types", None) or ["sliding_attention" if self._window else "full_attention"]
        if unknown := set(kinds) - set(_MASKED):
            raise UnsupportedModel(f"it has layers of the kind {', '.join(sorted(unknown))}")
        if "local" in str(getattr(text, "attention_types", "")):
            raise UnsupportedModel("its local attention counts from the end of the cache")  # GPT-Neo
        if batch_dependent := _rotary_kinds(text) & _BATCH_DEPENDENT_ROTARY:
            raise UnsupportedModel(f"its {batch_dependent.pop()} rotary scaling depends on the longest row of a batch")
        self._kinds = sorted(set(kinds))
        self._shapes = _layer_shapes(self._model)

    def new_cache(self, budget_bytes: int) -> KeyValueCache:
        return KeyValueCache(
            self._shapes,
            dtype=self._dtype,
            budget_bytes=budget_bytes,
            max_length=self.context_window,
            device=self._device,
        )

    @torch.inference_mode()
    def prefill(self, ids: Sequence[int], cache: KeyValueCache, row: int) -> Tensor:
        with cache.extend(range(row, row + 1), len(ids)):
            positions = torch.arange(cache.lengths[row], cache.lengths[row] + len(ids), device=self._device)
            return self._forward([list(ids)], positions[None], cache, range(row, row + 1))[0]

    @torch.inference_mode()
    def step(self, ids: Sequence[int], cache: KeyValueCache) -> Tensor:
        if len(ids) != cache.rows:
            raise ValueError(f"{len(ids)} tokens for {cache.rows} rows")
        with cache.extend(range(cache.rows), 1):
            positions = torch.tensor(cache.lengths, device=self._device)[:, None]
            return self._forward([[token] for token in ids], positions, cache, range(cache.rows))

    def _forward(self, ids: list[list[int]], positions: Tensor, cache: KeyValueCache, rows: range) -> Tensor:
        """Return the logits after the last token of each row; ids and positions are `[rows, count]`."""
        read = -(-(int(positions.max()) + 1) // BLOCK_TOKENS) * BLOCK_TOKENS
        masks = {kind: self._mask(positions, read, kind) for kind in self._kinds}
        output = self._model(
            torch.tensor(ids, device=self._device),
            attention_mask=masks if len(masks) > 1 else masks[self._kinds[0]],
            position_ids=positions,
            cache=_BatchedCache(cache, rows, positions, read),
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1].float()

    def _mask(self, positions: Tensor, read: int, kind: str) -> Tensor:
        """Return the mask `[rows, 1, count, read]` to add to scores: 0 where a position may attend, minus infinity
        elsewhere."""
        key = torch.arange(read, device=self._device)
        query = positions[:, None, :, None]
        hidden = key > query
        if kind == "sliding_attention" and self._window:
            hidden = hidden | (key <= query - self._window)
        return torch.zeros(hidden.shape, dtype=self._dtype, device=self._device).masked_fill_(hidden, -torch.inf)


class _BatchedCacheLayer(DynamicLayer):
    """One layer of a `KeyValueCache` as transformers sees it during one forward pass."""

    def __init__(self, storage: Tensor, rows: range, positions: Tensor, read: int) -> None:
        super().__init__()
        self._storage = storage[:, rows.start : rows.stop]  # [2, rows, heads, capacity, size]
        self._row_index = torch.arange(len(rows), device=storage.device)[:, None]
        self._positions = positions
        self._read = read
        self._seen: tuple[Tensor, Tensor] = (self._storage[0, :, :, :read], self._storage[1, :, :, :read])
        self.keys, self.values = self._seen
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        for half, states in zip(self._storage, (key_states, value_states), strict=True):
            half.transpose(1, 2)[self._row_index, self._positions] = states.transpose(1, 2)
        return self._seen

    def get_seq_length(self) -> int:
        return int(self._positions.min())

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._read, 0


class _BatchedCache(Cache):
    def __init__(self, cache: KeyValueCache, rows: range, positions: Tensor, read: int) -> None:
        super().__init__(layers=[_BatchedCacheLayer(storage, rows, positions, read) for storage in cache.layers])


def _rotary_kinds(config: Any) -> set[str]:
    """Return the rotary scalings in use; some models have one for each kind of layer."""
    parameters = getattr(config, "rope_parameters", None) or {}
    kinds = [parameters, *(value for value in parameters.values() if isinstance(value, dict))]
    return {kind["rope_type"] for kind in kinds if "rope_type" in kind}


def _layer_shapes(model: Any) -> list[LayerShape]:
    """Return the shape of each layer's entry for a token, from a pass over two tokens. Raises `UnsupportedModel`."""
    with torch.inference_mode():
        tokens = torch.tensor([[0, 1]], device=model.device)
        kept = model(tokens, attention_mask=torch.ones_like(tokens), use_cache=True).cache
    shapes = []
    for layer in getattr(kept, "layers", None) or []:
        keys, values = getattr(layer, "keys", None), getattr(layer, "values", None)
        if not isinstance(layer, DynamicLayer) or keys is None or values is None or keys.shape != values.shape:
            raise UnsupportedModel(f"its cache holds a {type(layer).__name__}, not keys and values of one shape")
        shapes.append(LayerShape(keys.shape[1], keys.shape[3]))
    if not shapes:
        raise UnsupportedModel(f"{type(model).__name__} keeps no keys and values")
    return shapes
