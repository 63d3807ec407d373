"""Detail view of a saved recipe: prompt, versions and their differences, link and actions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from llm_core import NucleusError
from llm_core.recipes.yaml_json import dump_yaml
from pages.ui.gallery.actions import format_entry, report_errors
from pages.ui.gallery.session_state import gallery_state
from pages.ui.playground.open_recipe import open_or_confirm
from pages.ui.recipes.export_panel import show_export_panel
from pages.ui.recipes.links import load_saved_recipe, recipe_url
from pages.ui.shell import i18n, services
from pages.ui.shell.browser_identity import current_owner
from pages.ui.shell.i18n import t
from pages.ui.shell.session import get, has, put

if TYPE_CHECKING:
    from llm_core.generation.record import Run
    from llm_core.recipes.recipe import Recipe
    from llm_core.storage.recipe_store import RecipeEntry, RecipeVersion


def show_recipe(recipe_id: str) -> None:
    """Draw the view of one recipe."""
    st.button(t("gallery.back"), key="gallery.back", icon=":material/arrow_back:", on_click=_close_recipe)
    store = services.recipe_store()
    try:
        entry = store.get(recipe_id, current_owner())
        versions = store.versions(recipe_id, current_owner())
    except NucleusError as error:
        st.error(i18n.explain(error), icon=":material/error:")
        return
    with st.container(border=True):
        _show_heading(entry)
        chosen = _select_version(entry, versions)
        recipe = store.recipe(recipe_id, chosen, current_owner())
        if recipe.notes:
            st.markdown(i18n.escape_markdown(recipe.notes).replace("\n", "  \n"))
        _show_actions(entry, chosen)
        with st.expander(t("gallery.show_prompt"), expanded=True):
            shown = recipe.prompt.variants()[0].messages()
            st.code("\n\n".join(message.content for message in shown), language=None, wrap_lines=True)
        with st.expander(t("gallery.as_file")):
            st.code(dump_yaml(recipe), language="yaml", wrap_lines=True)
        with st.expander(t("conversions.other_forms")):
            show_export_panel(recipe, _recorded_runs(recipe), key=f"gallery.export.{entry.id}")
    with st.container(border=True):
        st.markdown(f"**{t('gallery.versions')}**")
        _show_changes(entry, versions)
        st.dataframe([_version_row(version) for version in versions], hide_index=True)
    with st.container(border=True):
        _show_sharing(entry)


def _recorded_runs(recipe: Recipe) -> list[Run]:
    """Return the recorded runs of the recipe; empty if there are none or they cannot be replayed."""
    from llm_core.recipes.replay import replay_prompts

    try:
        return [technique_run.main for technique_run in replay_prompts(recipe)] if recipe.trace else []
    except NucleusError:
        return []


def _show_heading(entry: RecipeEntry) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"#### {i18n.escape_markdown(entry.title or t('desk.untitled'))}", width="content")
        for tag in entry.tags:
            st.badge(i18n.escape_markdown(tag), color="gray")
    st.caption(format_entry(entry))
    if entry.origin:
        origin, number = entry.origin
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(t("gallery.copy_of", number=number), width="content")
            st.button(
                t("gallery.origin"), key="gallery.show_origin", on_click=_select_recipe, args=(origin,), type="tertiary"
            )


def _select_version(entry: RecipeEntry, versions: tuple[RecipeVersion, ...]) -> int:
    """Draw the choice of a version. Returns its number."""
    names = {version.number: _version_name(version) for version in versions}
    return st.selectbox(
        t("gallery.version"),
        list(names),
        format_func=names.__getitem__,
        key=f"gallery.version.{entry.id}.{entry.latest}",
    )


def _show_actions(entry: RecipeEntry, chosen: int) -> None:
    with st.container(horizontal=True):
        st.button(
            t("gallery.open"),
            key="gallery.recipe_open",
            type="primary",
            icon=":material/play_arrow:",
            on_click=_open_version,
            args=(entry.id, chosen),
        )
        st.button(
            t("gallery.fork"),
            key="gallery.recipe_fork",
            icon=":material/content_copy:",
            help=t("gallery.fork_help"),
            on_click=_fork_version,
            args=(entry.id, chosen),
        )
        if entry.mine:
            st.button(
                t("gallery.restore"),
                key="gallery.recipe_restore",
                icon=":material/history:",
                help=t("gallery.restore_help"),
                disabled=chosen == entry.latest,
                on_click=_restore_version,
                args=(entry.id, chosen, entry.latest),
            )
            st.button(
                t("gallery.delete"),
                key="gallery.recipe_delete",
                icon=":material/delete:",
                on_click=_delete_recipe,
                args=(entry.id, entry.title),
            )


def _show_changes(entry: RecipeEntry, versions: tuple[RecipeVersion, ...]) -> None:
    """Draw the difference between two versions, at first between the last two."""
    if len(versions) < 2:
        st.caption(t("gallery.one_version"))
        return
    names = {version.number: _version_name(version) for version in versions}
    numbers = list(names)
    left, right = st.columns(2)
    old = left.selectbox(
        t("gallery.from_version"),
        numbers,
        index=1,
        format_func=names.__getitem__,
        key=f"gallery.diff_old.{entry.id}.{entry.latest}",
    )
    new = right.selectbox(
        t("gallery.to_version"),
        numbers,
        index=0,
        format_func=names.__getitem__,
        key=f"gallery.diff_new.{entry.id}.{entry.latest}",
    )
    changed = services.recipe_store().diff(entry.id, old, new, current_owner())
    if changed:
        st.code(changed, language="diff", wrap_lines=True)
    else:
        st.caption(t("gallery.no_difference"))


def _show_sharing(entry: RecipeEntry) -> None:
    st.markdown(f"**{t('gallery.share')}**")
    st.caption(t("gallery.link_help"))
    st.code(recipe_url(entry.id), language=None, wrap_lines=True)
    if entry.mine:
        key = f"gallery.listed.{entry.id}"
        if not has(key):
            put(key, entry.listed)
        st.toggle(t("desk.listed"), key=key, help=t("desk.listed_help"), on_change=_set_listed, args=(entry.id, key))


def _version_name(version: RecipeVersion) -> str:
    words = t("desk.version", number=version.number)
    return f"{words} · {i18n.format_time(version.saved_at)}"


def _version_row(version: RecipeVersion) -> dict[str, str | int]:
    made = t("gallery.made_from", number=version.base) if version.base else t("gallery.first_save")
    if version.restored:
        made = t("gallery.restored_from", number=version.restored)
    return {
        t("gallery.version"): version.number,
        t("desk.title"): version.title,
        t("gallery.made"): made,
        t("gallery.saved_at"): i18n.format_time(version.saved_at),
    }


def _close_recipe() -> None:
    gallery_state().shown = gallery_state().notice = None


def _select_recipe(recipe_id: str) -> None:
    gallery_state().shown = recipe_id


def _open_version(recipe_id: str, number: int) -> None:
    with report_errors():
        open_or_confirm(load_saved_recipe(recipe_id, number))


def _fork_version(recipe_id: str, number: int) -> None:
    with report_errors():
        saved = services.recipe_store().fork(recipe_id, number, current_owner())
        gallery_state().shown = saved.id
        gallery_state().notice = ("success", t("gallery.forked"))


def _restore_version(recipe_id: str, number: int, base: int) -> None:
    with report_errors():
        saved = services.recipe_store().restore(recipe_id, number, current_owner(), base)
        words = t("gallery.restored", number=number, new=saved.number)
        gallery_state().notice = ("success", words)


def _delete_recipe(recipe_id: str, title: str) -> None:
    with report_errors():
        services.recipe_store().delete(recipe_id, current_owner())
        gallery_state().shown = None
        gallery_state().deleted = (recipe_id, title)


def _set_listed(recipe_id: str, key: str) -> None:
    with report_errors():
        services.recipe_store().set_listed(recipe_id, bool(get(key)), current_owner())
