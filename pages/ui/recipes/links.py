"""Make links to recipes, and load saved recipes that a link names."""

from __future__ import annotations

import streamlit as st

from pages.ui.recipes.opened import OpenedRecipe
from pages.ui.shell import services
from pages.ui.shell.browser_identity import current_owner

SAVED_PARAMETER, LINK_PARAMETER = "s", "r"


def load_saved_recipe(recipe_id: str, number: int | None = None) -> OpenedRecipe:
    """Load one version of a saved recipe, the latest by default. Raises `NucleusError`."""
    entry = services.recipe_store().get(recipe_id, current_owner())
    number = number or entry.latest
    recipe = services.recipe_store().recipe(entry.id, number, current_owner())
    return OpenedRecipe(recipe, id=entry.id, version=number, mine=entry.mine)


def recipe_url(recipe_id: str) -> str:
    """Return the full URL of a saved recipe."""
    return app_url(SAVED_PARAMETER, recipe_id)


def app_url(name: str, value: str) -> str:
    """Return the app's full URL, as the reader's browser knows it, with one query parameter."""
    from urllib.parse import urlsplit

    here = urlsplit(st.context.url or "")
    base = st.get_option("server.baseUrlPath").strip("/")
    return f"{here.scheme}://{here.netloc}/{base}{'/' if base else ''}?{name}={value}"
