"""The list of pages, and the guard that sends every page through `app.py`."""

from __future__ import annotations

import streamlit as st

from pages.ui.i18n import t
from pages.ui.state import session


def pages() -> dict[str, list]:
    """Sections and pages of the menu, in the reader's language."""
    return {
        t("nav.experiment"): [
            st.Page("pages/playground.py", title=t("playground.title"), icon=":material/play_circle:", default=True)
        ],
        t("nav.setup"): [st.Page("pages/models.py", title=t("models.title"), icon=":material/deployed_code:")],
    }


def route():
    """The page to run. Called by `app.py` once a rerun."""
    session().routed = True
    return st.navigation(pages())


def ensure_routed() -> None:
    """Start over through `app.py` if this page was opened without it.

    A server whose first request is a deep link finds the file under `pages/` by itself, before `app.py` had a chance
    to declare the menu.
    """
    if not session().routed:
        st.navigation(pages())
        st.rerun()
