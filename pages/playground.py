"""Playground page: compose a prompt, run it, and watch the tokens and their probabilities."""

from __future__ import annotations

import streamlit as st

from llm_core import GenerationRequest, NucleusError, PromptSpec
from llm_core.generation.request import MAX_SAMPLES_PER_REQUEST
from llm_core.generation.technique_run import TechniqueRun
from llm_core.models.language_model import LanguageModel
from pages.ui.model.hosted_options import show_hosted_options
from pages.ui.model.request_builder import build_request
from pages.ui.model.status import hosted_target, is_hosted, show_model_status
from pages.ui.playground.beam_view import show_beam_search
from pages.ui.playground.open_recipe import RECIPE_SOURCE, confirm_opening, show_opened_recipe, show_restore_button
from pages.ui.playground.request_preview import show_request
from pages.ui.playground.run_view import has_active_runs, show_run
from pages.ui.playground.session_state import playground_state
from pages.ui.playground.share_dialog import open_share_dialog, show_share_dialog
from pages.ui.prompt.composer import read_prompt, show_composer
from pages.ui.recipes.recipe_fields import recipe_deadline
from pages.ui.recipes.save_dialog import show_save_button
from pages.ui.settings.sampler_panel import read_sample_request, show_sampler_panel
from pages.ui.settings.unsupported_settings import explain_unsupported
from pages.ui.shell import i18n, services
from pages.ui.shell.frame import page
from pages.ui.shell.i18n import t
from pages.ui.shell.session import session

MAX_UNBRANCHED_ANSWERS = 8  # earlier answers without a branch that stay in the tree


def show_playground_page() -> None:
    """Draw the page: composer, run buttons and answers at the left, sampler panel at the right."""
    work, panel = st.columns([2.1, 1], gap="medium")
    with panel:
        show_sampler_panel(explain_unsupported())
    with work:
        model, hosted = show_model_status(), is_hosted()
        with st.container(border=True):
            show_opened_recipe()
            show_restore_button()
            show_composer(model)
            if hosted:
                show_hosted_options()
                show_request(_make_request)
            _show_run_buttons(model)
        show_run()
        if not hosted:  # a beam search needs the probabilities of all tokens
            show_beam_search()
    confirm_opening()


def _show_run_buttons(model: LanguageModel | None) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(t("playground.run"), key="playground.run", type="primary", on_click=_start_run, shortcut="Ctrl+Enter")
        st.button(t("playground.stop"), key="playground.stop", on_click=_stop_runs, disabled=not has_active_runs())
        st.caption(t("playground.shortcut"), width="content")
        show_save_button(RECIPE_SOURCE)
        st.space("stretch")
        st.button(t("share.title"), key="playground.share", icon=":material/share:", on_click=open_share_dialog)
        if model:
            st.caption(t("playground.model_line", model=model.name, precision=session().precision), width="content")
        elif target := hosted_target():
            st.caption(i18n.escape_markdown(target.name.rsplit("/", 1)[-1]), width="content")
    show_share_dialog()
    if playground_state().notice:
        st.error(playground_state().notice, icon=":material/error:")


def _start_run() -> None:
    """Run the prompts of the page. If one is refused, show the error, stop new runs and keep the previous answers."""
    state = playground_state()
    state.notice = state.recipe_notice = None
    begun: list[TechniqueRun] = []
    try:
        spec = read_prompt(read_sample_request().stop_sequences)
        prompts = spec.variants()
        if len(prompts) > MAX_SAMPLES_PER_REQUEST:
            raise NucleusError("too_many_prompts", value=len(prompts), limit=MAX_SAMPLES_PER_REQUEST)
        begun = [TechniqueRun(services.submit, _make_request(prompt)) for prompt in prompts]
    except NucleusError as error:
        for technique_run in begun:
            technique_run.stop()
        state.notice = i18n.explain(error)
        return
    _stop_runs()
    state.technique_runs, state.run_values = begun, spec.values if spec.variables() else ()
    state.run_prompt = spec
    state.run_recipe = state.opened.recipe if state.opened else None
    state.shown, state.selected_step, state.branch, state.compared = (0, 0), None, None, None
    state.tree.drop_bare_roots(MAX_UNBRANCHED_ANSWERS)


def _make_request(prompt: PromptSpec) -> GenerationRequest:
    """Return the generation request for a prompt with the settings of the page. Raises `NucleusError` for an invalid
    field."""
    return build_request(prompt, read_sample_request(), recipe_deadline(playground_state().opened))


def _stop_runs() -> None:
    """Stop all runs and branches."""
    for technique_run in playground_state().technique_runs:
        technique_run.stop()
    for branch, _ in playground_state().tree.list_in_order():
        branch.run.cancel()


with page("playground.title"):
    show_playground_page()
