"""State of the Gallery of one browser tab."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pages.ui.shell.session import session_slice

if TYPE_CHECKING:
    from llm_core.providers.google.prompt_store import PromptEntry, SavedPrompt, VersionEntry
    from llm_core.providers.google.prompt_store_wire import PromptImport


@dataclass
class GalleryState:
    """Position and messages of the Gallery's lists."""

    shown: str | None = None
    """Id of the shown recipe; None shows the list."""
    skip: int = 0
    """Number of recipes before the listed ones."""
    deleted: tuple[str, str] | None = None
    """Id and title of the recipe that was deleted last."""
    notice: tuple[str, str] | None = None
    """Message on the last action: "success", "warning" or "error", and the text."""
    runs_skip: int = 0
    """Number of past runs before the listed ones."""


@dataclass
class VertexState:
    """Prompts of Vertex AI's Prompt Management, as listed and fetched."""

    place: str = ""
    """Project and location that were listed last."""
    entries: tuple[PromptEntry, ...] = ()
    versions: dict[str, tuple[VersionEntry, ...]] = field(default_factory=dict)
    """Versions by prompt id."""
    saved_prompt: SavedPrompt | None = None
    """Prompt that was saved last."""
    fetched: PromptImport | None = None
    """Prompt that waits for the reader to agree that it opens without some of its parts."""


def gallery_state() -> GalleryState:
    """Return this tab's `GalleryState`."""
    return session_slice(GalleryState)


def vertex_state() -> VertexState:
    """Return this tab's `VertexState`."""
    return session_slice(VertexState)
