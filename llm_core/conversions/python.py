"""Recipes as Python files: see `scripts` and `local_script`."""

from __future__ import annotations

from llm_core.conversions import local_script, scripts
from llm_core.conversions.base import Dumped
from llm_core.recipe import Recipe


def gemini(recipe: Recipe) -> Dumped:
    return _dumped(scripts.gemini(recipe))


def vertex(recipe: Recipe) -> Dumped:
    return _dumped(scripts.vertex(recipe))


def openai(recipe: Recipe) -> Dumped:
    return _dumped(scripts.openai(recipe))


def transformers(recipe: Recipe) -> Dumped:
    return _dumped(local_script.transformers(recipe))


def _dumped(program: scripts.Program) -> Dumped:
    return Dumped(program.source, program.lost)
