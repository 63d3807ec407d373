"""Lay out the Best-of-N page: many candidates for one prompt, scored by several criteria.

The page shows the winner under each criterion and how the winner improves with more candidates.
"""

from __future__ import annotations

import streamlit as st

from llm_core import GenerationRequest, NucleusError
from llm_core.best_of_n.scoring import CandidateScorer
from llm_core.experiments.candidate_pool import CandidatePool
from llm_core.generation.request import MAX_SAMPLES_PER_REQUEST
from llm_core.models.language_model import LanguageModel
from pages.ui.best_of_n.benchmark import estimate_benchmark, show_benchmark, show_benchmark_settings, start_benchmark
from pages.ui.best_of_n.candidates import show_candidates
from pages.ui.best_of_n.criteria_picker import chosen_criteria, ground_truth_id, show_criteria
from pages.ui.best_of_n.drafts import ShownPool
from pages.ui.best_of_n.prompt_and_check import (
    fill_once,
    read_best_prompt,
    read_n,
    show_check_fields,
    show_presets,
    show_prompt_fields,
)
from pages.ui.best_of_n.recipe import RECIPE_SOURCE, show_recipe_line
from pages.ui.best_of_n.request_estimate import (
    RequestGroup,
    estimate_requests,
    merge_by_model,
    read_best_hosted,
    show_one_call_field,
    show_request_estimate,
)
from pages.ui.best_of_n.session_state import best_of_n_state
from pages.ui.components.fields import show_field
from pages.ui.model.request_builder import build_request
from pages.ui.model.request_estimate import check_request_count
from pages.ui.model.status import hosted_target, is_hosted, show_model_status
from pages.ui.recipes.recipe_fields import recipe_deadline
from pages.ui.recipes.save_dialog import show_save_button
from pages.ui.settings.sampler_panel import read_sample_request, show_sampler_panel
from pages.ui.settings.unsupported_settings import explain_unsupported
from pages.ui.shell import i18n, services
from pages.ui.shell.frame import page
from pages.ui.shell.i18n import t
from pages.ui.shell.session import get, has, put, session

RUN_KINDS = ("candidates", "items")


def show_best_of_n_page() -> None:
    fill_once()
    _sync_criteria()
    work, panel = st.columns([2.6, 1], gap="medium")
    with panel:
        show_sampler_panel(explain_unsupported())
    with work:
        model = show_model_status()
        kind = _show_setup(model)
        if kind == "items":
            show_benchmark()
        else:
            with st.container(border=True):
                show_criteria()
    if kind == "candidates":
        show_candidates()
    if (there := best_of_n_state().next_page) is not None:
        best_of_n_state().next_page = None
        st.switch_page(f"pages/{there}.py")


def _show_setup(model: LanguageModel | None) -> str:
    """Draw the fields and the buttons of a run. Returns the kind of run: `candidates` or `items`."""
    if not has("best_of_n.kind"):
        put("best_of_n.kind", RUN_KINDS[0])
    with st.container(border=True):
        show_recipe_line()
        st.markdown(t("best.idea"))
        names = {each: t(f"best.kinds.{each}") for each in RUN_KINDS}
        kind = str(
            show_field(
                st.segmented_control,
                "best.kind",
                "best_of_n.kind",
                list(names),
                required=True,
                format_func=names.__getitem__,
                label_visibility="collapsed",
            )
        )
        if kind == "candidates":
            show_presets()
            check_first, prompt_second = st.container(), st.container()
            with prompt_second:
                show_check_fields()
            with check_first:
                show_prompt_fields()
        else:
            st.caption(t("best.items_text"))
            show_benchmark_settings()
        show_one_call_field()
        show_request_estimate(_estimate_run if kind == "candidates" else estimate_benchmark)
        _show_run_buttons(kind, model)
    return kind


def _show_run_buttons(kind: str, model: LanguageModel | None) -> None:
    state = best_of_n_state()
    shown = state.shown
    with st.container(horizontal=True, vertical_alignment="center"):
        begin = _start_run if kind == "candidates" else start_benchmark
        st.button(t("playground.run"), key="best_of_n.run", type="primary", on_click=begin, shortcut="Ctrl+Enter")
        if kind == "candidates":
            st.button(
                t("playground.stop"), key="best_of_n.stop", on_click=_stop_run, disabled=not (shown and shown.active)
            )
            full = shown is None or shown.active or shown.recorded or shown.pool.requested >= MAX_SAMPLES_PER_REQUEST
            st.button(
                t("best.grow"), key="best_of_n.grow", on_click=_add_candidates, disabled=full, help=t("best.grow_help")
            )
            show_save_button(RECIPE_SOURCE)
        st.space("stretch")
        if model:
            st.caption(t("playground.model_line", model=model.name, precision=session().precision), width="content")
        elif is_hosted() and (target := hosted_target()):
            st.caption(i18n.escape_markdown(target.name.rsplit("/", 1)[-1]), width="content")
    if state.notice:
        st.error(state.notice, icon=":material/error:")


def _read_template() -> GenerationRequest:
    """Return the request that each candidate is generated with. Raises `NucleusError`."""
    sample, deadline = read_sample_request(), recipe_deadline(best_of_n_state().opened)
    return build_request(read_best_prompt(), sample, deadline, read_best_hosted())


def _estimate_run() -> list[RequestGroup]:
    """Estimate the provider requests that Run would send. Raises `NucleusError`."""
    return estimate_requests(_read_template(), read_n(), chosen_criteria())


def _start_run() -> None:
    """Generate candidates. An error leaves the candidates before them in place."""
    state = best_of_n_state()
    state.notice = None
    try:
        like = _read_template()
        check_request_count(merge_by_model(_estimate_run()))
        pool = CandidatePool(services.submit, like, read_n())
    except NucleusError as error:
        state.notice = i18n.explain(error)
        return
    _stop_run()
    recipe = state.opened.recipe if state.opened else None
    state.shown = ShownPool(pool, CandidateScorer(pool, chosen_criteria()), ground_truth_id(), recipe=recipe)


def _add_candidates() -> None:
    """Generate more candidates, up to the N of the field, or twice as many if that is no more. Those present stay."""
    state = best_of_n_state()
    state.notice = None
    if (shown := state.shown) is None:
        return
    wanted = int(get("best_of_n.n") or 0)
    if wanted <= shown.pool.requested:
        wanted = min(MAX_SAMPLES_PER_REQUEST, 2 * shown.pool.requested)
        put("best_of_n.n", wanted)
    try:
        shown.pool.grow(wanted)
        shown.scorer.resume()
    except NucleusError as error:
        state.notice = i18n.explain(error)


def _stop_run() -> None:
    if (shown := best_of_n_state().shown) is not None:
        shown.stop()


def _sync_criteria() -> None:
    """Apply criteria that changed after the run to the present candidates, without generating any again."""
    if (shown := best_of_n_state().shown) is None:
        return
    criteria, truth = chosen_criteria(), ground_truth_id()
    if (
        truth == "verifier" and shown.pool.template.prompt != read_best_prompt()
    ):  # the fields show another item than the run's
        criteria, truth = [each for each in criteria if each.id != truth], None
    shown.scorer.set_criteria(criteria)
    shown.scorer.advance()
    shown.ground_truth = truth


with page("best.title"):
    show_best_of_n_page()
