"""Every packed format against the plain product with the weights it stands for."""

from __future__ import annotations

import pytest
import torch

from llm_core.decoding import quantized_linear
from llm_core.decoding.quantized_linear import (
    COMPUTE_DTYPES,
    FormatUnavailable,
    is_available,
    make_linear,
    quantize_int4,
)

FORMATS = tuple(COMPUTE_DTYPES)


def random_matrix(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def dequantized_weights(weight: torch.Tensor, name: str) -> torch.Tensor:
    """What a format keeps of `weight`, written out from its definition."""
    if name == "int4":
        return quantize_int4(weight).float32()
    if name == "int8":
        scales = weight.abs().amax(dim=1, keepdim=True) / 127
        return (weight / scales).round() * scales
    return weight.to(getattr(torch, name)).float()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("rows", [1, 2, 5, 33])
@pytest.mark.parametrize("with_bias", [False, True])
def test_equals_the_plain_product(name, rows, with_bias):
    weight, x = random_matrix(48, 96), random_matrix(rows, 96, seed=1)
    bias = random_matrix(48, seed=2) if with_bias else None
    expected = torch.nn.functional.linear(x, dequantized_weights(weight, name), bias)
    for dtype in (torch.float32, torch.bfloat16):
        with torch.inference_mode():
            found = make_linear(weight, name, dtype, bias)(x.to(dtype))
        assert found.dtype == dtype
        exact = dtype == torch.float32 and COMPUTE_DTYPES[name] == torch.float32
        torch.testing.assert_close(found.float(), expected, atol=1e-4 if exact else 0.25, rtol=0)


@pytest.mark.parametrize("name", FORMATS)
def test_a_row_does_not_depend_on_how_many_there_are(name):
    weight, x = random_matrix(576, 576), random_matrix(40, 576, seed=1).to(COMPUTE_DTYPES[name])
    linear = make_linear(weight, name, COMPUTE_DTYPES[name])
    with torch.inference_mode():
        together = linear(x)
        for rows in (1, 2, 3, 8, 31):
            # with AMX tiles, oneDNN adds in another order for another number of rows: one rounding step of bfloat16
            step = 2**-7 if name == "bfloat16" and torch.cpu._is_amx_tile_supported() else 0
            torch.testing.assert_close(linear(x[:rows].contiguous()), together[:rows], atol=1e-4, rtol=step)


@pytest.mark.parametrize("name", FORMATS)
def test_x_is_left_alone(name):
    x = random_matrix(3, 64).to(COMPUTE_DTYPES[name])
    before = x.clone()
    with torch.inference_mode():
        make_linear(random_matrix(32, 64), name, x.dtype, random_matrix(32))(x)
    assert torch.equal(x, before)


def test_int4_finds_q4_1_values_again_without_loss():
    """Weights on sixteen evenly spaced values, the outermost among them, as a Q4_1 block holds them."""
    generator = torch.Generator().manual_seed(5)
    quants = torch.randint(0, 16, (16, 4, 32), generator=generator)
    quants[..., 0], quants[..., 1] = 0, 15
    scale = torch.rand(16, 4, 1, generator=generator).half().float()
    low = -torch.rand(16, 4, 1, generator=generator).half().float()
    weight = (quants * scale + low).flatten(1)
    found = quantize_int4(weight)
    assert torch.equal(found.quants, quants.flatten(1).to(torch.uint8))
    torch.testing.assert_close(found.float32(), weight, atol=1e-6, rtol=0)


def test_int4_rounds_to_the_nearest_of_sixteen():
    weight = random_matrix(16, 64)
    groups = weight.unflatten(1, (-1, 32))
    step = (groups.amax(-1) - groups.amin(-1)) / 15
    error = (quantize_int4(weight).float32() - weight).abs().unflatten(1, (-1, 32)).amax(-1)
    assert (error <= step / 2 + 1e-6).all()


@pytest.mark.parametrize("inputs_outputs", [(40, 16), (64, 24)])
def test_int4_refuses_shapes_it_cannot_pack(inputs_outputs):
    inputs, outputs = inputs_outputs
    with pytest.raises(FormatUnavailable, match=f"{inputs} by {outputs}"):
        make_linear(random_matrix(outputs, inputs), "int4", torch.bfloat16)


def test_missing_operators(monkeypatch):
    """Without its kernel a format is refused; float32 and bfloat16 fall back to the plain product."""
    monkeypatch.setattr(quantized_linear, "is_available", lambda name: False)
    weight, x = random_matrix(32, 64), random_matrix(3, 64, seed=1)
    for name in ("float16", "int8", "int4"):
        with pytest.raises(FormatUnavailable, match=name):
            make_linear(weight, name, torch.float32)
    assert torch.equal(make_linear(weight, "float32", torch.float32)(x), x @ weight.T)
    half = make_linear(weight, "bfloat16", torch.bfloat16)(x.bfloat16())
    torch.testing.assert_close(half.float(), x @ weight.T, atol=0.25, rtol=0)
    with pytest.raises(ValueError, match="float64"):
        make_linear(weight, "float64", torch.float32)


def test_available_means_right_and_not_merely_there(monkeypatch):
    def broken(weight, bias):
        return lambda x: x @ weight.T.flip(0).to(x.dtype)

    def absent(weight, bias):
        raise AttributeError("no such operator")

    for packer in (broken, absent):
        monkeypatch.setitem(quantized_linear._PACKERS, "int8", packer)
        is_available.cache_clear()
        assert not is_available("int8")
    monkeypatch.undo()
    is_available.cache_clear()
    assert is_available("int8")
