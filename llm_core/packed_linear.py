"""`x @ weight.T + bias` with weights packed once, in the formats that this machine multiplies fastest.

| format | weights | `x` and result | kernel |
|---|---|---|---|
| float32 | float32 | float32 | oneDNN, blocked once |
| float16 | float16, arithmetic in float32 | float32 | FBGEMM |
| bfloat16 | bfloat16 | bfloat16 | oneDNN, blocked once |
| int8 | int8, a scale per output | bfloat16 | `_weight_int8pack_mm` |
| int4 | 4 bits, a scale and a zero per 32 inputs | bfloat16 | `_weight_int4pack_mm_for_cpu` |

All kernels but the plain product are private operators of torch: they are called here and nowhere else, and `available`
tries each of them once against the plain product. Where one is missing, float32 and bfloat16 use the plain product and
the others raise `FormatUnavailable`.

A row's result does not depend on how many rows `x` has: these kernels add in the same order for any number (measured
on x86 with AVX-512). oneDNN's float32 kernel is the exception for a single row, so that one is computed as two.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

PackedLinear = Callable[[Tensor], Tensor]
"""`[rows, inputs] -> [rows, outputs]`, in the format's own dtype (`INPUT_DTYPE`)."""

GROUP = 32
"""Inputs that share a scale and a zero in int4, as in the GGUF formats."""

INPUT_DTYPE = {
    "float32": torch.float32,
    "float16": torch.float32,
    "bfloat16": torch.bfloat16,
    "int8": torch.bfloat16,
    "int4": torch.bfloat16,
}


class FormatUnavailable(Exception):
    """This build of torch, this processor or this matrix has no such format; the text says which."""


@dataclass(frozen=True, slots=True, eq=False)
class Int4Weight:
    """`weight = scales * (quants - 8) + zeros`, a scale and a zero for each group of 32 inputs."""

    quants: Tensor
    """`[outputs, inputs]`, uint8, 0 to 15."""
    scales: Tensor
    """`[outputs, inputs / 32]`, float32."""
    zeros: Tensor

    def float32(self) -> Tensor:
        """The weights that these numbers stand for."""
        grouped = self.quants.unflatten(1, (-1, GROUP)).float() - 8
        return (grouped * self.scales[..., None] + self.zeros[..., None]).flatten(1)

    def select(self, rows: Tensor) -> Int4Weight:
        return Int4Weight(self.quants[rows], self.scales[rows], self.zeros[rows])


def concatenate(parts: list[Int4Weight]) -> Int4Weight:
    """One matrix with the outputs of all `parts`, in their order."""
    return Int4Weight(*(torch.cat([getattr(part, name) for part in parts]) for name in ("quants", "scales", "zeros")))


def quantize_int4(weight: Tensor) -> Int4Weight:
    """Round to the nearest of 16 evenly spaced values between each group's smallest and largest weight."""
    groups = weight.float().unflatten(1, (-1, GROUP))
    low, high = groups.aminmax(dim=-1, keepdim=True)
    scales = ((high - low) / 15).clamp(min=1e-12)
    quants = ((groups - low) / scales).round().clamp(0, 15).to(torch.uint8)
    return Int4Weight(quants.flatten(1), scales[..., 0], (low + 8 * scales)[..., 0])


def pack(weight: Tensor | Int4Weight, name: str, bias: Tensor | None = None) -> PackedLinear:
    """The product with `weight`, `[outputs, inputs]` in float32 or ready-made int4 blocks, in the format `name`."""
    if name not in INPUT_DTYPE:
        raise ValueError(f"unknown format {name!r}: expected one of {', '.join(INPUT_DTYPE)}")
    outputs, inputs = (weight.quants if isinstance(weight, Int4Weight) else weight).shape
    if name == "int4" and (inputs % GROUP or outputs % 16):
        raise FormatUnavailable(f"int4 packs {GROUP} inputs by 16 outputs, and {inputs} by {outputs} do not divide")
    if available(name):
        return _PACKERS[name](weight, bias)
    if name in ("float32", "bfloat16") and isinstance(weight, Tensor):
        return _unpacked(weight.to(INPUT_DTYPE[name]), bias)
    raise FormatUnavailable(f"this build of torch multiplies no {name} weights on this processor")


@functools.cache
def available(name: str) -> bool:
    """Whether the format works here: its product is compared once with the plain one."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.rand(64, 64, generator=generator) - 0.5
    x = torch.rand(3, 64, generator=generator) - 0.5
    try:
        with torch.inference_mode():
            found = _PACKERS[name](weight, None)(x.to(INPUT_DTYPE[name])).float()
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    return bool((found - x @ weight.T).abs().max() < _TOLERANCE[name])


_TOLERANCE = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 0.02, "int8": 0.05, "int4": 0.4}
"""Of the trial product, whose entries are about 0.7: rounding passes, a wrong layout does not."""


def _unpacked(weight: Tensor, bias: Tensor | None) -> PackedLinear:
    same = None if bias is None else bias.to(weight.dtype)
    return lambda x: torch.nn.functional.linear(x, weight, same)


def _float32(weight: Tensor, bias: Tensor | None) -> PackedLinear:
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None)
    multiply = torch.ops.mkldnn._linear_pointwise.default

    def linear(x: Tensor) -> Tensor:
        if len(x) == 1:
            return multiply(x.repeat(2, 1), packed, bias, "none", [], "")[:1]
        return multiply(x, packed, bias, "none", [], "")

    return linear


def _float16(weight: Tensor, bias: Tensor | None) -> PackedLinear:
    packed = torch.ops.quantized.linear_prepack_fp16(weight.contiguous(), bias)
    multiply = torch.ops.quantized.linear_dynamic_fp16.default
    return lambda x: multiply(x, packed)


def _bfloat16(weight: Tensor, bias: Tensor | None) -> PackedLinear:
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.to(torch.bfloat16).contiguous(), None)
    half = None if bias is None else bias.to(torch.bfloat16)
    multiply = torch.ops.mkldnn._linear_pointwise.default
    return lambda x: multiply(x, packed, half, "none", [], "")


def _int8(weight: Tensor, bias: Tensor | None) -> PackedLinear:
    scales = (weight.abs().amax(dim=1) / 127).clamp(min=1e-12)
    quants = (weight / scales[:, None]).round().to(torch.int8)
    scales = scales.to(torch.bfloat16)
    multiply = torch.ops.aten._weight_int8pack_mm.default
    return _with_bias(lambda x: multiply(x, quants, scales), bias)


def _int4(weight: Tensor | Int4Weight, bias: Tensor | None) -> PackedLinear:
    blocks = weight if isinstance(weight, Int4Weight) else quantize_int4(weight)
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(blocks.quants.int(), 1)
    scales_and_zeros = torch.stack([blocks.scales.T, blocks.zeros.T], dim=-1).to(torch.bfloat16).contiguous()
    multiply = torch.ops.aten._weight_int4pack_mm_for_cpu.default
    return _with_bias(lambda x: multiply(x, packed, GROUP, scales_and_zeros), bias)


def _with_bias(linear: PackedLinear, bias: Tensor | None) -> PackedLinear:
    if bias is None:
        return linear
    half = bias.to(torch.bfloat16)
    return lambda x: linear(x).add_(half)


_PACKERS: dict[str, Callable[..., PackedLinear]] = {
    "float32": _float32,
    "float16": _float16,
    "bfloat16": _bfloat16,
    "int8": _int8,
    "int4": _int4,
}
