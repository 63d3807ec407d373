"""Describe the progress of loading a model, as data that any page can draw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

LoadStage = Literal["starting", "waiting", "downloading", "checking", "converting", "loading", "ready", "failed"]


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a load at one moment. `done` and `total` are bytes while downloading, tensors while converting, else
    0."""

    stage: LoadStage
    done: int = 0
    total: int = 0

    @property
    def fraction(self) -> float | None:
        """Share done in [0, 1], or None if the amount of work is not known."""
        return min(1.0, self.done / self.total) if self.total else None


ReportProgress = Callable[[Progress], None]
