"""State of the dialog that saves recipes, of one browser tab."""

from __future__ import annotations

from dataclasses import dataclass

from pages.ui.shell.session import session_slice


@dataclass
class RecipesState:
    """Values of the dialog that saves recipes."""

    saving: bool = False
    """Whether the dialog is open."""


def recipes_state() -> RecipesState:
    """Return this tab's `RecipesState`."""
    return session_slice(RecipesState)
