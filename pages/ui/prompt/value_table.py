"""Table of values for the variables of a prompt: each row makes one prompt."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from pages.ui.prompt.session_state import prompt_state
from pages.ui.prompt.table_import import show_table_import
from pages.ui.shell.i18n import t


def show_value_table(variables: Sequence[str]) -> None:
    """Draw the table with a column per variable, and store its rows in `PromptState.value_table`. Columns of variables
    that left the prompt are kept for their return."""
    import pandas

    state = prompt_state()
    table = state.value_table
    columns = tuple(variables)
    if table.columns != columns:
        table.set_columns(columns)
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{t('values.title')}**", width="content")
            st.space("stretch")
            show_table_import("values", _import_values, "city\nParis\nHà Nội")
        start = [{name: row.get(name, "") for name in columns} for row in table.start] or [dict.fromkeys(columns, "")]
        edited = st.data_editor(
            pandas.DataFrame(start, columns=list(columns), dtype=str),
            num_rows="dynamic",
            hide_index=True,
            width="stretch",
            key=f"prompt.value_table.{table.version}",
        )
        table.rows = [
            {name: "" if value is None else str(value) for name, value in row.items()}
            for row in edited.to_dict("records")
            if any(str(value or "").strip() for value in row.values())
        ]
        st.caption(t("values.help"))


def _import_values(rows: list[dict[str, str]]) -> str:
    prompt_state().value_table.set(rows)
    return t("values.imported", count=len(rows))
