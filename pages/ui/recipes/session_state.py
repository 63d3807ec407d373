"""Hold what the room remembers of a browser tab, besides its widgets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pages.ui.shell.session import session_slice

if TYPE_CHECKING:
    pass


@dataclass
class RecipesState:
    """Values of the dialogs that save and open recipes."""

    saving: bool = False
    """Whether the dialog to save is open."""


def recipes_state() -> RecipesState:
    """Return what this room remembers of the tab."""
    return session_slice(RecipesState)
