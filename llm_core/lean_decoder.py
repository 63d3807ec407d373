"""The Llama family's forward pass with nothing in it but arithmetic: Llama, Mistral, Qwen2 and Qwen3.

Written for decoding on a processor, where most of a transformers step at one row is Python and small operations: fused
and packed projections, keys and values written straight to their place in the cache, one masked batched product for
the attention of all rows. In float32 its logits are transformers' (a test holds them together).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from llm_core.kv_cache import BLOCK, KeyValueCache, LayerShape
from llm_core.packed_linear import INPUT_DTYPE, PackedLinear, pack

FAMILY = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
FIXED_ROTARY = ("default", "linear", "llama3", "yarn")
"""Rotary scalings whose angles depend on the position alone, and not on the longest row of the batch."""


def unsupported_reason(model: Any) -> str | None:
    """Why `LeanDecoder` cannot run this transformers model, or nothing if it can."""
    config = model.config
    if type(model).__name__ not in FAMILY:
        return f"{type(model).__name__} is not one of {', '.join(FAMILY)}"
    if set(getattr(config, "layer_types", None) or ["full_attention"]) != {"full_attention"}:
        return "some of its layers attend to a sliding window"
    if type(model).__name__ == "MistralForCausalLM" and config.sliding_window is not None:
        return "its layers attend to a sliding window"
    if config.rope_parameters["rope_type"] not in FIXED_ROTARY:
        return f"its rotary scaling is {config.rope_parameters['rope_type']}"
    if config.hidden_act not in ("silu", "swish"):
        return f"its activation is {config.hidden_act}"
    return None


_Attend = Callable[[Tensor, Tensor], Tensor]
"""`(storage of a layer, queries, keys and values [tokens, heads, size]) -> [tokens, heads * size]`: writes the keys and
values to the storage, then attends to it."""


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    attention_norm: Tensor
    qkv: PackedLinear
    """Queries, keys and values of all heads, in this order."""
    head_norm: Tensor | None
    """`[query and key heads, size]`: Qwen3 normalises each head by itself."""
    output: PackedLinear
    mlp_norm: Tensor
    gate_up: PackedLinear
    down: PackedLinear


class LeanDecoder:
    """A transformers model of the Llama family, its weights packed in one format. See `Decoder` for the contract."""

    def __init__(self, model: Any, context_window: int, precision: str = "float32", head: str | None = None) -> None:
        if reason := unsupported_reason(model):
            raise ValueError(reason)
        config = model.config
        self.precision = precision
        self.context_window = context_window
        self._dtype = INPUT_DTYPE[precision]
        self._heads = config.num_attention_heads
        self._kv_heads = config.num_key_value_heads
        self._size = model.model.layers[0].self_attn.head_dim
        self._groups = self._heads // self._kv_heads
        self._epsilon = config.rms_norm_eps
        self._epsilon_length = torch.tensor((config.hidden_size * config.rms_norm_eps) ** 0.5)
        self._rotary = model.model.rotary_emb
        self._cos, self._sin = torch.empty(0), torch.empty(0)
        self._embedding = model.model.embed_tokens.weight.detach()
        with torch.inference_mode():
            self._layers = [self._packed(layer, precision) for layer in model.model.layers]
            self._norm = _scaled(model.model.norm)
            head = head or precision
            self._head = pack(model.lm_head.weight.detach(), head)
            self._head_dtype = INPUT_DTYPE[head]
        self.vocab_size = model.lm_head.weight.shape[0]

    def new_cache(self, budget_bytes: int) -> KeyValueCache:
        shapes = [LayerShape(self._kv_heads, self._size)] * len(self._layers)
        return KeyValueCache(shapes, dtype=self._dtype, budget_bytes=budget_bytes, max_length=self.context_window)

    @torch.inference_mode()
    def prefill(self, ids: Sequence[int], cache: KeyValueCache, row: int) -> Tensor:
        count, stacked = len(ids), (self._kv_heads, self._groups * len(ids), self._size)
        with cache.extending(range(row, row + 1), count):
            start = cache.lengths[row]
            positions = torch.arange(start, start + count)
            read = _whole_blocks(start + count)
            mask = self._mask(positions, read).repeat(self._groups, 1)
            cos, sin = self._angles(positions)

            def attend(storage: Tensor, qkv: Tensor) -> Tensor:
                """The queries of all heads that share a key head as one list: `[kv_heads, groups * count, size]`."""
                written = storage[:, row, :, start : start + count]
                written.copy_(qkv[:, self._heads :].unflatten(1, (2, -1)).permute(1, 2, 0, 3))
                queries = qkv[:, : self._heads].transpose(0, 1).reshape(stacked)
                keys, values = storage[:, row, :, :read]
                mixed = functional.scaled_dot_product_attention(queries[None], keys[None], values[None], mask)
                return mixed.reshape(self._heads, count, self._size).transpose(0, 1).reshape(count, -1)

            return self._forward(ids, cos, sin, cache, attend, last=True)[0]

    @torch.inference_mode()
    def step(self, ids: Sequence[int], cache: KeyValueCache) -> Tensor:
        rows = cache.rows
        if len(ids) != rows:
            raise ValueError(f"{len(ids)} tokens for {rows} rows")
        with cache.extending(range(rows), 1):
            positions = torch.tensor(cache.lengths)
            read = _whole_blocks(max(cache.lengths) + 1)
            mask = self._mask(positions, read)[:, None, None]
            slots = self._slots(positions, cache)
            cos, sin = self._angles(positions)
            heads, grouped = self._heads, (rows, self._kv_heads, self._groups, self._size)

            def attend(storage: Tensor, qkv: Tensor) -> Tensor:
                storage.view(-1, self._size).index_copy_(0, slots, qkv[:, heads:].reshape(-1, self._size))
                keys, values = storage[:, :rows, :, :read]
                queries = qkv[:, :heads].view(grouped)
                return functional.scaled_dot_product_attention(queries, keys, values, mask).reshape(rows, -1)

            return self._forward(ids, cos, sin, cache, attend)

    def _forward(
        self, ids: Sequence[int], cos: Tensor, sin: Tensor, cache: KeyValueCache, attend: _Attend, last: bool = False
    ) -> Tensor:
        """Logits for all of `ids`, or the last of them. The residual stream `x`, `[len(ids), width]`, is float32."""
        x = self._embedding[torch.tensor(ids)]
        turning, kept = self._heads + self._kv_heads, (len(ids), -1, self._size)
        for layer, storage in zip(self._layers, cache.layers, strict=True):
            qkv = layer.qkv(self._normalised(x, layer.attention_norm)).view(kept)
            turned = qkv[:, :turning]
            if layer.head_norm is not None:
                turned.copy_(functional.rms_norm(turned, (self._size,), None, self._epsilon).mul_(layer.head_norm))
            other_half = turned.unflatten(2, (2, -1)).flip(2).flatten(2)
            turned.mul_(cos).addcmul_(other_half, sin)
            x.add_(layer.output(attend(storage, qkv)))
            gate, up = layer.gate_up(self._normalised(x, layer.mlp_norm)).chunk(2, dim=1)
            x.add_(layer.down(functional.silu(gate).mul_(up)))
        x = x[-1:] if last else x
        return self._head(self._normalised(x, self._norm).to(self._head_dtype)).float()

    def _normalised(self, x: Tensor, weight: Tensor) -> Tensor:
        """`x / sqrt(mean(x^2) + epsilon) * weight`, as `x * weight * sqrt(width) / hypot(|x|, sqrt(width * epsilon))`:
        four operations, where torch composes its own `rms_norm` of nine. `weight` holds the square root already."""
        length = torch.linalg.vector_norm(x, dim=1, keepdim=True).hypot_(self._epsilon_length)
        return torch.div(x, length).mul_(weight).to(self._dtype)

    def _mask(self, positions: Tensor, read: int) -> Tensor:
        """`[positions, read]`, added to scores: 0 up to each position, minus infinity behind it."""
        hidden = torch.arange(read) > positions[:, None]
        return torch.zeros(hidden.shape, dtype=self._dtype).masked_fill_(hidden, -torch.inf)

    def _slots(self, positions: Tensor, cache: KeyValueCache) -> Tensor:
        """Where each row's key and value heads go in a layer's storage, seen as a list of vectors."""
        rows, heads = cache.rows, self._kv_heads
        kind = torch.arange(2)[:, None] * cache.row_capacity * heads
        vectors = torch.arange(rows)[:, None, None] * heads + kind + torch.arange(heads)
        return (vectors * cache.capacity + positions[:, None, None]).flatten()

    def _angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and signed sines `[len(positions), 1, size]`, made by the model's own rotary module."""
        if (last := int(positions.max())) >= len(self._cos):
            cos, sin = self._rotary(torch.empty(0), torch.arange(max(256, 2 * last))[None])
            sin[..., : self._size // 2].neg_()  # turned by 90 degrees: the second half, negated, then the first
            self._cos, self._sin = cos[0, :, None].to(self._dtype), sin[0, :, None].to(self._dtype)
        return self._cos[positions], self._sin[positions]

    def _packed(self, layer: Any, name: str) -> _Layer:
        attention, mlp = layer.self_attn, layer.mlp
        head_norm = None
        if hasattr(attention, "q_norm"):
            of_queries, of_keys = attention.q_norm.weight, attention.k_norm.weight
            both = [of_queries.expand(self._heads, -1), of_keys.expand(self._kv_heads, -1)]
            head_norm = torch.cat(both).to(self._dtype)
        return _Layer(
            attention_norm=_scaled(layer.input_layernorm),
            qkv=_fused([attention.q_proj, attention.k_proj, attention.v_proj], name),
            head_norm=head_norm,
            output=_fused([attention.o_proj], name),
            mlp_norm=_scaled(layer.post_attention_layernorm),
            gate_up=_fused([mlp.gate_proj, mlp.up_proj], name),
            down=_fused([mlp.down_proj], name),
        )


def _scaled(norm: Any) -> Tensor:
    """A norm's weights times the square root of the width, as `_normalised` takes them."""
    weight: Tensor = norm.weight.detach()
    return weight * len(weight) ** 0.5


def _whole_blocks(length: int) -> int:
    return -(-length // BLOCK) * BLOCK


def _fused(linears: list[Any], name: str) -> PackedLinear:
    """Linear layers of one input as one product, their outputs side by side."""
    weight = torch.cat([linear.weight.detach() for linear in linears])
    biases = [linear.bias for linear in linears]
    if all(bias is None for bias in biases):
        return pack(weight, name)
    return pack(
        weight,
        name,
        torch.cat(
            [torch.zeros(len(linear.weight)) if linear.bias is None else linear.bias.detach() for linear in linears]
        ),
    )
