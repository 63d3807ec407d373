"""Write and read recipes as text that people read and diff: YAML or JSON.

YAML is read as what JSON can say and no more: one document of mappings, lists, strings, numbers, `true`, `false` and
`null` (the core schema of YAML 1.2: `no` and `12:30` are strings). Anchors, aliases, tags and repeated keys are
refused, and sizes and depth are bounded before anything is built.
"""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from llm_core.errors import NucleusError
from llm_core.recipes.recipe import MAX_DEPTH, MAX_RECIPE_CHARACTERS, Recipe

MAX_NODES = 200_000
"""Nodes of a YAML document. Recorded runs lie packed in few of them."""

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_CONSTANTS = {"null": None, "~": None, "": None, "true": True, "false": False}
_BLOCK_TEXT = re.compile(r"[^\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]+")
"""Texts that a literal block can hold as they are."""
_UNICODE_LINE_BREAKS = re.compile(r"[\x85\u2028\u2029]")
"""Line breaks that a reader of YAML would fold with the space around: such texts are quoted with escapes."""


def dump_json(recipe: Recipe) -> str:
    """Write a recipe as indented JSON, with a final line end."""
    return json.dumps(recipe.data(), ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def dump_yaml(recipe: Recipe) -> str:
    """Write a recipe as YAML. Texts of several lines stand in blocks, as they are."""
    return dump_data(recipe.data())


def dump_data(data: object) -> str:
    """Write YAML from which `load_data` makes equal data."""
    text = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=2**20)
    return str(text)


def load_text(text: str | bytes) -> Recipe:
    """Read a recipe from YAML or JSON text. Raises `NucleusError` for any other text."""
    return Recipe.read(load_data(text))


def load_data(text: str | bytes) -> object:
    """Read the data of a JSON or YAML text. Raises `NucleusError` for text that is neither, too large or too deep."""
    if len(text) > MAX_RECIPE_CHARACTERS:
        raise NucleusError("recipe_too_large", size=len(text), limit=MAX_RECIPE_CHARACTERS)
    text = decode_text(text)
    return _parse_json(text) if text.lstrip()[:1] == "{" else _parse_yaml(text)


def decode_text(text: str | bytes) -> str:
    """Decode a file's text and remove its byte-order mark. Raises `NucleusError` for bytes that are not UTF-8."""
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise NucleusError("recipe_unreadable", line=1, detail=f"not UTF-8: byte {error.start + 1}") from error
    return text.removeprefix("\ufeff")


def _parse_json(text: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=_reject_repeated_keys, parse_constant=_reject_constant)
    except RecursionError:
        raise NucleusError("recipe_too_deep", place="recipe", limit=MAX_DEPTH) from None
    except ValueError as error:
        detail = getattr(error, "msg", str(error))
        raise NucleusError("recipe_unreadable", line=getattr(error, "lineno", 1), detail=detail[:200]) from error


def _reject_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key, value in pairs:
        if key in data:
            raise NucleusError("recipe_key_repeated", key=key[:60])
        data[key] = value
    return data


def _reject_constant(word: str) -> None:
    raise ValueError(f"{word} is not a number that can be used")


def _parse_yaml(text: str) -> object:
    try:
        return _YamlReader(text).read_document()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        detail = getattr(error, "problem", None) or getattr(error, "reason", None) or "not YAML"
        last = len(text.splitlines()) or 1  # libyaml finds the end of the text a line below it
        line = min(mark.line + 1, last) if mark else 1
        raise NucleusError("recipe_unreadable", line=line, detail=str(detail)[:200]) from error
    except ValueError as error:  # a number with thousands of digits, half of a character
        raise NucleusError("recipe_unreadable", line=1, detail=str(error)[:200]) from error


class _YamlReader:
    """Reader of one YAML document, event by event, so that nothing is built that is refused."""

    def __init__(self, text: str) -> None:
        self._events = yaml.parse(text, Loader=_Loader)
        self._nodes = 0

    def read_document(self) -> object:
        next(self._events)  # the stream
        if isinstance(next(self._events), yaml.StreamEndEvent):
            raise NucleusError("recipe_unreadable", line=1, detail="empty")
        data = self._build_node(next(self._events), 0)
        next(self._events)  # the document's end
        if not isinstance(further := next(self._events), yaml.StreamEndEvent):
            raise self._make_error(further, "a second document")
        return data

    def _build_node(self, event: Any, depth: int) -> Any:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise NucleusError("recipe_too_large", size=self._nodes, limit=MAX_NODES)
        if depth > MAX_DEPTH:
            raise NucleusError("recipe_too_deep", place=f"line {event.start_mark.line + 1}", limit=MAX_DEPTH)
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise self._make_error(event, "an anchor or alias")
        if event.tag is not None:
            raise self._make_error(event, "a tag")
        if isinstance(event, yaml.ScalarEvent):
            return _parse_scalar(event.value) if event.implicit[0] else event.value
        if isinstance(event, yaml.SequenceStartEvent):
            return [self._build_node(each, depth + 1) for each in iter(self._next_item, None)]
        data: dict[str, Any] = {}
        for event in iter(self._next_item, None):
            if not isinstance(event, yaml.ScalarEvent):
                raise self._make_error(event, "a key that is not a text")
            self._build_node(event, depth + 1)
            if (key := event.value) in data:
                raise NucleusError("recipe_key_repeated", key=key[:60])
            data[key] = self._build_node(next(self._events), depth + 1)
        return data

    def _next_item(self) -> Any:
        """Return the next event inside a collection; None at its end."""
        event = next(self._events)
        return None if isinstance(event, yaml.CollectionEndEvent) else event

    @staticmethod
    def _make_error(event: Any, what: str) -> NucleusError:
        return NucleusError("recipe_unreadable", line=event.start_mark.line + 1, detail=f"{what} has no place here")


def _parse_scalar(plain: str) -> Any:
    """Return the value of a scalar without quotes."""
    if plain in _CONSTANTS:
        return _CONSTANTS[plain]
    if _INTEGER.fullmatch(plain):
        return int(plain)
    return float(plain) if _FLOAT.fullmatch(plain) else plain


class _Dumper(yaml.SafeDumper):
    """YAML dumper that quotes texts which a reader could take for another type."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _represent_text(dumper: Any, text: str) -> Any:
    block = "\n" in text and _BLOCK_TEXT.fullmatch(text) and text[:1] != "\n" and not re.search(r"[ \t]\n|[ \t]$", text)
    style = "|" if block else '"' if _UNICODE_LINE_BREAKS.search(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _represent_list(dumper: Any, items: list[Any]) -> Any:
    """Represent a list, in one line if it holds only numbers."""
    in_line = all(isinstance(item, int | float | None) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=in_line)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(list, _represent_list)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(f"^(?:{_FLOAT.pattern})$"), list("-+.0123456789"))
