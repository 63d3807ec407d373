"""Saved recipes: a searchable list, or the detail view of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from pages.ui.components.fields import show_field
from pages.ui.gallery.actions import format_entry, report_errors, show_notice
from pages.ui.gallery.pagination import show_page_buttons
from pages.ui.gallery.recipe_detail import show_recipe
from pages.ui.gallery.session_state import gallery_state
from pages.ui.playground.open_recipe import open_or_confirm
from pages.ui.recipes.links import load_saved_recipe
from pages.ui.shell import i18n, services
from pages.ui.shell.browser_identity import current_owner
from pages.ui.shell.i18n import format_number, t
from pages.ui.shell.session import get, has, put

if TYPE_CHECKING:
    from llm_core.storage.recipe_store import RecipeEntry

_OWNER_FILTERS = ("all", "mine", "deleted")
_DEFAULTS: dict[str, Any] = {
    "gallery.saved_query": "",
    "gallery.saved_whose": "all",
    "gallery.saved_tag": None,
    "gallery.saved_language": None,
}


def show_saved_recipes() -> None:
    """Draw the list, or the chosen recipe."""
    state = gallery_state()
    show_notice()
    if state.shown:
        show_recipe(state.shown)
        return
    _show_search_fields()
    from llm_core.storage.recipe_store import PAGE_SIZE

    found = services.recipe_store().search(
        current_owner(),
        get("gallery.saved_query") or "",
        get("gallery.saved_tag") or "",
        get("gallery.saved_whose") or "all",
        get("gallery.saved_language") or "",
        state.skip,
    )
    if not found.total:
        _show_empty()
        return
    st.caption(t("gallery.found", count=format_number(found.total, 0)))
    for entry in found.entries:
        _show_card(entry)
    show_page_buttons(state.skip, found.total, PAGE_SIZE, _skip_recipes, key="gallery.saved")


def _show_search_fields() -> None:
    for key, value in _DEFAULTS.items():
        if not has(key):
            put(key, value)
    show_field(
        st.text_input,
        "gallery.search",
        "gallery.saved_query",
        placeholder=t("gallery.search_placeholder"),
        icon=":material/search:",
        max_chars=200,
        on_change=_skip_recipes,
        args=(0,),
    )
    whose, tag, language = st.columns([1.6, 1, 1], vertical_alignment="bottom")
    names = {name: t(f"gallery.whose.{name}") for name in _OWNER_FILTERS}
    show_field(
        whose.segmented_control,
        "gallery.whose_title",
        "gallery.saved_whose",
        list(names),
        required=True,
        format_func=names.__getitem__,
        label_visibility="collapsed",
        on_change=_skip_recipes,
        args=(0,),
    )
    tags = dict(services.recipe_store().tags(current_owner()))
    # Resent at every rerun: the browser identifies a choice by its label, and the count in the label may have changed.
    put("gallery.saved_tag", get("gallery.saved_tag") if get("gallery.saved_tag") in tags else None)
    show_field(
        tag.selectbox,
        "gallery.tag",
        "gallery.saved_tag",
        list(tags),
        format_func=lambda name: f"{name} ({tags[name]})",
        placeholder=t("gallery.any"),
        on_change=_skip_recipes,
        args=(0,),
    )
    show_field(
        language.selectbox,
        "gallery.prompt_language",
        "gallery.saved_language",
        list(i18n.LANGUAGES),
        format_func=i18n.LANGUAGES.__getitem__,
        placeholder=t("gallery.any"),
        on_change=_skip_recipes,
        args=(0,),
        help=None,
    )


def _show_empty() -> None:
    searched = any(get(key) for key in ("gallery.saved_query", "gallery.saved_tag", "gallery.saved_language"))
    with st.container(border=True):
        if searched or get("gallery.saved_whose") == "deleted":
            st.markdown(t("gallery.none_found"))
        else:
            st.markdown(t("gallery.none_saved"))
            st.page_link("pages/playground.py", label=t("gallery.to_playground"), icon=":material/arrow_forward:")


def _show_card(entry: RecipeEntry) -> None:
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{i18n.escape_markdown(entry.title or t('desk.untitled'))}**", width="content")
            if entry.mine:
                st.badge(t("gallery.mine"))
            for tag in entry.tags:
                st.badge(i18n.escape_markdown(tag), color="gray")
            st.space("stretch")
            if entry.deleted_at is None:
                st.button(
                    t("gallery.open"),
                    key=f"gallery.open.{entry.id}",
                    icon=":material/play_arrow:",
                    on_click=_open_recipe,
                    args=(entry.id,),
                )
                st.button(
                    t("gallery.details"), key=f"gallery.details.{entry.id}", on_click=_select_recipe, args=(entry.id,)
                )
            else:
                st.button(
                    t("gallery.undelete"),
                    key=f"gallery.undelete.{entry.id}",
                    on_click=_undelete_recipe,
                    args=(entry.id,),
                )
                st.button(
                    t("gallery.forget"), key=f"gallery.forget.{entry.id}", on_click=_forget_recipe, args=(entry.id,)
                )
        st.caption(format_entry(entry))


def _open_recipe(recipe_id: str) -> None:
    with report_errors():
        open_or_confirm(load_saved_recipe(recipe_id))


def _select_recipe(recipe_id: str) -> None:
    gallery_state().shown = recipe_id


def _undelete_recipe(recipe_id: str) -> None:
    with report_errors():
        services.recipe_store().undelete(recipe_id, current_owner())
        gallery_state().deleted = None


def _forget_recipe(recipe_id: str) -> None:
    with report_errors():
        services.recipe_store().delete_forever(recipe_id, current_owner())


def _skip_recipes(count: int) -> None:
    gallery_state().skip = count
