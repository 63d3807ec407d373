"""Compute `x @ weight.T + bias` with weights packed once, in the formats that this machine multiplies fastest.

| format | weights | computes in | kernel |
|---|---|---|---|
| float32 | float32 | float32 | oneDNN, blocked once |
| float16 | float16 | float32 | FBGEMM |
| bfloat16 | bfloat16 | bfloat16 | oneDNN, blocked once |
| int8 | int8, a scale per output | bfloat16 | `_weight_int8pack_mm` |
| int4 | 4 bits, a scale and a zero per 32 inputs | bfloat16 | `_weight_int4pack_mm_for_cpu` |

All kernels but the plain product are private operators of torch: they are called only here, and `is_available` compares
each of them once with the plain product. If one is missing, float32 and bfloat16 use the plain product and the others
raise `FormatUnavailable`.

In float32 and float16 a row's result does not depend on how many rows `x` has: these kernels add in the same order for
any number (measured on x86 with AVX-512). The exception is oneDNN with a single row, which is computed as two. In
bfloat16 that holds where oneDNN has no AMX tiles; with them about one value in ten thousand is one rounding step off.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

GROUP_SIZE = 32
"""Number of inputs that share a scale and a zero in int4, as in the GGUF formats."""

COMPUTE_DTYPES = {
    "float32": torch.float32,
    "float16": torch.float32,
    "bfloat16": torch.bfloat16,
    "int8": torch.bfloat16,
    "int4": torch.bfloat16,
}


class FormatUnavailable(Exception):
    """Raised if this build of torch, this processor or this matrix does not support a format; the text says which."""


def make_linear(weight: Tensor, name: str, dtype: torch.dtype, bias: Tensor | None = None) -> nn.Module:
    """Return the product with `weight`, `[outputs, inputs]`, as a module that TorchScript can compile.

    The module maps `[rows, inputs]` to `[rows, outputs]`, both of `dtype`. Raises `FormatUnavailable`, and `ValueError`
    for an unknown format.
    """
    if name not in COMPUTE_DTYPES:
        raise ValueError(f"unknown format {name!r}: expected one of {', '.join(COMPUTE_DTYPES)}")
    outputs, inputs = weight.shape
    if name == "int4" and (inputs % GROUP_SIZE or outputs % 16):
        raise FormatUnavailable(
            f"int4 packs {GROUP_SIZE} inputs by 16 outputs, and {inputs} by {outputs} do not divide"
        )
    if weight.device.type == "cpu" and is_available(name):
        linear = _PACKERS[name](weight.float(), bias)
    elif name in ("float32", "bfloat16"):
        linear = _PlainLinear(weight.to(COMPUTE_DTYPES[name]), bias)
    else:
        raise FormatUnavailable(f"torch multiplies no {name} weights on this {weight.device.type}")
    return linear if dtype == COMPUTE_DTYPES[name] else _ConvertedLinear(linear, COMPUTE_DTYPES[name], dtype)


@functools.cache
def is_available(name: str) -> bool:
    """Return whether the format works here; its product is compared once with the plain one."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.rand(64, 64, generator=generator) - 0.5
    x = torch.rand(3, 64, generator=generator) - 0.5
    try:
        with torch.inference_mode():
            found = _PACKERS[name](weight, None)(x.to(COMPUTE_DTYPES[name])).float()
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    return bool((found - x @ weight.T).abs().max() < _TOLERANCE[name])


_TOLERANCE = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 0.02, "int8": 0.05, "int4": 0.4}
"""Largest error of the trial product, whose entries are about 0.7: rounding passes, a wrong layout does not."""


