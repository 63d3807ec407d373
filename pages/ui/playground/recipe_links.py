"""Recipes in the address: `/?s=ID` opens one that is saved here, `/?r=...` one that the address itself holds.

The address is cleared once it is read: what the reader makes of the recipe is not what it named.
"""

from __future__ import annotations

import streamlit as st

from llm_core import NucleusError
from pages.ui.playground.open_recipe import ask_to_open
from pages.ui.shell import i18n, services
from pages.ui.shell.browser_identity import owner
from pages.ui.shell.session import OpenedRecipe, session

SAVED, WHOLE = "s", "r"


def settle_recipe() -> None:
    """Once a rerun, before any page is drawn."""
    saved, whole = st.query_params.get(SAVED), st.query_params.get(WHOLE)
    if not saved and not whole:
        return
    for name in (SAVED, WHOLE):
        st.query_params.pop(name, None)
    try:
        ask_to_open(saved_recipe(saved) if saved else _from_link(whole or ""))
    except NucleusError as error:
        session().desk_notice = ("error", i18n.explain(error))


def saved_recipe(recipe_id: str, number: int | None = None) -> OpenedRecipe:
    """One version of a saved recipe, the latest if none is named. Raises `NucleusError`."""
    entry = services.recipes().get(recipe_id, owner())
    number = number or entry.latest
    recipe = services.recipes().recipe(entry.id, number, owner())
    return OpenedRecipe(recipe, id=entry.id, version=number, mine=entry.mine)


def _from_link(text: str) -> OpenedRecipe:
    from llm_core.recipes.link import decode_link

    return OpenedRecipe(decode_link(text))


def short_link(recipe_id: str) -> str:
    """The whole address of a saved recipe."""
    return whole_address(SAVED, recipe_id)


def whole_address(name: str, value: str) -> str:
    """The app's root with this parameter, as the reader's browser knows this server."""
    from urllib.parse import urlsplit

    here = urlsplit(st.context.url or "")
    base = st.get_option("server.baseUrlPath").strip("/")
    return f"{here.scheme}://{here.netloc}/{base}{'/' if base else ''}?{name}={value}"
