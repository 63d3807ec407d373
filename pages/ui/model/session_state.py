"""State of the model form and hosted options of one browser tab."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pages.ui.shell.session import session_slice

if TYPE_CHECKING:
    from llm_core.generation.request import Image
    from llm_core.providers.provider import HostedModel


@dataclass
class ModelState:
    """Values of the form for hosted models and of hosted options, besides their widgets."""

    listed_models: dict[str, tuple[HostedModel, ...]] = field(default_factory=dict)
    """Models that providers listed, by the name of the key that was used: `scheme` or `scheme:place`."""
    hosted_notice: str | None = None
    """Message on why a model was refused."""
    token_count: tuple[tuple, str] | None = None
    """Last token count of a provider: the counted model, prompt and images, and the message in the reader's language.
    """
    images: tuple[Image, ...] = ()
    """Images of the open recipe."""


def model_state() -> ModelState:
    """Return this tab's `ModelState`."""
    return session_slice(ModelState)
