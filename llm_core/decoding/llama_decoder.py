"""Decode the Llama family with a minimal forward pass: Llama, Mistral, Qwen2 and Qwen3.

Written for decoding on a CPU, where most of a transformers step at one row is Python and small operations: fused and
packed projections, keys and values written directly to their place, attention over the cache in place, and no
interpreter in between. In float32 its logits equal those of transformers (a test compares them).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from llm_core.decoding.kv_cache import KeyValueCache, LayerShape
from llm_core.decoding.llama_attention import ForwardPass, plan_chunk_pass, plan_step_pass
from llm_core.decoding.llama_layers import Layer, LayerConfig, Stack
from llm_core.decoding.quantized_linear import is_available, make_linear

SUPPORTED_ARCHITECTURES = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
STATIC_ROTARY_TYPES = ("default", "linear", "llama3", "yarn")
"""Rotary scalings whose angles depend on the position alone, and not on the longest row of the batch."""


def unsupported_reason(model: Any) -> str | None:
    """Return why `LlamaDecoder` cannot run this transformers model, or None if it can."""
    config = model.config
    if type(model).__name__ not in SUPPORTED_ARCHITECTURES:
        return f"{type(model).__name__} is not one of {', '.join(SUPPORTED_ARCHITECTURES)}"
    if set(getattr(config, "layer_types", None) or ["full_attention"]) != {"full_attention"}:
        return "some of its layers attend to a sliding window"
    if type(model).__name__ == "MistralForCausalLM" and config.sliding_window is not None:
        return "its layers attend to a sliding window"
    if config.rope_parameters["rope_type"] not in STATIC_ROTARY_TYPES:
        return f"its rotary scaling is {config.rope_parameters['rope_type']}"
    if config.hidden_act not in ("silu", "swish"):
        return f"its activation is {config.hidden_act}"
    return None


@dataclass(frozen=True, slots=True)
class PrecisionFormats:
    """Formats of a decoder: `body` of its layers' weights (see `quantized_linear`), `activations` between products."""

    body: str
    activations: torch.dtype
    """Type of the activations and of the cache. The residual stream and the logits are always float32."""


FORMATS = {
    "float32": PrecisionFormats("float32", torch.float32),
    "float16": PrecisionFormats("float16", torch.float32),
    "bfloat16": PrecisionFormats("bfloat16", torch.bfloat16),
    "int8": PrecisionFormats("int8", torch.bfloat16),
    "int4": PrecisionFormats("int4", torch.bfloat16),
}
"""Formats by precision."""


