"""Open recipes that the URL names: `/?s=ID` a recipe saved here, `/?r=...` one that the URL itself holds.

The parameter is removed once it is read, because the reader's changes make another recipe than the one it named.
"""

from __future__ import annotations

import streamlit as st

from llm_core import NucleusError
from pages.ui.playground.open_recipe import open_or_confirm
from pages.ui.playground.session_state import playground_state
from pages.ui.recipes.links import LINK_PARAMETER, SAVED_PARAMETER, load_saved_recipe
from pages.ui.recipes.opened import OpenedRecipe
from pages.ui.shell import i18n


def open_recipe_from_url() -> None:
    """Open the recipe that the URL names. Call it once per rerun, before any page is drawn."""
    saved, whole = st.query_params.get(SAVED_PARAMETER), st.query_params.get(LINK_PARAMETER)
    if not saved and not whole:
        return
    for name in (SAVED_PARAMETER, LINK_PARAMETER):
        st.query_params.pop(name, None)
    try:
        open_or_confirm(load_saved_recipe(saved) if saved else _decode_recipe(whole or ""))
    except NucleusError as error:
        playground_state().recipe_notice = ("error", i18n.explain(error))


def _decode_recipe(text: str) -> OpenedRecipe:
    from llm_core.recipes.link import decode_link

    return OpenedRecipe(decode_link(text))
