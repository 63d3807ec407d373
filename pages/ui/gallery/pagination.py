"""Turn the pages of a long list."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from pages.ui.shell.i18n import t


def show_page_buttons(skip: int, total: int, page_size: int, on_turn: Callable[[int], None], key: str) -> None:
    """Draw the buttons to newer and to older entries, unless one page of `page_size` entries holds all `total` of them.

    `skip` is the number of entries before the shown page; `on_turn` gets it for the other page. `key` begins the keys
    of both buttons.
    """
    if total <= page_size:
        return
    newer, older = max(0, skip - page_size), skip + page_size
    with st.container(horizontal=True, horizontal_alignment="center"):
        st.button(t("gallery.newer"), key=f"{key}_newer", on_click=on_turn, args=(newer,), disabled=not skip)
        st.button(t("gallery.older"), key=f"{key}_older", on_click=on_turn, args=(older,), disabled=older >= total)
