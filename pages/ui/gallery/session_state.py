"""Hold what the Gallery remembers of a browser tab."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pages.ui.shell.session import session_slice

if TYPE_CHECKING:
    from llm_core.providers.google.prompt_store import PromptEntry, SavedPrompt, VersionEntry
    from llm_core.providers.google.prompt_store_wire import PromptImport


@dataclass
class GalleryState:
    """Where the Gallery stands."""

    shown: str | None = None
    """The id of the saved recipe that is looked at; None shows the list."""
    skip: int = 0
    """Recipes before those that are listed."""
    deleted: tuple[str, str] | None = None
    """Id and title of what was deleted last."""
    notice: tuple[str, str] | None = None
    """What came of the last action: "success", "warning" or "error", and the words."""
    runs_skip: int = 0
    """Past runs before those that are listed."""


@dataclass
class VertexState:
    """Prompts in Vertex AI's Prompt Management."""

    place: str = ""
    """The project and location that were listed last."""
    entries: tuple[PromptEntry, ...] = ()
    versions: dict[str, tuple[VersionEntry, ...]] = field(default_factory=dict)
    """By prompt."""
    kept: SavedPrompt | None = None
    """What was saved last."""
    fetched: PromptImport | None = None
    """What waits for the reader to say whether it may be opened without some of its parts."""


def gallery_state() -> GalleryState:
    """Return what this room remembers of the tab."""
    return session_slice(GalleryState)


def vertex_state() -> VertexState:
    """Return what this room remembers of the tab."""
    return session_slice(VertexState)
