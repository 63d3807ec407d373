"""Export recipes as Python files; `sdk_program` and `transformers_program` write them."""

from __future__ import annotations

from llm_core.formats.code import sdk_program, transformers_program
from llm_core.formats.common.result import Dumped
from llm_core.recipes.recipe import Recipe


def gemini(recipe: Recipe) -> Dumped:
    return _dumped(sdk_program.gemini(recipe))


def vertex(recipe: Recipe) -> Dumped:
    return _dumped(sdk_program.vertex(recipe))


def openai(recipe: Recipe) -> Dumped:
    return _dumped(sdk_program.openai(recipe))


def transformers(recipe: Recipe) -> Dumped:
    return _dumped(transformers_program.transformers(recipe))


def _dumped(program: sdk_program.Program) -> Dumped:
    return Dumped(program.source, program.lost)
