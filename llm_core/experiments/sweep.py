"""Run one prompt under many sampler settings with several seeds each, for a curve over one setting or a map over two.

A sweep is a `GridExperiment` whose variants are the grid's points and whose items are the seeds: it stops, resumes and
shares the engine's batches as any experiment does. The first seed goes first, so that every point has a text early and
its statistics get steadier.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

from llm_core.analysis.text_metrics import STATISTICS, Written, written
from llm_core.errors import NucleusError
from llm_core.experiments.study import Cell, Study
from llm_core.generation.request import GenerationRequest
from llm_core.generation.technique_run import Asking, Submit
from samplers import SETTINGS, SamplerConfig

Place = tuple[float | str, ...]
"""Point of the grid: a value on each axis."""

MAX_PLACES = 256
MAX_SEEDS = 64


@dataclasses.dataclass(frozen=True, slots=True)
class Axis:
    """Setting, as a field of `SamplerConfig`, and its values in the order in which they are drawn."""

    field: str
    values: tuple[float, ...]


def grid(base: SamplerConfig, axes: Sequence[Axis]) -> dict[Place, SamplerConfig]:
    """Return the sampler of every combination of the axes' values over `base`. Raises `NucleusError` for a value out of
    its range."""
    return {
        place: with_settings(base, {axis.field: value for axis, value in zip(axes, place, strict=True)})
        for place in itertools.product(*(axis.values for axis in axes))
    }


def with_settings(base: SamplerConfig, values: Mapping[str, float]) -> SamplerConfig:
    """Return `base` with other numbers. Raises `NucleusError` naming the field whose value is out of its range."""
    for field, value in values.items():
        setting = SETTINGS[field]
        try:
            value = int(value) if setting.whole and value == int(value) else value
            setting.check(field, value)
        except (ValueError, OverflowError):
            raise out_of_range(field, value) from None
        base = dataclasses.replace(base, **{field: value})  # type: ignore[arg-type]
    return base


def out_of_range(field: str, value: object) -> NucleusError:
    """Return the error for a setting with this value."""
    setting = SETTINGS[field]
    return NucleusError(
        "setting_out_of_range", field=field, value=value, low=setting.low, high=min(setting.high, 10**9)
    )


class Sweep(Study[Place]):
    """Grid experiment with `points x seeds` texts."""

    most_at_once = 16
    """Texts under way: fewer than the engine takes, because texts of one length end together and users want to see the
    first points soon."""

    def __init__(
        self, submit: Submit, request: GenerationRequest, points: Mapping[Place, SamplerConfig], seeds: int
    ) -> None:
        """Create the sweep. `request` has one sample, whose sampler is replaced by each point's and whose seed is the
        first. Raises `NucleusError` for a sweep that is too large."""
        if not 1 <= len(points) <= MAX_PLACES:
            raise NucleusError("rows_out_of_range", value=len(points), limit=MAX_PLACES)
        if not 1 <= seeds <= MAX_SEEDS:
            raise NucleusError("rows_out_of_range", value=seeds, limit=MAX_SEEDS)
        request.validate()
        self.model_id = request.model_id
        self.points = dict(points)
        self.texts: dict[tuple[Place, int], Written] = {}
        """Finished texts, by point and seed index."""
        self._figures: dict[tuple[Place, str, int], float | None] = {}
        [row] = request.rows
        self._first_seed = row.sampler.seed

        def ask(place: Place, item: int) -> GenerationRequest:
            sampler = dataclasses.replace(self.points[place], seed=self.seed(item))
            return dataclasses.replace(request, rows=(dataclasses.replace(row, sampler=sampler),))

        super().__init__(submit, tuple(self.points), seeds, ask, lambda item, answer: 1.0)

    def seed(self, item: int) -> int:
        """Return the seed of an item, the same at every point."""
        return self._first_seed + item

    def texts_at(self, place: Place) -> list[Written]:
        """Return the finished texts of a point, by seed."""
        return [self.texts[place, item] for item in range(self.items) if (place, item) in self.texts]

    def figure(self, place: Place, name: str) -> float | None:
        """Return one of `STATISTICS` over the texts of a point; None while there are none."""
        texts = self.texts_at(place)
        key = (place, name, len(texts))
        if key not in self._figures:
            self._figures[key] = STATISTICS[name](texts) if texts else None
        return self._figures[key]

    def figures_by_seed(self, place: Place, name: str) -> list[float]:
        """Return one of `STATISTICS` for each text of a point alone, without texts for which it is undefined."""
        each = (STATISTICS[name]([text]) for text in self.texts_at(place))
        return [figure for figure in each if figure is not None]

    def _cell(self, place: tuple[Place, int], asking: Asking) -> Cell:
        if asking.outcomes:  # neither failed nor cut off
            self.texts[place] = written(asking.main.rows[0].events())
        return super()._cell(place, asking)
