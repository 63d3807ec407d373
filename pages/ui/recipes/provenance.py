"""Provenance of a recipe and its run: title and version, a note on a recorded run, and warnings about other weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from pages.ui.model.status import loaded_revision
from pages.ui.shell import i18n
from pages.ui.shell.i18n import t
from pages.ui.shell.session import session

if TYPE_CHECKING:
    from llm_core.generation.record import Run
    from llm_core.recipes.recipe import Recipe
    from pages.ui.recipes.opened import OpenedRecipe

_REVISION_LENGTH = 19
"""Characters of a revision to show: the hash's name and enough digits to tell it from others."""


def show_recorded_note(run: Run) -> None:
    """Draw a note if the run was recorded elsewhere; nothing for the reader's own run."""
    if recorded := run.recorded:
        facts = (recorded.model or run.request.model_id, recorded.at[:10])
        words = ", ".join(i18n.escape_markdown(fact) for fact in facts if fact)
        st.info(t("recipes.recorded", facts=words), icon=":material/history:")


def format_recipe_name(opened: OpenedRecipe) -> str:
    """Return an open recipe's title and version as Markdown."""
    version = t("desk.version", number=opened.version) if opened.id else t("desk.not_saved")
    return f"**{i18n.escape_markdown(opened.recipe.title or t('desk.untitled'))}** · {version}"


def show_weights_note(recipe: Recipe) -> None:
    """Warn before a run if the loaded model has other weights than the recipe's."""
    if recipe.model.id == session().model_id:
        _show_weights_difference("recipes.other_weights", recipe, loaded_revision(recipe.model.id))


def show_run_weights_note(recipe: Recipe | None, run: Run) -> None:
    """Warn after a run if its model had other weights than those of `recipe`, which was open when it started."""
    from llm_core.models.revision import find_revision

    if recipe and not run.active and run.request.model_id == recipe.model.id:
        _show_weights_difference("recipes.written_with_others", recipe, find_revision(run.model))


def _show_weights_difference(text: str, recipe: Recipe, here: str) -> None:
    there = recipe.model.revision
    if here and there and here != there:
        words = t(
            text,
            here=i18n.escape_markdown(here[:_REVISION_LENGTH]),
            there=i18n.escape_markdown(there[:_REVISION_LENGTH]),
        )
        st.warning(words, icon=":material/difference:")
