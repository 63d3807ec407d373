"""Hold what the Best-of-N page remembers, and the presets that it starts from. No Streamlit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llm_core.recipes.recorded_views import RecordedPool

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_core.best_of_n.scoring import CandidateScorer
    from llm_core.best_of_n.study import BestOfNStudy
    from llm_core.experiments.candidate_pool import CandidatePool
    from llm_core.experiments.tasks import Task
    from llm_core.prompts.extraction import ExtractionKind
    from llm_core.recipes.recipe import Recipe
    from pages.ui.recipes.opened import OpenedRecipe

CHECKS = ("none", "number", "exact", "pattern", "schema", "task")
"""Ways to check for the right answer. Each but `none` is a criterion too, `task` under the id `verifier`."""


@dataclass(frozen=True, slots=True)
class BestOfNPreset:
    """A preset. Prompts are English, because the built-in model writes English."""

    prompt: str
    n: int
    criteria: tuple[str, ...]
    check: str = "none"
    extraction: ExtractionKind = "whole"
    fields: dict[str, object] = field(default_factory=dict)
    """Values of further fields, by widget."""


EXAMPLE_SCHEMA = """{"type": "object", "required": ["city", "country"],
 "properties": {"city": {"type": "string"}, "country": {"type": "string"}}}"""

BEST_OF_N_PRESETS: dict[str, BestOfNPreset] = {
    "sum": BestOfNPreset(
        "What is 12 + 7?",
        16,
        ("sum_logprob", "mean_logprob", "self_certainty", "vote"),
        "number",
        "number",
        {"best_of_n.target": 19.0, "best_of_n.tolerance": 0.0},
    ),
    "json": BestOfNPreset(
        'Name a city and its country as JSON, like {"city": "Paris", "country": "France"}. Choose another city.',
        24,
        ("mean_logprob", "self_certainty", "sentiment"),
        "schema",
        "whole",
        {"best_of_n.schema": EXAMPLE_SCHEMA},
    ),
    "open": BestOfNPreset(
        "Write a one-sentence slogan for a small bookshop.",
        12,
        ("sum_logprob", "mean_logprob", "self_certainty", "consensus", "sentiment"),
    ),
}


@dataclass
class ShownPool:
    """Candidates with their scorer, and the candidate that is looked at."""

    pool: CandidatePool
    scorer: CandidateScorer
    ground_truth: str | None = None
    """Id of the criterion that checks against the right answer, or None."""
    chosen: int | None = None
    recipe: Recipe | None = None
    """The recipe that was open at the start of the run, or that the candidates are recorded in."""

    @property
    def recorded(self) -> bool:
        return isinstance(self.pool, RecordedPool)

    @property
    def active(self) -> bool:
        return self.pool.active or self.scorer.active

    def stop(self) -> None:
        self.pool.stop()
        self.scorer.stop()


@dataclass
class ShownBenchmark:
    """A benchmark over the items of a task."""

    study: BestOfNStudy
    task: Task


@dataclass(frozen=True)
class PreviousState:
    """The page's state before a recipe was opened."""

    fields: Mapping[str, object]
    """Values by widget."""
    shown: ShownPool | None
    opened: OpenedRecipe | None


@dataclass
class BestOfNState:
    """What the Best-of-N page of one browser tab remembers."""

    shown: ShownPool | None = None
    items: ShownBenchmark | None = None
    notice: str | None = None
    """The error of the last attempt, in the reader's language."""
    next_page: str | None = None
    """The page to switch to, on which a candidate is shown."""
    opened: OpenedRecipe | None = None
    """The recipe that was last opened here or saved from here."""
    before: PreviousState | None = None
    recipe_notice: tuple[str, str] | None = None
    """The result of opening or saving: "success", "info", "warning" or "error", and the words."""
