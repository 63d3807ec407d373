"""Hold the columns of a comparison while they are edited, and the comparison and sweep that are shown. No Streamlit."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from llm_core.experiments.comparison import MAX_COLUMNS, MIN_COLUMNS, Comparison
from llm_core.experiments.sweep import Sweep
from llm_core.recipes.recorded_views import RecordedComparison
from samplers import SETTINGS, SamplerConfig

PRESETS: dict[str, tuple[SamplerConfig, ...]] = {
    "samplers": (
        SamplerConfig(temperature=0),
        SamplerConfig(temperature=0.7),
        SamplerConfig(temperature=1.5),
        SamplerConfig(top_k=40),
        SamplerConfig(top_p=0.9),
        SamplerConfig(min_p=0.1),
    ),
    "temperatures": tuple(SamplerConfig(temperature=value) for value in (0, 0.3, 0.7, 1, 1.3, 1.7)),
    "top_p": tuple(SamplerConfig(top_p=value) for value in (0.3, 0.5, 0.7, 0.9, 0.95, 1)),
    "orders": tuple(
        SamplerConfig(temperature=1.8, top_p=0.8, order=order) for order in ("huggingface", "llama_cpp", "gemini")
    ),
    "repetition": (
        SamplerConfig(temperature=0),
        SamplerConfig(temperature=0, repetition_penalty=1.2),
        SamplerConfig(temperature=0, frequency_penalty=0.5),
        SamplerConfig(temperature=0, no_repeat_ngram_size=3),
        SamplerConfig(temperature=0, dry_multiplier=0.8),
    ),
}
"""Sampler settings of comparisons to start from, by name."""

COLUMN_FIELDS = (*(name for name in SETTINGS if name != "seed"), "order", "model_id", "prompt")
"""What a column may change. The seed is shared."""


@dataclass
class ColumnDraft:
    """One column: a sampler, and a model and a prompt of its own, or the page's where they are empty."""

    id: int
    sampler: SamplerConfig
    model_id: str = ""
    prompt: str = ""
    recorded: tuple[int, int | None] | None = None
    """For a recorded answer, the number of its prompt, from 1, and the seed that was sent, if any; None for a draft."""

    def value(self, name: str) -> Any:
        return getattr(self, name) if name in ("model_id", "prompt") else getattr(self.sampler, name)

    def change(self, name: str, value: Any) -> None:
        """Set a field. Raises `ValueError` as `SamplerConfig` does."""
        if name in ("model_id", "prompt"):
            setattr(self, name, value)
        else:
            self.sampler = dataclasses.replace(self.sampler, **{name: value})

    @property
    def settings(self) -> dict[str, Any]:
        """The fields that differ from a neutral sampler, with their values."""
        neutral = ColumnDraft(0, SamplerConfig())
        return {name: self.value(name) for name in COLUMN_FIELDS if self.value(name) != neutral.value(name)}


class ColumnList:
    """The columns of the page: between `MIN_COLUMNS` and `MAX_COLUMNS`."""

    def __init__(self) -> None:
        self.drafts: list[ColumnDraft] = []
        self._next = 0
        self.start(PRESETS["samplers"])

    def start(self, samplers: Iterable[SamplerConfig]) -> None:
        self.drafts = [self._draft(sampler) for sampler in samplers]

    def get(self, draft_id: int | None) -> ColumnDraft:
        """Return the column with this id, or the first column."""
        return next((draft for draft in self.drafts if draft.id == draft_id), self.drafts[0])

    def duplicate(self, draft: ColumnDraft) -> ColumnDraft:
        """Insert a copy behind the column and return it; return the column itself if the list is full."""
        if self.full:
            return draft
        copy = dataclasses.replace(draft, id=self._new_id())
        self.drafts.insert(self.drafts.index(draft) + 1, copy)
        return copy

    def remove(self, draft: ColumnDraft) -> None:
        if len(self.drafts) > MIN_COLUMNS:
            self.drafts.remove(draft)

    @property
    def full(self) -> bool:
        return len(self.drafts) >= MAX_COLUMNS

    def _draft(self, sampler: SamplerConfig) -> ColumnDraft:
        return ColumnDraft(self._new_id(), sampler)

    def _new_id(self) -> int:
        self._next += 1
        return self._next


def used_fields(drafts: Iterable[ColumnDraft]) -> list[str]:
    """Return the fields that are not neutral in some column."""
    used = {name for draft in drafts for name in draft.settings}
    return [name for name in COLUMN_FIELDS if name in used]


def differing_fields(drafts: Iterable[ColumnDraft]) -> set[str]:
    """Return the fields whose values are not the same in all columns."""
    drafts = tuple(drafts)
    return {name for name in COLUMN_FIELDS if len({draft.value(name) for draft in drafts}) > 1}


@dataclass
class ShownComparison:
    """A comparison with the columns as they were at its start, and the part of it that is looked at."""

    comparison: Comparison
    drafts: tuple[ColumnDraft, ...]
    reference: int = 0
    other: int = 1
    repeat: int = 0
    step: int | None = None
    """The pinned step of the other column; None shows where the two columns diverge."""
    statistics: dict[int | tuple[int, int], dict[str, float | None]] = field(default_factory=dict)
    """Statistics of each column, and of a column against a reference. Cached, because they take a while."""
    tooltips: dict[tuple[int, int, str], list[str]] = field(default_factory=dict)
    """Tooltips of the tokens, by column, repetition and language."""

    @property
    def recorded(self) -> RecordedComparison | None:
        """The comparison if it shows a recorded run, otherwise None."""
        return self.comparison if isinstance(self.comparison, RecordedComparison) else None


@dataclass
class ShownSweep:
    """A sweep with the fields and values of its axes, and the index of the grid point whose texts are read."""

    sweep: Sweep
    fields: tuple[str, ...]
    values: tuple[tuple[float | str, ...], ...] = field(default=())
    place: int | None = None
