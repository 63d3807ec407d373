"""Find the result in an answer's text, so that a chain of thought can be compared and scored."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from llm_core.errors import NucleusError

ExtractionKind = Literal["whole", "last_line", "marker", "number", "regex", "json_path"]

_REGEX_TIMEOUT_SECONDS = 0.5
"""Seconds that a regular expression from a stranger may take."""
_NUMBER = r"[-−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?"


@dataclass(frozen=True, slots=True)
class Extraction:
    """`argument`: the marker, the regular expression or the JSON path; the other kinds need none."""

    kind: ExtractionKind = "whole"
    argument: str = ""

    def validate(self) -> None:
        """Check the argument. Raises `NucleusError` for one that is missing or malformed."""
        if self.kind in ("marker", "regex", "json_path") and not self.argument.strip():
            raise NucleusError("extraction_without_argument", field=self.kind)
        if self.kind == "regex":
            import regex

            try:
                regex.compile(self.argument)
            except regex.error as error:
                raise NucleusError("regex_invalid", detail=str(error)) from error
        if self.kind == "json_path":
            import jsonpath

            try:
                jsonpath.compile(self.argument)
            except jsonpath.JSONPathError as error:
                raise NucleusError("json_path_invalid", detail=str(error).splitlines()[0]) from error

    def extract(self, text: str) -> str | None:
        """Return the result, stripped of what surrounds it; None where the answer has none.

        `marker` takes what follows its last occurrence, to the end of the line; `number` and `regex` take the last
        match, a number without separators and trailing zeros; `json_path` takes the first match in the first JSON
        value.
        """
        return _EXTRACTORS[self.kind](text, self.argument) or None


def count_votes(results: Sequence[str | None]) -> list[tuple[str, int]]:
    """Count equal results, the most frequent first; on a tie, the one that came first.

    Case, surrounding space and a final full stop are ignored in the comparison; the first spelling is returned.
    """
    counts: dict[str, tuple[str, int]] = {}
    for result in results:
        if result is not None:
            spelling, count = counts.get(normalize_result(result), (result, 0))
            counts[normalize_result(result)] = (spelling, count + 1)
    return sorted(counts.values(), key=lambda counted: -counted[1])


def normalize_result(text: str) -> str:
    """Return the form in which results are compared: NFC, case-folded, single spaces, no surrounding punctuation."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split()).strip(" .!\"'*`“”")


def _last_line(text: str, argument: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _text_after_marker(text: str, marker: str) -> str:
    at = text.casefold().rfind(marker.casefold())
    if at < 0:
        return ""
    rest = text[at + len(marker) :].strip()
    return rest.splitlines()[0].strip(" *_`.") if rest else ""


def _last_number(text: str, argument: str) -> str:
    import regex

    found = regex.findall(_NUMBER, text)
    if not found:
        return ""
    whole, _, decimals = found[-1].replace(",", "").replace("−", "-").partition(".")
    decimals = decimals.rstrip("0")
    return f"{whole}.{decimals}" if decimals else whole


def _last_match(text: str, pattern: str) -> str:
    import regex

    try:
        matches = list(regex.finditer(pattern, text, timeout=_REGEX_TIMEOUT_SECONDS))
    except (regex.error, TimeoutError):
        return ""
    if not matches:
        return ""
    return (matches[-1][1] if matches[-1].re.groups else matches[-1][0] or "") or ""


def _value_at_path(text: str, path: str) -> str:
    import jsonpath

    value = first_json(text)
    try:
        found = None if value is None else jsonpath.match(path, value)
    except (jsonpath.JSONPathError, RecursionError):
        return ""
    if found is None:
        return ""
    return found.obj if isinstance(found.obj, str) else json.dumps(found.obj, ensure_ascii=False)


def first_json(text: str) -> Any | None:
    """Return the first JSON object or list in a text, or None."""
    decoder = json.JSONDecoder()
    for at, character in enumerate(text):
        if character in "{[":
            try:
                return decoder.raw_decode(text, at)[0]
            except (ValueError, RecursionError):
                continue
    return None


_EXTRACTORS = {
    "whole": lambda text, argument: text.strip(),
    "last_line": _last_line,
    "marker": _text_after_marker,
    "number": _last_number,
    "regex": _last_match,
    "json_path": _value_at_path,
}
