"""Export and import a recipe in Nucleus's own formats, without losing anything."""

from __future__ import annotations

from llm_core.formats.common.result import ExportResult, ImportResult
from llm_core.recipes import yaml_json
from llm_core.recipes.recipe import Recipe


def dump_yaml(recipe: Recipe) -> ExportResult:
    return ExportResult(yaml_json.dump_yaml(recipe))


def dump_json(recipe: Recipe) -> ExportResult:
    return ExportResult(yaml_json.dump_json(recipe))


def load(text: str) -> ImportResult:
    return ImportResult(yaml_json.load_text(text))
