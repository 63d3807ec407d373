"""Hold the studies of a browser tab."""

from __future__ import annotations

from dataclasses import dataclass, field

from llm_core.experiments.study import GridExperiment
from llm_core.experiments.tasks import Task
from pages.ui.shell.session import session_slice


@dataclass
class ShownStudy:
    """A study on the Techniques page, with what it is about."""

    study: GridExperiment
    task: Task
    title: str


@dataclass
class StudiesState:
    """Values of the Techniques page."""

    studies: dict[str, ShownStudy] = field(default_factory=dict)
    """The last one of each kind."""
    study_rows: list[dict[str, str]] = field(default_factory=list)
    """The user's own items."""
    study_notice: str | None = None


def studies_state() -> StudiesState:
    """Return what this room remembers of the tab."""
    return session_slice(StudiesState)
