"""Save a page's recipe to the gallery: a button, and a dialog for title, tags and notes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from llm_core import NucleusError
from llm_core.recipes.recipe import Recipe
from pages.ui.recipes.links import recipe_url
from pages.ui.recipes.opened import OpenedRecipe
from pages.ui.recipes.recipe_fields import RecipeSource
from pages.ui.recipes.session_state import recipes_state
from pages.ui.shell import i18n, services
from pages.ui.shell.browser_identity import current_owner
from pages.ui.shell.i18n import t
from pages.ui.shell.session import get, put

if TYPE_CHECKING:
    from llm_core.storage.recipe_store import SaveResult

_AUTHOR_KEY = "recipes.last_author"
"""Key of the author who saved last in this tab."""


def show_save_button(source: RecipeSource) -> None:
    """Draw the button, and the dialog while it is open."""
    st.button(
        t("desk.save"),
        key="recipes.save",
        icon=":material/bookmark_add:",
        help=t("desk.save_help"),
        on_click=_open_dialog,
    )
    # Drawn in every rerun until it is closed: a run that ends meanwhile redraws the page.
    if recipes_state().saving:
        st.dialog(t("desk.save_title"), on_dismiss=_close_dialog)(_show_form)(source, source.get_opened())


def _open_dialog() -> None:
    recipes_state().saving = True


def _close_dialog() -> None:
    recipes_state().saving = False


def _show_form(source: RecipeSource, opened: OpenedRecipe | None) -> None:
    """Draw the form, filled from the open recipe. An error keeps the dialog open with everything that was typed."""
    try:
        before = source.read()
    except NucleusError as error:
        st.error(i18n.explain(error), icon=":material/error:")
        return
    own = opened is not None and opened.mine and bool(opened.id)
    title = st.text_input(
        t("desk.title"), value=before.title or _suggest_title(before), max_chars=200, key="recipes.title"
    )
    tags = st.text_input(t("desk.tags"), value=", ".join(before.tags), help=t("desk.tags_help"), key="recipes.tags")
    notes = st.text_area(
        t("desk.notes"), value=before.notes, help=t("desk.notes_help"), height=100, key="recipes.notes"
    )
    left, right = st.columns(2)
    known = before.author or get(_AUTHOR_KEY) or ""
    author = left.text_input(t("desk.author"), value=known, max_chars=200, key="recipes.author")
    languages = ["", *i18n.LANGUAGES] + ([before.language] if before.language not in ("", *i18n.LANGUAGES) else [])
    language = right.selectbox(
        t("desk.language"),
        languages,
        index=languages.index(before.language or i18n.language()),
        format_func=lambda code: i18n.LANGUAGES.get(code, code) or t("desk.no_language"),
        key="recipes.language",
    )
    with_run = source.can_record() and st.toggle(
        t("share.with_run"), help=t("share.with_run_help"), key="recipes.with_run"
    )
    if left_out := source.unsaved_note():
        st.caption(left_out)
    if not own:
        listed = st.toggle(t("desk.listed"), value=False, help=t("desk.listed_help"), key="recipes.listed")
    with st.container(horizontal=True):
        version = own and st.button(t("desk.save_version"), type="primary", key="recipes.save_version")
        new = st.button(t("desk.save_new"), type="secondary" if own else "primary", key="recipes.save_new")
    if not (version or new):
        return
    about = {"title": title.strip(), "notes": notes, "author": author.strip(), "language": language}
    about["tags"] = list(dict.fromkeys(filter(None, (tag.strip() for tag in tags.split(",")))))
    if before.licence:
        about["licence"] = before.licence
    try:
        recipe = source.read(**about, **({"with_run": True} if with_run else {}))
        if version and opened:
            saved = services.recipe_store().save_version(opened.id, recipe, current_owner(), opened.version)
            words = _format_version_notice(saved)
        else:
            saved = services.recipe_store().save(recipe, current_owner(), listed=not own and listed)
            words = ("success", t("desk.saved_new", link=recipe_url(saved.id)))
        source.on_saved(recipe, saved, words)
    except NucleusError as error:
        st.error(i18n.explain(error), icon=":material/error:")
        return
    put(_AUTHOR_KEY, author.strip())
    _close_dialog()
    st.rerun()


def _format_version_notice(saved: SaveResult) -> tuple[str, str]:
    if not saved.changed:
        return "info", t("desk.nothing_changed", number=saved.number)
    if saved.concurrent_versions:
        others = ", ".join(map(str, saved.concurrent_versions))
        return "warning", t("desk.overtaken", number=saved.number, others=others)
    return "success", t("desk.saved_version", number=saved.number)


def _suggest_title(recipe: Recipe) -> str:
    """Return the first words of the prompt as a title, at most 60 characters."""
    words = " ".join((recipe.prompt.instruction or recipe.prompt.question).split())
    return words if len(words) <= 60 else words[:59].rpartition(" ")[0] + "…"
