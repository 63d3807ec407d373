"""The list of pages, and the guard that sends every page through `app.py`."""

from __future__ import annotations

import streamlit as st

from pages.ui.shell.i18n import t
from pages.ui.shell.session import session


def pages() -> dict[str, list]:
    """Sections and pages of the menu, in the reader's language."""
    playground = st.Page(
        "pages/playground.py",
        title=t("playground.title"),
        default=True,
        url_path="first",  # not used for the default page, but must not be the name below
    )

    def to_playground() -> None:
        """The first page answers at `/` only; people who type its name should not read "page not found"."""
        st.switch_page(playground)

    by_name = st.Page(to_playground, title=t("playground.title"), url_path="playground", visibility="hidden")
    return {
        t("nav.experiment"): [
            playground,
            by_name,
            st.Page("pages/lens.py", title=t("lens.title")),
            st.Page("pages/techniques.py", title=t("study.title")),
            st.Page("pages/compare.py", title=t("compare.title")),
            st.Page("pages/best_of_n.py", title=t("best.title")),
            st.Page("pages/gallery.py", title=t("gallery.title")),
        ],
        t("nav.setup"): [st.Page("pages/models.py", title=t("models.title"))],
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