class LlamaDecoder:
    """Decoder over a transformers model of the Llama family with packed weights. See `Decoder` for the contract.

    Raises `FormatUnavailable` for a format that is not available here, and `ValueError` with `unsupported_reason`.
    """

    def __init__(
        self,
        model: Any,
        context_window: int,
        precision: str = "float32",
        formats: PrecisionFormats | None = None,
        head: nn.Module | None = None,
    ) -> None:
        """Pack the weights. `formats` replaces the formats of the precision; `head` is another decoder's, to share its
        memory."""
        if reason := unsupported_reason(model):
            raise ValueError(reason)
        formats = formats or FORMATS[precision]
        config, inner = model.config, model.model
        self.precision = precision
        self.context_window = context_window
        self.vocab_size: int = model.lm_head.weight.shape[0]
        self._device: torch.device = model.device
        self._layers = len(inner.layers)
        self._shape = LayerConfig(
            config.num_attention_heads,
            config.num_key_value_heads,
            inner.layers[0].self_attn.head_dim,
            config.rms_norm_eps,
            formats.activations,
        )
        self._rotary = inner.rotary_emb
        self._cos = self._sin = torch.empty(0)
        with torch.inference_mode():
            layers = [_make_layer(layer, self._shape, formats.body) for layer in inner.layers]
            self.head = head or _fuse_weights(
                [model.lm_head], _choose_head_format(formats.body, model.device), torch.float32
            )
            embedding = inner.embed_tokens.weight.detach()
            self._stack = _compile_stack(
                Stack(embedding, layers, _scale_norm(inner.norm), config.rms_norm_eps, self.head)
            )

    def new_cache(self, budget_bytes: int) -> KeyValueCache:
        return KeyValueCache(
            [LayerShape(self._shape.kv_heads, self._shape.size)] * self._layers,
            dtype=self._shape.dtype,
            budget_bytes=budget_bytes,
            max_length=self.context_window,
            device=self._device,
        )

    @torch.inference_mode()
    def prefill(self, ids: Sequence[int], cache: KeyValueCache, row: int) -> Tensor:
        with cache.extend(range(row, row + 1), len(ids)):
            groups = self._shape.heads // self._shape.kv_heads
            return self._logits(ids, cache, plan_chunk_pass(cache, row, len(ids), groups))[0]

    @torch.inference_mode()
    def step(self, ids: Sequence[int], cache: KeyValueCache) -> Tensor:
        if len(ids) != cache.rows:
            raise ValueError(f"{len(ids)} tokens for {cache.rows} rows")
        with cache.extend(range(cache.rows), 1):
            return self._logits(ids, cache, plan_step_pass(cache, self._shape.kv_heads))

    def _logits(self, ids: Sequence[int], cache: KeyValueCache, new: ForwardPass) -> Tensor:
        if cache.capacity > len(self._cos):
            self._cos, self._sin = self._make_rotary_tables(cache.capacity)
        tokens = torch.tensor(ids, device=self._device)
        with torch.jit.optimized_execution(False):  # its profiling costs tens of milliseconds and finds nothing here
            logits: Tensor = self._stack(tokens, self._cos, self._sin, new, cache.layers)
        return logits

    def _make_rotary_tables(self, positions: int) -> tuple[Tensor, Tensor]:
        """Return cosines and sines of every position, from the model's own rotary module, whatever its scaling."""
        every = torch.arange(positions, device=self._device)
        cos, sin = self._rotary(torch.empty(0, device=self._device), every[None])
        sin[..., : self._shape.size // 2].neg_()  # turned by 90 degrees: the second half, negated, then the first
        return cos[0, :, None].to(self._shape.dtype), sin[0, :, None].to(self._shape.dtype)


def _compile_stack(stack: Stack) -> nn.Module:
    """Compile `stack` with TorchScript, or return it as it is if this torch no longer has TorchScript; the result is
    the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return torch.jit.script(stack.eval())
        except (RuntimeError, AttributeError, NotImplementedError):
            return stack


def _choose_head_format(body: str, device: torch.device) -> str:
    """Return the head's format: float16 unless the body is float32, as fast as int8 and int4 there, while logits
    rounded to bfloat16 would tie."""
    if body == "float32" or (device.type == "cpu" and is_available("float16")):
        return "float32" if body == "float32" else "float16"
    return "bfloat16"


def _make_layer(layer: Any, shape: LayerConfig, name: str) -> Layer:
    attention, mlp = layer.self_attn, layer.mlp
    head_norm = None
    if hasattr(attention, "q_norm"):
        of_queries, of_keys = attention.q_norm.weight, attention.k_norm.weight
        both = [of_queries.expand(shape.heads, -1), of_keys.expand(shape.kv_heads, -1)]
        head_norm = torch.cat(both).to(shape.dtype)
    norms = (_scale_norm(layer.input_layernorm), _scale_norm(layer.post_attention_layernorm))
    linears = (
        _fuse_weights([attention.q_proj, attention.k_proj, attention.v_proj], name, shape.dtype),
        _fuse_weights([attention.o_proj], name, shape.dtype),
        _fuse_weights([mlp.gate_proj, mlp.up_proj], name, shape.dtype),
        _fuse_weights([mlp.down_proj], name, shape.dtype),
    )
    return Layer(shape, norms, linears, head_norm)


def _scale_norm(norm: Any) -> Tensor:
    """Return a norm's weights times the square root of the width, as `rms_norm` takes them."""
    weight: Tensor = norm.weight.detach().float()
    return weight * len(weight) ** 0.5


def _fuse_weights(linears: list[Any], name: str, dtype: torch.dtype) -> nn.Module:
    """Join linear layers of one input into one product, with their outputs side by side."""
    weight = torch.cat([linear.weight.detach() for linear in linears])
    if all(linear.bias is None for linear in linears):
        return make_linear(weight, name, dtype)
    none = [weight.new_zeros(len(linear.weight)) for linear in linears]
    biases = [
        zeros if linear.bias is None else linear.bias.detach() for linear, zeros in zip(linears, none, strict=True)
    ]
    return make_linear(weight, name, dtype, torch.cat(biases))
