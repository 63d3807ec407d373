"""Edit what a sweep runs over: one or two settings with their values, or the columns of the comparison."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import streamlit as st

from llm_core.analysis.text_metrics import STATISTICS
from llm_core.errors import NucleusError
from llm_core.experiments.sweep import Axis, GridPoint, expand_grid, out_of_range_error, replace_settings
from pages.ui.compare.column_settings import column_names
from pages.ui.compare.session_state import compare_state
from pages.ui.compare.statistics import statistic_name
from pages.ui.components.fields import show_field
from pages.ui.settings.unsupported_settings import explain_unsupported, show_unsupported_note
from pages.ui.shell.i18n import t
from pages.ui.shell.session import get, has, put
from samplers import SETTINGS, SamplerConfig

COLUMNS_AXIS, NO_AXIS = "columns", "none"
NUMERIC_FIELDS = tuple(name for name in SETTINGS if name != "seed")


@dataclass(frozen=True, slots=True)
class SweepPreset:
    """A sweep that reproduces a known result."""

    first: str
    values: str
    second: str
    second_values: str
    statistic: str
    seeds: int
    tokens: int


SWEEP_PRESETS: dict[str, SweepPreset] = {
    "repetition_temperature": SweepPreset(
        "temperature", "0 0.2 0.4 0.6 0.8 1 1.2 1.5", NO_AXIS, "", "repetition", seeds=3, tokens=160
    ),
    "repetition_top_p": SweepPreset(
        "top_p", "0.1 0.3 0.5 0.7 0.8 0.9 0.95 1", NO_AXIS, "", "repetition", seeds=3, tokens=160
    ),
    "perplexity_samplers": SweepPreset(COLUMNS_AXIS, "", NO_AXIS, "", "perplexity", seeds=4, tokens=96),
    "map": SweepPreset(
        "temperature", "0.3 0.6 0.9 1.2 1.5", "top_p", "0.3 0.5 0.7 0.9 1", "perplexity", seeds=2, tokens=64
    ),
    "repetition_penalty": SweepPreset(
        "repetition_penalty", "1 1.05 1.1 1.2 1.4", "temperature", "0 0.5 1", "repetition", seeds=2, tokens=128
    ),
}


def show_sweep_settings() -> None:
    """Draw the presets and the fields that they fill."""
    if not has("compare.sweep_first"):
        _apply_preset("repetition_temperature")
        put("compare.sweep_full", True)
    st.caption(t("sweep.ready_title"))
    with st.container(horizontal=True):
        for name in SWEEP_PRESETS:
            st.button(
                t(f"sweep.ready.{name}"), on_click=_apply_preset, args=(name,), key=f"compare.sweep_preset.{name}"
            )
    labels = {field: axis_label(field) for field in (*NUMERIC_FIELDS, COLUMNS_AXIS, NO_AXIS)}
    first, values = st.columns([1, 2])
    show_field(
        first.selectbox,
        "sweep.first",
        "compare.sweep_first",
        (*NUMERIC_FIELDS, COLUMNS_AXIS),
        format_func=labels.__getitem__,
    )
    if get("compare.sweep_first") == COLUMNS_AXIS:
        values.caption(t("sweep.columns_help"))
    else:
        show_field(values.text_input, "sweep.values", "compare.sweep_values")
        second, second_values = st.columns([1, 2])
        show_field(
            second.selectbox,
            "sweep.second",
            "compare.sweep_second",
            (NO_AXIS, *NUMERIC_FIELDS),
            format_func=labels.__getitem__,
        )
        if get("compare.sweep_second") != NO_AXIS:
            show_field(second_values.text_input, "sweep.values", "compare.sweep_second_values")
    show_unsupported_note([str(get("compare.sweep_first")), str(get("compare.sweep_second"))], explain_unsupported())
    seeds, tokens = st.columns(2)
    show_field(seeds.number_input, "sweep.seeds", "compare.sweep_seeds", value=None, step=1)
    show_field(tokens.number_input, "settings.max_output_tokens", "compare.sweep_tokens", value=None, step=1)
    show_field(st.toggle, "sweep.full", "compare.sweep_full")


def select_statistic() -> str:
    """Draw the choice of the statistic and return it. A change needs no new run."""
    names = {name: statistic_name(name) for name in STATISTICS}
    chosen = st.selectbox(
        t("sweep.statistic"), list(names), format_func=names.__getitem__, key="compare.sweep_statistic"
    )
    st.caption(t(f"compare.means.{chosen}"))
    return str(chosen)


def read_points(
    tokens: int,
) -> tuple[dict[GridPoint, SamplerConfig], tuple[str, ...], tuple[tuple[float | str, ...], ...]]:
    """Return the grid points with their settings, the fields of the axes and the values of each axis.

    With equal lengths chosen, every text has at least `tokens` tokens. Raises `NucleusError` naming the wrong field.
    """
    base = SamplerConfig(min_new_tokens=tokens if get("compare.sweep_full") else 0)
    first, second = str(get("compare.sweep_first")), str(get("compare.sweep_second"))
    if first == COLUMNS_AXIS:
        drafts = compare_state().columns.drafts
        names = column_names(drafts)
        least = base.min_new_tokens
        points: dict[GridPoint, SamplerConfig] = {
            (name,): dataclasses.replace(draft.sampler, min_new_tokens=max(least, draft.sampler.min_new_tokens))
            for name, draft in zip(names, drafts, strict=True)
        }
        return points, (COLUMNS_AXIS,), (tuple(names),)
    axes = [_read_axis(first, "compare.sweep_values")]
    if second not in (NO_AXIS, first):
        axes.append(_read_axis(second, "compare.sweep_second_values"))
    points = expand_grid(base, axes)
    return points, tuple(axis.field for axis in axes), tuple(axis.values for axis in axes)


def read_seed_count() -> int:
    """Return the number of seeds; 0 while the field is empty, which every sweep refuses."""
    return int(get("compare.sweep_seeds") or 0)


def axis_label(field: str) -> str:
    return t(f"sweep.{field}") if field in (COLUMNS_AXIS, NO_AXIS) else t(f"fields.{field}")


def _read_axis(field: str, key: str) -> Axis:
    """Parse the values of an axis, separated by spaces or semicolons. Raises `NucleusError`.

    A comma between digits is a decimal point and elsewhere a separator.
    """
    text = str(get(key) or "")
    numbers: dict[float, None] = {}
    for part in text.replace(";", " ").replace(", ", " ").split():
        try:
            value = float(part.strip(",").replace(",", "."))
        except ValueError:
            raise out_of_range_error(field, part) from None
        replace_settings(SamplerConfig(), {field: value})
        numbers[value] = None
    if not numbers:
        raise NucleusError("setting_empty", field=field)
    return Axis(field, tuple(numbers))


def _apply_preset(name: str) -> None:
    ready = SWEEP_PRESETS[name]
    fields = {
        "compare.sweep_first": ready.first,
        "compare.sweep_values": ready.values,
        "compare.sweep_second": ready.second,
        "compare.sweep_second_values": ready.second_values,
        "compare.sweep_statistic": ready.statistic,
        "compare.sweep_seeds": ready.seeds,
        "compare.sweep_tokens": ready.tokens,
    }
    for key, value in fields.items():
        put(key, value)
