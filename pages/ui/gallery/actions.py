"""Texts and actions that the Gallery's lists share: an entry's description, and the outcome of actions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import streamlit as st

from llm_core import NucleusError
from pages.ui.gallery.session_state import gallery_state
from pages.ui.shell import i18n, services
from pages.ui.shell.browser_identity import current_owner
from pages.ui.shell.i18n import t

if TYPE_CHECKING:
    from llm_core.storage.recipe_store import RecipeEntry


def format_entry(entry: RecipeEntry) -> str:
    """Return an entry's author, language, version and date as Markdown."""
    language = i18n.LANGUAGES.get(entry.language, entry.language)
    version = t("desk.version", number=entry.latest)
    parts = [
        i18n.escape_markdown(entry.author),
        i18n.escape_markdown(language),
        version,
        i18n.format_time(entry.saved_at),
    ]
    if entry.mine:
        parts.append(t("gallery.listed" if entry.listed else "gallery.unlisted"))
    return " · ".join(filter(None, parts))


@contextmanager
def report_errors() -> Iterator[None]:
    """Run a button's action; if it raises `NucleusError`, the message is shown when the page is drawn next."""
    state = gallery_state()
    state.notice = None
    try:
        yield
    except NucleusError as error:
        state.notice = ("error", i18n.explain(error))


def show_notice() -> None:
    """Draw the message on the last action, and a button to undo a deletion."""
    state = gallery_state()
    if state.notice:
        kind, words = state.notice
        getattr(st, kind)(words)
    if state.deleted:
        recipe_id, title = state.deleted
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            st.markdown(t("gallery.deleted", title=i18n.escape_markdown(title or t("desk.untitled"))), width="content")
            st.button(
                t("gallery.undo"),
                key="gallery.undo_delete",
                icon=":material/undo:",
                on_click=_undelete_recipe,
                args=(recipe_id,),
            )


def _undelete_recipe(recipe_id: str) -> None:
    with report_errors():
        services.recipe_store().undelete(recipe_id, current_owner())
        gallery_state().deleted = None
