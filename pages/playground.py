"""Playground page: compose a prompt, run it, and watch the tokens and their probabilities."""

from __future__ import annotations

import streamlit as st

from llm_core import GenerationRequest, NucleusError, PromptSpec, SampleRequest
from llm_core.generation.technique_run import TechniqueRun
from llm_core.models.language_model import LanguageModel
from pages.ui.model.hosted_options import hosted_options, read_hosted
from pages.ui.model.status import hosted_target, is_hosted, model_status
from pages.ui.playground.beam_view import beam_view
from pages.ui.playground.open_recipe import SOURCE, bring_back_button, confirm_opening, opened_line
from pages.ui.playground.request_preview import sent_request
from pages.ui.playground.run_view import active, run_view
from pages.ui.playground.session_state import playground_state
from pages.ui.playground.share_dialog import open_share, share_dialog
from pages.ui.prompt.composer import composer, read_prompt
from pages.ui.recipes.recipe_fields import deadline_of
from pages.ui.recipes.save_dialog import save_button
from pages.ui.settings.sampler_panel import read_settings, sampler_panel
from pages.ui.settings.unsupported_settings import dead_settings
from pages.ui.shell import i18n, services
from pages.ui.shell.frame import page
from pages.ui.shell.i18n import t
from pages.ui.shell.session import session

MAX_PROMPTS = 64  # per run: as many samples as the engine runs in one batch


KEPT_ANSWERS = 8  # earlier answers without a branch that stay in the tree


def playground() -> None:
    """Draw the page: composer, run buttons and answers at the left, sampler panel at the right."""
    work, panel = st.columns([2.1, 1], gap="medium")
    with panel:
        sampler_panel(dead_settings())
    with work:
        model, hosted = model_status(), is_hosted()
        with st.container(border=True):
            opened_line()
            bring_back_button()
            composer(model)
            if hosted:
                hosted_options()
                sent_request(_request)
            _run_and_stop(model)
        run_view()
        if not hosted:  # a beam search needs the probabilities of all tokens
            beam_view()
    confirm_opening()


def _run_and_stop(model: LanguageModel | None) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(t("playground.run"), key="run", type="primary", on_click=_start, shortcut="Ctrl+Enter")
        st.button(t("playground.stop"), key="stop", on_click=_stop, disabled=not active())
        st.caption(t("playground.shortcut"), width="content")
        save_button(SOURCE)
        st.space("stretch")
        st.button(t("share.title"), key="share", icon=":material/share:", on_click=open_share)
        if model:
            st.caption(t("playground.model_line", model=model.name, precision=session().precision), width="content")
        elif target := hosted_target():
            st.caption(i18n.plain(target.name.rsplit("/", 1)[-1]), width="content")
    share_dialog()
    if playground_state().notice:
        st.error(playground_state().notice, icon=":material/error:")


def _start() -> None:
    """Run the prompts of the page. If one is refused, show the error, stop new runs and keep the previous answers."""
    state = playground_state()
    state.notice = state.desk_notice = None
    begun: list[TechniqueRun] = []
    try:
        spec = read_prompt(read_settings().stop_sequences)
        prompts = spec.prompts()
        if len(prompts) > MAX_PROMPTS:
            raise NucleusError("too_many_prompts", value=len(prompts), limit=MAX_PROMPTS)
        begun = [TechniqueRun(services.submit, _request(prompt)) for prompt in prompts]
    except NucleusError as error:
        for asking in begun:
            asking.stop()
        state.notice = i18n.explain(error)
        return
    _stop()
    state.askings, state.asked_values = begun, spec.values if spec.variables() else ()
    state.asked_prompt = spec
    state.asked_recipe = state.opened.recipe if state.opened else None
    state.shown, state.selected_step, state.branch, state.compared = (0, 0), None, None, None
    state.tree.drop_bare_roots(KEPT_ANSWERS)


def _request(prompt: PromptSpec) -> GenerationRequest:
    """Return the generation request for a prompt with the settings of the page. Raises `NucleusError` for an invalid
    field."""
    state, settings = session(), read_settings()
    row = SampleRequest(settings.sampler, settings.max_output_tokens, settings.stop_sequences)
    deadline = deadline_of(playground_state().opened)
    return GenerationRequest(state.model_id, prompt, (row,), state.precision, state.id, deadline, read_hosted())


def _stop() -> None:
    """Stop all runs and branches."""
    for asking in playground_state().askings:
        asking.stop()
    for branch, _ in playground_state().tree.list_in_order():
        branch.run.cancel()


with page("playground.title"):
    playground()
