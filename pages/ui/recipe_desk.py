"""Recipes and the Playground: its fields as a recipe, a recipe in its fields.

Opening runs nothing and loads no model. What the reader had not saved is asked for before it is replaced, and can be
brought back. What the Playground has no field for (several seeds, candidates, notes, ...) stays with the recipe that
is open and goes into its next version.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import streamlit as st

from llm_core import GenerationRequest, NucleusError, RowRequest
from llm_core.builtin_model import MODEL_ID, NAME
from llm_core.recipe import Recipe
from pages.ui import i18n
from pages.ui.composer import is_first_prompt, read_prompt, write_prompt
from pages.ui.controls import LIMITS, read_settings, write_settings
from pages.ui.export_panel import lost_note
from pages.ui.hosted_options import read_hosted, write_hosted
from pages.ui.i18n import t
from pages.ui.state import Key, OpenedRecipe, has, put, session
from samplers import ORDERS, SETTINGS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llm_core.asking import Asking
    from llm_core.storage.recipe_store import Saved

MOST = 10**9
"""Larger whole numbers than this say the same, and browsers cannot hold all of them."""


def read_recipe(**about: Any) -> Recipe:
    """What the Playground says, and what the open recipe says beyond it; `about` has JSON data of further fields.
    Raises `NucleusError` for fields that say what cannot be."""
    now, opened = _fields(), session().opened
    if opened is None or opened.shown is None:
        return Recipe.read(now.data() | about)
    shown, whole = opened.shown, opened.recipe
    parts = ("model", "precision", "prompt", "seeds", "limits", "hosted")
    changed: dict[str, Any] = {name: getattr(now, name) for name in parts if getattr(now, name) != getattr(shown, name)}
    if now.sampler != shown.sampler:
        names = [each.name for each in dataclasses.fields(now.sampler)]
        moved = {name for name in names if getattr(now.sampler, name) != getattr(shown.sampler, name)}
        changed["sampler"] = dataclasses.replace(whole.sampler, **{name: getattr(now.sampler, name) for name in moved})
    if changed:  # what was recorded was a run of something else
        whole = whole.model_copy(update=changed | {"trace": None})
    return Recipe.read(whole.data() | about)


def unsaved() -> bool:
    """Whether the Playground holds something that opening a recipe would take away."""
    if not _filled():
        return False
    opened = session().opened
    try:
        now = _fields()
    except NucleusError:  # half typed
        return True
    if opened is None or opened.shown is None:
        return not is_first_prompt(now.prompt)
    return now.model_copy(update={"model": opened.shown.model}) != opened.shown


def ask_to_open(opened: OpenedRecipe) -> None:
    """Open it, or where that would replace something have `confirm_opening` ask. To be called before the Playground's
    fields are drawn, as from a button's `on_click`."""
    if unsaved():
        session().to_open = opened
    else:
        open_recipe(opened)


def open_recipe(opened: OpenedRecipe) -> None:
    """Fill the Playground. What was in it can be brought back."""
    from llm_core.recipe_replay import replayed

    state, recipe = session(), opened.recipe
    state.to_open = None
    try:
        recorded = replayed(recipe) if recipe.trace else []
    except NucleusError as error:
        state.desk_notice = ("error", i18n.explain(error))
        return
    state.replaced, state.replaced_answers = _what_is_there(), ()
    _write(recipe)
    if recorded:
        _show(recorded)
    state.notice, state.just_opened = None, True
    state.opened = dataclasses.replace(opened, shown=_fields())
    kept_back = _hidden_settings(recipe)
    words = ", ".join(t(f"fields.{name}") for name in kept_back)
    state.desk_notice = ("info", t("desk.not_shown", fields=words)) if kept_back else None


def bring_back_button() -> None:
    if session().replaced:
        st.button(t("playground.bring_back"), on_click=_bring_back, icon=":material/undo:", key="bring_back")


def confirm_opening() -> None:
    """Ask whether what is to be opened may replace what is there."""
    if (opened := session().to_open) is not None:
        st.dialog(t("desk.replace_title"), on_dismiss=_keep)(_ask)(opened)


def follow_to_the_playground() -> None:
    """Go there if something has just been opened."""
    if session().just_opened:
        session().just_opened = False
        st.switch_page("pages/playground.py")


def opened_line() -> None:
    """Which recipe is open, what came of the last thing done with it, and the model that it was made for."""
    state = session()
    if state.desk_notice:
        kind, words = state.desk_notice
        getattr(st, kind)(words)
    if (opened := state.opened) is None:
        return
    with st.container(key="recipe-opened"):
        _opened(opened)


