"""A recipe in its own forms: nothing is lost."""

from __future__ import annotations

from llm_core import recipe_files
from llm_core.conversions.base import Dumped, Loaded
from llm_core.recipe import Recipe


def dump_yaml(recipe: Recipe) -> Dumped:
    return Dumped(recipe_files.dump_yaml(recipe))


def dump_json(recipe: Recipe) -> Dumped:
    return Dumped(recipe_files.dump_json(recipe))


def load(text: str) -> Loaded:
    return Loaded(recipe_files.load_text(text))
