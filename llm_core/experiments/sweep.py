"""Run one prompt under many sampler settings with several seeds each, for a curve over one setting or a map over two.

A sweep is a `GridExperiment` whose variants are the grid's points and whose items are the seeds: it stops, resumes and
shares the engine's batches as any experiment does. The first seed goes first, so that every point has a text early and
its statistics get steadier.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

from llm_core.analysis.text_metrics import STATISTICS, TextSample, make_text_sample
from llm_core.errors import NucleusError
from llm_core.experiments.study import CellResult, GridExperiment
from llm_core.generation.request import MAX_SAMPLES_PER_REQUEST, GenerationRequest
from llm_core.generation.technique_run import Submit, TechniqueRun
from samplers import SETTINGS, SamplerConfig

GridPoint = tuple[float | str, ...]
"""Point of the grid: a value on each axis."""

MAX_GRID_POINTS = 256


@dataclasses.dataclass(frozen=True, slots=True)
class Axis:
    """Setting, as a field of `SamplerConfig`, and its values in the order in which they are drawn."""

    field: str
    values: tuple[float, ...]


def expand_grid(base: SamplerConfig, axes: Sequence[Axis]) -> dict[GridPoint, SamplerConfig]:
    """Return the sampler of every combination of the axes' values over `base`. Raises `NucleusError` for a value out of
    its range."""
    return {
        place: replace_settings(base, {axis.field: value for axis, value in zip(axes, place, strict=True)})
        for place in itertools.product(*(axis.values for axis in axes))
    }


def replace_settings(base: SamplerConfig, values: Mapping[str, float]) -> SamplerConfig:
    """Return `base` with other numbers. Raises `NucleusError` naming the field whose value is out of its range."""
    for field, value in values.items():
        setting = SETTINGS[field]
        try:
            value = int(value) if setting.whole and value == int(value) else value
            setting.check(field, value)
        except (ValueError, OverflowError):
            raise out_of_range_error(field, value) from None
        base = dataclasses.replace(base, **{field: value})  # type: ignore[arg-type]
    return base


def out_of_range_error(field: str, value: object) -> NucleusError:
    """Return the error for a setting with this value."""
    setting = SETTINGS[field]
    return NucleusError(
        "setting_out_of_range", field=field, value=value, low=setting.low, high=min(setting.high, 10**9)
    )


class Sweep(GridExperiment[GridPoint]):
    """Grid experiment with `points x seeds` texts."""

    max_parallel = 16
    """Texts under way: fewer than the engine takes, because texts of one length end together and users want to see the
    first points soon."""

    def __init__(
        self, submit: Submit, request: GenerationRequest, points: Mapping[GridPoint, SamplerConfig], seeds: int
    ) -> None:
        """Create the sweep. `request` has one sample, whose sampler is replaced by each point's and whose seed is the
        first. Raises `NucleusError` for a sweep that is too large."""
        if not 1 <= len(points) <= MAX_GRID_POINTS:
            raise NucleusError("rows_out_of_range", value=len(points), limit=MAX_GRID_POINTS)
        if not 1 <= seeds <= MAX_SAMPLES_PER_REQUEST:
            raise NucleusError("rows_out_of_range", value=seeds, limit=MAX_SAMPLES_PER_REQUEST)
        request.validate()
        self.model_id = request.model_id
        self.points = dict(points)
        self.texts: dict[tuple[GridPoint, int], TextSample] = {}
        """Finished texts, by point and seed index."""
        self._statistics: dict[tuple[GridPoint, str, int], float | None] = {}
        [row] = request.samples
        self._first_seed = row.sampler.seed

        def ask(place: GridPoint, item: int) -> GenerationRequest:
            sampler = dataclasses.replace(self.points[place], seed=self.seed(item))
            return dataclasses.replace(request, samples=(dataclasses.replace(row, sampler=sampler),))

        super().__init__(submit, tuple(self.points), seeds, ask, lambda item, answer: 1.0)

    def seed(self, item: int) -> int:
        """Return the seed of an item, the same at every point."""
        return self._first_seed + item

    def texts_at(self, point: GridPoint) -> list[TextSample]:
        """Return the finished texts of a point, by seed."""
        return [self.texts[point, item] for item in range(self.items) if (point, item) in self.texts]

    def statistic(self, point: GridPoint, name: str) -> float | None:
        """Return one of `STATISTICS` over the texts of a point; None while there are none."""
        texts = self.texts_at(point)
        key = (point, name, len(texts))
        if key not in self._statistics:
            self._statistics[key] = STATISTICS[name](texts) if texts else None
        return self._statistics[key]

    def statistics_by_seed(self, point: GridPoint, name: str) -> list[float]:
        """Return one of `STATISTICS` for each text of a point alone, without texts for which it is undefined."""
        each = (STATISTICS[name]([text]) for text in self.texts_at(point))
        return [figure for figure in each if figure is not None]

    def _make_cell(self, place: tuple[GridPoint, int], technique_run: TechniqueRun) -> CellResult:
        if technique_run.outcomes:  # neither failed nor cut off
            self.texts[place] = make_text_sample(technique_run.main.samples[0].events())
        return super()._make_cell(place, technique_run)
