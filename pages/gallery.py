"""Gallery page: starter recipes, saved recipes, past runs, and prompts in Vertex AI, each to be opened in the
Playground.

The history is a section of this page: it is one more list of recipes, searched and opened in the same way, and people
who look for earlier work may not know whether they saved it.
"""

from __future__ import annotations

import streamlit as st

from pages.ui.components.fields import show_field
from pages.ui.gallery.history import show_history
from pages.ui.gallery.saved_list import show_saved_recipes
from pages.ui.gallery.starter_list import show_starters
from pages.ui.gallery.vertex_prompts import show_vertex_prompts
from pages.ui.playground.open_recipe import confirm_opening
from pages.ui.shell.frame import page
from pages.ui.shell.i18n import t
from pages.ui.shell.session import get, has, put

SECTIONS = {"ready": show_starters, "saved": show_saved_recipes, "history": show_history, "vertex": show_vertex_prompts}


def show_gallery_page() -> None:
    """Draw the selected section of the page."""
    if not has("gallery.section"):
        put("gallery.section", "ready")
    names = {section: t(f"gallery.sections.{section}") for section in SECTIONS}
    show_field(
        st.segmented_control,
        "gallery.title",
        "gallery.section",
        list(names),
        required=True,
        format_func=names.__getitem__,
        label_visibility="collapsed",
    )
    SECTIONS[get("gallery.section")]()
    confirm_opening()


with page("gallery.title"):
    show_gallery_page()
