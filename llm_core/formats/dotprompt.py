"""Export and import Dotprompt (google.github.io/dotprompt): YAML front matter, then a Handlebars template with roles.

Front matter has what other programs know: `model`, `config` (temperature, topP, topK, maxOutputTokens, stopSequences),
`input.default` (the first row of values), `output`. Fields of a recipe that cannot be read back from these go under
keys `nucleus.NAME`, which Dotprompt keeps as an extension of that name and other programs ignore.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from llm_core.errors import NucleusError
from llm_core.formats import handlebars
from llm_core.formats.common.chat import Turn, Variable, spec_to_turns, turns_to_spec
from llm_core.formats.common.fields import (
    add_extras,
    dropped_trace,
    extra_fields,
    from_namespace,
    nucleus_only_fields,
    to_namespace,
)
from llm_core.formats.common.result import DroppedField, ExportResult, ImportResult
from llm_core.prompts.output_format import OutputFormat
from llm_core.providers.model_id import Target, split_model_id
from llm_core.recipes.recipe import Recipe
from llm_core.recipes.yaml_json import dump_data, load_data

NAMESPACE = "nucleus."
_PARTS = re.compile(
    r"(?:(?:#[^\n]*|[ \t]*)\n)*---[ \t]*\r?\n(?P<front>.*?)(?:^|\r?\n)---[ \t]*(?:\r?\n(?P<body>.*))?", re.DOTALL
)
_SCHEMES = {"googleai": "gemini", "vertexai": "vertex", "openai": "openai"}
_PLUGINS = {ours: theirs for theirs, ours in _SCHEMES.items()}
_CONFIG = {
    "temperature": "sampler.temperature",
    "topP": "sampler.top_p",
    "topK": "sampler.top_k",
    "maxOutputTokens": "limits.max_output_tokens",
    "stopSequences": "limits.stop_sequences",
}
_KNOWN_KEYS = frozenset({"model", "config", "input", "output", "description"})


def dump(recipe: Recipe) -> ExportResult:
    turns = spec_to_turns(recipe.prompt)
    front, template = _write_native(recipe, turns)
    read = _read_native(front, template)[0]
    more = extra_fields(recipe, read)
    dropped = [*nucleus_only_fields(more, recipe.prompt), *dropped_trace(recipe)]
    if not handlebars.is_expressible(turns):
        dropped.append(DroppedField("prompt", "unsafe_there"))
    front |= {f"{NAMESPACE}{key}": value for key, value in to_namespace(more).items()}
    return ExportResult(f"---\n{dump_data(front)}---\n{template}\n", tuple(dropped))


def is_dotprompt(text: str) -> bool:
    found = _PARTS.match(text)
    return bool(found and found["body"] is not None)


def load(text: str) -> ImportResult:
    found = _PARTS.match(text)
    if not found:
        raise NucleusError("import_wrong", format="dotprompt", detail="it does not begin with --- and front matter")
    front = load_data(found["front"]) if found["front"].strip() else {}
    if not isinstance(front, Mapping):
        raise NucleusError("import_wrong", format="dotprompt", detail="its front matter is not a mapping")
    template = (found["body"] or "").strip()
    read, dropped = _read_native(front, template)
    keyed = {key.removeprefix(NAMESPACE): value for key, value in front.items() if key.startswith(NAMESPACE)}
    more, unknown = from_namespace(keyed)
    dropped += [DroppedField(f"{NAMESPACE}{key}", "unknown_here") for key in unknown]
    recipe = add_extras(read, more)
    stale = _find_stale_parts(recipe, front, template)
    if stale:
        dropped += [DroppedField(f"{NAMESPACE}{name}", "edited") for name in more if name.partition(".")[0] in stale]
        more = {name: value for name, value in more.items() if name.partition(".")[0] not in stale}
        recipe = add_extras(read, more)
    return ImportResult(recipe, tuple(dropped))


def _find_stale_parts(recipe: Recipe, front: Mapping[str, Any], template: str) -> set[str]:
    """Return the parts of our own fields that disagree with the rest of the file, since somebody edited that."""
    again, body = _write_native(recipe, spec_to_turns(recipe.prompt))
    stale = {"model"} if again.get("model") != front.get("model") else set()
    if body.strip() != template or any(again.get(name) != front.get(name) for name in ("input", "output")):
        stale.add("prompt")
    return stale


def _write_native(recipe: Recipe, turns: tuple[Turn, ...]) -> tuple[dict[str, Any], str]:
    """Return the front matter without our own keys, and the template."""
    front: dict[str, Any] = {"description": recipe.title} if recipe.title else {}
    target = split_model_id(recipe.model.id)
    if target and target.scheme in _PLUGINS:
        front["model"] = f"{_PLUGINS[target.scheme]}/{target.name}"
    config: dict[str, Any] = {"temperature": recipe.sampler.temperature, "topP": recipe.sampler.top_p}
    if recipe.sampler.top_k:
        config["topK"] = recipe.sampler.top_k
    config["maxOutputTokens"] = recipe.limits.max_output_tokens
    if recipe.limits.stop_sequences:
        config["stopSequences"] = list(recipe.limits.stop_sequences)
    front["config"] = config
    names = list(dict.fromkeys(part.name for turn in turns for part in turn.parts if isinstance(part, Variable)))
    if names:
        row = recipe.prompt.values[0] if recipe.prompt.values else {}
        front["input"] = {"schema": dict.fromkeys(names, "string")}
        if default := {name: row[name] for name in names if name in row}:
            front["input"]["default"] = default
    if recipe.prompt.output.kind == "json":
        front["output"] = {"format": "json", "schema": recipe.prompt.output.parse_schema()}
    elif recipe.prompt.output.kind == "choice":
        front["output"] = {"format": "enum", "schema": {"type": "string", "enum": list(recipe.prompt.output.choices)}}
    return front, handlebars.write(turns)


def _read_native(front: Mapping[str, Any], template: str) -> tuple[Recipe, list[DroppedField]]:
    """Return the recipe as any program would read it from the file, and the fields that Nucleus has no place for."""
    dropped = [
        DroppedField(key, "unknown_here") for key in front if key not in _KNOWN_KEYS and not key.startswith(NAMESPACE)
    ]
    try:
        spec = turns_to_spec(handlebars.read(template))
    except ValueError as error:
        raise NucleusError("import_wrong", format="dotprompt", detail=str(error)) from error
    more: dict[str, Any] = {"title": front["description"]} if front.get("description") else {}
    plugin, _, name = str(front.get("model") or "").partition("/")
    if plugin in _SCHEMES and name:
        more["model.id"] = Target(_SCHEMES[plugin], name).model_id
    elif front.get("model"):
        dropped.append(DroppedField("model", "unknown_here"))
    for key, value in _require_mapping(front, "config").items():
        if key in _CONFIG:
            more[_CONFIG[key]] = value
        else:
            dropped.append(DroppedField(f"config.{key}", "unknown_here"))
    given = _require_mapping(front, "input")
    dropped += [DroppedField(f"input.{key}", "unknown_here") for key in given if key not in ("default", "schema")]
    default = _require_mapping(given, "default")
    values = {name: str(default[name]) for name in spec.variables() if name in default}
    dropped += [DroppedField(f"input.default.{name}", "unknown_here") for name in default if name not in values]
    if values:
        more["prompt.values"] = [values]
    output, unread = _read_output(_require_mapping(front, "output"))
    dropped += unread
    if output.kind != "text":
        more["prompt.output"] = {"kind": output.kind, "choices": list(output.choices), "schema": output.schema}
    return add_extras(Recipe(prompt=spec), more), dropped


def _read_output(output: Mapping[str, Any]) -> tuple[OutputFormat, list[DroppedField]]:
    kind, schema = output.get("format"), output.get("schema")
    dropped = [DroppedField(f"output.{key}", "unknown_here") for key in output if key not in ("format", "schema")]
    allowed = schema.get("enum") if isinstance(schema, Mapping) else None
    if isinstance(allowed, list) and all(isinstance(each, str) for each in allowed) and kind in ("enum", None):
        return OutputFormat("choice", tuple(allowed)), dropped
    if (
        isinstance(schema, Mapping)
        and kind in ("json", None)
        and ({"type", "properties", "$ref"} & schema.keys() or not schema)
    ):
        return OutputFormat("json", schema=json.dumps(schema, ensure_ascii=False)), dropped
    if schema is not None:  # Picoschema, or a name
        dropped.append(DroppedField("output.schema", "unknown_here"))
    elif kind not in (None, "text"):
        dropped.append(DroppedField("output.format", "unknown_here"))
    return OutputFormat(), dropped


def _require_mapping(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key) or {}
    if not isinstance(value, Mapping):
        raise NucleusError("import_wrong", format="dotprompt", detail=f"{key} is not a mapping")
    return value
