"""Panel of the response cache: its size and hits, a switch, and a button to clear it."""

from __future__ import annotations

import streamlit as st

from pages.ui.shell.i18n import format_number, t
from pages.ui.shell.session import get, has, put, session

SWITCH_KEY = "model.answers_on"


def show_response_cache() -> None:
    """Draw the panel."""
    answers = session().answers
    if not has(SWITCH_KEY):
        put(SWITCH_KEY, answers.enabled)
    st.toggle(
        t("hosted_views.cache.switch"), key=SWITCH_KEY, on_change=_toggle_cache, help=t("hosted_views.cache.help")
    )
    if not len(answers):
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        kept = {"count": format_number(len(answers), 0), "size": format_number(answers.size / 1000, 0)}
        st.caption(t("hosted_views.cache.kept", **kept, hits=format_number(answers.hits, 0)), width="content")
        st.button(t("hosted_views.cache.clear"), on_click=answers.clear, key="model.answers_clear")


def _toggle_cache() -> None:
    session().answers.enabled = bool(get(SWITCH_KEY))
