"""Open and save recipes on the Best-of-N page, and show recorded answers as candidates.

Opening runs nothing, and the state before it can be restored. The sampler panel is the Playground's, where every recipe
is opened first.
"""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import streamlit as st

from llm_core import NucleusError, PromptSpec
from llm_core.best_of_n.criteria import CRITERIA as KNOWN
from llm_core.best_of_n.scoring import CandidateScorer
from llm_core.generation.request import MAX_SAMPLES_PER_REQUEST
from llm_core.recipes.recipe import ModelReference, Recipe
from llm_core.recipes.recorded_views import RecordedPool
from pages.ui.best_of_n.criteria_picker import (
    chosen_criteria,
    criterion_name,
    ground_truth_id,
    make_criteria,
    unavailable_reason,
    weight_key,
)
from pages.ui.best_of_n.drafts import PreviousState, ShownPool
from pages.ui.best_of_n.prompt_and_check import (
    ARGUMENT_KEY,
    CHECK_KEY,
    CRITERIA_KEY,
    EQUALITY_KEY,
    EXTRACTION_KEY,
    N_KEY,
    PROMPT_KEY,
    WHOLE_PROMPT_KEY,
    fill_once,
    read_best_prompt,
    read_n,
)
from pages.ui.best_of_n.request_estimate import ONE_CALL_KEY, read_best_hosted
from pages.ui.best_of_n.session_state import best_of_n_state
from pages.ui.model.request_builder import build_request
from pages.ui.recipes.opened import OpenedRecipe
from pages.ui.recipes.provenance import format_recipe_name, show_recorded_note, show_run_weights_note, show_weights_note
from pages.ui.recipes.recipe_fields import RecipeSource, hidden_fields, merge_edits, recipe_deadline
from pages.ui.settings.sampler_panel import read_sample_request
from pages.ui.shell import i18n
from pages.ui.shell.i18n import t
from pages.ui.shell.session import get, has, put, session

if TYPE_CHECKING:
    from llm_core.storage.recipe_store import SaveResult

MAX_WEIGHT = 10.0
CRITERION_IDS = (*KNOWN, "vertex_rating")


def open_in_best_of_n(opened: OpenedRecipe, place: int = 0) -> None:
    """Fill the page with a recipe and show the recorded answers to its prompt at `place` as candidates.

    Call it before the page is drawn, as from a button's `on_click`. Raises `NucleusError` and then changes nothing.
    """
    from llm_core.recipes.replay import replay_prompts

    state = session()
    here, recipe = best_of_n_state(), opened.recipe
    answers = replay_prompts(recipe) if recipe.trace else []
    pool = RecordedPool(answers[min(place, len(answers) - 1)]) if answers else None
    fill_once()
    keys = (
        PROMPT_KEY,
        WHOLE_PROMPT_KEY,
        N_KEY,
        ONE_CALL_KEY,
        CHECK_KEY,
        CRITERIA_KEY,
        EXTRACTION_KEY,
        ARGUMENT_KEY,
        EQUALITY_KEY,
        *map(weight_key, CRITERION_IDS),
    )
    before = PreviousState({key: get(key) for key in keys if has(key)}, here.shown, here.opened)
    if here.shown:
        here.shown.stop()
    here.shown = ShownPool(pool, CandidateScorer(pool, []), recipe=recipe) if pool else None
    here.before, here.opened, here.notice = before, opened, None
    try:
        _fill_fields(
            recipe,
            pool.template.prompt if pool else recipe.prompt.variants()[0],
            pool.requested if pool else recipe.count,
        )
        here.opened = dataclasses.replace(opened, shown=_read_fields())
    except NucleusError:
        _restore_previous()
        raise
    here.recipe_notice = _hidden_fields_notice(recipe, here.opened.shown or recipe)
    put("best_of_n.kind", "candidates")
    state.next_page = "best_of_n"


def show_recipe_line() -> None:
    """Draw the name of the open recipe, the result of opening or saving, and the provenance of its run."""
    here = best_of_n_state()
    if here.recipe_notice:
        kind, words = here.recipe_notice
        getattr(st, kind)(words)
    if here.opened or here.before:
        with st.container(horizontal=True, vertical_alignment="center"):
            if here.opened:
                st.markdown(f":material/menu_book: {format_recipe_name(here.opened)}", width="content")
            if here.before:
                st.button(
                    t("recipes.bring_back"),
                    key="best_of_n.bring_back",
                    icon=":material/undo:",
                    on_click=_restore_previous,
                )
    shown = here.shown
    if shown:
        show_recorded_note(shown.pool.runs[0])
        show_run_weights_note(shown.recipe, shown.pool.runs[0])
    if here.opened and not (shown and (shown.recorded or shown.recipe)):
        show_weights_note(here.opened.recipe)


