"""Export and import recipes and runs in the formats of other programs.

    dumped = dump("dotprompt", recipe)          # dumped.text, dumped.dropped
    dumped = dump("report", recipe, [run])      # formats of a run need one
    loaded = load(text, name="greeting.prompt") # loaded.recipe, loaded.dropped

Each result names what it could not carry (`DroppedField`: a field and a reason). Every field that is not named comes
back equal from each format that can be read. Reading never runs, fetches or opens anything that a file names.
"""

from __future__ import annotations

import importlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

from llm_core.errors import NucleusError
from llm_core.formats.common.result import DROP_REASONS, DroppedField, DropReason, ExportResult, ImportResult
from llm_core.providers.model_id import split_model_id

if TYPE_CHECKING:
    from llm_core.generation.record import Run
    from llm_core.recipes.recipe import Recipe

__all__ = [
    "DROP_REASONS",
    "FORMATS",
    "DropReason",
    "DroppedField",
    "ExportResult",
    "Format",
    "ImportResult",
    "detect_format",
    "dump",
    "find_format_by_suffix",
    "load",
    "make_file_name",
]

MAX_FILE_BYTES = 32 * 2**20
"""Bytes of a file that is read."""


class Format(NamedTuple):
    """One format. Its functions are given as `module:function`, since some of their modules are heavy."""

    suffix: str
    media_type: str
    dumps: str = ""
    """Function that exports a recipe; empty for none."""
    runs: str = ""
    """Function that exports runs; empty for none."""
    loads: str = ""
    language: str | None = None
    """Language by which its source is coloured."""

    @property
    def needs_run(self) -> bool:
        return bool(self.runs)


FORMATS: dict[str, Format] = {
    "yaml": Format(".yaml", "application/yaml", "nucleus:dump_yaml", loads="nucleus:load", language="yaml"),
    "json": Format(".json", "application/json", "nucleus:dump_json", loads="nucleus:load", language="json"),
    "python_gemini": Format(".py", "text/x-python", "code.programs:gemini", language="python"),
    "python_vertex": Format(".py", "text/x-python", "code.programs:vertex", language="python"),
    "python_openai": Format(".py", "text/x-python", "code.programs:openai", language="python"),
    "python_transformers": Format(".py", "text/x-python", "code.programs:transformers", language="python"),
    "notebook": Format(
        ".ipynb", "application/x-ipynb+json", "code.notebook:dump", loads="code.notebook:load", language="json"
    ),
    "dotprompt": Format(".prompt", "text/plain", "dotprompt:dump", loads="dotprompt:load", language="yaml"),
    "promptfoo": Format(
        ".promptfoo.yaml", "application/yaml", "promptfoo:dump", loads="promptfoo:load", language="yaml"
    ),
    "report": Format(".html", "text/html", runs="report.html_report:dump", language="html"),
    "csv": Format(".csv", "text/csv", runs="csv_jsonl:dump_csv", language=None),
    "jsonl": Format(".jsonl", "application/jsonl", runs="csv_jsonl:dump_jsonl", language="json"),
}
"""Every format by its id."""


def dump(form: str, recipe: Recipe, runs: Sequence[Run] = (), **options: Any) -> ExportResult:
    """Export the recipe, or the results of runs of it, in a format.

    Raises `NucleusError` for a format of a run without one, and for a prompt that cannot be arranged.
    """
    form = _check_format(form)
    if FORMATS[form].runs:
        if not runs:
            raise NucleusError("export_without_run")
        arguments = (recipe, runs) if form == "report" else (runs,)
        return _import_function(FORMATS[form].runs)(*arguments, **options)
    return _import_function(FORMATS[form].dumps)(recipe)


def load(text: str | bytes, name: str = "", form: str = "") -> ImportResult:
    """Import the recipe in a file. Without `form` the format is detected by the content, then by the suffix of `name`.

    Raises `NucleusError` for a file that is too large, of no known format, or refused by its format.
    """
    from llm_core.recipes.yaml_json import decode_text

    if len(text) > MAX_FILE_BYTES:
        raise NucleusError("import_too_large", size=len(text), limit=MAX_FILE_BYTES)
    text = decode_text(text)
    form = _check_format(form or detect_format(text, name))
    if not FORMATS[form].loads:
        raise NucleusError("import_unknown", known=", ".join(readable_formats()))
    return _import_function(FORMATS[form].loads)(text)


def readable_formats() -> list[str]:
    """Return the ids of the formats that can be read."""
    return [form for form, each in FORMATS.items() if each.loads]


def detect_format(text: str, name: str = "") -> str:
    """Detect the format of a text. Raises `NucleusError` for a text of no known format, and for one that is neither
    JSON nor YAML."""
    from llm_core.formats import dotprompt, promptfoo
    from llm_core.formats.code import notebook
    from llm_core.recipes.yaml_json import load_data

    suffixes = "".join(PurePath(name.replace("\\", "/")).suffixes[-2:]).lower()
    if suffixes.endswith(".prompt") or dotprompt.is_dotprompt(text):
        return "dotprompt"
    data = load_data(text)
    if notebook.is_notebook(data):
        return "notebook"
    if promptfoo.is_promptfoo(data):
        return "promptfoo"
    if isinstance(data, Mapping) and ({"schema_version", "prompt"} & data.keys()):
        return "json" if text.lstrip()[:1] == "{" else "yaml"
    raise NucleusError("import_unknown", known=", ".join(readable_formats()))


def find_format_by_suffix(name: str, recipe: Recipe) -> str:
    """Return the format that a file's suffix stands for; a program's is the one for the provider of the recipe's model.

    Raises `NucleusError` for an unknown suffix.
    """
    name = name.lower().replace(".yml", ".yaml")
    found = [form for form, each in FORMATS.items() if name.endswith(each.suffix)]
    if not found:
        known = ", ".join(sorted({each.suffix for each in FORMATS.values()}))
        raise NucleusError("recipe_form_unknown", ending=PurePath(name).suffix or name, known=known)
    if found[0].startswith("python_"):
        target = split_model_id(recipe.model.id)
        if target is None:
            return "python_transformers"
        return f"python_{target.scheme}" if target.scheme in ("gemini", "vertex") else "python_openai"
    return max(found, key=lambda form: len(FORMATS[form].suffix))


def make_file_name(title: str, form: str) -> str:
    """Return a file name of plain letters for any title, with the format's suffix."""
    letters = unicodedata.normalize("NFKD", title.replace("đ", "d").replace("Đ", "D"))
    words = re.findall(r"[a-z0-9]+", letters.encode("ascii", "ignore").decode().lower())
    stem = "-".join(words)[:60].strip("-") or "recipe"
    if form.startswith("python_"):
        stem += f"-{form.removeprefix('python_')}"
    return stem + FORMATS[form].suffix


def _check_format(form: str) -> str:
    if form not in FORMATS:
        raise NucleusError("import_unknown", known=", ".join(FORMATS))
    return form


def _import_function(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(f"llm_core.formats.{module}"), name)
