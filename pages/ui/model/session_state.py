"""Hold what the room remembers of a browser tab, besides its widgets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pages.ui.shell.session import session_slice

if TYPE_CHECKING:
    from llm_core.generation.request import Image
    from llm_core.providers.provider import HostedModel


@dataclass
class ModelState:
    """Values of the model's form and of hosted options."""

    listed_models: dict[str, tuple[HostedModel, ...]] = field(default_factory=dict)
    """What providers listed, under the same names."""
    hosted_notice: str | None = None
    """Why a model was refused."""
    counted: tuple[tuple, str] | None = None
    """What a provider counted last: of what, and what it said in the reader's language."""
    images: tuple[Image, ...] = ()
    """Pictures that came with the recipe."""


def model_state() -> ModelState:
    """Return what this room remembers of the tab."""
    return session_slice(ModelState)
