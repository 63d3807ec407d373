"""Field for a document, the passages in it that match the question, and those that an answer cites."""

from __future__ import annotations

import streamlit as st

from llm_core import NucleusError, PromptSpec
from llm_core.prompts.retrieval import MAX_DOCUMENT_CHARACTERS, MAX_PASSAGES, Passage, find_cited_numbers
from llm_core.prompts.table_import import decode_text_file
from pages.ui.components.fields import show_field
from pages.ui.prompt.session_state import prompt_state
from pages.ui.shell import i18n
from pages.ui.shell.i18n import format_number, t
from pages.ui.shell.session import Key, get, has, put


def show_document_field() -> None:
    """Draw the fields of `Key.DOCUMENT` and `Key.PASSAGES`."""
    st.caption(t("document.help"))
    show_field(st.text_area, "document.text", Key.DOCUMENT, height=150, label_visibility="collapsed")
    file, count = st.columns([3, 1])
    file.file_uploader(t("document.file"), type=["txt", "md"], key="prompt.document_file", on_change=_read_file)
    show_field(
        count.number_input,
        "document.passages",
        Key.PASSAGES,
        value=None,
        step=1,
        help=t("document.passages_help", limit=MAX_PASSAGES),
    )
    if note := prompt_state().document_note:
        st.warning(note)


def show_passages(spec: PromptSpec, answer: str | None = None) -> None:
    """Draw the passages that the prompt's question retrieves, marking those that the answer cites. Draws nothing
    without a document."""
    if not spec.document.strip():
        return
    try:
        passages = spec.retrieve_passages()
    except NucleusError as error:
        st.caption(i18n.explain(error))
        return
    cited = find_cited_numbers(answer) if answer else set()
    st.caption(t("document.found" if answer is None else "document.shown", count=len(passages)))
    for passage in passages:
        _show_passage(passage, passage.number in cited)
    if invented := sorted(cited - {passage.number for passage in passages}):
        st.caption(t("document.invented", numbers=", ".join(f"[{each}]" for each in invented)))


def _show_passage(passage: Passage, cited: bool) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.badge(str(passage.number), color="orange" if cited else "gray")
        st.caption(
            t("document.score", value=format_number(passage.score)) + (f" · {t('document.cited')}" if cited else "")
        )
    st.code(passage.text, language=None, wrap_lines=True)


def _read_file() -> None:
    file = get("prompt.document_file")
    if file is None:
        return
    prompt_state().document_note = None
    try:
        if file.size > 4 * MAX_DOCUMENT_CHARACTERS:  # checked before a large file is copied in memory
            raise NucleusError("prompt_too_large", field="document", size=file.size, limit=MAX_DOCUMENT_CHARACTERS)
        text = decode_text_file(file.getvalue()).lstrip("\ufeff")
        PromptSpec("-", document=text).validate()
    except NucleusError as error:
        prompt_state().document_note = i18n.explain(error)
        return
    put(Key.DOCUMENT, text)


def has_document() -> bool:
    """Return whether the field holds a document."""
    return has(Key.DOCUMENT) and bool((get(Key.DOCUMENT) or "").strip())