def _opened(opened: OpenedRecipe) -> None:
    state = session()
    with st.container(horizontal=True, vertical_alignment="center"):
        title = i18n.plain(opened.recipe.title or t("desk.untitled"))
        version = t("desk.version", number=opened.version) if opened.id else t("desk.not_saved")
        changed = t("desk.changed") if unsaved() else ""
        words = " · ".join(filter(None, (f"**{title}**", version, changed)))
        st.markdown(f":material/menu_book: {words}", width="content")
    _about(opened.recipe)
    lost_note(opened.not_read, t("conversions.not_read"))
    wanted = opened.recipe.model.id
    if wanted != state.model_id:
        with st.container(horizontal=True, vertical_alignment="center"):
            name = NAME if wanted == MODEL_ID else wanted
            st.caption(t("desk.other_model", model=i18n.plain(name)), width="content")
            st.button(t("desk.use_model"), on_click=_use, args=(wanted,), key="use_recipe_model")


def _about(recipe: Recipe) -> None:
    """What its author says of it: a stranger's text."""
    facts = [i18n.plain(text) for text in (recipe.author, recipe.licence, *recipe.tags) if text]
    if facts:
        st.caption(" · ".join(facts))
    if recipe.notes:
        st.code(recipe.notes, language=None, wrap_lines=True)


def _show(answers: Sequence[Asking]) -> None:
    """In place of those that are shown, which are kept for `_bring_back`."""
    state = session()
    for asking in state.askings:
        asking.stop()
    state.replaced_answers = tuple(state.askings)
    state.askings, state.asked_values, state.asked_prompt = list(answers), (), None
    state.shown, state.selected_step, state.branch, state.compared = (0, 0), None, None, None


def _ask(opened: OpenedRecipe) -> None:
    title = opened.recipe.title or t("desk.untitled")
    st.markdown(t("desk.replace", title=i18n.plain(title)))
    with st.container(horizontal=True):
        # Not from within the dialog: fields outside of it would lose what they say. The whole rerun goes there.
        if st.button(t("desk.open"), type="primary", key="desk_open", on_click=open_recipe, args=(opened,)):
            st.rerun()
        if st.button(t("desk.keep"), key="desk_keep", on_click=_keep):
            st.rerun()


def _keep() -> None:
    session().to_open = None


def _bring_back() -> None:
    """What was there before, in place of what was opened."""
    state = session()
    if state.replaced:
        _write(state.replaced)
        if state.askings and state.askings[0].main.recorded:
            _show(state.replaced_answers)
        state.replaced = state.opened = state.desk_notice = None


def saved_as(recipe: Recipe, saved: Saved) -> None:
    """The Playground's fields are now this version of a recipe of the reader's own."""
    session().opened = OpenedRecipe(recipe, _fields(), saved.id, saved.number, mine=True)


def _filled() -> bool:
    return has(Key.INSTRUCTION) and has(Key.STRATEGY)


def _fields() -> Recipe:
    """What the fields say and nothing else."""
    state, settings = session(), read_settings()
    row = RowRequest(settings.sampler, settings.max_output_tokens, settings.stop_sequences)
    return Recipe.of(GenerationRequest(state.model_id, read_prompt(), (row,), state.precision, hosted=read_hosted()))


def _what_is_there() -> Recipe | None:
    if not _filled():
        return None
    try:
        return read_recipe()
    except NucleusError:  # an empty prompt is no loss, and a number that is none cannot be kept
        return session().replaced


def _write(recipe: Recipe) -> None:
    """Fill the fields, as far as they can hold it: numbers in their ranges, one seed, an order that has a name."""
    sampler, limits = recipe.sampler, recipe.limits
    values: dict[str, Any] = {
        name: min(getattr(sampler, name), MOST) for name, setting in SETTINGS.items() if setting.whole
    }
    values["temperature"] = min(sampler.temperature, LIMITS[Key.TEMPERATURE][1])
    values["top_p"] = max(sampler.top_p, LIMITS[Key.TOP_P][0])
    values["seed"] = min(recipe.seeds[0], int(LIMITS[Key.SEED][1]))
    values["order"] = sampler.order if sampler.order in ORDERS else "huggingface"
    write_prompt(recipe.prompt)
    write_settings(
        dataclasses.replace(sampler, **values),
        limits.max_output_tokens,
        tuple(dict.fromkeys((*limits.stop_sequences, *recipe.prompt.stop_sequences))),
    )
    write_hosted(recipe.hosted)
    session().precision = recipe.precision
    put(Key.PRECISION, recipe.precision)


def _hidden_settings(recipe: Recipe) -> list[str]:
    """Settings of the recipe that the panel, as it is now filled, does not say. One stage alone has no order."""
    now = read_settings().sampler
    left_out = {"seed"} if len(recipe.sampler.stages) > 1 else {"seed", "order"}
    names = [each.name for each in dataclasses.fields(now) if each.name not in left_out]
    return [name for name in names if getattr(now, name) != getattr(recipe.sampler, name)]


def _use(model_id: str) -> None:
    session().model_id = model_id
