"""Recipes in the Playground: fill it from one, say where it came from, set the work before it aside and bring it back.

Opening fills fields. It submits nothing, and loads no model that a stranger named: that takes a click.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import streamlit as st

from llm_core import GenerationRequest, NucleusError, RowRequest
from llm_core.builtin_model import MODEL_ID
from llm_core.router import PROVIDERS
from pages.ui import i18n
from pages.ui.branch_address import PANEL
from pages.ui.composer import first_prompt, read_prompt, write_prompt
from pages.ui.controls import read_settings, write_settings
from pages.ui.export_panel import lost_note
from pages.ui.hosted_options import read_hosted, write_hosted
from pages.ui.i18n import t
from pages.ui.state import Key, Replaced, get, has, put, session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llm_core import PromptSpec
    from llm_core.asking import Asking
    from llm_core.conversions import Lost
    from llm_core.recipe import Recipe


def page_request(prompt: PromptSpec | None = None) -> GenerationRequest:
    """What the Playground asks, with its prompt or this one. Raises `NucleusError` for a field that says what cannot
    be."""
    state, settings = session(), read_settings()
    row = RowRequest(settings.sampler, settings.max_output_tokens, settings.stop_sequences)
    spec = prompt or read_prompt(settings.stop_sequences)
    return GenerationRequest(state.model_id, spec, (row,), state.precision, state.id, hosted=read_hosted())


def offer(recipe: Recipe, not_read: Sequence[Lost] = ()) -> None:
    """Open it, or ask first where that would replace work. To be called before the page is drawn. `not_read` is what
    its file says besides."""
    session().not_read = tuple(not_read)
    if _unsaved():
        session().offered = recipe
    else:
        open_recipe(recipe)


def open_recipe(recipe: Recipe) -> None:
    """Fill the Playground. What was in it is set aside, to be brought back. To be called before it is drawn."""
    from llm_core.recipe_replay import replayed

    state = session()
    state.recipe_notice = state.notice = state.save_notice = state.offered = None
    try:
        recorded = replayed(recipe) if recipe.trace else []
    except NucleusError as error:
        state.recipe_notice = i18n.explain(error)
        return
    set_aside()
    first = recipe.rows()[0]
    write_prompt(recipe.prompt)
    write_settings(first.sampler, first.max_output_tokens, first.stop_sequences)
    write_hosted(recipe.hosted)
    state.precision = recipe.precision
    put(Key.PRECISION, recipe.precision)
    if may_be_chosen(recipe.model.id):
        state.model_id = recipe.model.id
    state.opened, state.opened_fields = recipe, type(recipe).of(page_request())
    show_answers(recorded)


def may_be_chosen(model_id: str) -> bool:
    """Whether choosing it does nothing yet: no download, no directory read, no address that a stranger wrote."""
    scheme, _, name = model_id.partition(":")
    return model_id == MODEL_ID or (scheme in PROVIDERS and "@" not in name)


def show_answers(askings: Sequence[Asking]) -> None:
    """In place of those that are shown."""
    state = session()
    for asking in state.askings:
        asking.stop()
    state.askings, state.asked_values, state.asked_prompt = list(askings), (), None
    state.shown, state.selected_step, state.branch, state.compared = (0, 0), None, None, None


def set_aside() -> None:
    """Keep the Playground's work for `bring_back`."""
    state = session()
    if not has(Key.INSTRUCTION):
        return
    panel = {key: get(key) for key in PANEL if has(key)}
    state.replaced = Replaced(
        read_prompt(),
        panel,
        state.model_id,
        state.precision,
        tuple(state.askings),
        state.asked_values,
        state.asked_prompt,
    )


def bring_back() -> None:
    """What was set aside, in place of what is there."""
    state, replaced = session(), session().replaced
    if replaced is None:
        return
    write_prompt(replaced.prompt)
    for key, value in replaced.panel.items():
        put(key, value)
    state.model_id, state.precision = replaced.model_id, replaced.precision
    show_answers(replaced.askings)
    state.asked_values, state.asked_prompt = replaced.asked_values, replaced.asked_prompt
    state.replaced = state.opened = None


