"""Export a recipe or its run in another format: choose it, see what it holds and drops, and download it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from llm_core import NucleusError
from llm_core.formats.registry import FORMATS, DroppedField, ExportResult, dump, make_file_name
from pages.ui.shell import i18n
from pages.ui.shell.i18n import t

if TYPE_CHECKING:
    from llm_core.generation.record import Run
    from llm_core.recipes.recipe import Recipe

_MAX_PREVIEW_LENGTH = 20_000
"""Characters of the preview at most; the file has all."""


def show_export_panel(
    recipe: Recipe, runs: Sequence[Run] = (), key: str = "export", without: Sequence[str] = ()
) -> None:
    """Draw the panel. Formats of a run are offered if a run has ended. `without` are formats that the surrounding page
    offers itself."""
    ended = [run for run in runs if not run.active]
    forms = [form for form, each in FORMATS.items() if form not in without and (ended or not each.needs_run)]
    form = st.selectbox(
        t("conversions.form"),
        forms,
        index=None,
        placeholder=t("conversions.choose"),
        format_func=lambda each: t(f"conversions.forms.{each}"),
        key=f"{key}_form",
    )
    if form is None:
        return
    st.caption(t(f"conversions.about.{form}"))
    try:
        dumped = dump(form, recipe, ended, **({"words": report_texts()} if form == "report" else {}))
    except NucleusError as error:
        st.error(i18n.explain(error), icon=":material/error:")
        return
    show_dropped_fields(dumped.dropped, t("conversions.lost"))
    name, data = make_file_name(recipe.title, form), dumped.text.encode()
    st.download_button(
        t("conversions.download", name=name, size=i18n.format_number(len(data) / 1024, 1)),
        data,
        file_name=name,
        mime=FORMATS[form].media_type,
        on_click="ignore",
        icon=":material/download:",
        type="primary",
        key=f"{key}_download",
    )
    if form != "report":  # the source of an HTML page is no useful preview
        _show_preview(dumped, FORMATS[form].language)


def _show_preview(dumped: ExportResult, language: str | None) -> None:
    text = dumped.text.removeprefix("\ufeff")
    st.code(text[:_MAX_PREVIEW_LENGTH], language=language, wrap_lines=True, height=320)
    if len(text) > _MAX_PREVIEW_LENGTH:
        st.caption(
            t(
                "conversions.cut",
                shown=i18n.format_number(_MAX_PREVIEW_LENGTH, 0),
                count=i18n.format_number(len(text), 0),
            )
        )


def show_dropped_fields(dropped: Sequence[DroppedField], title: str) -> None:
    """Draw the fields that were not carried over unchanged, grouped by reason. Their names come from files and are
    shown as code."""
    if not dropped:
        return
    reasons: dict[str, list[str]] = {}
    for each in dropped:
        reasons.setdefault(each.reason, []).append(each.field)
    with st.container(border=True):
        st.markdown(f"**{title}**")
        for reason, fields in reasons.items():
            names = ", ".join(f"`{_escape_code(field)}`" for field in fields[:12])
            more = f" (+{len(fields) - 12})" if len(fields) > 12 else ""
            st.markdown(f"- {names}{more}: {t(f'conversions.reasons.{reason}')}")


def report_texts() -> dict[str, str]:
    """Return the report's texts in the reader's language."""
    from llm_core.formats.report.html_report import WORDS

    own = {"language": i18n.language(), "decimal": i18n.format_number(0.5, 1)[1]}
    return {name: t(f"report.{name}") for name in WORDS if name not in own} | own


def _escape_code(name: str) -> str:
    return "".join(letter if letter.isprintable() and letter != "`" else "?" for letter in name[:80])
