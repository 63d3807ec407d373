"""Settings are refused where they are made, with the field, the value and the range in the message."""

from __future__ import annotations

import dataclasses
import math
import re

import pytest

from samplers import ORDERS, SETTINGS, STAGE_NAMES, SamplerConfig
from samplers.stages import STAGES


@pytest.mark.parametrize("field", SETTINGS)
def test_just_outside_is_refused_and_the_ends_are_as_documented(field):
    setting = SETTINGS[field]
    step = 1 if setting.whole else 1e-9
    outside = [setting.low - step] + ([setting.high + step] if setting.high < math.inf else [])
    outside += [setting.low] * setting.open_low + [setting.high] * setting.open_high
    for value in outside:
        with pytest.raises(ValueError, match=rf"^{field}={re.escape(repr(value))}: expected a (whole )?number"):
            SamplerConfig(**{field: value})
    inside = [setting.low + step * setting.open_low]
    inside += [setting.high - step * setting.open_high] if setting.high < math.inf else []
    for value in inside:
        assert getattr(SamplerConfig(**{field: value}), field) == value


@pytest.mark.parametrize("field", SETTINGS)
@pytest.mark.parametrize("value", [math.nan, math.inf, "1", True, None, [1]])
def test_what_is_no_number_is_refused(field, value):
    with pytest.raises(ValueError, match=rf"^{field}=.*expected a finite (whole )?number"):
        SamplerConfig(**{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("top_k", 2.5),
        ("logit_bias", {3: 101}),
        ("logit_bias", {3: math.nan}),
        ("logit_bias", {-1: 1}),
        ("logit_bias", {"3": 1}),
        ("logit_bias", "no"),
        ("logit_bias", 5),
        ("banned_tokens", (-1,)),
        ("banned_tokens", ("a",)),
        ("banned_tokens", "12"),
        ("banned_tokens", 12),
        ("dry_sequence_breakers", (1.5,)),
        ("order", "alphabetical"),
        ("order", ("temperature", "top_k", "top_q")),
        ("order", ("temperature", "temperature", "top_k")),
        ("order", ["temperature", "top_k", "top_p"]),
        ("order", 3),
    ],
)
def test_refused(field, value):
    with pytest.raises(ValueError, match=rf"^{field}.*(expected|only once)"):
        SamplerConfig(**{field: value})


def test_an_order_may_leave_out_neutral_stages_only():
    assert SamplerConfig(order=("top_k",), top_k=3).stages == ("top_k",)
    with pytest.raises(ValueError, match="missing top_p"):
        SamplerConfig(order=("temperature", "top_k"), top_p=0.9)


def test_accepted_frozen_and_comparable():
    order = ("top_p", "temperature", "logit_bias")
    config = SamplerConfig(temperature=0, order=order, logit_bias={7: 1, 2: -1, 9: 0})
    assert config.greedy
    assert config.logit_bias == ((2, -1.0), (7, 1.0))
    assert config == SamplerConfig(temperature=0, order=order, logit_bias=((2, -1), (7, 1)))
    assert (
        len({config, SamplerConfig(), SamplerConfig(banned_tokens=[5, 3, 5]), SamplerConfig(banned_tokens=(3, 5))}) == 3
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.top_k = 3


def test_defaults_are_neutral_and_documented():
    config = SamplerConfig()
    assert config.stages == ()
    for field, setting in SETTINGS.items():
        assert getattr(config, field) == setting.default
        [row] = re.findall(rf"^    `{field}` .*$", SamplerConfig.__doc__, re.MULTILINE)
        assert f"{setting.default:g}" in row
    assert {field.name for field in dataclasses.fields(config)} == set(
        re.findall(r"^    `(\w+)`", config.__doc__, re.M)
    )


def test_presets_hold_every_stage_once_in_their_providers_order():
    for order in ORDERS.values():
        assert sorted(order) == sorted(STAGE_NAMES) == sorted(STAGES)
    common = {"temperature": 0.5, "top_k": 5, "top_p": 0.9, "repetition_penalty": 1.1, "min_p": 0.1, "typical_p": 0.9}
    in_order = ("repetition_penalty", "temperature", "top_k", "top_p", "min_p", "typical_p")
    assert SamplerConfig(**common).stages == in_order
    everything = common | {"dry_multiplier": 1, "top_n_sigma": 1, "xtc_probability": 0.5}
    in_order = (
        "repetition_penalty",
        "dry",
        "top_n_sigma",
        "top_k",
        "typical_p",
        "top_p",
        "min_p",
        "xtc",
        "temperature",
    )
    assert SamplerConfig(**everything, order="llama_cpp").stages == in_order
    assert SamplerConfig(temperature=0.5, top_k=5, top_p=0.9, order="gemini").stages == (
        "top_k",
        "top_p",
        "temperature",
    )
