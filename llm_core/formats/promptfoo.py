"""Export and import promptfoo configurations (promptfoo.dev): one provider, one chat as JSON, one test for each row of
values.

promptfoo renders prompts, values and settings as Nunjucks templates, which can run code, and reads `file://` texts from
disk. So braces that are text are written as `{{ '{' }}`, and other texts that it could take for either are kept out of
its own fields. Fields that cannot be read back from these lie in `metadata.nucleus`, as JSON without any braces that
begin a template.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from llm_core.errors import NucleusError
from llm_core.formats.common.chat import Turn, Variable, spec_to_turns, turns_to_spec
from llm_core.formats.common.fields import (
    add_extras,
    dropped_trace,
    extra_fields,
    field_values,
    from_namespace,
    nucleus_only_fields,
    to_namespace,
)
from llm_core.formats.common.result import DroppedField, ExportResult, ImportResult
from llm_core.providers.model_id import Target, parse_model_id
from llm_core.recipes.recipe import Recipe
from llm_core.recipes.yaml_json import dump_data, load_data

SCHEMA = "# yaml-language-server: $schema=https://promptfoo.dev/config-schema.json\n"
_TEMPLATE_OR_PATH = re.compile(
    r"\{[{%#]|^\s*(?:file|package|portkey|langfuse|helicone|exec|python|https?)\b", re.IGNORECASE
)
"""Text that promptfoo would take for a template, or for the location of something."""
_TAG = re.compile(r"\{\{ *'(?P<text>[{#])' *\}\}|\{\{ *(?P<name>[^\W\d]\w*) *\}\}|\{[{%#]")
_SERVER_KEY = "{{ env.SERVER_API_KEY | default('none', true) }}"
"""Key for a URL that a recipe names. Without one, promptfoo would send it the key of OpenAI."""
_RESERVED_NAMES = frozenset(
    ("env", "range", "cycler", "joiner", "true", "false", "none", "not", "and", "or", "in", "is", "if")
)
_PASSTHROUGH_SETTINGS = ("top_k", "min_p", "repetition_penalty")
"""Further settings that vLLM and similar servers take."""
_PROVIDER_KEYS = ("id", "config", "label")
_GOOGLE = {
    "temperature": "sampler.temperature",
    "topP": "sampler.top_p",
    "topK": "sampler.top_k",
    "maxOutputTokens": "limits.max_output_tokens",
    "stopSequences": "limits.stop_sequences",
}
_OPENAI = {
    "temperature": "sampler.temperature",
    "top_p": "sampler.top_p",
    "presence_penalty": "sampler.presence_penalty",
    "frequency_penalty": "sampler.frequency_penalty",
    "max_tokens": "limits.max_output_tokens",
    "stop": "limits.stop_sequences",
}
_ALWAYS_WRITTEN = ("temperature", "topP", "top_p", "maxOutputTokens", "max_tokens")
_SCHEMES = {"google": "gemini", "vertex": "vertex", "openai": "openai"}
_KNOWN_KEYS = frozenset({"description", "providers", "prompts", "tests", "metadata"})


def dump(recipe: Recipe) -> ExportResult:
    native, unsafe = _write_native(recipe)
    read = _read_native(native)[0]
    more = extra_fields(recipe, read)
    dropped = [*nucleus_only_fields(more, recipe.prompt), *dropped_trace(recipe), *unsafe]
    if recipe.local:
        dropped.append(DroppedField("model.id", "other_model"))
    if more:
        native["metadata"] = {"nucleus": _dump_inert_json(to_namespace(more))}
    return ExportResult(SCHEMA + dump_data(native), tuple(dict.fromkeys(dropped)))


def is_promptfoo(data: object) -> bool:
    return isinstance(data, Mapping) and "prompts" in data and "providers" in data


def load(text: str) -> ImportResult:
    data = load_data(text)
    if not isinstance(data, Mapping):
        raise _make_error("it is not a mapping")
    read, dropped = _read_native(data)
    metadata = data.get("metadata") or {}
    kept = metadata.get("nucleus") if isinstance(metadata, Mapping) else None
    if not isinstance(kept, str):
        return ImportResult(read, tuple(dropped))
    try:
        keyed = load_data(kept) if kept.lstrip()[:1] == "{" else None
    except NucleusError as error:
        raise _make_error(f"metadata.nucleus: {error}") from error
    if not isinstance(keyed, Mapping):
        raise _make_error("metadata.nucleus is not JSON")
    more, unknown = from_namespace(keyed)
    dropped += [DroppedField(f"metadata.nucleus.{key}", "unknown_here") for key in unknown]
    recipe = add_extras(read, more)
    again = _write_native(recipe)[0]
    stale = {"model"} if again["providers"][0]["id"] != _first_provider(data)[0] else set()
    if any(again.get(name) != data.get(name) for name in ("prompts", "tests")):
        stale.add("prompt")
    if stale:
        dropped += [
            DroppedField(f"metadata.nucleus.{name}", "edited") for name in more if name.partition(".")[0] in stale
        ]
        recipe = add_extras(read, {name: each for name, each in more.items() if name.partition(".")[0] not in stale})
    return ImportResult(recipe, tuple(dropped))


def _write_native(recipe: Recipe) -> tuple[dict[str, Any], list[DroppedField]]:
    """Return the configuration without our own part, and the fields that promptfoo must not be shown."""
    unsafe: list[DroppedField] = []
    data: dict[str, Any] = {}
    if recipe.title and _check_inert(recipe.title, "title", unsafe):
        data["description"] = recipe.title
    data["providers"] = [_write_provider(recipe, unsafe)]
    turns = spec_to_turns(recipe.prompt)
    renamed = _make_identifiers([part.name for turn in turns for part in turn.parts if isinstance(part, Variable)])
    messages = [{"role": turn.role, "content": _write_content(turn, renamed)} for turn in turns]
    data["prompts"] = [json.dumps(messages, ensure_ascii=False, indent=1)]
    rows = [{renamed[name]: row.get(name, "") for name in renamed} for row in recipe.prompt.values if renamed]
    safe = [row for row in rows if all(_is_inert(value) for value in row.values())]
    if len(safe) < len(rows):
        unsafe.append(DroppedField("prompt.values", "unsafe_there"))
    data["tests"] = [{"vars": row} for row in safe] or [{"vars": {}}]
    return data, unsafe


def _write_provider(recipe: Recipe, unsafe: list[DroppedField]) -> dict[str, Any]:
    """Return the provider and its settings; `echo`, which returns the prompt, stands for a model that promptfoo cannot
    ask."""
    target = parse_model_id(recipe.model.id)
    names = {"gemini": "google", "vertex": "vertex", "openai": "openai:chat"}
    if target is None or target.scheme not in names or not _check_inert(recipe.model.id, "model.id", unsafe):
        return {"id": "echo"}
    there, config = field_values(recipe), {}
    for key, name in (_OPENAI if target.scheme == "openai" else _GOOGLE).items():
        value = there[name]
        if (value or key in _ALWAYS_WRITTEN) and _check_inert(value, name, unsafe):
            config[key] = value
    if target.scheme == "openai" and target.place:
        config |= {"apiBaseUrl": target.place, "apiKey": _SERVER_KEY}
        passed = {key: there[f"sampler.{key}"] for key in _PASSTHROUGH_SETTINGS if recipe.sampler.uses(key)}
        config |= {"passthrough": passed} if passed else {}
    elif target.scheme == "vertex" and target.place:
        config["projectId"], _, config["region"] = target.place.partition("/")
    return {"id": f"{names[target.scheme]}:{target.name}", "config": config}


def _write_content(turn: Turn, renamed: Mapping[str, str]) -> str:
    """Write a turn as a Nunjucks template. Text that could open or close something is written as an expression."""
    written = ""
    for place, part in enumerate(turn.parts):
        if isinstance(part, Variable):
            written += f"{{{{ {renamed[part.name]} }}}}"
            continue
        last = place + 1 < len(turn.parts)
        part = re.sub(r"\{(?=[{%#])|#(?=\})" + (r"|\{$" if last else ""), r"{{ '\g<0>' }}", part)
        written += part
    return written


def _make_identifiers(names: Iterable[str]) -> dict[str, str]:
    """Return a distinct Nunjucks identifier for each variable's name."""
    found: dict[str, str] = {}
    for name in dict.fromkeys(names):
        plain = re.sub(r"\W", "_", name)
        if plain[0].isdigit() or plain in _RESERVED_NAMES:
            plain = f"_{plain}"
        while plain in found.values():
            plain += "_"
        found[name] = plain
    return found