def read_best_recipe(with_run: bool = False, **about: Any) -> Recipe:
    """Return the recipe of the page: its fields, and the open recipe's values that the page cannot show.

    `with_run` records the candidates with the request that they were generated with, whatever the fields say now.
    `about` has JSON data of further fields. Raises `NucleusError`.
    """
    from llm_core.models.revision import find_revision
    from llm_core.recipes.replay import RecordedSample
    from llm_core.recipes.trace import make_trace

    shown = best_of_n_state().shown
    if not with_run or shown is None or shown.recorded:
        return Recipe.read(merge_edits(_read_fields(), best_of_n_state().opened).data() | about)
    pool = shown.pool
    at = datetime.now(UTC).isoformat(timespec="seconds")
    trace = make_trace((RecordedSample(pool.find_run(index), row) for index, row in enumerate(pool.records)), at)
    model = ModelReference(id=pool.template.model_id, revision=find_revision(pool.runs[0].model))
    recipe = Recipe.from_request(pool.template, candidates=pool.requested, criteria=_read_weights(), model=model)
    return Recipe.read(recipe.replace(trace=trace).data() | about)


def can_record() -> bool:
    """Return whether there are candidates to save with the recipe."""
    shown = best_of_n_state().shown
    return bool(shown and not shown.pool.active and not shown.recorded)


def unsaved_note() -> str:
    """Return a note that the right answer is not saved, because recipes cannot hold it; empty without one."""
    return t("recipes.without_answer") if ground_truth_id() else ""


def mark_saved(recipe: Recipe, saved: SaveResult, words: tuple[str, str]) -> None:
    here = best_of_n_state()
    here.opened, here.recipe_notice = OpenedRecipe(recipe, _read_fields(), saved.id, saved.number, mine=True), words
    if here.shown:
        here.shown.recipe = recipe


RECIPE_SOURCE = RecipeSource(read_best_recipe, lambda: best_of_n_state().opened, mark_saved, can_record, unsaved_note)
"""What the save dialog reads from this page."""


def _read_fields() -> Recipe:
    """Return a recipe of the fields alone. Raises `NucleusError`."""
    sample, deadline = read_sample_request(), recipe_deadline(best_of_n_state().opened)
    like = build_request(read_best_prompt(), sample, deadline, read_best_hosted())
    return Recipe.from_request(like, candidates=max(1, read_n()), criteria=_read_weights())


def _read_weights() -> dict[str, float]:
    """Return weights by chosen criterion, without the ground-truth check, which no recipe holds."""
    chosen = (each.id for each in chosen_criteria() if each.id != ground_truth_id())
    return {name: float(get(weight_key(name)) or 0) for name in chosen}


def _fill_fields(recipe: Recipe, prompt: PromptSpec, count: int) -> None:
    plain = PromptSpec(prompt.instruction, extraction=prompt.extraction)
    own = (plain.messages(), plain.prefill, plain.output) == (prompt.messages(), prompt.prefill, prompt.output)
    values = {
        WHOLE_PROMPT_KEY: not (own and prompt.technique == "zero_shot"),
        PROMPT_KEY: prompt.instruction or get(PROMPT_KEY),
    }
    values |= {EXTRACTION_KEY: prompt.extraction.kind, ARGUMENT_KEY: prompt.extraction.argument, EQUALITY_KEY: False}
    values |= {ONE_CALL_KEY: recipe.hosted.candidate_count > 1}
    values |= {CHECK_KEY: "none", N_KEY: min(count, MAX_SAMPLES_PER_REQUEST) if count > 1 else get(N_KEY)}
    for key, value in values.items():
        put(key, value)
    free = [name for name, each in make_criteria().items() if not unavailable_reason(each)]
    put(CRITERIA_KEY, [name for name in free if name in recipe.criteria])
    for name in free:
        put(weight_key(name), min(max(float(recipe.criteria.get(name, 0)), -MAX_WEIGHT), MAX_WEIGHT))


def _hidden_fields_notice(recipe: Recipe, shown: Recipe) -> tuple[str, str] | None:
    """Return a notice of the recipe's parts that the page cannot show, or None."""
    hidden = [t(f"fields.{name}") for name in hidden_fields(recipe, shown) if name != "criteria"]
    if recipe.prompt.values and len(recipe.prompt.variants()) > 1:
        hidden.append(t("fields.values"))
    left = {name: weight for name, weight in recipe.criteria.items() if shown.criteria.get(name) != weight}
    known = [criterion_name(name) if name in CRITERION_IDS else i18n.escape_markdown(name) for name in left]
    words = [*hidden, *known]
    return ("info", t("recipes.best_not_shown", fields=", ".join(words))) if words else None


def _restore_previous() -> None:
    here = best_of_n_state()
    if here.before:
        for key, value in here.before.fields.items():
            put(key, value)
        if here.shown:
            here.shown.stop()
        here.shown, here.opened = here.before.shown, here.before.opened
        here.before = here.recipe_notice = None
