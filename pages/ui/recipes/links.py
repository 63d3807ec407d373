"""Make links to recipes, and load saved recipes that a link names."""

from __future__ import annotations

import streamlit as st

from pages.ui.recipes.opened import OpenedRecipe
from pages.ui.shell import services
from pages.ui.shell.browser_identity import owner

SAVED, WHOLE = "s", "r"


def saved_recipe(recipe_id: str, number: int | None = None) -> OpenedRecipe:
    """Load one version of a saved recipe, the latest by default. Raises `NucleusError`."""
    entry = services.recipes().get(recipe_id, owner())
    number = number or entry.latest
    recipe = services.recipes().recipe(entry.id, number, owner())
    return OpenedRecipe(recipe, id=entry.id, version=number, mine=entry.mine)


def short_link(recipe_id: str) -> str:
    """Return the full URL of a saved recipe."""
    return whole_address(SAVED, recipe_id)


def whole_address(name: str, value: str) -> str:
    """Return the app's full URL, as the reader's browser knows it, with one query parameter."""
    from urllib.parse import urlsplit

    here = urlsplit(st.context.url or "")
    base = st.get_option("server.baseUrlPath").strip("/")
    return f"{here.scheme}://{here.netloc}/{base}{'/' if base else ''}?{name}={value}"
