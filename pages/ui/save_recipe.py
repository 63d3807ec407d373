"""Saving the Playground to the gallery: a button, and a dialog that asks what the recipe is called."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import streamlit as st

from llm_core import NucleusError
from llm_core.recipe import Recipe
from pages.ui import i18n, resources
from pages.ui.gallery_actions import short_link
from pages.ui.i18n import t
from pages.ui.owner import owner
from pages.ui.recipe_opening import page_request
from pages.ui.state import SavedRecipe, get, put, session

if TYPE_CHECKING:
    from llm_core.storage.recipe_store import Saved

_AUTHOR = "kept_author"
"""Who saved last in this tab."""


def save_button() -> None:
    help = t("desk.save_help")
    st.button(t("desk.save"), key="save_recipe", icon=":material/bookmark_add:", help=help, on_click=_begin)


def save_dialog() -> None:
    """Open until it is closed, and not only in the rerun of the button: a run that ends meanwhile redraws the page."""
    if session().saving:
        st.dialog(t("desk.save_title"), on_dismiss=_end)(_form)(_here())


def saved_line() -> None:
    """Which saved recipe is open, and what came of saving it."""
    if notice := session().save_notice:
        kind, words = notice
        getattr(st, kind)(words)
    elif here := _here():
        title = i18n.plain(here.recipe.title or t("desk.untitled"))
        st.caption(f":material/bookmark: {title} · {t('desk.version', number=here.version)}")


def read_recipe(**about: Any) -> Recipe:
    """What the Playground says, and what the open recipe says that the Playground has no field for; `about` has JSON
    data of further fields. Raises `NucleusError` for fields that say what cannot be."""
    now, whole = Recipe.of(page_request()), session().opened
    if whole is None:
        return Recipe.read(now.data() | about)
    shown = session().opened_fields or now
    parts = ("model", "prompt", "precision", "seeds", "limits", "hosted")
    changed: dict[str, Any] = {name: getattr(now, name) for name in parts if getattr(now, name) != getattr(shown, name)}
    if now.sampler != shown.sampler:
        names = [each.name for each in dataclasses.fields(now.sampler)]
        moved = {name for name in names if getattr(now.sampler, name) != getattr(shown.sampler, name)}
        changed["sampler"] = dataclasses.replace(whole.sampler, **{name: getattr(now.sampler, name) for name in moved})
    if now.model.id == whole.model.id:
        changed.pop("model", None)
    if changed:  # what was recorded was a run of something else
        whole = whole.model_copy(update=changed | {"trace": None})
    return Recipe.read(whole.data() | about)


def _here() -> SavedRecipe | None:
    """The saved recipe that is open, if the open one is saved."""
    saved = session().saved
    return saved if saved is not None and saved.recipe is session().opened else None


def _begin() -> None:
    session().saving = True


def _end() -> None:
    session().saving = False


def _form(opened: SavedRecipe | None) -> None:
    """What the open recipe says stands there already. A refusal keeps the dialog and all that was typed."""
    try:
        before = read_recipe()
    except NucleusError as error:
        st.error(i18n.explain(error), icon=":material/error:")
        return
    own = opened is not None and opened.mine
    title = st.text_input(t("desk.title"), value=before.title or _suggested(before), max_chars=200, key="save_title")
    tags = st.text_input(t("desk.tags"), value=", ".join(before.tags), help=t("desk.tags_help"), key="save_tags")
    notes = st.text_area(t("desk.notes"), value=before.notes, help=t("desk.notes_help"), height=100, key="save_notes")
    left, right = st.columns(2)
    known = before.author or get(_AUTHOR) or ""
    author = left.text_input(t("desk.author"), value=known, max_chars=200, key="save_author")
    languages = ["", *i18n.LANGUAGES] + ([before.language] if before.language not in ("", *i18n.LANGUAGES) else [])
    language = right.selectbox(
        t("desk.language"),
        languages,
        index=languages.index(before.language or i18n.language()),
        format_func=lambda code: i18n.LANGUAGES.get(code, code) or t("desk.no_language"),
        key="save_language",
    )
    if not own:
        listed = st.toggle(t("desk.listed"), value=False, help=t("desk.listed_help"), key="save_listed")
    with st.container(horizontal=True):
        version = own and st.button(t("desk.save_version"), type="primary", key="save_version")
        new = st.button(t("desk.save_new"), type="secondary" if own else "primary", key="save_new")
    if not (version or new):
        return
    about = {"title": title.strip(), "notes": notes, "author": author.strip(), "language": language}
    about["tags"] = list(dict.fromkeys(filter(None, (tag.strip() for tag in tags.split(",")))))
    try:
        recipe = read_recipe(**about)
        if version and opened:
            _save_version(recipe, opened)
        else:
            saved = resources.recipes().save(recipe, owner(), listed=not own and listed)
            _now_saved(recipe, saved)
            session().save_notice = ("success", t("desk.saved_new", link=short_link(saved.id)))
    except NucleusError as error:
        st.error(i18n.explain(error), icon=":material/error:")
        return
    put(_AUTHOR, author.strip())
    _end()
    st.rerun()


def _save_version(recipe: Recipe, opened: SavedRecipe) -> None:
    saved = resources.recipes().save_version(opened.id, recipe, owner(), opened.version)
    _now_saved(recipe, saved)
    if not saved.changed:
        session().save_notice = ("info", t("desk.nothing_changed", number=saved.number))
    elif saved.overtaken:
        others = ", ".join(map(str, saved.overtaken))
        session().save_notice = ("warning", t("desk.overtaken", number=saved.number, others=others))
    else:
        session().save_notice = ("success", t("desk.saved_version", number=saved.number))


def _now_saved(recipe: Recipe, saved: Saved) -> None:
    state = session()
    state.opened, state.opened_fields = recipe, Recipe.of(page_request())
    state.saved = SavedRecipe(recipe, saved.id, saved.number, mine=True)


def _suggested(recipe: Recipe) -> str:
    """The beginning of the prompt."""
    words = " ".join((recipe.prompt.instruction or recipe.prompt.question).split())
    return words if len(words) <= 60 else words[:59].rpartition(" ")[0] + "…"
