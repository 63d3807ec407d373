"""Compute the layers of the Llama family over a `KeyValueCache`, from token ids to logits.

Written in the part of Python that TorchScript compiles, so that a pass runs without the interpreter. At one row that
saves a fifth of the time. Moreover, a pass then takes the interpreter's lock once, not once for each of its eight
hundred operations: while another thread computes in Python, each of them may have to wait for five milliseconds.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from llm_core.decoding.llama_attention import ForwardPass, attend_chunk, attend_step


class LayerConfig:
    """Sizes that all layers share; `dtype` is that of the activations between the products, and of the cache."""

    def __init__(self, heads: int, kv_heads: int, size: int, epsilon: float, dtype: torch.dtype) -> None:
        self.heads, self.kv_heads, self.size, self.epsilon, self.dtype = heads, kv_heads, size, epsilon, dtype


class Layer(nn.Module):
    """Attention and MLP, each added in place to the residual stream `x`, `[tokens, width]`, float32.

    `norms` of attention and MLP are scaled as `rms_norm` takes them. `head_norm`, `[heads + kv_heads, size]`, is for
    models that normalize each query and key head separately (Qwen3).
    """

    def __init__(
        self,
        shape: LayerConfig,
        norms: tuple[Tensor, Tensor],
        linears: tuple[nn.Module, nn.Module, nn.Module, nn.Module],
        head_norm: Tensor | None,
    ) -> None:
        super().__init__()
        self.heads, self.turning, self.size = shape.heads, shape.heads + shape.kv_heads, shape.size
        self.epsilon, self.dtype = shape.epsilon, shape.dtype
        self.attention_norm, self.mlp_norm = norms
        self.qkv, self.output, self.gate_up, self.down = linears
        self.head_norm: Tensor | None = head_norm

    def forward(self, x: Tensor, storage: Tensor, cos: Tensor, sin: Tensor, new: ForwardPass) -> None:
        qkv = self.qkv(rms_norm(x, self.attention_norm, self.epsilon).to(self.dtype)).view(len(x), -1, self.size)
        turned = qkv[:, : self.turning]
        if self.head_norm is not None:
            turned.copy_(functional.rms_norm(turned, [self.size], None, self.epsilon) * self.head_norm)
        other_half = turned.unflatten(2, [2, -1]).flip([2]).flatten(2)
        turned.mul_(cos).addcmul_(other_half, sin)
        if new.row >= 0:
            mixed = attend_chunk(storage, qkv, new, self.heads)
        else:
            mixed = attend_step(storage, qkv, new, self.heads)
        x.add_(self.output(mixed))
        gate, up = self.gate_up(rms_norm(x, self.mlp_norm, self.epsilon).to(self.dtype)).chunk(2, 1)
        x.add_(self.down(functional.silu(gate).mul_(up)))


class Stack(nn.Module):
    """All layers, the last norm and the head: logits `[tokens, V]` float32, or `[1, V]` for a chunk's last token.

    `cos` and `sin` are tables over positions, `[positions, 1, size]`, with the first half of `sin` negated.
    """

    def __init__(self, embedding: Tensor, layers: list[Layer], norm: Tensor, epsilon: float, head: nn.Module) -> None:
        super().__init__()
        self.embedding = embedding
        self.layers = nn.ModuleList(layers)
        self.norm = norm
        self.epsilon = epsilon
        self.head = head

    def forward(self, ids: Tensor, cos: Tensor, sin: Tensor, new: ForwardPass, storages: list[Tensor]) -> Tensor:
        x = self.embedding[ids].float()
        cos, sin = cos[new.positions], sin[new.positions]
        for place, layer in enumerate(self.layers):
            layer(x, storages[place], cos, sin, new)
        if new.row >= 0:
            x = x[-1:]
        return self.head(rms_norm(x, self.norm, self.epsilon))


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Return the RMS norm, `x / sqrt(mean(x^2) + epsilon)`, for a `weight` that includes the square root of the width.

    It is then `x` over the hypotenuse of its length and a constant: four operations, while torch composes `rms_norm` of
    nine.
    """
    constant = torch.full([1], (x.shape[1] * epsilon) ** 0.5, device=x.device)
    length = torch.linalg.vector_norm(x, 2, [1], True).hypot_(constant)
    return torch.div(x, length).mul_(weight)
