"""Editor of a prompt's examples: cards with text fields, their order, import and undo."""

from __future__ import annotations

import dataclasses

import streamlit as st

from llm_core.prompts.table_import import make_examples, write_csv
from pages.ui.prompt.session_state import prompt_state
from pages.ui.prompt.table_import import show_table_import
from pages.ui.shell.i18n import t
from pages.ui.shell.session import get, put

CARDS_PER_PAGE = 6
"""Cards shown at a time."""


def show_example_editor(reasoning: bool) -> None:
    """Draw the editor of `PromptState.examples`; `reasoning` adds the field for it."""
    drafts = prompt_state().examples.drafts
    pages = max(1, -(-len(drafts) // CARDS_PER_PAGE))
    with st.container(border=True):
        _show_toolbar()
        if not drafts:
            st.caption(t("examples.empty"))
            return
        page = 0
        if pages > 1:
            if (get("prompt.example_page") or 1) > pages:
                put("prompt.example_page", pages)
            chosen = st.segmented_control(
                t("examples.pages"),
                range(1, pages + 1),
                default=1,
                key="prompt.example_page",
                label_visibility="collapsed",
            )
            page = (chosen or 1) - 1
        for place in range(page * CARDS_PER_PAGE, min(len(drafts), (page + 1) * CARDS_PER_PAGE)):
            _show_card(place, reasoning)


def _show_toolbar() -> None:
    examples = prompt_state().examples
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{t('examples.title')}** ({len(examples)})", width="content")
        st.space("stretch")
        st.button(t("examples.add"), icon=":material/add:", on_click=examples.add, key="prompt.example_add")
        st.button(
            t("examples.undo"),
            icon=":material/undo:",
            help=t("examples.undo"),
            on_click=examples.undo,
            disabled=not examples.can_undo,
            key="prompt.icon_example_undo",
        )
        with st.popover(t("examples.shuffle"), icon=":material/shuffle:", disabled=len(examples) < 2):
            seed = st.number_input(t("examples.shuffle_seed"), min_value=0, step=1, value=1, key="prompt.shuffle_seed")
            st.button(t("examples.shuffle"), on_click=examples.shuffle, args=(seed,), key="prompt.example_shuffle")
        show_table_import("example", _import_examples, "input,output\n2 + 2,4")
        if len(examples):
            st.download_button(
                t("examples.download"),
                write_csv([dataclasses.asdict(example) for example in examples.examples]),
                "examples.csv",
                "text/csv",
                help=t("examples.download"),
                icon=":material/download:",
                key="prompt.icon_example_download",
            )


def _import_examples(rows: list[dict[str, str]]) -> str:
    """Add the examples of a table. Returns a message with the numbers of added and dropped examples."""
    state = prompt_state()
    examples, dropped = make_examples(rows)
    known = set(state.examples.examples)
    new = [example for example in examples if example not in known]
    state.examples.add(new)
    return t("examples.imported", count=len(new), dropped=dropped + len(examples) - len(new))


def _show_card(place: int, reasoning: bool) -> None:
    examples = prompt_state().examples
    draft = examples.drafts[place]
    with st.container(border=True, key=f"prompt.example_card.{draft.id}", gap="small"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.caption(t("examples.number", number=place + 1), width="content")
            st.space("stretch")
            _show_icon_button("arrow_upward", "up", draft.id, examples.move, (draft.id, -1), disabled=place == 0)
            _show_icon_button(
                "arrow_downward", "down", draft.id, examples.move, (draft.id, 1), disabled=place == len(examples) - 1
            )
            _show_icon_button("content_copy", "duplicate", draft.id, examples.duplicate, (draft.id,))
            _show_icon_button("delete", "remove", draft.id, examples.remove, (draft.id,))
        left, right = st.columns(2, gap="small")
        with left:
            _show_text_field(draft.id, "input", draft.example.input)
        with right:
            _show_text_field(draft.id, "output", draft.example.output)
        if reasoning:
            _show_text_field(draft.id, "reasoning", draft.example.reasoning)


def _show_icon_button(icon: str, name: str, number: int, action, args: tuple, disabled: bool = False) -> None:
    st.button(
        t(f"examples.{name}"),
        icon=f":material/{icon}:",
        key=f"prompt.icon_example.{name}.{number}",
        help=t(f"examples.{name}"),
        on_click=action,
        args=args,
        disabled=disabled,
        type="tertiary",
    )


def _show_text_field(number: int, part: str, value: str) -> None:
    key = f"prompt.example.{number}.{part}"
    put(key, value)  # the list is the source of truth: an undo changes it without the field
    st.text_area(t(f"examples.{part}"), key=key, height=68, on_change=_store_edit, args=(key, number, part))


def _store_edit(key: str, number: int, part: str) -> None:
    prompt_state().examples.edit(number, part, get(key) or "")
