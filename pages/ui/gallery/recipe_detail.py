"""Detail view of a saved recipe: prompt, versions and their differences, link and actions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from llm_core import NucleusError
from llm_core.recipes.yaml_json import dump_yaml
from pages.ui.gallery.actions import about, acting
from pages.ui.gallery.session_state import gallery_state
from pages.ui.playground.open_recipe import ask_to_open
from pages.ui.recipes.export_panel import export_panel
from pages.ui.recipes.links import saved_recipe, short_link
from pages.ui.shell import i18n, services
from pages.ui.shell.browser_identity import owner
from pages.ui.shell.i18n import t
from pages.ui.shell.session import get, has, put

if TYPE_CHECKING:
    from llm_core.generation.record import Run
    from llm_core.recipes.recipe import Recipe
    from llm_core.storage.recipe_store import Entry, Version

_LISTED = "recipe_listed"


def recipe_view(recipe_id: str) -> None:
    """Draw the view of one recipe."""
    st.button(t("gallery.back"), key="gallery_back", icon=":material/arrow_back:", on_click=_back)
    store = services.recipes()
    try:
        entry = store.get(recipe_id, owner())
        versions = store.versions(recipe_id, owner())
    except NucleusError as error:
        st.error(i18n.explain(error), icon=":material/error:")
        return
    with st.container(border=True):
        _heading(entry)
        chosen = _choose(entry, versions)
        recipe = store.recipe(recipe_id, chosen, owner())
        if recipe.notes:
            st.markdown(i18n.plain(recipe.notes).replace("\n", "  \n"))
        _actions(entry, chosen)
        with st.expander(t("gallery.show_prompt"), expanded=True):
            shown = recipe.prompt.prompts()[0].messages()
            st.code("\n\n".join(message.content for message in shown), language=None, wrap_lines=True)
        with st.expander(t("gallery.as_file")):
            st.code(dump_yaml(recipe), language="yaml", wrap_lines=True)
        with st.expander(t("conversions.other_forms")):
            export_panel(recipe, _recorded(recipe), key=f"export_{entry.id}")
    with st.container(border=True):
        st.markdown(f"**{t('gallery.versions')}**")
        _changes(entry, versions)
        st.dataframe([_row(version) for version in versions], hide_index=True)
    with st.container(border=True):
        _sharing(entry)


def _recorded(recipe: Recipe) -> list[Run]:
    """Return the recorded runs of the recipe; empty if there are none or they cannot be replayed."""
    from llm_core.recipes.replay import replayed

    try:
        return [asking.main for asking in replayed(recipe)] if recipe.trace else []
    except NucleusError:
        return []


def _heading(entry: Entry) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"#### {i18n.plain(entry.title or t('desk.untitled'))}", width="content")
        for tag in entry.tags:
            st.badge(i18n.plain(tag), color="gray")
    st.caption(about(entry))
    if entry.origin:
        origin, number = entry.origin
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(t("gallery.copy_of", number=number), width="content")
            st.button(t("gallery.origin"), key="show_origin", on_click=_show, args=(origin,), type="tertiary")


def _choose(entry: Entry, versions: tuple[Version, ...]) -> int:
    """Draw the choice of a version. Returns its number."""
    names = {version.number: _name(version) for version in versions}
    return st.selectbox(
        t("gallery.version"), list(names), format_func=names.__getitem__, key=f"version_{entry.id}_{entry.latest}"
    )


def _actions(entry: Entry, chosen: int) -> None:
    with st.container(horizontal=True):
        st.button(
            t("gallery.open"),
            key="recipe_open",
            type="primary",
            icon=":material/play_arrow:",
            on_click=_open,
            args=(entry.id, chosen),
        )
        st.button(
            t("gallery.fork"),
            key="recipe_fork",
            icon=":material/content_copy:",
            help=t("gallery.fork_help"),
            on_click=_fork,
            args=(entry.id, chosen),
        )
        if entry.mine:
            st.button(
                t("gallery.restore"),
                key="recipe_restore",
                icon=":material/history:",
                help=t("gallery.restore_help"),
                disabled=chosen == entry.latest,
                on_click=_restore,
                args=(entry.id, chosen, entry.latest),
            )
            st.button(
                t("gallery.delete"),
                key="recipe_delete",
                icon=":material/delete:",
                on_click=_delete,
                args=(entry.id, entry.title),
            )


def _changes(entry: Entry, versions: tuple[Version, ...]) -> None:
    """Draw the difference between two versions, at first between the last two."""
    if len(versions) < 2:
        st.caption(t("gallery.one_version"))
        return
    names = {version.number: _name(version) for version in versions}
    numbers = list(names)
    left, right = st.columns(2)
    key = f"{entry.id}_{entry.latest}"
    old = left.selectbox(
        t("gallery.from_version"), numbers, index=1, format_func=names.__getitem__, key=f"diff_old_{key}"
    )
    new = right.selectbox(
        t("gallery.to_version"), numbers, index=0, format_func=names.__getitem__, key=f"diff_new_{key}"
    )
    changed = services.recipes().diff(entry.id, old, new, owner())
    if changed:
        st.code(changed, language="diff", wrap_lines=True)
    else:
        st.caption(t("gallery.no_difference"))


def _sharing(entry: Entry) -> None:
    st.markdown(f"**{t('gallery.share')}**")
    st.caption(t("gallery.link_help"))
    st.code(short_link(entry.id), language=None, wrap_lines=True)
    if entry.mine:
        key = f"{_LISTED}_{entry.id}"
        if not has(key):
            put(key, entry.listed)
        st.toggle(t("desk.listed"), key=key, help=t("desk.listed_help"), on_change=_list, args=(entry.id, key))


def _name(version: Version) -> str:
    words = t("desk.version", number=version.number)
    return f"{words} · {i18n.moment(version.saved_at)}"


def _row(version: Version) -> dict[str, str | int]:
    made = t("gallery.made_from", number=version.base) if version.base else t("gallery.first_save")
    if version.restored:
        made = t("gallery.restored_from", number=version.restored)
    return {
        t("gallery.version"): version.number,
        t("desk.title"): version.title,
        t("gallery.made"): made,
        t("gallery.saved_at"): i18n.moment(version.saved_at),
    }


def _back() -> None:
    gallery_state().shown = gallery_state().notice = None


def _show(recipe_id: str) -> None:
    gallery_state().shown = recipe_id


def _open(recipe_id: str, number: int) -> None:
    with acting():
        ask_to_open(saved_recipe(recipe_id, number))


def _fork(recipe_id: str, number: int) -> None:
    with acting():
        saved = services.recipes().fork(recipe_id, number, owner())
        gallery_state().shown = saved.id
        gallery_state().notice = ("success", t("gallery.forked"))


def _restore(recipe_id: str, number: int, base: int) -> None:
    with acting():
        saved = services.recipes().restore(recipe_id, number, owner(), base)
        words = t("gallery.restored", number=number, new=saved.number)
        gallery_state().notice = ("success", words)


def _delete(recipe_id: str, title: str) -> None:
    with acting():
        services.recipes().delete(recipe_id, owner())
        gallery_state().shown = None
        gallery_state().deleted = (recipe_id, title)


def _list(recipe_id: str, key: str) -> None:
    with acting():
        services.recipes().set_listed(recipe_id, bool(get(key)), owner())
