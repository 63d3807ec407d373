"""Where an answer's result stands in its text, so that a chain of thought can be compared and scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ExtractionKind = Literal["whole", "last_line", "marker", "number", "regex", "json_path"]


@dataclass(frozen=True, slots=True)
class Extraction:
    """`argument`: the marker, the regular expression or the JSON path; the other kinds need none."""

    kind: ExtractionKind = "whole"
    argument: str = ""

    def validate(self) -> None:
        """Raises `NucleusError` for an argument that is missing or wrong."""

    def extract(self, text: str) -> str | None:
        """The result, stripped of what surrounds it; None where the answer has none."""
        return text.strip() or None
