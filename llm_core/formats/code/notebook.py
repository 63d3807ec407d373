"""Export and import a Jupyter notebook (nbformat 4.5) of a recipe: its program cell by cell, and the recipe in the
metadata.

It opens in Kaggle and Colab: the first cell installs the packages, a second one writes the needed modules of this
repository, and no cell refers to files of this machine. Reading takes the recipe from the metadata; cells are never run
here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from llm_core.errors import NucleusError
from llm_core.formats.code import sdk_program, transformers_program
from llm_core.formats.code.bundled_modules import make_bundle_cell
from llm_core.formats.code.sdk_program import Program
from llm_core.formats.common.fields import dropped_trace
from llm_core.formats.common.result import DroppedField, ExportResult, ImportResult
from llm_core.providers.model_id import parse_model_id
from llm_core.recipes.recipe import Recipe
from llm_core.recipes.yaml_json import load_data

_PROGRAMS = {
    "gemini": sdk_program.make_gemini_program,
    "vertex": sdk_program.make_vertex_program,
    "openai": sdk_program.make_openai_program,
    "endpoint": sdk_program.make_openai_program,
}


def make_program(recipe: Recipe) -> Program:
    """Return the recipe's program for the provider of its model."""
    target = parse_model_id(recipe.model.id)
    return _PROGRAMS[target.scheme](recipe) if target else transformers_program.make_transformers_program(recipe)


def dump(recipe: Recipe) -> ExportResult:
    """Export the recipe as a notebook. Fields that the program cannot carry are still in the metadata, for Nucleus."""
    made = make_program(recipe)
    bare = recipe.model_copy(update={"trace": None})
    install = f"%pip install --quiet {' '.join(json.dumps(package) for package in made.packages)}\n"
    sources = [install, *([make_bundle_cell(made.modules)] if made.modules else []), *made.cells]
    document = {
        "cells": [_make_code_cell(source, number) for number, source in enumerate(sources)],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            "nucleus": {"recipe": bare.data()},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    kept = ("other_model", "as_chat", "as_prompts", "one_step")
    dropped = [each for each in made.dropped if each.reason != "needs_repository" and each.field != "trace"]
    dropped = [
        each if each.reason in kept else each._replace(reason="nucleus_only") for each in dropped
    ] + dropped_trace(recipe)
    return ExportResult(json.dumps(document, ensure_ascii=False, indent=1) + "\n", tuple(dropped))


def is_notebook(data: object) -> bool:
    return isinstance(data, Mapping) and "nbformat" in data and "cells" in data


def load(text: str) -> ImportResult:
    data = load_data(text)
    if not is_notebook(data):
        raise _make_error("it is not a notebook")
    assert isinstance(data, Mapping)
    metadata = data.get("metadata")
    ours = metadata.get("nucleus") if isinstance(metadata, Mapping) else None
    if not isinstance(ours, Mapping) or "recipe" not in ours:
        raise _make_error("it has no recipe of Nucleus in its metadata")
    recipe = Recipe.read(ours["recipe"])
    made = json.loads(dump(recipe).text)["cells"]
    edited = _read_sources(data.get("cells")) != _read_sources(made)
    return ImportResult(recipe, (DroppedField("cells", "edited"),) if edited else ())


def _make_code_cell(source: str, number: int) -> dict[str, Any]:
    source = source.strip("\n")
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": hashlib.sha256(f"{number} {source}".encode()).hexdigest()[:16],
        "metadata": {},
        "outputs": [],
        "source": source.splitlines(keepends=True),
    }


def _read_sources(cells: object) -> list[str]:
    """Return the code in cells, in either of the forms in which notebooks save it."""
    if not isinstance(cells, list):
        return []
    sources = []
    for cell in cells:
        source = cell.get("source") if isinstance(cell, Mapping) and cell.get("cell_type") == "code" else None
        lines = source if isinstance(source, list) else [source]
        if all(isinstance(line, str) for line in lines):
            sources.append("".join(line for line in lines if line).strip())
    return sources


def _make_error(detail: str) -> NucleusError:
    return NucleusError("import_wrong", format="notebook", detail=detail)
