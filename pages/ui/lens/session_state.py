"""Hold what the Lens remembers of a browser tab."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from llm_core.generation.record import Run
from pages.ui.shell.session import session_slice

if TYPE_CHECKING:
    from llm_core.analysis.step_inspector import DrawCounts, StepInspector


class Guess(NamedTuple):
    """What somebody thought would come next."""

    token: int | None
    """None for no guess, and for one that is none of the tokens that a provider showed."""
    probability: float | None
    """What the model gave it, or at most gave it if it was not shown; None for no guess."""
    hit: bool
    """Whether it was the likeliest."""


@dataclass
class LensState:
    """Where the Lens stands."""

    of: tuple[str, int] = ("", 0)
    """The run's id and the row."""
    step: int = 0
    runs: dict[tuple[str, int, int], Run] = field(default_factory=dict)
    """What is being asked for: the logits of a step."""
    lenses: dict[tuple[str, int, int], StepInspector] = field(default_factory=dict)
    """Steps that were looked at, the oldest first."""
    guesses: dict[int, Guess] = field(default_factory=dict)
    """What the learner said before the distribution was shown, by step."""
    draws: tuple[tuple, DrawCounts] | None = None
    """The last ones, after what they were drawn from: a hundred thousand take a second."""
    own_order: tuple[str, ...] = ()
    """Stages as the reader put them."""

    def start(self, of: tuple[str, int], step: int) -> None:
        """Another answer."""
        self.of, self.step, self.guesses = of, step, {}


def lens_state() -> LensState:
    """Return what this room remembers of the tab."""
    return session_slice(LensState)
