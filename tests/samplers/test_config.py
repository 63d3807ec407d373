"""Settings are refused where they are made, with the field, the value and the range in the message."""

from __future__ import annotations

import dataclasses
import math

import pytest

from samplers import ORDERS, SamplerConfig


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("temperature", "1"),
        ("temperature", True),
        ("temperature", None),
        ("top_k", -1),
        ("top_k", 2.5),
        ("top_k", None),
        ("top_p", 0),
        ("top_p", 1.01),
        ("top_p", math.nan),
        ("seed", -1),
        ("seed", 2**63),
        ("order", "alphabetical"),
        ("order", ("temperature", "top_k", "top_q")),
        ("order", ("temperature", "temperature", "top_k", "top_p")),
        ("order", ("temperature",)),
        ("order", ["temperature", "top_k", "top_p"]),
    ],
)
def test_refused(field, value):
    with pytest.raises(ValueError, match=rf"{field}.*(expected|only once|missing)"):
        SamplerConfig(**{field: value})


def test_accepted_and_frozen():
    config = SamplerConfig(temperature=0, top_k=0, top_p=1, seed=2**63 - 1, order=("top_p", "top_k", "temperature"))
    assert config.greedy
    assert config.stages == ("top_p", "top_k", "temperature")
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.top_k = 3


@pytest.mark.parametrize("name", ORDERS)
def test_presets_hold_every_stage_once(name):
    assert sorted(SamplerConfig(order=name).stages) == ["temperature", "top_k", "top_p"]