def _check_inert(value: object, name: str, unsafe: list[DroppedField]) -> bool:
    """Return whether promptfoo takes every text in the value for a text; if not, add the field to `unsafe`."""
    texts = value if isinstance(value, list) else [value]
    if all(_is_inert(text) for text in texts if isinstance(text, str)):
        return True
    unsafe.append(DroppedField(name, "unsafe_there"))
    return False


def _is_inert(text: str) -> bool:
    return not _TEMPLATE_OR_PATH.search(text)


def _dump_inert_json(data: object) -> str:
    """Write JSON whose only opening braces are its own, so that `{{`, `{%` and `{#` cannot occur."""
    plain = json.dumps(data, ensure_ascii=False)
    mark = next(chr(code) for code in range(0xE000, 0xF900) if chr(code) not in plain)
    return json.dumps(_replace_braces(data, mark), ensure_ascii=False, indent=1).replace(mark, "\\u007b")


def _replace_braces(data: Any, brace: str) -> Any:
    """Return the data with another character in place of the opening braces in its texts."""
    if isinstance(data, str):
        return data.replace("{", brace)
    if isinstance(data, Mapping):
        return {_replace_braces(key, brace): _replace_braces(value, brace) for key, value in data.items()}
    if isinstance(data, list):
        return [_replace_braces(each, brace) for each in data]
    return data


