"""State of the prompt composer of one browser tab."""

from __future__ import annotations

from dataclasses import dataclass, field

from pages.ui.prompt.example_list import ExampleList
from pages.ui.shell.session import session_slice


@dataclass
class ValueTable:
    """Values of a prompt's variables, as a data editor edits them.

    The editor starts from `start` and keeps the changes itself, so it gets a new `start`, with a new `version` in its
    widget key, only when the rows come from elsewhere.
    """

    rows: list[dict[str, str]] = field(default_factory=list)
    start: list[dict[str, str]] = field(default_factory=list)
    columns: tuple[str, ...] = ()
    version: int = 0

    def set(self, rows: list[dict[str, str]]) -> None:
        """Replace the rows."""
        self.rows = self.start = rows
        self.version += 1

    def set_columns(self, columns: tuple[str, ...]) -> None:
        """Set the columns. Values of columns that return are restored."""
        kept = self.start + [{}] * (len(self.rows) - len(self.start))
        self.columns = columns
        self.set([old | new for old, new in zip(kept, self.rows, strict=False)])


@dataclass
class PromptState:
    """Values of the composer, besides its widgets."""

    examples: ExampleList = field(default_factory=ExampleList)
    value_table: ValueTable = field(default_factory=ValueTable)
    import_notes: dict[str, str] = field(default_factory=dict)
    """Message on the last import into each table, in the reader's language."""
    document_note: str | None = None
    """Message on why the last file was refused as the document."""


def prompt_state() -> PromptState:
    """Return this tab's `PromptState`."""
    return session_slice(PromptState)
