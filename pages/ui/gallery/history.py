"""The reader's past runs: search, open, delete and prune them, and turn recording off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from llm_core.models.builtin import MODEL_ID, NAME
from pages.ui.components.fields import show_field
from pages.ui.gallery.actions import report_errors, show_notice
from pages.ui.gallery.pagination import show_page_buttons
from pages.ui.gallery.session_state import gallery_state
from pages.ui.playground.open_recipe import open_or_confirm
from pages.ui.playground.session_state import playground_state
from pages.ui.recipes.opened import OpenedRecipe
from pages.ui.shell import i18n, services
from pages.ui.shell.browser_identity import current_owner
from pages.ui.shell.i18n import format_number, t
from pages.ui.shell.session import get, has, put

if TYPE_CHECKING:
    from llm_core.storage.history import PastRun

_PRUNE_OPTIONS: dict[str, dict[str, float]] = {
    "week": {"days": 7},
    "month": {"days": 30},
    "newest": {"newest": 50},
    "all": {"newest": 0},
}


def show_history() -> None:
    """Draw the list of past runs."""
    from llm_core.storage.history import MAX_RUNS, PAGE_SIZE, RETENTION_DAYS, is_history_enabled

    state = playground_state()
    show_notice()
    if not is_history_enabled():
        st.info(t("history.off_here"), icon=":material/history_toggle_off:")
        return
    if not has("gallery.history_on"):
        put("gallery.history_on", state.history_on)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.toggle(t("history.on"), key="gallery.history_on", on_change=_toggle_recording)
        st.space("stretch")
        _show_pruning()
    st.caption(t("history.where", days=RETENTION_DAYS, runs=format_number(MAX_RUNS, 0)))
    if state.history_notice:
        st.error(state.history_notice, icon=":material/error:")
        st.button(t("history.again"), key="gallery.history_again", on_click=_retry_recording)
    if not has("gallery.history_query"):
        put("gallery.history_query", "")
    show_field(
        st.text_input,
        "gallery.search",
        "gallery.history_query",
        placeholder=t("history.search_placeholder"),
        icon=":material/search:",
        max_chars=200,
        on_change=_skip_runs,
        args=(0,),
    )
    skip = gallery_state().runs_skip
    found = services.history().search(current_owner(), get("gallery.history_query") or "", skip)
    if not found.total:
        with st.container(border=True):
            st.markdown(t("gallery.none_found" if get("gallery.history_query") else "history.none"))
        return
    st.caption(t("gallery.found", count=format_number(found.total, 0)))
    for run in found.runs:
        _show_card(run)
    show_page_buttons(skip, found.total, PAGE_SIZE, _skip_runs, key="gallery.history")


def _show_card(run: PastRun) -> None:
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{i18n.escape_markdown(run.title or t('desk.untitled'))}**", width="content")
            st.space("stretch")
            st.button(
                t("gallery.open"),
                key=f"gallery.open_run.{run.id}",
                icon=":material/play_arrow:",
                on_click=_open_run,
                args=(run.id,),
            )
            st.button(
                t("history.delete"),
                key=f"gallery.icon_delete_run.{run.id}",
                icon=":material/delete:",
                help=t("history.delete"),
                on_click=_delete_run,
                args=(run.id,),
            )
        model = NAME if run.model == MODEL_ID else run.model
        figures = [i18n.format_time(run.ended_at), i18n.escape_markdown(model)]
        if count := run.summary.get("tokens"):
            figures.append(t("branches.tokens", count=format_number(count, 0)))
        if (mean := run.summary.get("mean_logprob")) is not None:
            figures.append(t("run.mean_logprob", value=format_number(mean)))
        if (count := run.summary.get("answers", 1)) > 1:
            figures.append(t("history.answers", count=count))
        st.caption(" · ".join(figures))
        if result := run.summary.get("result"):
            st.code(result, language=None, wrap_lines=True)
        with st.expander(t("run.answer")):
            st.code(run.answer, language=None, wrap_lines=True)


def _show_pruning() -> None:
    with st.popover(t("history.prune"), icon=":material/delete_sweep:"):
        names = {name: t(f"history.prunes.{name}") for name in _PRUNE_OPTIONS}
        st.radio(t("history.prune_title"), list(names), format_func=names.__getitem__, key="gallery.history_prune")
        st.button(t("history.prune_now"), type="primary", key="gallery.history_prune_now", on_click=_prune_history)


def _prune_history() -> None:
    with report_errors():
        which = _PRUNE_OPTIONS[get("gallery.history_prune")]
        if "days" in which:
            gone = services.history().prune(current_owner(), days=which["days"])
        else:
            gone = services.history().prune(current_owner(), newest=int(which["newest"]))
        gallery_state().notice = ("success", t("history.pruned", count=format_number(gone, 0)))
        gallery_state().runs_skip = 0


def _toggle_recording() -> None:
    playground_state().history_on = bool(get("gallery.history_on"))


def _retry_recording() -> None:
    playground_state().history_notice = None


def _open_run(run_id: str) -> None:
    with report_errors():
        open_or_confirm(OpenedRecipe(services.history().recipe(run_id, current_owner())))


def _delete_run(run_id: str) -> None:
    with report_errors():
        services.history().delete(run_id, current_owner())


def _skip_runs(count: int) -> None:
    gallery_state().runs_skip = count
