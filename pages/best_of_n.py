"""Lay out the Best-of-N page: many candidates for one prompt, scored by several criteria.

The page shows the winner under each criterion and how the winner improves with more candidates.
"""

from __future__ import annotations

import streamlit as st

from llm_core import GenerationRequest, NucleusError, RowRequest
from llm_core.best_of_n.scoring import Judging
from llm_core.experiments.candidate_pool import MAX_CANDIDATES, CandidatePool
from llm_core.models.language_model import LanguageModel
from pages.ui.best_of_n.benchmark import items_asked, items_settings, items_view, start_items
from pages.ui.best_of_n.candidates import best_view
from pages.ui.best_of_n.criteria_picker import chosen_criteria, criteria_card, truth_id
from pages.ui.best_of_n.drafts import ShownPool
from pages.ui.best_of_n.prompt_and_check import check_fields, examples, prompt_fields, read_best_prompt, read_n, start
from pages.ui.best_of_n.recipe import SOURCE, recipe_line
from pages.ui.best_of_n.request_estimate import Asked, asked, one_call_field, plans, read_best_hosted, requests_note
from pages.ui.model.request_estimate import check_plan
from pages.ui.model.status import hosted_target, is_hosted, model_status
from pages.ui.recipes.recipe_fields import deadline_of
from pages.ui.recipes.save_dialog import save_button
from pages.ui.settings.sampler_panel import read_settings, sampler_panel
from pages.ui.settings.unsupported_settings import dead_settings
from pages.ui.shell import i18n, services
from pages.ui.shell.frame import page
from pages.ui.shell.i18n import t
from pages.ui.shell.session import get, has, put, session

KINDS = ("candidates", "items")


def best_page() -> None:
    start()
    _follow_the_fields()
    work, panel = st.columns([2.6, 1], gap="medium")
    with panel:
        sampler_panel(dead_settings())
    with work:
        model = model_status()
        kind = _top(model)
        if kind == "items":
            items_view()
        else:
            with st.container(border=True):
                criteria_card()
    if kind == "candidates":
        best_view()
    if (there := session().best.follow_to) is not None:
        session().best.follow_to = None
        st.switch_page(f"pages/{there}.py")


def _top(model: LanguageModel | None) -> str:
    """Draw the fields and the buttons of a run. Returns the kind of run: `candidates` or `items`."""
    if not has("best_kind"):
        put("best_kind", KINDS[0])
    with st.container(border=True):
        recipe_line()
        st.markdown(t("best.idea"))
        names = {each: t(f"best.kinds.{each}") for each in KINDS}
        kind = str(
            st.segmented_control(
                t("best.kind"),
                list(names),
                required=True,
                format_func=names.__getitem__,
                key="best_kind",
                label_visibility="collapsed",
                persist_state="session",
            )
        )
        if kind == "candidates":
            examples()
            check_first, prompt_second = st.container(), st.container()
            with prompt_second:
                check_fields()
            with check_first:
                prompt_fields()
        else:
            st.caption(t("best.items_text"))
            items_settings()
        one_call_field()
        requests_note(_asked if kind == "candidates" else items_asked)
        _buttons(kind, model)
    return kind


def _buttons(kind: str, model: LanguageModel | None) -> None:
    shown = session().best.shown
    with st.container(horizontal=True, vertical_alignment="center"):
        begin = _start if kind == "candidates" else start_items
        st.button(t("playground.run"), key="best_run", type="primary", on_click=begin, shortcut="Ctrl+Enter")
        if kind == "candidates":
            st.button(t("playground.stop"), key="best_stop", on_click=_stop, disabled=not (shown and shown.active))
            full = shown is None or shown.active or shown.recorded or shown.pool.asked >= MAX_CANDIDATES
            st.button(t("best.grow"), key="best_grow", on_click=_grow, disabled=full, help=t("best.grow_help"))
            save_button(SOURCE)
        st.space("stretch")
        if model:
            st.caption(t("playground.model_line", model=model.name, precision=session().precision), width="content")
        elif is_hosted() and (target := hosted_target()):
            st.caption(i18n.plain(target.name.rsplit("/", 1)[-1]), width="content")
    if session().best.notice:
        st.error(session().best.notice, icon=":material/error:")


def _like() -> GenerationRequest:
    """Return the request that each candidate is generated with. Raises `NucleusError`."""
    state, settings = session(), read_settings()
    row = RowRequest(settings.sampler, settings.max_output_tokens, settings.stop_sequences)
    deadline = deadline_of(state.best.opened)
    hosted = read_best_hosted()
    return GenerationRequest(state.model_id, read_best_prompt(), (row,), state.precision, state.id, deadline, hosted)


def _asked() -> list[Asked]:
    """Estimate the provider requests that Run would send. Raises `NucleusError`."""
    return asked(_like(), read_n(), chosen_criteria())


def _start() -> None:
    """Generate candidates. An error leaves the candidates before them in place."""
    state = session()
    state.best.notice = None
    try:
        like = _like()
        check_plan(plans(_asked()))
        pool = CandidatePool(services.submit, like, read_n())
    except NucleusError as error:
        state.best.notice = i18n.explain(error)
        return
    _stop()
    recipe = state.best.opened.recipe if state.best.opened else None
    state.best.shown = ShownPool(pool, Judging(pool, chosen_criteria()), truth_id(), recipe=recipe)


def _grow() -> None:
    """Generate more candidates, up to the N of the field, or twice as many if that is no more. Those present stay."""
    state = session()
    state.best.notice = None
    if (shown := state.best.shown) is None:
        return
    wanted = int(get("best_n") or 0)
    if wanted <= shown.pool.asked:
        wanted = min(MAX_CANDIDATES, 2 * shown.pool.asked)
        put("best_n", wanted)
    try:
        shown.pool.grow(wanted)
        shown.judging.resume()
    except NucleusError as error:
        state.best.notice = i18n.explain(error)


def _stop() -> None:
    if (shown := session().best.shown) is not None:
        shown.stop()


def _follow_the_fields() -> None:
    """Apply criteria that changed after the run to the present candidates, without generating any again."""
    if (shown := session().best.shown) is None:
        return
    criteria, truth = chosen_criteria(), truth_id()
    if (
        truth == "verifier" and shown.pool.like.prompt != read_best_prompt()
    ):  # the fields show another item than the run's
        criteria, truth = [each for each in criteria if each.id != truth], None
    shown.judging.choose(criteria)
    shown.judging.advance()
    shown.truth = truth


with page("best.title"):
    best_page()
