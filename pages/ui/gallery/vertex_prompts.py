"""Prompts in Vertex AI's Prompt Management: save the Playground's prompt, list a project's prompts, open a version."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import streamlit as st

from llm_core.providers.model_id import split_model_id
from llm_core.recipes.recipe import Recipe
from pages.ui.components.fields import show_field
from pages.ui.gallery.session_state import vertex_state
from pages.ui.model.request_builder import build_request
from pages.ui.playground.open_recipe import open_or_confirm, switch_to_next_page
from pages.ui.prompt.composer import read_prompt
from pages.ui.recipes.opened import OpenedRecipe
from pages.ui.settings.sampler_panel import read_sample_request
from pages.ui.shell import i18n, services
from pages.ui.shell.background_call import cancel_call, poll_call, show_call_status, start_call
from pages.ui.shell.i18n import t
from pages.ui.shell.session import Key, get, has, put, session

if TYPE_CHECKING:
    from llm_core.providers.google.prompt_store import PromptEntry, SavedPrompt, VersionEntry, VertexPromptStore
    from llm_core.providers.google.prompt_store_wire import PromptImport
    from llm_core.providers.http.background_call import BackgroundCall
    from llm_core.providers.http.connection import Connection

T = TypeVar("T")

NAME_KEY, MODEL_KEY, NEXT_OF_KEY = "gallery.vertex_name", "gallery.vertex_model", "gallery.vertex_next"
PROMPT_KEY, VERSION_KEY = "gallery.vertex_id", "gallery.vertex_version"
SAVE_CALL, OPEN_CALL = "vertex-save", "vertex-open"
"""Places of the pending calls of the two forms."""


def show_vertex_prompts() -> None:
    """Draw the panel. Calls to Vertex AI run in the background and can be stopped."""
    saving, opening = poll_call(SAVE_CALL), poll_call(OPEN_CALL)
    with st.container(border=True):
        st.caption(t("vertex_prompts.about"))
        if not has(Key.VERTEX_PLACE):
            put(Key.VERTEX_PLACE, "")
        show_field(
            st.text_input,
            "hosted.place",
            Key.VERTEX_PLACE,
            max_chars=200,
            placeholder="my-project/us-central1",
            help=t("vertex_prompts.place_help"),
        )
        save, open_ = st.tabs([t("vertex_prompts.save"), t("vertex_prompts.open")])
        with save:
            _show_save_form(saving)
            show_call_status(SAVE_CALL)
            _show_saved()
        with open_:
            _show_open_form(opening)
            show_call_status(OPEN_CALL)
            _show_fetched()
    switch_to_next_page()


def _show_save_form(saving: bool) -> None:
    if not has(Key.INSTRUCTION):
        st.info(t("vertex_prompts.nothing"))
        return
    if not has(MODEL_KEY):
        target = split_model_id(session().model_id)
        put(MODEL_KEY, target.name if target and target.scheme in ("gemini", "vertex") else "")
    first = textwrap.shorten(str(get(Key.INSTRUCTION) or ""), 80, placeholder="…")
    st.caption(t("vertex_prompts.what", text=i18n.escape_markdown(first)))
    left, right = st.columns(2)
    show_field(left.text_input, "vertex_prompts.name", NAME_KEY, max_chars=128)
    show_field(
        right.text_input,
        "hosted.model",
        MODEL_KEY,
        max_chars=200,
        placeholder="gemini-3.8-flash",
        help=t("vertex_prompts.model_help"),
    )
    known = {entry.id: _format_prompt(entry) for entry in _listed_prompts()}
    names = {"": t("vertex_prompts.new"), **{each: t("vertex_prompts.next", name=name) for each, name in known.items()}}
    st.selectbox(t("vertex_prompts.as"), list(names), format_func=names.__getitem__, key=NEXT_OF_KEY)
    st.button(
        t("vertex_prompts.save_button"),
        type="primary",
        key="gallery.vertex_save",
        on_click=_save_prompt,
        disabled=saving,
    )


def _show_saved() -> None:
    if kept := vertex_state().saved_prompt:
        st.success(
            t(
                "vertex_prompts.saved",
                name=i18n.escape_markdown(kept.name),
                version=i18n.escape_markdown(kept.version_id),
            )
        )
        for kind, fields in (("merged", kept.merged), ("lost", kept.dropped)):
            if fields:
                st.info(t(f"vertex_prompts.{kind}", fields=_format_fields(fields)))


def _show_open_form(opening: bool) -> None:
    state = vertex_state()
    st.button(
        t("vertex_prompts.list"),
        key="gallery.vertex_list",
        on_click=_list_prompts,
        icon=":material/refresh:",
        disabled=opening,
    )
    entries = {entry.id: entry for entry in _listed_prompts()}
    if not entries:
        if state.place and state.place == _read_place():
            st.caption(t("vertex_prompts.none"))
        return
    st.selectbox(
        t("vertex_prompts.prompt", count=len(entries)),
        list(entries),
        index=None,
        format_func=lambda each: _format_prompt(entries[each]),
        key=PROMPT_KEY,
        on_change=_list_versions,
        placeholder=t("vertex_prompts.choose"),
    )
    chosen = str(get(PROMPT_KEY) or "")
    if not chosen:
        return
    versions = {entry.id: entry for entry in state.versions.get(chosen, ())}
    names = {"": t("vertex_prompts.newest"), **{each: _format_version(entry) for each, entry in versions.items()}}
    st.selectbox(t("vertex_prompts.version"), list(names), format_func=names.__getitem__, key=VERSION_KEY)
    st.button(
        t("gallery.open"),
        type="primary",
        key="gallery.vertex_open",
        on_click=_fetch_version,
        icon=":material/play_arrow:",
        disabled=opening,
    )


def _show_fetched() -> None:
    if fetched := vertex_state().fetched:
        with st.container(border=True):
            st.markdown(t("vertex_prompts.not_opened", fields=_format_fields(fetched.dropped)))
            with st.container(horizontal=True):
                st.button(t("vertex_prompts.yes"), key="gallery.vertex_yes", type="primary", on_click=_open_fetched)
                st.button(t("vertex_prompts.no"), key="gallery.vertex_no", on_click=_discard_fetched)


def _save_prompt() -> None:
    state, name, model = vertex_state(), str(get(NAME_KEY) or ""), str(get(MODEL_KEY) or "").strip()
    state.saved_prompt = None

    def begin() -> BackgroundCall[SavedPrompt]:
        sample = read_sample_request()
        request = build_request(read_prompt(sample.stop_sequences), sample)
        return services.vertex_prompt_store().save(_read_place(), request, name, model, str(get(NEXT_OF_KEY) or ""))

    def take(kept: SavedPrompt) -> None:
        state.saved_prompt = kept

    shown = i18n.escape_markdown(name)
    start_call(SAVE_CALL, t("vertex_prompts.saving", name=shown), begin, take, t("vertex_prompts.stopped", name=shown))


def _list_prompts() -> None:
    state, place = vertex_state(), _read_place()

    def take(entries: tuple[PromptEntry, ...]) -> None:
        state.entries, state.place, state.versions, state.fetched = entries, place, {}, None

    _start_open_call(lambda kept, line: kept.prompts(place, line), take)


def _list_versions() -> None:
    state, chosen = vertex_state(), str(get(PROMPT_KEY) or "")
    state.fetched = None
    put(VERSION_KEY, "")

    def take(versions: tuple[VersionEntry, ...]) -> None:
        state.versions[chosen] = versions

    if chosen and chosen not in state.versions:
        _start_open_call(lambda kept, line: kept.versions(state.place, chosen, line), take)
    else:
        cancel_call(OPEN_CALL)


def _fetch_version() -> None:
    """Fetch the chosen version, and open it unless some of its parts would be dropped, which the reader should know
    first."""
    state, chosen, version = vertex_state(), str(get(PROMPT_KEY)), str(get(VERSION_KEY) or "")

    def take(found: PromptImport) -> None:
        state.fetched = found
        if not found.dropped:
            _open_fetched()

    _start_open_call(lambda kept, line: kept.open(state.place, chosen, version, line), take)


def _start_open_call(what: Callable[[VertexPromptStore, Connection], T], take: Callable[[T], None]) -> None:
    """Start a call of the form to open, which has one pending call at a time."""

    def begin() -> BackgroundCall[T]:
        from llm_core.providers.http.background_call import BackgroundCall

        kept = services.vertex_prompt_store()
        return BackgroundCall(lambda line: what(kept, line), kept.make_connection())

    start_call(OPEN_CALL, t("vertex_prompts.listing"), begin, take)


def _open_fetched() -> None:
    """Open the fetched prompt in the Playground, with confirmation if it replaces unsaved work."""
    state = vertex_state()
    if found := state.fetched:
        names = {entry.id: entry.name for entry in state.entries}
        state.fetched = None
        open_or_confirm(OpenedRecipe(Recipe.from_request(found.request, title=names.get(str(get(PROMPT_KEY)), ""))))


def _discard_fetched() -> None:
    vertex_state().fetched = None


def _read_place() -> str:
    return str(get(Key.VERTEX_PLACE) or "").strip()


def _listed_prompts() -> tuple[PromptEntry, ...]:
    """Return the listed prompts if they belong to the place that the form names."""
    state = vertex_state()
    return state.entries if state.place == _read_place() else ()


def _format_prompt(entry: PromptEntry) -> str:
    return " · ".join(filter(None, (entry.name or entry.id, entry.model, _format_saved_at(entry))))


def _format_version(entry: VersionEntry) -> str:
    return " · ".join(filter(None, (t("vertex_prompts.number", number=entry.id), entry.name, _format_saved_at(entry))))


def _format_saved_at(entry: PromptEntry | VersionEntry) -> str:
    return f"{entry.saved_at:%Y-%m-%d %H:%M}" if entry.saved_at else ""


def _format_fields(fields: Sequence[str]) -> str:
    """Return names of fields; those that only Vertex AI has, as it spells them."""
    known = i18n.load_texts(i18n.language())
    return ", ".join(known.get(f"fields.{name}") or i18n.escape_markdown(name) for name in fields)
