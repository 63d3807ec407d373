"""Menu of pages, and the guard that sends every request through `app.py`."""

from __future__ import annotations

import streamlit as st

from pages.ui.shell.i18n import t
from pages.ui.shell.session import session


def page_menu() -> dict[str, list]:
    """Return the sections and pages of the menu, in the reader's language."""
    playground = st.Page(
        "pages/playground.py",
        title=t("playground.title"),
        default=True,
        url_path="first",  # unused for the default page, but must differ from the path below
    )

    def to_playground() -> None:
        """Redirect `/playground` to `/`, where the default page lies; otherwise it would give "page not found"."""
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


def select_page():
    """Return the page to run. `app.py` calls this once per rerun."""
    session().routed = True
    return st.navigation(page_menu())


def ensure_routed() -> None:
    """Restart the run through `app.py` if this page was opened without it.

    A server whose first request is a deep link finds the file under `pages/` by itself, before `app.py` has declared
    the menu.
    """
    if not session().routed:
        st.navigation(page_menu())
        st.rerun()
