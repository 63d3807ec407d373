"""Import a table from a file or pasted text."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from llm_core import NucleusError
from llm_core.prompts.table_import import MAX_TABLE_BYTES, read_table
from pages.ui.prompt.session_state import prompt_state
from pages.ui.shell import i18n
from pages.ui.shell.i18n import t
from pages.ui.shell.session import get


def show_table_import(name: str, on_import: Callable[[list[dict[str, str]]], str], example: str) -> None:
    """Draw a button that opens the import.

    `on_import` gets the rows and returns the message for the reader. An error of it or of reading the table is shown
    and changes nothing. `example` is a table shown as a sample.
    """
    with st.popover(t("import.title"), icon=":material/upload:"):
        st.caption(t("import.help"))
        st.file_uploader(
            t("import.file"),
            type=["csv", "tsv", "txt", "json", "jsonl"],
            key=f"prompt.{name}_file",
            on_change=_read_file,
            args=(name, on_import),
        )
        st.text_area(t("import.paste"), key=f"prompt.{name}_paste", height=110, placeholder=example)
        st.button(t("import.take_pasted"), on_click=_read_pasted, args=(name, on_import), key=f"prompt.{name}_take")
        if note := prompt_state().import_notes.get(name):
            st.info(note)


def _read_file(name: str, on_import: Callable[[list[dict[str, str]]], str]) -> None:
    file = get(f"prompt.{name}_file")
    if file is None:
        return
    if file.size > MAX_TABLE_BYTES:  # checked before a large file is copied in memory
        error = NucleusError("table_too_large", size=file.size, limit=MAX_TABLE_BYTES)
        prompt_state().import_notes[name] = i18n.explain(error)
    else:
        _import_table(name, on_import, file.getvalue())


def _read_pasted(name: str, on_import: Callable[[list[dict[str, str]]], str]) -> None:
    _import_table(name, on_import, get(f"prompt.{name}_paste") or "")


def _import_table(name: str, on_import: Callable[[list[dict[str, str]]], str], data: bytes | str) -> None:
    try:
        prompt_state().import_notes[name] = on_import(read_table(data))
    except NucleusError as error:
        prompt_state().import_notes[name] = i18n.explain(error)
