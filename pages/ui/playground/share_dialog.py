"""Share dialog: give the Playground's work away as a recipe, by link or file, and open what others shared."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import streamlit as st

from llm_core import NucleusError
from llm_core.formats.registry import FORMATS, make_file_name, readable_formats
from llm_core.generation.record import Run
from llm_core.generation.request import MAX_SAMPLES_PER_REQUEST
from pages.ui.components.fields import show_field
from pages.ui.model.status import loaded_revision
from pages.ui.playground.open_recipe import open_or_confirm, read_recipe
from pages.ui.playground.session_state import playground_state
from pages.ui.recipes.export_panel import show_export_panel
from pages.ui.recipes.links import app_url
from pages.ui.recipes.opened import OpenedRecipe
from pages.ui.shell import i18n
from pages.ui.shell.i18n import t
from pages.ui.shell.session import Key, get, has, put

if TYPE_CHECKING:
    from llm_core.recipes.recipe import Recipe
    from llm_core.recipes.trace import Trace

LICENCES = ("", "CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "Apache-2.0", "MIT")
_DESCRIPTION_FIELDS = {
    Key.SHARE_TITLE: "title",
    Key.SHARE_AUTHOR: "author",
    Key.SHARE_LICENCE: "licence",
    Key.SHARE_NOTES: "notes",
}


def open_share_dialog() -> None:
    """Open the dialog, which is drawn at the end of this rerun, and fill its fields from the open recipe."""
    state = playground_state()
    state.sharing, state.share_notice = True, None
    opened = state.opened.recipe if state.opened else None
    for key, field in _DESCRIPTION_FIELDS.items():
        if not has(key) or opened is not None:
            known = getattr(opened, field) if opened else ""
            put(key, known if key is not Key.SHARE_LICENCE or known in LICENCES else "")


def show_share_dialog() -> None:
    """Draw the dialog if it is open."""
    if playground_state().sharing:
        st.dialog(t("share.title"), width="medium", on_dismiss=_close_dialog)(_show_dialog)()


def _close_dialog() -> None:
    playground_state().sharing = False


def _show_dialog() -> None:
    share, take = st.tabs([t("share.this"), t("share.other")])
    with share:
        _show_share_tab()
    with take:
        _show_open_tab()


def _show_share_tab() -> None:
    state = playground_state()
    title, author = st.columns(2)
    show_field(title.text_input, "share.recipe_title", Key.SHARE_TITLE, max_chars=200)
    show_field(author.text_input, "share.author", Key.SHARE_AUTHOR, max_chars=200)
    show_field(
        st.text_area,
        "share.notes",
        Key.SHARE_NOTES,
        height=80,
        max_chars=20_000,
        placeholder=t("share.notes_placeholder"),
    )
    show_field(
        st.selectbox,
        "share.licence",
        Key.SHARE_LICENCE,
        LICENCES,
        format_func=lambda each: each or t("share.no_licence"),
    )
    can_record = bool(state.technique_runs) and not any(technique_run.active for technique_run in state.technique_runs)
    with_run = st.toggle(
        t("share.with_run"),
        key="playground.share_run",
        disabled=not can_record,
        help=t("share.with_run_help") if can_record else t("share.no_run"),
    )
    try:
        recipe = make_shared_recipe(with_run and can_record)
    except NucleusError as error:
        st.error(i18n.explain(error), icon=":material/error:")
        return
    _show_link(recipe)
    _show_downloads(recipe)
    st.markdown(f"**{t('conversions.other_forms')}**")
    runs = [run for technique_run in state.technique_runs for run in technique_run.runs[-1:]]
    show_export_panel(recipe, runs, key="playground.share", without=("yaml", "json"))
    st.caption(t("share.safe"))


def make_shared_recipe(with_run: bool) -> Recipe:
    """Return the Playground's recipe, or with its run the recipe of that run, even if the fields have changed since.
    Raises `NucleusError`."""
    from llm_core.recipes.recipe import ModelReference, Recipe

    state = playground_state()
    about: dict[str, Any] = {field: (get(key) or "").strip() for key, field in _DESCRIPTION_FIELDS.items()}
    opened = state.opened.recipe if state.opened else None
    if with_run and state.technique_runs[0].main.recorded and opened:
        return opened.replace(**about)
    if with_run:
        if opened:
            about |= {"tags": opened.tags, "language": opened.language}
        about["trace"] = _record_trace(tuple(technique_run.main for technique_run in state.technique_runs))
        recipe = Recipe.from_request(state.technique_runs[0].request, prompt=state.run_prompt)
    else:
        about["trace"] = None
        recipe = read_recipe()
    revision = recipe.model.revision or loaded_revision(recipe.model.id)
    return recipe.replace(**about, model=ModelReference(id=recipe.model.id, revision=revision))


def _record_trace(runs: tuple[Run, ...]) -> Trace:
    """Return the trace of the shown answers. It is made once per set of runs, because packing takes time."""
    from llm_core.recipes.replay import iterate_recorded_samples
    from llm_core.recipes.trace import make_trace

    state = playground_state()
    ids = tuple(run.id for run in runs)
    if state.recorded_trace is None or state.recorded_trace[0] != ids:
        if (count := sum(len(run.samples) for run in runs)) > MAX_SAMPLES_PER_REQUEST:
            raise NucleusError("rows_out_of_range", value=count, limit=MAX_SAMPLES_PER_REQUEST)
        at = datetime.now(UTC).isoformat(timespec="seconds")
        state.recorded_trace = ids, make_trace(iterate_recorded_samples(enumerate(state.technique_runs)), at)
    return state.recorded_trace[1]


def _show_link(recipe: Recipe) -> None:
    from llm_core import encode_link
    from llm_core.recipes.link import PARAMETER

    st.markdown(f"**{t('share.link')}**")
    try:
        st.code(app_url(PARAMETER, encode_link(recipe)), language=None, wrap_lines=True, height=96)
    except NucleusError as error:
        st.info(i18n.explain(error), icon=":material/link_off:")
        return
    st.caption(t("share.link_with_run_help" if recipe.trace else "share.link_help"))


def _show_downloads(recipe: Recipe) -> None:
    from llm_core import dump_json, dump_yaml

    with st.container(horizontal=True):
        for form, dump, mime in (("yaml", dump_yaml, "application/yaml"), ("json", dump_json, "application/json")):
            st.download_button(
                t(f"share.{form}"),
                dump(recipe),
                file_name=make_file_name(recipe.title, form),
                mime=mime,
                on_click="ignore",
                icon=":material/download:",
                key=f"playground.share_{form}",
            )


def _show_open_tab() -> None:
    state = playground_state()
    st.caption(t("share.open_help"))
    st.file_uploader(
        t("share.file"),
        type=["yml", *sorted({FORMATS[form].suffix.rpartition(".")[2] for form in readable_formats()})],
        key="playground.share_file",
        on_change=_read_file,
    )
    st.text_area(t("share.paste"), key="playground.share_paste", height=96, placeholder="https://…/?r=…")
    st.button(t("share.open"), key="playground.share_open", on_click=_read_pasted)
    if state.share_notice:
        st.error(state.share_notice, icon=":material/error:")
    elif not state.sharing:  # a recipe was opened
        st.rerun()


def _read_file() -> None:
    if file := get("playground.share_file"):
        _open_shared(file.getvalue(), file.name)


def _read_pasted() -> None:
    _open_shared((get("playground.share_paste") or "").strip())


def _open_shared(text: str | bytes, name: str = "") -> None:
    """Open a file of any readable format, or a pasted link or text. An error changes nothing and is shown."""
    from llm_core import decode_link
    from llm_core.formats import registry

    state = playground_state()
    state.share_notice = None
    try:
        is_link = isinstance(text, str) and "\n" not in text and (text.startswith("http") or ":" not in text)
        loaded = registry.ImportResult(decode_link(str(text))) if is_link else registry.load(text, name)
        open_or_confirm(OpenedRecipe(loaded.recipe, unread_fields=loaded.dropped))
        state.sharing = False
    except NucleusError as error:
        state.share_notice = i18n.explain(error)
