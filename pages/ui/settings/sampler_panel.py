"""Sampler panel: choose a strategy, set the settings it uses, and read what it does."""

from __future__ import annotations

from types import MappingProxyType

import streamlit as st

from llm_core.errors import NucleusError
from llm_core.generation.request import MAX_OUTPUT_TOKENS, SampleRequest
from pages.ui.components.fields import show_field
from pages.ui.settings.stage_controls import read_stages, show_glossary, show_stage_controls, write_stages
from pages.ui.settings.unsupported_settings import UnsupportedReasons, show_unsupported_note
from pages.ui.shell.i18n import t
from pages.ui.shell.session import Key, get, get_number, has, put
from samplers import ORDERS, SamplerConfig

STRATEGIES: dict[str, tuple[Key, ...]] = {
    "greedy": (),
    "random": (),
    "temperature": (Key.TEMPERATURE,),
    "top_k": (Key.TEMPERATURE, Key.TOP_K),
    "top_p": (Key.TEMPERATURE, Key.TOP_P),
    "combined": (Key.TEMPERATURE, Key.TOP_K, Key.TOP_P, Key.FURTHER_STAGES, Key.ORDER),
}
"""Settings that each strategy reads; the others stay neutral and are disabled."""

_DEFAULTS = {
    Key.STRATEGY: "top_p",
    Key.TEMPERATURE: 0.8,
    Key.TOP_K: 40,
    Key.TOP_P: 0.95,
    Key.ORDER: "huggingface",
    Key.FURTHER_STAGES: [],
    Key.SEED: 7,
    Key.MAX_OUTPUT_TOKENS: 96,
    Key.STOP_SEQUENCES: "",
}
SETTING_RANGES = {
    Key.TEMPERATURE: (0, 2),
    Key.TOP_K: (0, 10**9),
    Key.TOP_P: (0.01, 1),
    Key.SEED: (0, 2**53 - 1),
    Key.MAX_OUTPUT_TOKENS: (1, MAX_OUTPUT_TOKENS),
}
"""Lowest and highest value of the number fields. A browser holds whole numbers exactly up to 2^53 - 1."""


def show_sampler_panel(unsupported: UnsupportedReasons = MappingProxyType({})) -> None:
    """Draw the panel; `read_sample_request` returns its values.

    `unsupported` settings are disabled with their reasons. Their values are sent all the same, since a provider may
    begin to support them.
    """
    for key, value in _DEFAULTS.items():
        if not has(key):
            put(key, value)
    with st.container(border=True):
        show_field(
            st.pills,
            "sampler.title",
            Key.STRATEGY,
            list(STRATEGIES),
            format_func=lambda name: t(f"sampler.{name}.name"),
            required=True,
        )
        strategy = str(get(Key.STRATEGY))
        used = STRATEGIES[strategy]
        show_field(
            st.slider,
            "settings.temperature",
            Key.TEMPERATURE,
            0.0,
            2.0,
            step=0.05,
            disabled=Key.TEMPERATURE not in used or Key.TEMPERATURE.field in unsupported,
        )
        show_field(
            st.number_input,
            "settings.top_k",
            Key.TOP_K,
            value=None,
            step=1,
            disabled=Key.TOP_K not in used or Key.TOP_K.field in unsupported,
        )
        show_field(
            st.slider,
            "settings.top_p",
            Key.TOP_P,
            0.01,
            1.0,
            step=0.01,
            disabled=Key.TOP_P not in used or Key.TOP_P.field in unsupported,
        )
        told_here = [Key.TEMPERATURE] if strategy == "greedy" else [key for key in used if key is not Key.ORDER]
        show_unsupported_note([key.field for key in told_here], unsupported)
        if Key.FURTHER_STAGES in used:
            show_stage_controls(unsupported)
        if Key.ORDER in used:
            show_field(
                st.selectbox,
                "settings.order",
                Key.ORDER,
                list(ORDERS),
                format_func=lambda name: t(f"orders.{name}"),
                disabled=Key.ORDER.field in unsupported,
            )
            if Key.ORDER.field in unsupported:
                show_unsupported_note([Key.ORDER.field], unsupported)
            else:
                st.caption(_format_stage_order())
        seed, length = st.columns(2, vertical_alignment="bottom")
        show_field(
            seed.number_input,
            "settings.seed",
            Key.SEED,
            value=None,
            step=1,
            disabled=strategy == "greedy" or Key.SEED.field in unsupported,
        )
        show_field(length.number_input, "settings.max_output_tokens", Key.MAX_OUTPUT_TOKENS, value=None, step=1)
        if strategy != "greedy":
            show_unsupported_note([Key.SEED.field], unsupported)
        show_field(st.text_input, "settings.stop_sequences", Key.STOP_SEQUENCES, max_chars=200)
    with st.container(border=True):
        st.markdown(f"**{t(f'sampler.{strategy}.heading')}**")
        st.markdown(t(f"sampler.{strategy}.text"))
    show_glossary()


