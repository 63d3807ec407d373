"""Write data as Python literals, so that no text in it can become code."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any

_WIDTH = 100


def literal(value: Any, indent: int = 0) -> str:
    """Return source whose value equals `value`: texts, bytes, numbers, `None`, lists, tuples (as lists) and mappings of
    them.

    Invisible characters, and those that turn the text around them, are written as escapes. Texts of several lines are
    written line by line. Bytes need `import base64`. Raises `TypeError` for other types.
    """
    inner = " " * (indent + 4)
    if isinstance(value, str):
        lines = value.splitlines(keepends=True)
        if len(lines) < 2:
            return repr(value)
        return "(\n" + "".join(f"{inner}{line!r}\n" for line in lines) + " " * indent + ")"
    if isinstance(value, bytes):
        return f"base64.b64decode({base64.b64encode(value).decode()!r})"
    if isinstance(value, Mapping):
        return _join_in_brackets(
            "{", [f"{literal(key)}: {literal(each, indent + 4)}" for key, each in value.items()], "}", indent
        )
    if isinstance(value, list | tuple):
        return _join_in_brackets("[", [literal(each, indent + 4) for each in value], "]", indent)
    if isinstance(value, float) and not math.isfinite(value):
        return f"float({str(value)!r})"
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    raise TypeError(f"{type(value).__name__} has no literal")


def _join_in_brackets(opening: str, items: list[str], closing: str, indent: int) -> str:
    line = opening + ", ".join(items) + closing
    if "\n" not in line and len(line) + indent <= _WIDTH:
        return line
    inner = " " * (indent + 4)
    return opening + "\n" + "".join(f"{inner}{item},\n" for item in items) + " " * indent + closing
