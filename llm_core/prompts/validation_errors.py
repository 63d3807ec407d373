"""Turn pydantic's errors about data from a stranger into errors that readers understand: the place, the value, a way
out."""

from __future__ import annotations

import reprlib
from typing import TYPE_CHECKING, Literal

from llm_core.errors import NucleusError

if TYPE_CHECKING:
    from pydantic import ValidationError

ERROR_CODES = {
    "prompt": ("prompt_data_missing", "prompt_data_unknown", "prompt_data_wrong"),
    "recipe": ("recipe_missing", "recipe_unknown", "recipe_wrong"),
}


def from_validation_error(error: ValidationError, kind: Literal["prompt", "recipe"]) -> NucleusError:
    """Return the first error as a `NucleusError` with one of the codes for what was read. Positions count from 1."""
    first = error.errors(include_url=False)[0]
    missing, unknown, wrong = ERROR_CODES[kind]
    place = ".".join(str(step + 1 if isinstance(step, int) else step) for step in first["loc"])[:200] or kind
    if first["type"] == "missing":
        return NucleusError(missing, place=place)
    value = reprlib.repr(first["input"])
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return NucleusError(unknown, place=place, value=value)
    return NucleusError(wrong, place=place, value=value, detail=first["msg"])