def read_sample_request() -> SampleRequest:
    """Return the panel's values, neutral ones for settings that the strategy does not use. Raises `NucleusError` naming
    an invalid field."""
    used = STRATEGIES[get(Key.STRATEGY)]
    chosen = {key.field: _read_number(key) for key in used if key in SETTING_RANGES}
    if Key.ORDER in used:
        chosen[Key.ORDER.field] = get(Key.ORDER)
    if Key.FURTHER_STAGES in used:
        chosen |= read_stages()
    if get(Key.STRATEGY) == "greedy":
        chosen[Key.TEMPERATURE.field] = 0
    sampler = SamplerConfig(**chosen, seed=_read_number(Key.SEED))
    stops = tuple(part.replace("\\n", "\n") for part in (get(Key.STOP_SEQUENCES) or "").split("|") if part)
    return SampleRequest(sampler, _read_number(Key.MAX_OUTPUT_TOKENS), stops)


def write_settings(sampler: SamplerConfig, max_output_tokens: int, stop_sequences: tuple[str, ...] = ()) -> None:
    """Fill the panel, with the nearest value where it cannot show the given one. Call it before the panel is drawn."""
    neutral = SamplerConfig()
    used = {key for key in (Key.TOP_K, Key.TOP_P) if getattr(sampler, key.field) != getattr(neutral, key.field)}
    further = write_stages(sampler)
    strategy = "temperature"
    if further or (sampler.order != _DEFAULTS[Key.ORDER] and len(sampler.stages) > 1):
        strategy = "combined"
    elif sampler.greedy:
        strategy = "greedy"
    elif used:
        strategy = "combined" if len(used) > 1 else next(iter(used)).field
    elif sampler.temperature == neutral.temperature:
        strategy = "random"
    put(Key.STRATEGY, strategy)
    put(Key.ORDER, sampler.order if isinstance(sampler.order, str) else _DEFAULTS[Key.ORDER])
    put(Key.SEED, min(sampler.seed, SETTING_RANGES[Key.SEED][1]))
    put(Key.TOP_K, min(sampler.top_k, SETTING_RANGES[Key.TOP_K][1]))
    for key in (Key.TEMPERATURE, Key.TOP_P):  # sliders reject values outside their range
        low, high = SETTING_RANGES[key]
        put(key, float(min(max(getattr(sampler, key.field), low), high)))
    put(Key.FURTHER_STAGES, further)
    put(Key.MAX_OUTPUT_TOKENS, max_output_tokens)
    put(Key.STOP_SEQUENCES, "|".join(stop.replace("\n", "\\n") for stop in stop_sequences))


def _format_stage_order() -> str:
    """Return the active stages in their order; empty while a setting is incomplete."""
    try:
        stages = read_sample_request().sampler.stages
    except NucleusError:
        return ""
    return t("stages.runs", order=" → ".join(t(f"stages.{name}.name") for name in stages)) if stages else ""


def _read_number(key: Key):
    return get_number(key, key.field, *SETTING_RANGES[key])
