"""Read tables from files and the clipboard: CSV, tab- or semicolon-separated, Markdown, JSON and JSON Lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from llm_core.errors import NucleusError
from llm_core.prompts.spec import Example

MAX_TABLE_BYTES = 2**20
MAX_TABLE_ROWS = 1000
_SEPARATORS = ("\t", ";", ",")
_COLUMNS = {
    "input": ("input", "question", "đầu vào", "câu hỏi"),
    "output": ("output", "answer", "đầu ra", "trả lời"),
    "reasoning": ("reasoning", "rationale", "suy luận"),
}


def read_table(data: bytes | str) -> list[dict[str, str]]:
    """Read rows by column name. The first row of anything but JSON names the columns; JSON values other than strings
    are written as JSON.

    Raises `NucleusError` for data that is too large, not text or empty, and for a row that does not fit.
    """
    size = len(data)
    if size > MAX_TABLE_BYTES:
        raise NucleusError("table_too_large", size=size, limit=MAX_TABLE_BYTES)
    text = decode_text_file(data) if isinstance(data, bytes) else data
    text = text.lstrip("\ufeff")
    if not text.strip():
        raise NucleusError("table_empty")
    if "\0" in text:
        raise NucleusError("table_not_text", position=text.index("\0") + 1)
    rows = _parse_json_rows(text) if text.lstrip()[0] in "[{" else _parse_cell_rows(text)
    if not rows:
        raise NucleusError("table_empty")
    if len(rows) > MAX_TABLE_ROWS:
        raise NucleusError("table_too_long", rows=len(rows), limit=MAX_TABLE_ROWS)
    return rows


def make_examples(rows: Sequence[dict[str, str]]) -> tuple[tuple[Example, ...], int]:
    """Make examples of rows, and count the repeated ones that were left out.

    Columns are found by name, English or Vietnamese, or else by order: input, output; or input, reasoning, output.
    Raises `NucleusError` naming the row that lacks one.
    """
    column = _match_columns(list(rows[0]))
    found: dict[Example, None] = {}
    for number, row in enumerate(rows, 1):
        parts = {part: row.get(name, "").strip() if name else "" for part, name in column.items()}
        for part in ("input", "output"):
            if not parts[part]:
                raise NucleusError("row_incomplete", number=number, field=part)
        found[Example(**parts)] = None
    return tuple(found), len(rows) - len(found)


def _match_columns(names: list[str]) -> dict[str, str | None]:
    """Return the column that holds each part of an example, None for a part without one."""
    known = {name.strip().casefold(): name for name in names}
    column = {
        part: next((known[each] for each in spellings if each in known), None) for part, spellings in _COLUMNS.items()
    }
    if column["input"] is not None and column["output"] is not None:
        return column
    if len(names) < 2:
        raise NucleusError("table_needs_columns", columns=", ".join(names))
    if len(names) == 2:
        return {"input": names[0], "output": names[1], "reasoning": None}
    return {"input": names[0], "reasoning": names[1], "output": names[2]}


def write_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Write rows as CSV, with the columns of the first row."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]) if rows else [], lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def decode_text_file(data: bytes) -> str:
    """Decode a file in UTF-8 or marked UTF-16. Raises `NucleusError` for other bytes."""
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise NucleusError("table_not_text", position=error.start + 1) from error


def _parse_json_rows(text: str) -> list[dict[str, str]]:
    try:
        values = json.loads(text)
        values = values if isinstance(values, list) else [values]
    except (ValueError, RecursionError):
        values = [_parse_json_line(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    for number, value in enumerate(values, 1):
        if not isinstance(value, dict):
            raise NucleusError("row_not_object", number=number)
    return [{str(name): _format_value(value) for name, value in row.items()} for row in values]


def _parse_json_line(number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise NucleusError("row_not_json", number=number, detail=getattr(error, "msg", "nested too deeply")) from error


def _format_value(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)


def _parse_cell_rows(text: str) -> list[dict[str, str]]:
    lines = text.strip().splitlines()
    if lines[0].lstrip().startswith("|"):
        cells = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines if line.strip()]
        cells = [row for row in cells if not all(set(cell) <= set("-: ") for cell in row)]
    else:
        separator = max(_SEPARATORS, key=lambda each: (lines[0].count(each) > 0, -_SEPARATORS.index(each)))
        try:
            cells = [row for row in csv.reader(io.StringIO(text), delimiter=separator, strict=True) if any(row)]
        except csv.Error as error:
            raise NucleusError("table_unreadable", detail=str(error)) from error
    names = [name.strip() for name in cells[0]]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise NucleusError("column_repeated", column=twice)
    rows = []
    for number, row in enumerate(cells[1:], 1):
        if len(row) > len(names):
            raise NucleusError("row_too_long", number=number, cells=len(row), columns=len(names))
        rows.append(dict(zip(names, [*row, *[""] * (len(names) - len(row))], strict=True)))
    return rows
