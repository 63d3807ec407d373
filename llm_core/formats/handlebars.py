r"""Write and read chats as Handlebars templates with Dotprompt's roles: `{{role "user"}}`, `{{name}}`, `\{{` for braces
that are text.

Only what a chat needs is written and read; conditions, loops, partials, helpers and media are refused by name.
Backslashes before braces follow the rules of Handlebars' own lexer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from llm_core.errors import NucleusError
from llm_core.formats.common.chat import Turn, Variable

_ROLES = {"system": "system", "user": "user", "assistant": "model"}
_ROLES_BY_NAME = {theirs: ours for ours, theirs in _ROLES.items()}
_TAG = re.compile(r"\{\{(?P<left>~?)\{?(?P<inside>!--.*?--|[^{}]*?)\}?(?P<right>~?)\}\}", re.DOTALL)
_ROLE = re.compile(r"""role\s+(?:"(\w+)"|'(\w+)')""")
_PLAIN = re.compile(r"[^\W\d][\w-]*")
_RESERVED_NAMES = frozenset(
    (
        *("role", "history", "media", "section", "json", "ifEquals", "unlessEquals", "if", "unless", "each", "with"),
        *("log", "lookup", "else", "this", "as", "true", "false", "null", "undefined"),
    )
)
"""Names that mean something else when they stand alone."""
_NAME = re.compile(r"(?:this[./])?(?:\[(?P<bracketed>[^\[\]{}]+)\]|(?P<bare>[^\W\d][\w-]*))")
MARKER = "<<<dotprompt:"
"""Text that Dotprompt itself puts between messages: a message that holds it would be split there."""


def is_expressible(turns: Sequence[Turn]) -> bool:
    """Return whether the template can hold every text unchanged."""
    texts = [part for turn in turns for part in turn.parts if isinstance(part, str)]
    return not any(MARKER in text or "\\{{" in text for text in texts)


def write(turns: Sequence[Turn]) -> str:
    """Write the template of a chat. Space around messages is kept, at the chat's end by a further role, which is
    empty."""
    written = ""
    for turn in turns:
        text = _write_parts(turn.parts)
        left = "~" if written and not written[-1].isspace() else ""
        right = "~" if not text[:1].isspace() else ""
        written += ("\n" if left else "") + f'{{{{{left}role "{_ROLES[turn.role]}"{right}}}}}'
        written += ("\n" if right else "") + text
    return written + ('{{role "user"}}' if written[-1:].isspace() else "")


def _write_parts(parts: Sequence[str | Variable]) -> str:
    """Write the parts one after the other.

    A backslash that ends a text before a variable gets another, which Handlebars removes again; braces next to a
    variable's are set apart by a space that it removes too.
    """
    written, closed = "", False
    for part in parts:
        if isinstance(part, str):
            text = part.replace(MARKER, "<<< dotprompt:").replace("\\{{", "\\{ {").replace("{{", "\\{{")
            if closed and text.startswith("}"):
                written = written.removesuffix("}}") + "~}} "
            written += text
        else:
            left = "~" if written.endswith("{") else ""
            written += (" " if left else "") + ("\\" if written.endswith("\\") else "")
            written += f"{{{{{left}{_variable_path(part.name)}}}}}"
        closed = not isinstance(part, str)
    return written


def _variable_path(name: str) -> str:
    return name if _PLAIN.fullmatch(name) and name not in _RESERVED_NAMES else f"this.[{name}]"


def read(template: str) -> tuple[Turn, ...]:
    """Read the chat in a template. Raises `NucleusError` for anything but texts, variables and roles."""
    turns: list[tuple[str, list[str | Variable]]] = [("user", [])]
    at, strip = 0, False
    kind: Literal["text", "tag", "braces"]
    while at < len(template):
        kind, text, tag, at = _next_tag(template, at)
        if strip:
            text, strip = text.lstrip(), False
        parts = turns[-1][1]
        if kind == "braces":
            parts.append(text + "{{")
            continue
        if tag is None:
            parts.append(text)
            break
        parts.append(text.rstrip() if tag["left"] else text)
        strip = bool(tag["right"])
        _apply_tag(tag["inside"].strip(), turns, template.count("\n", 0, at) + 1)
    return tuple(Turn(role, _merge_texts(parts)) for role, parts in turns if _merge_texts(parts))


def _next_tag(template: str, at: int) -> tuple[Literal["text", "tag", "braces"], str, re.Match[str] | None, int]:
    """Return the kind of the next braces (a tag, or text themselves), the text before them, the tag and the position
    after it."""
    place = template.find("{{", at)
    if place < 0:
        return "text", template[at:], None, len(template)
    text = template[at:place]
    if text.endswith("\\\\"):
        text = text[:-1]
    elif text.endswith("\\"):
        return "braces", text[:-1], None, place + 2
    tag = _TAG.match(template, place)
    if tag is None:
        raise _make_error("{{", template.count("\n", 0, place) + 1)
    return "tag", text, tag, tag.end()


def _apply_tag(inside: str, turns: list[tuple[str, list[str | Variable]]], line: int) -> None:
    if inside.startswith("!"):
        return
    if role := _ROLE.fullmatch(inside):
        spoken = _ROLES_BY_NAME.get(role[1] or role[2])
        if spoken is None:
            raise _make_error(inside, line)
        turns.append((spoken, []))
        return
    name = _NAME.fullmatch(inside)
    if name is None or inside in _RESERVED_NAMES:
        raise _make_error(inside, line)
    turns[-1][1].append(Variable(name["bracketed"] or name["bare"]))


def _make_error(what: str, line: int) -> NucleusError:
    return NucleusError("import_template", what=what[:60], line=line)


def _merge_texts(parts: Sequence[str | Variable]) -> tuple[str | Variable, ...]:
    """Join neighbouring texts and drop empty ones."""
    merged: list[str | Variable] = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        elif part:
            merged.append(part)
    return tuple(merged)
