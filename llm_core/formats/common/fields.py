"""Name a recipe's fields, so that a format can say which of them it carries.

`field_values` has every field with its value as plain data: `sampler.min_p`, `limits.stop_sequences`,
`prompt.examples`, `seeds` ... A file that can be read back is written in its format and read again; the fields that
differ then go beside it, for Nucleus only: `extra_fields` finds them, `add_extras` puts them back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from llm_core.formats.common.result import DroppedField, DropReason
from llm_core.prompts.spec import PromptSpec
from llm_core.recipes.recipe import SCHEMA_VERSION, Recipe

_NESTED = ("model", "prompt", "sampler", "limits", "hosted")
"""Fields of a recipe that have fields themselves."""
_UNPREFIXED = ("sampler", "limits", "hosted")
"""Those of them whose fields stand without a prefix in a namespace."""

CHAT_FIELDS = frozenset(
    f"prompt.{name}"
    for name in (
        *("instruction", "system", "technique", "role", "context", "document", "passages", "question", "examples"),
        *("examples_as", "input_label", "output_label", "trigger", "answer_marker", "step_back_question", "chains"),
        *("prefill", "values"),
    )
)
"""Fields that a chat is made of: where it is carried, they are, though no longer apart from each other."""
ABOUT_FIELDS = ("title", "author", "language", "licence", "notes", "tags")


def field_values(recipe: Recipe) -> dict[str, Any]:
    """Return every field except the version and the trace, defaults included."""
    found: dict[str, Any] = {}
    for name, value in recipe.model_dump(mode="json", exclude={"schema_version", "trace"}).items():
        if name in _NESTED:
            found |= {f"{name}.{part}": each for part, each in value.items()}
        else:
            found[name] = value
    return found


def changed_fields(recipe: Recipe) -> dict[str, Any]:
    """Return the fields that differ from a recipe with nothing but a prompt, and the instruction where it is not
    empty."""
    neutral = field_values(Recipe(prompt=PromptSpec("?"))) | {"prompt.instruction": ""}
    return {name: value for name, value in field_values(recipe).items() if value != neutral[name]}


def extra_fields(recipe: Recipe, read: Recipe) -> dict[str, Any]:
    """Return the fields of `recipe` whose values differ in `read`."""
    there = field_values(read)
    return {name: value for name, value in field_values(recipe).items() if value != there[name]}


def to_namespace(more: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields by the keys of a namespace: settings by their names alone, those of the prompt and the model under
    these."""
    keyed: dict[str, Any] = {}
    for name, value in more.items():
        head, dot, last = name.partition(".")
        if not dot or head in _UNPREFIXED:
            keyed[last or head] = value
        else:
            keyed.setdefault(head, {})[last] = value
    return keyed


def from_namespace(keyed: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the fields of a namespace, the inverse of `to_namespace`, and the keys that name no field."""
    names = list(field_values(Recipe(prompt=PromptSpec("?"))))
    known = {name.partition(".")[2] if name.partition(".")[0] in _UNPREFIXED else name: name for name in names}
    found, unknown = {}, []
    for key, value in keyed.items():
        if key in known:
            found[known[key]] = value
        elif key in _NESTED and isinstance(value, Mapping):
            inner = {f"{key}.{part}": each for part, each in value.items()}
            found |= {name: each for name, each in inner.items() if name in names}
            unknown += [name for name in inner if name not in names]
        else:
            unknown.append(key)
    return found, unknown


def add_extras(read: Recipe, more: Mapping[str, Any]) -> Recipe:
    """Return `read` with fields replaced. Raises `NucleusError` for values that they cannot have."""
    if not more:
        return read
    data: dict[str, Any] = {"schema_version": SCHEMA_VERSION}
    for name, value in (changed_fields(read) | dict(more)).items():
        head, dot, last = name.partition(".")
        if dot:
            data.setdefault(head, {})[last] = value
        else:
            data[head] = value
    return Recipe.read(data)


def dropped_fields(recipe: Recipe, carried: Collection[str], reason: DropReason = "no_place") -> list[DroppedField]:
    """Return the changed fields of a recipe that are not among those carried."""
    names = [name for name in changed_fields(recipe) if name not in carried]
    return [*(DroppedField(name, reason) for name in names), *dropped_trace(recipe)]


def nucleus_only_fields(names: Iterable[str], spec: PromptSpec) -> list[DroppedField]:
    """Return the fields that are kept for Nucleus only. The prompt's parts count as one where they became a chat."""
    names = list(names)
    parts = CHAT_FIELDS & set(names) - {"prompt.values"} if is_arranged(spec) else set()
    chat = [DroppedField("prompt", "as_chat")] if parts else []
    return [*chat, *(DroppedField(name, "nucleus_only") for name in names if name not in parts)]


def is_arranged(spec: PromptSpec) -> bool:
    """Return whether the prompt's chat is made of parts that can no longer be told apart in it."""
    texts = (spec.role, spec.context, spec.document, spec.question)
    return any(text.strip() for text in texts) or bool(spec.shown_examples) or spec.traits != PromptSpec("?").traits


def dropped_trace(recipe: Recipe) -> list[DroppedField]:
    """Return the recorded run as a dropped field, if there is one: it is left out wherever only the configuration
    goes."""
    return [DroppedField("trace", "no_place")] if recipe.trace is not None else []