@dataclass(frozen=True, slots=True, eq=False)
class Int4Weight:
    """Weights `scales * (quants - 8) + zeros`, with a scale and a zero for each group of 32 inputs."""

    quants: Tensor
    """Quantized weights `[outputs, inputs]`, uint8, 0 to 15."""
    scales: Tensor
    """Scales `[outputs, inputs / 32]`, float32; `zeros` has the same shape."""
    zeros: Tensor

    def float32(self) -> Tensor:
        """Return the float32 weights that these numbers represent."""
        grouped = self.quants.unflatten(1, (-1, GROUP_SIZE)).float() - 8
        return (grouped * self.scales[..., None] + self.zeros[..., None]).flatten(1)


def quantize_int4(weight: Tensor) -> Int4Weight:
    """Round to the nearest of 16 evenly spaced values between each group's smallest and largest weight.

    Weights from GGUF's Q4_1 lie on such values, the outermost among them, so they are recovered exactly: for the
    built-in model int4 is a lossless encoding, not an approximation.
    """
    groups = weight.float().unflatten(1, (-1, GROUP_SIZE))
    low, high = groups.aminmax(dim=-1, keepdim=True)
    scales = ((high - low) / 15).clamp(min=1e-12)
    quants = ((groups - low) / scales).round().clamp(0, 15).to(torch.uint8)
    return Int4Weight(quants.flatten(1), scales[..., 0], (low + 8 * scales)[..., 0])


class _PlainLinear(nn.Module):
    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight = weight
        self.bias: Tensor | None = None if bias is None else bias.to(weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight, self.bias)


class _BlockedLinear(nn.Module):
    """oneDNN's product, in the dtype of `weight`."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None)
        self.bias: Tensor | None = None if bias is None else bias.to(weight.dtype)
        self.never_alone = weight.dtype == torch.float32

    def forward(self, x: Tensor) -> Tensor:
        if self.never_alone and x.shape[0] == 1:
            return torch.ops.mkldnn._linear_pointwise(x.repeat(2, 1), self.weight, self.bias, "none", [], "")[:1]
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")


class _Float16Linear(nn.Module):
    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.packed = torch.ops.quantized.linear_prepack_fp16(weight.contiguous(), bias)

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.quantized.linear_dynamic_fp16(x, self.packed)


class _Int8Linear(nn.Module):
    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        scales = (weight.abs().amax(dim=1) / 127).clamp(min=1e-12)
        self.quants = (weight / scales[:, None]).round().to(torch.int8)
        self.scales = scales.to(torch.bfloat16)
        self.bias: Tensor | None = None if bias is None else bias.to(torch.bfloat16)

    def forward(self, x: Tensor) -> Tensor:
        product = torch.ops.aten._weight_int8pack_mm(x, self.quants, self.scales)
        return product if self.bias is None else product.add_(self.bias)


class _Int4Linear(nn.Module):
    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        blocks = quantize_int4(weight)
        self.packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(blocks.quants.int(), 1)
        scales_and_zeros = torch.stack([blocks.scales.T, blocks.zeros.T], dim=-1)
        self.scales_and_zeros = scales_and_zeros.to(torch.bfloat16).contiguous()
        self.bias: Tensor | None = None if bias is None else bias.to(torch.bfloat16)

    def forward(self, x: Tensor) -> Tensor:
        product = torch.ops.aten._weight_int4pack_mm_for_cpu(x, self.packed, 32, self.scales_and_zeros)
        return product if self.bias is None else product.add_(self.bias)


class _ConvertedLinear(nn.Module):
    """Product in one dtype between activations of another."""

    def __init__(self, linear: nn.Module, inner: torch.dtype, outer: torch.dtype) -> None:
        super().__init__()
        self.linear = linear
        self.inner = inner
        self.outer = outer

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.to(self.inner)).to(self.outer)


_PACKERS: dict[str, Callable[..., nn.Module]] = {
    "float32": _BlockedLinear,
    "float16": _Float16Linear,
    "bfloat16": lambda weight, bias: _BlockedLinear(weight.to(torch.bfloat16), bias),
    "int8": _Int8Linear,
    "int4": _Int4Linear,
}
