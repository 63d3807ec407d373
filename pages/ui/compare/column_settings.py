"""Edit the columns of a comparison: start from presets, change one setting at a time, highlight what differs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from llm_core.errors import NucleusError
from llm_core.experiments.comparison import MIN_COLUMNS
from llm_core.experiments.sweep import out_of_range_error
from pages.ui.compare.drafts import COLUMN_FIELDS, PRESETS, ColumnDraft, differing_fields, used_fields
from pages.ui.compare.session_state import compare_state
from pages.ui.settings.stage_controls import OPTIONAL_STAGES
from pages.ui.settings.unsupported_settings import explain_unsupported, show_unsupported_note
from pages.ui.shell import i18n
from pages.ui.shell.i18n import t
from pages.ui.shell.session import get, has, put, session
from samplers import ORDERS, SETTINGS

COLUMN_KEY, FIELD_KEY = "compare.column", "compare.field"
_STEP_SIZES = {"temperature": 0.1, "top_k": 1, "top_p": 0.05} | {
    name: control.step for controls in OPTIONAL_STAGES.values() for name, control in controls.items()
}
_TEXT_FIELDS = ("model_id", "prompt")
_DIFFERENCE_STYLE = "background-color: rgba(230, 159, 0, 0.22); font-weight: 600"


def show_column_settings() -> None:
    """Draw the presets, the column that is edited and the table of all columns."""
    columns = compare_state().columns
    st.caption(t("compare.start_from"))
    with st.container(horizontal=True):
        for name in PRESETS:
            st.button(t(f"compare.presets.{name}"), on_click=_apply_preset, args=(name,), key=f"compare.preset.{name}")
    ids = [draft.id for draft in columns.drafts]
    if get(COLUMN_KEY) not in ids:
        put(COLUMN_KEY, ids[0])
    names = dict(zip(ids, column_names(columns.drafts), strict=True))
    st.pills(
        t("compare.columns", count=len(ids)),
        ids,
        format_func=names.__getitem__,
        key=COLUMN_KEY,
        required=True,
        persist_state="session",
    )
    draft = columns.get(get(COLUMN_KEY))
    field, value, actions = st.columns([2, 2, 2], vertical_alignment="bottom")
    name = field.selectbox(
        t("compare.setting"), COLUMN_FIELDS, format_func=setting_label, key=FIELD_KEY, help=t("compare.setting_help")
    )
    dead = explain_unsupported(draft.model_id)
    with value:
        _show_value_field(draft, name, name in dead)
    with actions.container(horizontal=True):
        st.button(
            t("compare.duplicate"),
            on_click=_duplicate_column,
            args=(draft,),
            disabled=columns.full,
            key="compare.duplicate",
        )
        st.button(
            t("compare.remove"),
            on_click=columns.remove,
            args=(draft,),
            disabled=len(ids) <= MIN_COLUMNS,
            key="compare.remove",
        )
    show_unsupported_note([name], dead)
    _show_unsupported_columns(columns.drafts)
    _show_settings_table(columns.drafts, list(names.values()))


def _show_unsupported_columns(drafts: Sequence[ColumnDraft]) -> None:
    """List the columns with settings that their model does not support; columns that differ only there answer alike."""
    for place, draft in enumerate(drafts, 1):
        dead = explain_unsupported(draft.model_id)
        names = [setting_label(name) for name in draft.settings if name in dead]
        if names:
            st.caption(f":material/block: {t('hosted_views.dead.column', column=place, settings=', '.join(names))}")


def setting_label(name: str) -> str:
    return t(f"compare.{name}") if name in (*_TEXT_FIELDS, "order") else t(f"fields.{name}")


def format_setting(name: str, value: Any) -> str:
    if name in _TEXT_FIELDS:
        return str(value) or t("compare.as_page")
    if name == "order":
        return t(f"orders.{value}")
    return i18n.format_number(value, 0) if SETTINGS[name].whole else i18n.format_compact(value)


def column_names(drafts: Sequence[ColumnDraft]) -> list[str]:
    """Return a number and the settings of each column, as in "2 · Temperature 0.7".

    Columns of recorded answers are named by what differs between them.
    """
    return [
        f"{place} · " + ", ".join(text for text, _ in _recorded_chips(draft, drafts) or setting_chips(draft, drafts))
        for place, draft in enumerate(drafts, 1)
    ]


def _recorded_chips(draft: ColumnDraft, drafts: Sequence[ColumnDraft]) -> list[tuple[str, bool]]:
    """Return the prompt number and the seed that identify a recorded answer, each with whether it differs."""
    if draft.recorded is None:
        return []
    prompts, seeds = (len(set(each)) > 1 for each in zip(*(each.recorded or (1, 0) for each in drafts), strict=True))
    prompt, seed = draft.recorded
    shown = [(t("run.prompt_number", number=prompt), True)] if prompts else []
    return shown if seed is None else [*shown, (t("compare.seed_of", seed=seed), seeds)]


def setting_chips(draft: ColumnDraft, drafts: Sequence[ColumnDraft]) -> list[tuple[str, bool]]:
    """Return the column's settings as text, each with whether it differs between columns."""
    different = differing_fields(drafts)
    texts = _recorded_chips(draft, drafts)
    texts += [(_format_chip(name, value), name in different) for name, value in draft.settings.items()]
    return texts or [(t("sampler.random.name"), bool(different))]