def _read_native(data: Mapping[str, Any]) -> tuple[Recipe, list[DroppedField]]:
    """Return the recipe as any program would read it from the configuration, and the fields that Nucleus has no place
    for."""
    dropped = [DroppedField(str(key), "unknown_here") for key in data if key not in _KNOWN_KEYS]
    prompts = data.get("prompts")
    prompts = [prompts] if isinstance(prompts, str) else prompts
    if not isinstance(prompts, list) or not prompts:
        raise _make_error("it has no prompts")
    if len(prompts) > 1:
        dropped.append(DroppedField("prompts", "not_read"))
    first = prompts[0].get("raw") if isinstance(prompts[0], Mapping) else prompts[0]
    if not isinstance(first, str) or first.startswith("file://"):
        raise _make_error("its prompt is not in the file itself")
    try:
        spec = turns_to_spec(_parse_turns(first))
    except ValueError as error:
        raise _make_error(str(error)) from error
    more: dict[str, Any] = {"title": data["description"]} if isinstance(data.get("description"), str) else {}
    rows, unread = _read_rows(data.get("tests"), set(spec.variables()))
    dropped += unread
    if rows:
        more["prompt.values"] = rows
    dropped += _read_provider(data, more)
    return add_extras(Recipe(prompt=spec), more), dropped


def _parse_turns(raw: str) -> list[Turn]:
    """Read a chat of messages in JSON, or a text as the user's. Raises `ValueError` for malformed messages."""
    try:
        messages = json.loads(raw)
    except (ValueError, RecursionError):
        messages = raw
    if not isinstance(messages, list):
        messages = [{"role": "user", "content": raw}]
    turns = []
    for message in messages:
        role = message.get("role") if isinstance(message, Mapping) else None
        content = message.get("content") if isinstance(message, Mapping) else None
        role = "assistant" if role == "model" else role
        if role not in ("system", "user", "assistant") or not isinstance(content, str):
            raise ValueError("a message is not a role and a text")
        turns.append(Turn(role, tuple(_parse_template(content))))
    return turns


