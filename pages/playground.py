"""Playground: compose a prompt, run it, watch the tokens and their probabilities."""

from __future__ import annotations

import streamlit as st

from llm_core import GenerationRequest, NucleusError, PromptSpec, RowRequest
from llm_core.language_model import LanguageModel
from pages.ui import i18n, resources
from pages.ui.controls import read_settings, sampler_panel
from pages.ui.frame import page
from pages.ui.i18n import number, t
from pages.ui.model_status import model_status
from pages.ui.run_view import run_view
from pages.ui.state import Key, get, has, put, session


def playground() -> None:
    composer, panel = st.columns([2.1, 1], gap="medium")
    with panel:
        sampler_panel()
    with composer:
        entry = model_status()
        with st.container(border=True):
            _prompt_editor(entry.model)
            _run_and_stop(entry.model)
        run_view()


def _prompt_editor(model: LanguageModel | None) -> None:
    if not has(Key.INSTRUCTION):
        put(Key.INSTRUCTION, t("playground.first_prompt"))
    if not has(Key.SYSTEM):
        put(Key.SYSTEM, "")
    st.text_area(t("playground.prompt"), key=Key.INSTRUCTION, height=100, persist_state="session")
    with st.expander(t("playground.more")):
        st.text_area(t("playground.system"), key=Key.SYSTEM, height=80, persist_state="session")
        # Behind a switch, since a closed expander still does its work at every rerun.
        if model and st.toggle(t("playground.show_rendered"), key="show_rendered"):
            _as_the_model_sees_it(model)


def _as_the_model_sees_it(model: LanguageModel) -> None:
    try:
        rendered = _prompt().render(model)
    except NucleusError as error:
        st.caption(i18n.explain(error))
        return
    count, window = number(len(rendered.token_ids), 0), number(model.context_window, 0)
    st.caption(t("playground.rendered", tokens=count, window=window))
    st.code(rendered.text, language=None, wrap_lines=True)


def _run_and_stop(model: LanguageModel | None) -> None:
    run = session().run
    active = run is not None and run.active
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(t("playground.run"), key="run", type="primary", on_click=_start, shortcut="Ctrl+Enter")
        st.button(t("playground.stop"), key="stop", on_click=_stop, disabled=not active)
        st.caption(t("playground.shortcut"), width="content")
        if model:
            st.space("stretch")
            st.caption(t("playground.model_line", model=model.name, precision=session().precision), width="content")
    if session().notice:
        st.error(session().notice, icon=":material/error:")


def _prompt() -> PromptSpec:
    return PromptSpec(instruction=get(Key.INSTRUCTION) or "", system=get(Key.SYSTEM) or "")


def _start() -> None:
    """Run what the page says. A refusal leaves the previous run where it was."""
    state = session()
    state.notice = None
    try:
        settings = read_settings()
        request = GenerationRequest(
            model_id=state.model_id,
            prompt=_prompt(),
            rows=(RowRequest(settings.sampler, settings.max_output_tokens, settings.stop_sequences),),
            precision=state.precision,
            session=state.id,
        )
        run = resources.engine().submit(request)
    except NucleusError as error:
        state.notice = i18n.explain(error)
        return
    _stop()
    state.run, state.selected_step = run, None


def _stop() -> None:
    if run := session().run:
        run.cancel()


with page("playground.title"):
    playground()