def _format_chip(name: str, value: Any) -> str:
    if name == "temperature" and value == 0:
        return t("sampler.greedy.name")
    if name == "prompt":
        return t("compare.own_prompt")
    return f"{setting_label(name)} {format_setting(name, value)}"


def _show_value_field(draft: ColumnDraft, name: str, dead: bool) -> None:
    """Draw the field of the chosen setting of the chosen column. Its key names both, so that no value carries over."""
    key = f"compare.value.{draft.id}.{name}"
    if not has(key):
        current = draft.value(name)
        put(key, float(current) if name in SETTINGS and not SETTINGS[name].whole else current)
    label = t("compare.value")
    arguments: dict[str, Any] = {"key": key, "on_change": _change_setting, "args": (draft, name, key)}
    arguments["disabled"] = dead
    if name == "order":
        st.selectbox(label, list(ORDERS), format_func=lambda order: t(f"orders.{order}"), **arguments)
    elif name == "model_id":
        st.text_input(label, placeholder=session().model_id, help=t("models.other_help"), **arguments)
    elif name == "prompt":
        st.text_area(label, placeholder=t("compare.as_page"), height=68, **arguments)
    else:
        whole = SETTINGS[name].whole
        st.number_input(
            label,
            value=None,
            step=1 if whole else float(_STEP_SIZES.get(name, 0.1)),
            format=None if whole else "%.4g",
            help=t("compare.neutral", value=i18n.format_compact(SETTINGS[name].default)),
            **arguments,
        )


def _apply_preset(preset: str) -> None:
    compare_state().columns.start(PRESETS[preset])
    compare_state().compare_notice = None


def _duplicate_column(draft: ColumnDraft) -> None:
    put(COLUMN_KEY, compare_state().columns.duplicate(draft).id)


def _change_setting(draft: ColumnDraft, name: str, key: str) -> None:
    """Apply the typed value to the column, or show why it is refused; the column then keeps its value."""
    state = compare_state()
    _state, value = session(), get(key)
    state.compare_notice = None
    try:
        if name in _TEXT_FIELDS:
            value = (value or "").strip()
        elif value is None:
            raise NucleusError("setting_empty", field=name)
        draft.change(name, value)
    except ValueError:
        state.compare_notice = i18n.explain(out_of_range_error(name, value))
    except NucleusError as error:
        state.compare_notice = i18n.explain(error)


def _show_settings_table(drafts: Sequence[ColumnDraft], names: Sequence[str]) -> None:
    fields = used_fields(drafts) or ["temperature"]
    different = differing_fields(drafts)
    rows = {
        name: {setting_label(field): format_setting(field, draft.value(field)) for field in fields}
        for name, draft in zip(names, drafts, strict=True)
    }
    frame = pd.DataFrame.from_dict(rows, orient="index")
    marked = [setting_label(field) for field in fields if field in different]
    neutral = {
        (name, setting_label(field))
        for name, draft in zip(names, drafts, strict=True)
        for field in fields
        if field not in draft.settings
    }
    style = frame.style.apply(
        lambda column: [
            _DIFFERENCE_STYLE if column.name in marked and (row, column.name) not in neutral else ""
            for row in column.index
        ]
    )
    with st.expander(t("compare.table")):
        st.dataframe(style, height="content")
        st.caption(t("compare.highlighted"))