def opening_card() -> None:
    """What the Playground says above its fields: a recipe that waits, one that was opened, what was set aside."""
    state = session()
    if state.recipe_notice:
        st.error(state.recipe_notice, icon=":material/error:")
    if state.offered:
        with st.container(border=True, key="recipe-offered"):
            st.markdown(t("recipes.offered"))
            about(state.offered)
            lost_note(state.not_read, t("conversions.not_read"))
            with st.container(horizontal=True):
                st.button(t("recipes.open"), type="primary", key="recipe_open", on_click=_accept)
                st.button(t("recipes.leave"), key="recipe_leave", on_click=_decline)
    elif state.opened:
        with st.container(border=True, key="recipe-opened"):
            about(state.opened)
            lost_note(state.not_read, t("conversions.not_read"))
            _differences(state.opened)
            st.button(t("recipes.close"), key="recipe_close", on_click=_close, type="tertiary")
    if state.replaced:
        st.button(t("playground.bring_back"), on_click=bring_back, icon=":material/undo:", key="bring_back")


def about(recipe: Recipe) -> None:
    """Who says what of it. All of it is a stranger's text."""
    st.markdown(f"**{i18n.plain(recipe.title or t('recipes.untitled'))}**")
    facts = [i18n.plain(text) for text in (recipe.author, recipe.licence, *recipe.tags) if text]
    facts.append(t("recipes.made_with", model=i18n.plain(recipe.model.id)))
    st.caption(" · ".join(facts))
    if recipe.notes:
        st.code(recipe.notes, language=None, wrap_lines=True)


def _differences(recipe: Recipe) -> None:
    """What a run of the page would do otherwise than the recipe."""
    if recipe.model.id != session().model_id:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.warning(t("recipes.other_model", model=i18n.plain(recipe.model.id)), icon=":material/swap_horiz:")
            st.button(t("recipes.use_model"), key="recipe_model", on_click=_use_model, args=(recipe.model.id,))
    if names := not_shown(recipe):
        st.info(t("recipes.not_shown", fields=", ".join(f"`{name}`" for name in names)), icon=":material/info:")


def not_shown(recipe: Recipe) -> list[str]:
    """Fields of the recipe that the Playground has no place for: they stay in the file."""
    shown = recipe.rows()[0].sampler
    lost = []
    if len(recipe.seeds) > 1 or recipe.seeds[0] > 2**53 - 1:
        lost.append("seeds")
    lost += [name for name, default in (("candidates", 1), ("criteria", {})) if getattr(recipe, name) != default]
    lost += [name for name in ("logit_bias", "banned_tokens", "dry_sequence_breakers") if getattr(shown, name)]
    if not isinstance(shown.order, str):
        lost.append("order")
    for name, (low, high) in (("temperature", (0, 2)), ("top_p", (0.01, 1))):
        if not low <= getattr(shown, name) <= high:
            lost.append(name)
    if recipe.hosted.images:
        lost.append("images")
    if any("|" in stop for stop in recipe.limits.stop_sequences):
        lost.append("stop_sequences")
    return lost


def _unsaved() -> bool:
    """Whether the Playground holds something that its reader made."""
    state = session()
    if not has(Key.INSTRUCTION):
        return False
    if any(asking.main.recorded is None for asking in state.askings):
        return True
    try:
        written = read_prompt()
    except NucleusError:
        return True
    known = [first_prompt()]
    if state.opened:
        known.append(dataclasses.replace(state.opened.prompt, stop_sequences=()))
    return written not in known


def _accept() -> None:
    if recipe := session().offered:
        open_recipe(recipe)


def _decline() -> None:
    session().offered = None


def _close() -> None:
    session().opened = None


def _use_model(model_id: str) -> None:
    session().model_id = model_id
