"""Recipe that is open on a page, with its origin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llm_core.formats.registry import DroppedField
    from llm_core.recipes.recipe import Recipe


@dataclass(frozen=True)
class OpenedRecipe:
    """Recipe that was last opened on a page, or saved from it."""

    recipe: Recipe
    shown: Recipe | None = None
    """Recipe of the page's fields right after they were filled; None if they were not."""
    id: str = ""
    """Id of the saved recipe; empty if it is not saved here."""
    version: int = 0
    mine: bool = False
    unread_fields: tuple[DroppedField, ...] = ()
    """Fields of the imported file that a recipe cannot hold."""