def _parse_template(content: str) -> list[str | Variable]:
    parts: list[str | Variable] = [""]
    at = 0
    for found in _TAG.finditer(content):
        text = content[at : found.start()]
        at = found.end()
        if found["text"]:
            parts[-1] = f"{parts[-1]}{text}{found['text']}"
        elif found["name"]:
            parts += [Variable(found["name"]), ""]
            parts[-3] = f"{parts[-3]}{text}"
        else:
            line = content.count("\n", 0, found.start()) + 1
            raise NucleusError("import_template", what=content[found.start() : found.start() + 40], line=line)
    parts[-1] = f"{parts[-1]}{content[at:]}"
    return [part for part in parts if part]


def _read_rows(tests: object, names: set[str]) -> tuple[list[dict[str, str]], list[DroppedField]]:
    if tests is None:
        return [], []
    if not isinstance(tests, list):
        return [], [DroppedField("tests", "not_read")]
    rows, dropped = [], []
    for test in tests:
        given = test.get("vars", {}) if isinstance(test, Mapping) else None
        if not isinstance(given, Mapping) or not all(isinstance(each, str | int | float) for each in given.values()):
            dropped.append(DroppedField("tests.vars", "not_read"))
            continue
        dropped += [DroppedField(f"tests.{key}", "unknown_here") for key in test if key != "vars"]
        dropped += [DroppedField(f"tests.vars.{key}", "unknown_here") for key in given if key not in names]
        row = {name: str(given[name]) for name in given if name in names}
        if any(value.startswith("file://") for value in row.values()):
            dropped.append(DroppedField("tests.vars", "not_read"))
        elif row:
            rows.append(row)
    return rows, list(dict.fromkeys(dropped))


def _first_provider(data: Mapping[str, Any]) -> tuple[str, Mapping[str, Any], list[DroppedField]]:
    """Return the first provider's id and settings, and the fields dropped. Raises `NucleusError` for one without an
    id."""
    providers = data.get("providers")
    listed = providers if isinstance(providers, list) else [providers]
    first = listed[0] if listed else None
    dropped = [DroppedField("providers", "not_read")] if len(listed) > 1 else []
    if isinstance(first, str):
        return first, {}, dropped
    if not isinstance(first, Mapping) or not isinstance(first.get("id"), str):
        raise _make_error("its provider has no id")
    config = first.get("config") or {}
    if not isinstance(config, Mapping):
        raise _make_error("its provider's config is not a mapping")
    return (
        first["id"],
        config,
        [*dropped, *(DroppedField(f"providers.{key}", "unknown_here") for key in first if key not in _PROVIDER_KEYS)],
    )


def _read_provider(data: Mapping[str, Any], more: dict[str, Any]) -> list[DroppedField]:
    name, config, dropped = _first_provider(data)
    if name == "echo":
        return dropped
    provider, _, model = name.partition(":")
    if provider == "openai":
        model = model.removeprefix("chat:")
    if provider not in _SCHEMES or not model or _TEMPLATE_OR_PATH.search(model):
        return [*dropped, DroppedField("providers.id", "unknown_here")]
    place = ""
    if provider == "openai" and isinstance(config.get("apiBaseUrl"), str):
        place = config["apiBaseUrl"]
    elif provider == "vertex" and config.get("projectId") and config.get("region"):
        place = f"{config['projectId']}/{config['region']}"
    more["model.id"] = Target(_SCHEMES[provider], model, place).model_id
    names = _OPENAI if provider == "openai" else _GOOGLE
    used = {"projectId", "region"}
    if provider == "openai":
        used = {"apiBaseUrl", *(["apiKey"] if config.get("apiKey") == _SERVER_KEY else [])}
    for key, value in config.items():
        if key in names:
            more[names[key]] = value
        elif key == "passthrough" and isinstance(value, Mapping):
            more |= {f"sampler.{each}": value[each] for each in value if each in _PASSTHROUGH_SETTINGS}
            dropped += [
                DroppedField(f"providers.config.passthrough.{each}", "unknown_here")
                for each in value
                if each not in _PASSTHROUGH_SETTINGS
            ]
        elif key not in used:
            dropped.append(DroppedField(f"providers.config.{key}", "unknown_here"))
    return dropped


def _make_error(detail: str) -> NucleusError:
    return NucleusError("import_wrong", format="promptfoo", detail=detail[:300])
