"""Hold what the room remembers of a browser tab, besides its widgets."""

from __future__ import annotations

from dataclasses import dataclass, field

from pages.ui.compare.drafts import ColumnList, ShownComparison, ShownSweep
from pages.ui.shell.session import session_slice


@dataclass
class CompareState:
    """Values of the Compare page."""

    columns: ColumnList = field(default_factory=ColumnList)
    """Of the Compare page."""
    comparison: ShownComparison | None = None
    compared_before: ShownComparison | None = None
    """What was compared before a recorded run took its place."""
    swept: ShownSweep | None = None
    compare_notice: str | None = None
    """What the last attempt to change or run a comparison or sweep was refused for."""


def compare_state() -> CompareState:
    """Return what this room remembers of the tab."""
    return session_slice(CompareState)
