"""The reader's past runs: search, open, delete and prune them, and turn recording off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from llm_core.models.builtin import MODEL_ID, NAME
from pages.ui.gallery.actions import acting, tell
from pages.ui.gallery.session_state import gallery_state
from pages.ui.playground.open_recipe import ask_to_open
from pages.ui.playground.session_state import playground_state
from pages.ui.recipes.opened import OpenedRecipe
from pages.ui.shell import i18n, services
from pages.ui.shell.browser_identity import owner
from pages.ui.shell.i18n import number, t
from pages.ui.shell.session import get, has, put

if TYPE_CHECKING:
    from llm_core.storage.history import PastRun

_PRUNE: dict[str, dict[str, float]] = {
    "week": {"days": 7},
    "month": {"days": 30},
    "newest": {"newest": 50},
    "all": {"newest": 0},
}


def history_list() -> None:
    """Draw the list of past runs."""
    from llm_core.storage.history import KEPT_DAYS, MAX_RUNS, PAGE, history_allowed

    state = playground_state()
    tell()
    if not history_allowed():
        st.info(t("history.off_here"), icon=":material/history_toggle_off:")
        return
    if not has("history_on"):
        put("history_on", state.history_on)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.toggle(t("history.on"), key="history_on", on_change=_switch)
        st.space("stretch")
        _pruning()
    st.caption(t("history.where", days=KEPT_DAYS, runs=number(MAX_RUNS, 0)))
    if state.history_notice:
        st.error(state.history_notice, icon=":material/error:")
        st.button(t("history.again"), key="history_again", on_click=_try_again)
    if not has("history_query"):
        put("history_query", "")
    st.text_input(
        t("gallery.search"),
        key="history_query",
        placeholder=t("history.search_placeholder"),
        icon=":material/search:",
        max_chars=200,
        on_change=_from_the_top,
        persist_state="session",
    )
    skip = gallery_state().runs_skip
    found = services.history().search(owner(), get("history_query") or "", skip)
    if not found.total:
        with st.container(border=True):
            st.markdown(t("gallery.none_found" if get("history_query") else "history.none"))
        return
    st.caption(t("gallery.found", count=number(found.total, 0)))
    for run in found.runs:
        _card(run)
    if found.total > PAGE:
        with st.container(horizontal=True, horizontal_alignment="center"):
            st.button(t("gallery.newer"), on_click=_turn, args=(-PAGE,), disabled=not skip, key="runs_newer")
            last = skip + PAGE >= found.total
            st.button(t("gallery.older"), on_click=_turn, args=(PAGE,), disabled=last, key="runs_older")


def _card(run: PastRun) -> None:
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{i18n.plain(run.title or t('desk.untitled'))}**", width="content")
            st.space("stretch")
            st.button(
                t("gallery.open"),
                key=f"open_run_{run.id}",
                icon=":material/play_arrow:",
                on_click=_open,
                args=(run.id,),
            )
            st.button(
                t("history.delete"),
                key=f"icon_delete_run_{run.id}",
                icon=":material/delete:",
                help=t("history.delete"),
                on_click=_delete,
                args=(run.id,),
            )
        model = NAME if run.model == MODEL_ID else run.model
        figures = [i18n.moment(run.ended_at), i18n.plain(model)]
        if count := run.summary.get("tokens"):
            figures.append(t("branches.tokens", count=number(count, 0)))
        if (mean := run.summary.get("mean_logprob")) is not None:
            figures.append(t("run.mean_logprob", value=number(mean)))
        if (count := run.summary.get("answers", 1)) > 1:
            figures.append(t("history.answers", count=count))
        st.caption(" · ".join(figures))
        if result := run.summary.get("result"):
            st.code(result, language=None, wrap_lines=True)
        with st.expander(t("run.answer")):
            st.code(run.answer, language=None, wrap_lines=True)


def _pruning() -> None:
    with st.popover(t("history.prune"), icon=":material/delete_sweep:"):
        names = {name: t(f"history.prunes.{name}") for name in _PRUNE}
        st.radio(t("history.prune_title"), list(names), format_func=names.__getitem__, key="history_prune")
        st.button(t("history.prune_now"), type="primary", key="history_prune_now", on_click=_prune)


def _prune() -> None:
    with acting():
        which = _PRUNE[get("history_prune")]
        if "days" in which:
            gone = services.history().prune(owner(), days=which["days"])
        else:
            gone = services.history().prune(owner(), newest=int(which["newest"]))
        gallery_state().notice = ("success", t("history.pruned", count=number(gone, 0)))
        gallery_state().runs_skip = 0


def _switch() -> None:
    playground_state().history_on = bool(get("history_on"))


def _try_again() -> None:
    playground_state().history_notice = None


def _open(run_id: str) -> None:
    with acting():
        ask_to_open(OpenedRecipe(services.history().recipe(run_id, owner())))


def _delete(run_id: str) -> None:
    with acting():
        services.history().delete(run_id, owner())


def _turn(by: int) -> None:
    gallery_state().runs_skip = max(0, gallery_state().runs_skip + by)


def _from_the_top() -> None:
    gallery_state().runs_skip = 0
