"""Find the keys of widgets in the source of pages."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_POSITIONS = {"get": 0, "has": 0, "put": 0, "get_number": 0, "show_field": 2}
"""Position of the key among the arguments of functions that are used in every module."""


class WidgetKey(NamedTuple):
    """A key that is written as text: a string, or an f-string."""

    node: ast.Constant | ast.JoinedStr
    beginning: str
    """The key, or the text before the first blank of an f-string; empty if the key begins with a blank."""


def find_widget_keys(source: str) -> list[WidgetKey]:
    """Return the keys in a module's source: arguments for a parameter `key`, keys that are read or written, constants
    and variables whose name ends in "key", what functions with such a name return, and members of `Key`.

    A key that continues the parameter `key` is left out, because the caller's argument is found instead.
    """
    tree = ast.parse(source)
    texts = {
        target.id: statement.value.value
        for statement in tree.body
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant)
        for target in statement.targets
        if isinstance(target, ast.Name) and isinstance(statement.value.value, str)
    }
    positions = _POSITIONS | {
        function.name: names.index("key")
        for function in tree.body
        if isinstance(function, ast.FunctionDef)
        and "key" in (names := [argument.arg for argument in function.args.args])
        and function.name != "t"  # takes the key of a text
    }
    values = [value for node in ast.walk(tree) for value in _key_values(node, positions)]
    nodes = {id(node): node for value in values for node in _literals(value)}
    found = [WidgetKey(node, _beginning(node, texts)) for node in nodes.values()]
    return [key for key in found if not _continues_parameter(key.node)]


def blank_widget_keys(source: str) -> str:
    """Return the source without the widget keys in it, which may be spelled like keys of texts."""
    lines = source.encode().splitlines(keepends=True)
    for node, _ in find_widget_keys(source):
        if node.end_lineno == node.lineno:
            line = lines[node.lineno - 1]
            lines[node.lineno - 1] = (
                line[: node.col_offset] + b" " * (node.end_col_offset - node.col_offset) + line[node.end_col_offset :]
            )
    return b"".join(lines).decode()


def rooms(pages: Path) -> set[str]:
    """Return what a key may begin with: the folders of `pages/ui`, and the pages."""
    folders = {folder.name for folder in (pages / "ui").iterdir() if (folder / "__init__.py").exists()}
    return folders | {file.stem for file in pages.glob("*.py") if file.stem != "__init__"}


def _key_values(node: ast.AST, positions: dict[str, int]) -> Iterator[ast.expr | None]:
    match node:
        case ast.Call(func=function, args=arguments, keywords=keywords):
            yield from (keyword.value for keyword in keywords if keyword.arg == "key")
            if isinstance(function, ast.Name) and function.id in positions:
                place = positions[function.id]
                yield from arguments[place : place + 1]
        case ast.Assign(targets=[target], value=value) if all(map(_is_key_name, _targets(target))):
            yield value
        case ast.FunctionDef(name=name) if name.endswith("_key"):
            yield from (each.value for each in ast.walk(node) if isinstance(each, ast.Return))
        case ast.ClassDef(name="Key", body=body):
            yield from (each.value for each in body if isinstance(each, ast.Assign))


def _targets(target: ast.expr) -> list[ast.expr]:
    return target.elts if isinstance(target, ast.Tuple) else [target]


def _is_key_name(target: ast.expr) -> bool:
    return isinstance(target, ast.Name) and target.id.lower().endswith("key")


def _literals(value: ast.expr | None) -> Iterator[ast.Constant | ast.JoinedStr]:
    match value:
        case ast.Constant(value=str()) | ast.JoinedStr():
            yield value
        case ast.IfExp(body=one, orelse=other):
            yield from (*_literals(one), *_literals(other))
        case ast.Tuple(elts=several):
            for each in several:
                yield from _literals(each)


def _beginning(node: ast.Constant | ast.JoinedStr, texts: dict[str, str]) -> str:
    first = node.values[0] if isinstance(node, ast.JoinedStr) else node
    if isinstance(first, ast.FormattedValue):
        return texts.get(first.value.id, "") if isinstance(first.value, ast.Name) else ""
    return str(first.value) if isinstance(first, ast.Constant) else ""


def _continues_parameter(node: ast.Constant | ast.JoinedStr) -> bool:
    match node:
        case ast.JoinedStr(values=[ast.FormattedValue(value=ast.Name(id="key")), *_]):
            return True
    return False
