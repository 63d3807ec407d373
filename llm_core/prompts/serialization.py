"""Convert a prompt to plain data, for files, databases and links, and back.

The data is a dict that JSON can hold: `version`, and the fields of `PromptSpec` that differ from their defaults, under
the same names. Reading is strict, since data comes from strangers: unknown, missing and wrongly typed fields are
refused.
"""

from __future__ import annotations

import functools
import json
import reprlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from llm_core.errors import NucleusError
from llm_core.prompts.spec import MAX_CHARACTERS, PromptSpec
from llm_core.prompts.validation_errors import from_validation_error

if TYPE_CHECKING:
    from pydantic import TypeAdapter

VERSION = 1
"""Version of the data, raised when older programs could misread what newer ones write."""
MAX_JSON_CHARACTERS = 10 * MAX_CHARACTERS
"""Characters of the data as JSON. `PromptSpec.validate` does not count values, choices and schemas."""


def dump_prompt(spec: PromptSpec) -> dict[str, Any]:
    """Return data from which `load_prompt` makes an equal prompt, provided that this one is valid."""
    return {"version": VERSION, **_adapter().dump_python(spec, mode="json", exclude_defaults=True)}


def load_prompt(data: object) -> PromptSpec:
    """Return the prompt that `dump_prompt` described.

    Raises `NucleusError` with the place and the value at fault, and for whatever `PromptSpec.validate` refuses.
    """
    from pydantic import ValidationError

    if not isinstance(data, Mapping):
        raise NucleusError("prompt_data_wrong", place="prompt", value=reprlib.repr(data), detail="not an object")
    version = data.get("version")
    if type(version) is not int or not 1 <= version <= VERSION:
        raise NucleusError("prompt_data_version", value=reprlib.repr(version), limit=VERSION)
    fields = {name: value for name, value in data.items() if name != "version"}
    try:
        # Through JSON, where a list stands for a tuple and nothing else is converted.
        text = json.dumps(fields, ensure_ascii=False)
        if len(text) > MAX_JSON_CHARACTERS:
            raise NucleusError("prompt_data_too_large", size=len(text), limit=MAX_JSON_CHARACTERS)
        spec = _adapter().validate_json(text, strict=True, extra="forbid")
    except ValidationError as error:
        raise from_validation_error(error, "prompt") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise NucleusError("prompt_data_wrong", place="prompt", value="…", detail=str(error)) from error
    spec.validate()
    return spec


@functools.lru_cache
def _adapter() -> TypeAdapter[PromptSpec]:
    from pydantic import TypeAdapter

    return TypeAdapter(PromptSpec)
