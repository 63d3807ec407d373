"""Describe the recipe that is open, wherever it came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llm_core.formats.registry import Lost
    from llm_core.recipes.recipe import Recipe


@dataclass(frozen=True)
class OpenedRecipe:
    """What was opened in the Playground, or saved from it, last."""

    recipe: Recipe
    shown: Recipe | None = None
    """What the Playground's fields said of it when they were filled."""
    id: str = ""
    """Under which it is saved; empty where it is not saved here."""
    version: int = 0
    mine: bool = False
    not_read: tuple[Lost, ...] = ()
    """What of the file that it came in has no place in a recipe."""
