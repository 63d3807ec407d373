"""Saved recipes: a searchable list, or the detail view of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from pages.ui.gallery.actions import about, acting, tell
from pages.ui.gallery.recipe_detail import recipe_view
from pages.ui.gallery.session_state import gallery_state
from pages.ui.playground.open_recipe import ask_to_open
from pages.ui.recipes.links import saved_recipe
from pages.ui.shell import i18n, services
from pages.ui.shell.browser_identity import owner
from pages.ui.shell.i18n import number, t
from pages.ui.shell.session import get, has, put

if TYPE_CHECKING:
    from llm_core.storage.recipe_store import Entry

_WHOSE = ("all", "mine", "deleted")
_START: dict[str, Any] = {"saved_query": "", "saved_whose": "all", "saved_tag": None, "saved_language": None}


def saved_list() -> None:
    """Draw the list, or the chosen recipe."""
    state = gallery_state()
    tell()
    if state.shown:
        recipe_view(state.shown)
        return
    _search_fields()
    from llm_core.storage.recipe_store import PAGE

    found = services.recipes().search(
        owner(),
        get("saved_query") or "",
        get("saved_tag") or "",
        get("saved_whose") or "all",
        get("saved_language") or "",
        state.skip,
    )
    if not found.total:
        _nothing()
        return
    st.caption(t("gallery.found", count=number(found.total, 0)))
    for entry in found.entries:
        _card(entry)
    if found.total > PAGE:
        with st.container(horizontal=True, horizontal_alignment="center"):
            st.button(t("gallery.newer"), on_click=_turn, args=(-PAGE,), disabled=not state.skip, key="saved_newer")
            last = state.skip + PAGE >= found.total
            st.button(t("gallery.older"), on_click=_turn, args=(PAGE,), disabled=last, key="saved_older")


def _search_fields() -> None:
    for key, value in _START.items():
        if not has(key):
            put(key, value)
    st.text_input(
        t("gallery.search"),
        key="saved_query",
        placeholder=t("gallery.search_placeholder"),
        icon=":material/search:",
        max_chars=200,
        on_change=_from_the_top,
        persist_state="session",
    )
    whose, tag, language = st.columns([1.6, 1, 1], vertical_alignment="bottom")
    names = {name: t(f"gallery.whose.{name}") for name in _WHOSE}
    whose.segmented_control(
        t("gallery.whose_title"),
        list(names),
        required=True,
        format_func=names.__getitem__,
        key="saved_whose",
        label_visibility="collapsed",
        on_change=_from_the_top,
        persist_state="session",
    )
    tags = dict(services.recipes().tags(owner()))
    # Resent at every rerun: the browser identifies a choice by its label, and the count in the label may have changed.
    put("saved_tag", get("saved_tag") if get("saved_tag") in tags else None)
    tag.selectbox(
        t("gallery.tag"),
        list(tags),
        format_func=lambda name: f"{name} ({tags[name]})",
        key="saved_tag",
        placeholder=t("gallery.any"),
        on_change=_from_the_top,
        persist_state="session",
    )
    language.selectbox(
        t("gallery.prompt_language"),
        list(i18n.LANGUAGES),
        format_func=i18n.LANGUAGES.__getitem__,
        key="saved_language",
        placeholder=t("gallery.any"),
        on_change=_from_the_top,
        persist_state="session",
    )


def _nothing() -> None:
    searched = any(get(key) for key in ("saved_query", "saved_tag", "saved_language"))
    with st.container(border=True):
        if searched or get("saved_whose") == "deleted":
            st.markdown(t("gallery.none_found"))
        else:
            st.markdown(t("gallery.none_saved"))
            st.page_link("pages/playground.py", label=t("gallery.to_playground"), icon=":material/arrow_forward:")


def _card(entry: Entry) -> None:
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{i18n.plain(entry.title or t('desk.untitled'))}**", width="content")
            if entry.mine:
                st.badge(t("gallery.mine"))
            for tag in entry.tags:
                st.badge(i18n.plain(tag), color="gray")
            st.space("stretch")
            if entry.deleted_at is None:
                st.button(
                    t("gallery.open"),
                    key=f"open_{entry.id}",
                    icon=":material/play_arrow:",
                    on_click=_open,
                    args=(entry.id,),
                )
                st.button(t("gallery.details"), key=f"details_{entry.id}", on_click=_show, args=(entry.id,))
            else:
                st.button(t("gallery.undelete"), key=f"undelete_{entry.id}", on_click=_undelete, args=(entry.id,))
                st.button(t("gallery.forget"), key=f"forget_{entry.id}", on_click=_forget, args=(entry.id,))
        st.caption(about(entry))


def _open(recipe_id: str) -> None:
    with acting():
        ask_to_open(saved_recipe(recipe_id))


def _show(recipe_id: str) -> None:
    gallery_state().shown = recipe_id


def _undelete(recipe_id: str) -> None:
    with acting():
        services.recipes().undelete(recipe_id, owner())
        gallery_state().deleted = None


def _forget(recipe_id: str) -> None:
    with acting():
        services.recipes().forget(recipe_id, owner())


def _turn(by: int) -> None:
    gallery_state().skip = max(0, gallery_state().skip + by)


def _from_the_top() -> None:
    gallery_state().skip = 0
