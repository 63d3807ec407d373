"""Read the Playground's fields as a recipe, and open a recipe in them.

Opening neither runs nor loads anything. Unsaved work is replaced only after the reader agrees, and can be restored.
What the Playground has no field for (several seeds, candidates, notes, ...) stays with the open recipe and goes into
its next version.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import streamlit as st

from llm_core import NucleusError
from llm_core.models.builtin import MODEL_ID, NAME
from llm_core.recipes.recipe import Recipe
from pages.ui.model.hosted_options import write_hosted_options
from pages.ui.model.request_builder import build_request
from pages.ui.playground.session_state import playground_state
from pages.ui.prompt.composer import is_default_prompt, read_prompt, write_prompt
from pages.ui.recipes.export_panel import show_dropped_fields
from pages.ui.recipes.opened import OpenedRecipe
from pages.ui.recipes.provenance import format_recipe_name, show_weights_note
from pages.ui.recipes.recipe_fields import RecipeSource, hidden_fields, merge_edits, recipe_deadline
from pages.ui.settings.sampler_panel import SETTING_RANGES, read_sample_request, write_settings
from pages.ui.shell import i18n
from pages.ui.shell.i18n import t
from pages.ui.shell.session import Key, has, put, session
from samplers import ORDERS, SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llm_core.generation.technique_run import TechniqueRun
    from llm_core.storage.recipe_store import SaveResult

MAX_WHOLE_NUMBER = 10**9
"""Maximum of whole-number settings: larger values have the same effect, and browsers cannot hold all of them."""

OPENERS: dict[str, Callable[..., None]] = {}
"""Functions that open a recipe on another page, by page. `app.py` fills in those of pages that lie above this room."""


def read_recipe(**about: Any) -> Recipe:
    """Return the recipe of the Playground: its fields merged with the open recipe. `about` has JSON data of further
    fields.

    Raises `NucleusError` for invalid fields.
    """
    return Recipe.read(merge_edits(_read_fields(), playground_state().opened).data() | about)


def has_unsaved_work() -> bool:
    """Return whether the Playground holds work that opening a recipe would lose."""
    if not _has_fields():
        return False
    opened = playground_state().opened
    try:
        now = _read_fields()
    except NucleusError:  # a field is incomplete
        return True
    if opened is None or opened.shown is None:
        return not is_default_prompt(now.prompt)
    return now.model_copy(update={"model": opened.shown.model}) != opened.shown


def open_or_confirm(opened: OpenedRecipe) -> None:
    """Open a recipe, or leave it to `confirm_opening` if it would replace unsaved work. Call it before the Playground's
    fields are drawn, as from a button's `on_click`."""
    if has_unsaved_work():
        playground_state().pending_recipe = opened
    else:
        open_recipe(opened)


def open_recipe(opened: OpenedRecipe) -> None:
    """Fill the Playground from a recipe and show its recorded run, if any. The previous fields can be restored."""
    from llm_core.recipes.replay import replay_prompts

    state, recipe = session(), opened.recipe
    playground_state().pending_recipe = None
    try:
        recorded = replay_prompts(recipe) if recipe.trace else []
    except NucleusError as error:
        playground_state().recipe_notice = ("error", i18n.explain(error))
        return
    playground_state().replaced_recipe, playground_state().replaced_answers = _read_current(), ()
    _write_fields(recipe)
    if recorded:
        _replace_answers(recorded)
    playground_state().notice, state.next_page = None, "playground"
    playground_state().opened = opened
    shown = _read_fields()
    playground_state().opened = dataclasses.replace(opened, shown=shown)
    kept_back = hidden_fields(recipe, shown)
    words = ", ".join(t(f"fields.{name}") for name in kept_back)
    playground_state().recipe_notice = ("info", t("desk.not_shown", fields=words)) if kept_back else None


def show_restore_button() -> None:
    """Draw the button that restores what was replaced, if there is any."""
    if playground_state().replaced_recipe:
        st.button(
            t("playground.bring_back"), on_click=_restore_replaced, icon=":material/undo:", key="playground.bring_back"
        )


def confirm_opening() -> None:
    """Draw the dialog that asks whether the pending recipe may replace unsaved work, if there is one."""
    if (opened := playground_state().pending_recipe) is not None:
        st.dialog(t("desk.replace_title"), on_dismiss=_cancel_opening)(_show_confirmation)(opened)


def switch_to_next_page() -> None:
    """Switch to the page on which a recipe has just been opened."""
    if there := session().next_page:
        session().next_page = ""
        st.switch_page(f"pages/{there}.py")


def show_opened_recipe() -> None:
    """Draw the open recipe's name and description, the last message on it, and the model that it was made for."""
    state = playground_state()
    if state.recipe_notice:
        kind, words = state.recipe_notice
        getattr(st, kind)(words)
    if (opened := state.opened) is None:
        return
    with st.container(key="playground.opened_recipe"):
        _show_opened(opened)


def _show_opened(opened: OpenedRecipe) -> None:
    state = session()
    with st.container(horizontal=True, vertical_alignment="center"):
        changed = f" · {t('desk.changed')}" if has_unsaved_work() else ""
        st.markdown(f":material/menu_book: {format_recipe_name(opened)}{changed}", width="content")
    _show_description(opened.recipe)
    show_dropped_fields(opened.unread_fields, t("conversions.not_read"))
    _show_other_pages(opened)
    show_weights_note(opened.recipe)
    wanted = opened.recipe.model.id
    if wanted != state.model_id:
        with st.container(horizontal=True, vertical_alignment="center"):
            name = NAME if wanted == MODEL_ID else wanted
            st.caption(t("desk.other_model", model=i18n.escape_markdown(name)), width="content")
            st.button(t("desk.use_model"), on_click=_use_model, args=(wanted,), key="playground.use_recipe_model")


