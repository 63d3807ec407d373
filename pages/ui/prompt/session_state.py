"""Hold what the composer of prompts remembers of a browser tab, besides its widgets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass
from typing import TYPE_CHECKING

from pages.ui.prompt.example_list import ExampleList
from pages.ui.shell.session import session_slice

if TYPE_CHECKING:
    pass


@dataclass
class ValueTable:
    """Values of a prompt's variables, as a grid edits them: the grid starts from `start` and keeps the changes, so it
    is given another start, under another name, only when the rows come from elsewhere."""

    rows: list[dict[str, str]] = field(default_factory=list)
    start: list[dict[str, str]] = field(default_factory=list)
    columns: tuple[str, ...] = ()
    version: int = 0

    def set(self, rows: list[dict[str, str]]) -> None:
        self.rows = self.start = rows
        self.version += 1

    def restart(self, columns: tuple[str, ...]) -> None:
        """Other columns: what was in columns that are gone comes back with them."""
        kept = self.start + [{}] * (len(self.rows) - len(self.start))
        self.columns = columns
        self.set([old | new for old, new in zip(kept, self.rows, strict=False)])


@dataclass
class PromptState:
    """Values of the composer."""

    examples: ExampleList = field(default_factory=ExampleList)
    value_table: ValueTable = field(default_factory=ValueTable)
    import_notes: dict[str, str] = field(default_factory=dict)
    """What came of the last import into each table, in the reader's language."""
    document_note: str | None = None
    """Why the last file was not taken as the document."""


def prompt_state() -> PromptState:
    """Return what this room remembers of the tab."""
    return session_slice(PromptState)
