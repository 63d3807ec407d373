"""Name the Playground's work in the URL (`?w=`), so that a reload of any page restores it."""

from __future__ import annotations

import streamlit as st

from pages.ui.playground.session_state import playground_state
from pages.ui.playground.work_store import KEEP_HOURS, Work, WorkStore
from pages.ui.prompt.composer import write_prompt
from pages.ui.settings.stage_controls import OPTIONAL_STAGES
from pages.ui.shell.i18n import t
from pages.ui.shell.session import Key, get, has, put, session, setting_key

URL_PARAMETER = "w"

PANEL_KEYS = (
    *(Key.STRATEGY, Key.TEMPERATURE, Key.TOP_K, Key.TOP_P, Key.ORDER, Key.FURTHER_STAGES),
    *(Key.SEED, Key.MAX_OUTPUT_TOKENS, Key.STOP_SEQUENCES),
    *(setting_key(name) for fields in OPTIONAL_STAGES.values() for name in fields),
)
"""Keys of the sampler panel's widgets."""


@st.cache_resource
def work_store() -> WorkStore:
    """Return the store of all tabs' work."""
    return WorkStore()


def sync_work() -> None:
    """Restore the work that the URL names in a new session, else put the id of this tab's work into the URL.

    Call it once per rerun, before any page is drawn.
    """
    state = playground_state()
    asked = st.query_params.get(URL_PARAMETER)
    if asked and not state.work_id:
        _restore_work(asked)
    elif state.work_id and asked != state.work_id:
        st.query_params[URL_PARAMETER] = state.work_id
    state.panel |= {key: get(key) for key in PANEL_KEYS if has(key)}


def _restore_work(asked: str) -> None:
    state = session()
    work = work_store().open(asked)
    if work is None:
        del st.query_params[URL_PARAMETER]
        st.toast(t("branches.gone", hours=KEEP_HOURS), icon=":material/history:")
        return
    playground_state().work_id, playground_state().tree = asked, work.tree
    playground_state().technique_runs, playground_state().run_values = list(work.technique_runs), work.run_values
    playground_state().run_prompt = work.prompt
    if work.prompt:
        write_prompt(work.prompt)
    for key, value in work.panel.items():
        put(key, value)
    if work.technique_runs and not work.technique_runs[0].main.recorded:
        request = work.technique_runs[0].request
        state.model_id, state.precision = request.model_id, request.precision
    playground_state().shown, playground_state().branch, playground_state().selected_step = (
        work.shown,
        work.branch,
        work.step,
    )


def store_work() -> None:
    """Store this tab's work, if there is any, and name it in the URL."""
    state = playground_state()
    if not state.technique_runs:
        return
    work = Work(
        tree=state.tree,
        technique_runs=tuple(state.technique_runs),
        run_values=state.run_values,
        prompt=state.run_prompt,
        panel=state.panel,
        shown=state.shown,
        branch=state.branch,
        step=state.selected_step,
    )
    state.work_id = work_store().keep(state.work_id, work)
    if st.query_params.get(URL_PARAMETER) != state.work_id:
        st.query_params[URL_PARAMETER] = state.work_id
