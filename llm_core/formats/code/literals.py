"""Data as Python source: only literals, whatever the data says, so that no text in it can become code."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any

_WIDTH = 100


def literal(value: Any, indent: int = 0) -> str:
    """Source whose value is equal to `value`: texts, bytes, numbers, `None`, lists, tuples and mappings of them.

    Every character that does not show, or that turns the text around it, is written as its escape. Texts of several
    lines are written line by line. Bytes need `import base64`.
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
        return _bracketed(
            "{", [f"{literal(key)}: {literal(each, indent + 4)}" for key, each in value.items()], "}", indent
        )
    if isinstance(value, list | tuple):
        return _bracketed("[", [literal(each, indent + 4) for each in value], "]", indent)
    if isinstance(value, float) and not math.isfinite(value):
        return f"float({str(value)!r})"
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    raise TypeError(f"{type(value).__name__} has no literal")


def _bracketed(opening: str, items: list[str], closing: str, indent: int) -> str:
    line = opening + ", ".join(items) + closing
    if "\n" not in line and len(line) + indent <= _WIDTH:
        return line
    inner = " " * (indent + 4)
    return opening + "\n" + "".join(f"{inner}{item},\n" for item in items) + " " * indent + closing
