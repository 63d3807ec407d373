"""Optional sampler stages beyond temperature, Top-K and Top-P: add them one by one and set their settings."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import streamlit as st

from pages.ui.components.fields import show_field
from pages.ui.settings.unsupported_settings import UnsupportedReasons, show_unsupported_note, stage_switch
from pages.ui.shell.i18n import t
from pages.ui.shell.session import Key, get, get_number, has, put, setting_key
from samplers import SamplerConfig


@dataclass(frozen=True, slots=True)
class NumberField:
    """Number field of one setting: initial value, range and step. An `int` step makes a field of whole numbers."""

    start: float
    low: float
    high: float
    step: float


OPTIONAL_STAGES: dict[str, dict[str, NumberField]] = {
    "min_p": {"min_p": NumberField(0.05, 0, 1, 0.01)},
    "typical_p": {"typical_p": NumberField(0.9, 0.01, 1, 0.01)},
    "epsilon_cutoff": {"epsilon_cutoff": NumberField(0.001, 0, 0.99, 0.001)},
    "eta_cutoff": {"eta_cutoff": NumberField(0.002, 0, 0.99, 0.001)},
    "top_n_sigma": {"top_n_sigma": NumberField(1.0, 0, 100, 0.1)},
    "xtc": {"xtc_probability": NumberField(0.5, 0, 1, 0.05), "xtc_threshold": NumberField(0.1, 0.01, 1, 0.01)},
    "mirostat": {"mirostat_tau": NumberField(3.0, 0, 100, 0.5), "mirostat_eta": NumberField(0.1, 0.01, 1, 0.01)},
    "repetition_penalty": {"repetition_penalty": NumberField(1.2, 0.01, 100, 0.05)},
    "presence_penalty": {"presence_penalty": NumberField(0.5, -2, 2, 0.1)},
    "frequency_penalty": {"frequency_penalty": NumberField(0.5, -2, 2, 0.1)},
    "dry": {
        "dry_multiplier": NumberField(0.8, 0, 100, 0.1),
        "dry_base": NumberField(1.75, 1, 10, 0.05),
        "dry_allowed_length": NumberField(2, 1, 1000, 1),
    },
    "no_repeat_ngram": {"no_repeat_ngram_size": NumberField(3, 0, 1000, 1)},
    "min_new_tokens": {"min_new_tokens": NumberField(32, 0, 100_000, 1)},
}
"""Stages that can be added, with their settings. Stages whose settings name token ids are left to pages that show ids.
"""

GLOSSARY: dict[str, tuple[str, ...]] = {
    "by_distribution": (
        *("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff"),
        *("top_n_sigma", "xtc", "mirostat", "constraint"),
    ),
    "by_history": (
        *("repetition_penalty", "presence_penalty", "frequency_penalty", "dry", "no_repeat_ngram"),
        *("logit_bias", "banned_tokens", "min_new_tokens"),
    ),
    "whole_answers": ("beam_search", "diverse_beam_search", "contrastive_search", "best_of_n", "speculative"),
}


def show_stage_controls(unsupported: UnsupportedReasons = MappingProxyType({})) -> None:
    """Draw the list to add stages from and the settings of added stages; those of `unsupported` stages are disabled."""
    chosen = show_field(
        st.multiselect,
        "stages.more",
        Key.FURTHER_STAGES,
        list(OPTIONAL_STAGES),
        format_func=lambda name: t(f"stages.{name}.name"),
        placeholder=t("stages.more_placeholder"),
    )
    for name in chosen:
        columns = st.columns(len(OPTIONAL_STAGES[name]), vertical_alignment="bottom")
        for column, (field, control) in zip(columns, OPTIONAL_STAGES[name].items(), strict=True):
            key = setting_key(field)
            if not has(key):
                put(key, control.start)
            show_field(
                column.number_input,
                f"fields.{field}",
                key,
                value=None,
                step=control.step,
                format=None if isinstance(control.step, int) else "%.3g",
                disabled=stage_switch(name) in unsupported,
            )
        show_unsupported_note([stage_switch(name)], unsupported)
        st.caption(t(f"stages.{name}.text"))


def read_stages() -> dict[str, float]:
    """Return the settings of added stages. Raises `NucleusError` naming a field that is empty or out of range."""
    return {
        field: get_number(setting_key(field), field, control.low, control.high)
        for name in get(Key.FURTHER_STAGES) or ()
        for field, control in OPTIONAL_STAGES[name].items()
    }


def write_stages(sampler: SamplerConfig) -> list[str]:
    """Fill the settings of the optional stages that the sampler uses. Returns the names of these stages."""
    used = [name for name in OPTIONAL_STAGES if sampler.uses(name)]
    for name in used:
        for field in OPTIONAL_STAGES[name]:
            put(setting_key(field), getattr(sampler, field))
    return used


def show_glossary() -> None:
    """Draw an expander with one sentence on every sampler."""
    with st.expander(t("stages.glossary")):
        for group, names in GLOSSARY.items():
            st.markdown(f"**{t(f'stages.{group}')}**")
            st.markdown("\n".join(f"- **{t(f'stages.{name}.name')}**: {t(f'stages.{name}.text')}" for name in names))
