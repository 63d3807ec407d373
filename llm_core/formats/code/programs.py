"""Export recipes as Python files; `sdk_program` and `transformers_program` write them."""

from __future__ import annotations

from llm_core.formats.code import sdk_program, transformers_program
from llm_core.formats.common.result import ExportResult
from llm_core.recipes.recipe import Recipe


def gemini(recipe: Recipe) -> ExportResult:
    return _make_result(sdk_program.make_gemini_program(recipe))


def vertex(recipe: Recipe) -> ExportResult:
    return _make_result(sdk_program.make_vertex_program(recipe))


def openai(recipe: Recipe) -> ExportResult:
    return _make_result(sdk_program.make_openai_program(recipe))


def transformers(recipe: Recipe) -> ExportResult:
    return _make_result(transformers_program.make_transformers_program(recipe))


def _make_result(program: sdk_program.Program) -> ExportResult:
    return ExportResult(program.source, program.dropped)