def _show_description(recipe: Recipe) -> None:
    """Draw author, licence, tags and notes: untrusted text."""
    facts = [i18n.escape_markdown(text) for text in (recipe.author, recipe.licence, *recipe.tags) if text]
    if facts:
        st.caption(" · ".join(facts))
    if recipe.notes:
        st.code(recipe.notes, language=None, wrap_lines=True)


def _show_other_pages(opened: OpenedRecipe) -> None:
    """Draw buttons to pages that can show more of the recipe: several recorded answers side by side, and candidates."""
    recipe = opened.recipe
    recorded = len(recipe.trace.rows) if recipe.trace else 0
    if max(recorded, recipe.count) < 2 and not recipe.criteria:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(t("recipes.also", count=max(recorded, recipe.count)), width="content")
        if recorded > 1:
            st.button(
                t("recipes.in_compare"), key="playground.open_in_compare", on_click=_open_in_compare, args=(recipe,)
            )
        st.button(t("recipes.in_best"), key="playground.open_in_best_of_n", on_click=_open_in_best_of_n, args=(opened,))


def _open_in_compare(recipe: Recipe) -> None:
    OPENERS["compare"](recipe)


def _open_in_best_of_n(opened: OpenedRecipe) -> None:
    """Open the recipe with the changes made in the Playground."""
    state = playground_state()
    try:
        recipe = read_recipe() if has_unsaved_work() else opened.recipe
        OPENERS["best_of_n"](dataclasses.replace(opened, recipe=recipe), state.shown[0])
    except NucleusError as error:
        state.recipe_notice = ("error", i18n.explain(error))


def _replace_answers(answers: Sequence[TechniqueRun]) -> None:
    """Replace the shown answers; `_restore_replaced` brings the previous ones back."""
    state = playground_state()
    for technique_run in state.technique_runs:
        technique_run.stop()
    state.replaced_answers = tuple(state.technique_runs)
    state.technique_runs, state.run_values, state.run_prompt = list(answers), (), None
    state.shown, state.selected_step, state.branch, state.compared = (0, 0), None, None, None


def _show_confirmation(opened: OpenedRecipe) -> None:
    title = opened.recipe.title or t("desk.untitled")
    st.markdown(t("desk.replace", title=i18n.escape_markdown(title)))
    with st.container(horizontal=True):
        # Opened by `on_click`, before the whole page reruns; opened in the dialog, fields outside would lose values.
        if st.button(
            t("desk.open"), type="primary", key="playground.confirm_open", on_click=open_recipe, args=(opened,)
        ):
            st.rerun()
        if st.button(t("desk.keep"), key="playground.cancel_open", on_click=_cancel_opening):
            st.rerun()


def _cancel_opening() -> None:
    playground_state().pending_recipe = None


def _restore_replaced() -> None:
    """Restore the fields and answers that were replaced last."""
    state = playground_state()
    if state.replaced_recipe:
        _write_fields(state.replaced_recipe)
        if state.technique_runs and state.technique_runs[0].main.recorded:
            _replace_answers(state.replaced_answers)
        state.replaced_recipe = state.opened = state.recipe_notice = None


def mark_saved(recipe: Recipe, saved: SaveResult, words: tuple[str, str]) -> None:
    """Mark the Playground's fields as this saved version of the reader's own recipe."""
    playground_state().opened = OpenedRecipe(recipe, _read_fields(), saved.id, saved.number, mine=True)
    playground_state().recipe_notice = words


RECIPE_SOURCE = RecipeSource(read_recipe, lambda: playground_state().opened, mark_saved, lambda: False, str)
"""Functions for the dialog that saves recipes. It cannot add answers, which are shared in a file of their own."""


def _has_fields() -> bool:
    return has(Key.INSTRUCTION) and has(Key.STRATEGY)


def _read_fields() -> Recipe:
    """Return the recipe of the fields alone."""
    sample, deadline = read_sample_request(), recipe_deadline(playground_state().opened)
    return Recipe.from_request(build_request(read_prompt(), sample, deadline))


def _read_current() -> Recipe | None:
    if not _has_fields():
        return None
    try:
        return read_recipe()
    except NucleusError:  # an empty prompt is no loss, and an invalid number cannot be kept
        return playground_state().replaced_recipe


def _write_fields(recipe: Recipe) -> None:
    """Fill the fields as far as they can hold the recipe: numbers in their ranges, one seed, an order with a name."""
    sampler, limits = recipe.sampler, recipe.limits
    values: dict[str, Any] = {
        name: min(getattr(sampler, name), MAX_WHOLE_NUMBER) for name, setting in SETTINGS.items() if setting.whole
    }
    values["temperature"] = min(sampler.temperature, SETTING_RANGES[Key.TEMPERATURE][1])
    values["top_p"] = max(sampler.top_p, SETTING_RANGES[Key.TOP_P][0])
    values["seed"] = min(recipe.seeds[0], int(SETTING_RANGES[Key.SEED][1]))
    values["order"] = sampler.order if sampler.order in ORDERS else "huggingface"
    write_prompt(recipe.prompt)
    write_settings(
        dataclasses.replace(sampler, **values),
        limits.max_output_tokens,
        tuple(dict.fromkeys((*limits.stop_sequences, *recipe.prompt.stop_sequences))),
    )
    write_hosted_options(recipe.hosted)
    session().precision = recipe.precision
    put(Key.PRECISION, recipe.precision)


def _use_model(model_id: str) -> None:
    session().model_id = model_id
