"""Prompts in Vertex AI's Prompt Management: save the Playground's, list those of a project, open a version."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import streamlit as st

from llm_core import GenerationRequest, NucleusError, RowRequest
from llm_core.recipe import Recipe
from pages.ui import i18n, resources
from pages.ui.composer import read_prompt
from pages.ui.controls import read_settings
from pages.ui.hosted_options import read_hosted
from pages.ui.i18n import t
from pages.ui.recipe_desk import ask_to_open, follow
from pages.ui.state import Key, OpenedRecipe, get, has, put, session

if TYPE_CHECKING:
    from llm_core.providers.vertex_prompts import PromptEntry, Saving, VersionEntry

NAME, MODEL, NEXT_OF, PROMPT, VERSION = (f"vertex_prompt_{part}" for part in ("name", "model", "next", "id", "version"))
_REFRESH_SECONDS = 0.5


def vertex_prompts() -> None:
    """The panel. What takes long runs in the background and can be stopped."""
    with st.container(border=True):
        st.caption(t("vertex_prompts.about"))
        if not has(Key.VERTEX_PLACE):
            put(Key.VERTEX_PLACE, "")
        st.text_input(
            t("hosted.place"),
            key=Key.VERTEX_PLACE,
            max_chars=200,
            placeholder="my-project/us-central1",
            help=t("vertex_prompts.place_help"),
            persist_state="session",
        )
        save, open_ = st.tabs([t("vertex_prompts.save"), t("vertex_prompts.open")])
        with save:
            _save_form()
        with open_:
            _open_form()
    follow()


def _save_form() -> None:
    state = session().vertex
    if not has(Key.INSTRUCTION):
        st.info(t("vertex_prompts.nothing"))
        return
    if not has(MODEL):
        scheme, _, name = session().model_id.partition(":")
        put(MODEL, name.partition("@")[0] if scheme in ("gemini", "vertex") else "")
    first = textwrap.shorten(str(get(Key.INSTRUCTION) or ""), 80, placeholder="…")
    st.caption(t("vertex_prompts.what", text=i18n.plain(first)))
    left, right = st.columns(2)
    left.text_input(t("vertex_prompts.name"), key=NAME, max_chars=128, persist_state="session")
    right.text_input(
        t("hosted.model"),
        key=MODEL,
        max_chars=200,
        placeholder="gemini-3.8-flash",
        help=t("vertex_prompts.model_help"),
        persist_state="session",
    )
    known = {entry.id: _shown(entry) for entry in _listed()}
    names = {"": t("vertex_prompts.new"), **{each: t("vertex_prompts.next", name=name) for each, name in known.items()}}
    st.selectbox(t("vertex_prompts.as"), list(names), format_func=names.__getitem__, key=NEXT_OF)
    running = bool(state.saving and state.saving.active)
    st.button(
        t("vertex_prompts.save_button"), type="primary", key="vertex_prompt_save", on_click=_save, disabled=running
    )
    _complain("save")
    if state.saving:
        st.fragment(_follow, run_every=_REFRESH_SECONDS if running else None)(state.saving, running)


def _follow(saving: Saving, running: bool) -> None:
    if running and not saving.active:
        st.rerun()
    if running:
        st.progress(saving.fraction, text=t("vertex_prompts.saving", name=i18n.plain(saving.name)))
        st.button(t("vertex_prompts.stop"), key="vertex_prompt_stop", on_click=saving.stop)
    elif saving.error:
        st.error(i18n.explain(saving.error), icon=":material/error:")
    elif saving.stopped:
        st.warning(t("vertex_prompts.stopped", name=i18n.plain(saving.name)))
    else:
        st.success(t("vertex_prompts.saved", name=i18n.plain(saving.name), version=i18n.plain(saving.version_id)))
        for kind, fields in (("merged", saving.merged), ("lost", saving.lost)):
            if fields:
                st.info(t(f"vertex_prompts.{kind}", fields=_words(fields)))


def _open_form() -> None:
    state = session().vertex
    st.button(t("vertex_prompts.list"), key="vertex_prompt_list", on_click=_list, icon=":material/refresh:")
    _complain("open")
    entries = {entry.id: entry for entry in _listed()}
    if not entries:
        if state.place and state.place == _place():
            st.caption(t("vertex_prompts.none"))
        return
    st.selectbox(
        t("vertex_prompts.prompt", count=len(entries)),
        list(entries),
        index=None,
        format_func=lambda each: _shown(entries[each]),
        key=PROMPT,
        on_change=_list_versions,
        placeholder=t("vertex_prompts.choose"),
    )
    chosen = str(get(PROMPT) or "")
    if not chosen:
        return
    versions = {entry.id: entry for entry in state.versions.get(chosen, ())}
    names = {"": t("vertex_prompts.newest"), **{each: _version(entry) for each, entry in versions.items()}}
    st.selectbox(t("vertex_prompts.version"), list(names), format_func=names.__getitem__, key=VERSION)
    st.button(
        t("gallery.open"), type="primary", key="vertex_prompt_open", on_click=_fetch, icon=":material/play_arrow:"
    )
    if state.fetched:
        with st.container(border=True):
            st.markdown(t("vertex_prompts.not_opened", fields=_words(state.fetched.lost)))
            with st.container(horizontal=True):
                st.button(t("vertex_prompts.yes"), key="vertex_prompt_yes", type="primary", on_click=_open)
                st.button(t("vertex_prompts.no"), key="vertex_prompt_no", on_click=_leave)


def _save() -> None:
    state, name, model = session().vertex, str(get(NAME) or ""), str(get(MODEL) or "").strip()

    def begin() -> None:
        state.saving = None
        settings = read_settings()
        row = RowRequest(settings.sampler, settings.max_output_tokens, settings.stop_sequences)
        spec = read_prompt(settings.stop_sequences)
        request = GenerationRequest(session().model_id, spec, (row,), hosted=read_hosted())
        kept = resources.vertex_prompts()
        state.saving = kept.save(_place(), request, name, model, str(get(NEXT_OF) or ""))

    _tried("save", begin)


def _list() -> None:
    state, place = session().vertex, _place()

    def ask() -> None:
        with st.spinner(t("vertex_prompts.listing")):
            state.entries = resources.vertex_prompts().prompts(place)
        state.place, state.versions, state.fetched = place, {}, None

    _tried("open", ask)


def _list_versions() -> None:
    state, chosen = session().vertex, str(get(PROMPT) or "")
    state.fetched = None
    put(VERSION, "")

    def ask() -> None:
        with st.spinner(t("vertex_prompts.listing")):
            state.versions[chosen] = resources.vertex_prompts().versions(state.place, chosen)

    if chosen and chosen not in state.versions:
        _tried("open", ask)


def _fetch() -> None:
    """Get the version, and open it unless the reader should know before what does not come along."""
    state = session().vertex

    def ask() -> None:
        with st.spinner(t("vertex_prompts.listing")):
            state.fetched = resources.vertex_prompts().open(state.place, str(get(PROMPT)), str(get(VERSION) or ""))
        if not state.fetched.lost:
            _open()

    _tried("open", ask)


def _open() -> None:
    """Open what was fetched in the Playground. Work that would be replaced is asked for."""
    state = session().vertex
    if found := state.fetched:
        names = {entry.id: entry.name for entry in state.entries}
        state.fetched = None
        ask_to_open(OpenedRecipe(Recipe.of(found.request, title=names.get(str(get(PROMPT)), ""))))


def _leave() -> None:
    session().vertex.fetched = None


def _tried(where: str, attempt: Callable[[], None]) -> None:
    """Keep what it is refused for, to be shown beside the button."""
    notices = session().vertex.notices
    notices.pop(where, None)
    try:
        attempt()
    except NucleusError as error:
        notices[where] = i18n.explain(error)


def _complain(where: str) -> None:
    if notice := session().vertex.notices.get(where):
        st.error(notice, icon=":material/error:")


def _place() -> str:
    return str(get(Key.VERTEX_PLACE) or "").strip()


def _listed() -> tuple[PromptEntry, ...]:
    """Those of the place that the form names."""
    state = session().vertex
    return state.entries if state.place == _place() else ()


def _shown(entry: PromptEntry) -> str:
    return " · ".join(filter(None, (entry.name or entry.id, entry.model, _day(entry))))


def _version(entry: VersionEntry) -> str:
    return " · ".join(filter(None, (t("vertex_prompts.number", number=entry.id), entry.name, _day(entry))))


def _day(entry: PromptEntry | VersionEntry) -> str:
    return f"{entry.saved_at:%Y-%m-%d %H:%M}" if entry.saved_at else ""


def _words(fields: Sequence[str]) -> str:
    """Names of fields; those that only Vertex AI has as it writes them."""
    known = i18n.texts(i18n.language())
    return ", ".join(known.get(f"fields.{name}") or i18n.plain(name) for name in fields)
