"""Write answers of several settings side by side with the same seed, and find where two of them diverge, and why.

The same seed means the same noise. Columns with one model and one prompt are one request, which the engine writes in
one batch; other models and prompts are further requests. A hosted model's samples are requests of their own to its
provider, with the same seed, but nothing is known of its noise. Each column is written once for each repetition, with a
seed that all columns share.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from llm_core.errors import NucleusError
from llm_core.generation.record import Run, SampleRecord, TokenEvent
from llm_core.generation.request import MAX_SAMPLES_PER_REQUEST, GenerationRequest, SampleRequest
from llm_core.generation.technique_run import Submit
from llm_core.prompts.spec import PromptSpec
from samplers import SamplerConfig, StageSnapshot, StepTrace

MIN_COLUMNS, MAX_COLUMNS = 2, 16
_SAME_LOGPROB_TOLERANCE = 1e-3
"""Difference in nats below which log-probabilities come from the same model and text, computed in different batches."""


@dataclasses.dataclass(frozen=True, slots=True)
class ComparisonColumn:
    """One column: model, sampler and prompt. The sampler's seed is ignored."""

    sampler: SamplerConfig
    model_id: str
    prompt: PromptSpec


class Comparison:
    """Comparison of `columns x repeats` answers. Not locked: one thread at a time."""

    def __init__(
        self,
        submit: Submit,
        columns: Sequence[ComparisonColumn],
        repeats: int,
        template: GenerationRequest,
        *,
        seed: int = 0,
    ) -> None:
        """Submit all requests at once. `template` gives what columns do not: its one sample's limits, precision and
        session. Raises `NucleusError` if any part is refused; then nothing runs."""
        if not 1 <= len(columns) * repeats <= MAX_SAMPLES_PER_REQUEST:
            raise NucleusError("rows_out_of_range", value=len(columns) * repeats, limit=MAX_SAMPLES_PER_REQUEST)
        self.columns = tuple(columns)
        self.repeats = repeats
        self.runs: list[Run] = []
        self._positions: dict[int, tuple[Run, int]] = {}
        """Run of each column, and the index of its first sample there."""
        try:
            for members in _group_columns(self.columns):
                rows = tuple(
                    _sample_request(template.samples[0], self.columns[place].sampler, seed + repeat)
                    for place in members
                    for repeat in range(repeats)
                )
                shared = self.columns[members[0]]
                run = submit(
                    dataclasses.replace(template, model_id=shared.model_id, prompt=shared.prompt, samples=rows)
                )
                self.runs.append(run)
                self._positions |= {place: (run, order * repeats) for order, place in enumerate(members)}
        except NucleusError:
            self.stop()
            raise

    @property
    def active(self) -> bool:
        return any(run.active for run in self.runs)

    def run(self, column: int) -> Run:
        """Return the run that a column is written in."""
        return self._positions[column][0]

    def has_shared_ids(self, column: int, other: int) -> bool:
        """Return whether a token has the same id in both columns: in one run, and in runs of one local model. Hosted
        runs number tokens in the order of appearance."""
        one, two = self.run(column), self.run(other)
        return one is two or (one.model is not None and one.model is two.model)

    def record(self, column: int, repeat: int = 0) -> SampleRecord:
        """Return the record of one repetition of a column."""
        run, first = self._positions[column]
        return run.samples[first + repeat]

    def touch(self) -> None:
        """Keep the runs alive: they are abandoned when nobody touches them."""
        for run in self.runs:
            run.touch()

    def stop(self) -> None:
        """Cancel the active runs. Their text so far stays."""
        for run in self.runs:
            run.cancel()


def _group_columns(columns: Sequence[ComparisonColumn]) -> list[list[int]]:
    """Return the indices of the columns that can share a request, by request."""
    groups: list[list[int]] = []
    for place, column in enumerate(columns):
        for group in groups:
            first = columns[group[0]]
            if (first.model_id, first.prompt) == (column.model_id, column.prompt):
                group.append(place)
                break
        else:
            groups.append([place])
    return groups


def _sample_request(template: SampleRequest, sampler: SamplerConfig, seed: int) -> SampleRequest:
    return dataclasses.replace(template, sampler=dataclasses.replace(sampler, seed=seed))


def first_divergence(events: Sequence[TokenEvent], others: Sequence[TokenEvent]) -> int | None:
    """Return the first step at which two answers chose different tokens; None while one is a prefix of the other."""
    pairs = zip(events, others, strict=False)
    return next((step for step, (one, other) in enumerate(pairs) if one.token_id != other.token_id), None)


class DivergencePoint(NamedTuple):
    """Same position in two answers, as a step of each. Answers of two vocabularies have different steps for the same
    text."""

    step: int
    other: int


def divergence_point(
    events: Sequence[TokenEvent], others: Sequence[TokenEvent], share_ids: bool
) -> DivergencePoint | None:
    """Return where two answers diverge: by their tokens if these can be compared, or else by their text. None while one
    is a prefix of the other."""
    if share_ids and _has_token_ids(events) and _has_token_ids(others):
        step = first_divergence(events, others)
        return None if step is None else DivergencePoint(step, step)
    one, two = ("".join(event.piece for event in each) for each in (events, others))
    same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, two, strict=False)))
    return None if same == min(len(one), len(two)) else DivergencePoint(_step_at(events, same), _step_at(others, same))


def aligned_point(
    events: Sequence[TokenEvent], others: Sequence[TokenEvent], other: int, share_ids: bool
) -> DivergencePoint:
    """Return the position of a step of `others` in both answers; in `events` it may lie beyond the end."""
    if share_ids and _has_token_ids(events) and _has_token_ids(others):
        return DivergencePoint(other, other)
    before = sum(len(event.piece) for event in others[:other])
    inside = before < sum(len(event.piece) for event in events)
    return DivergencePoint(_step_at(events, before) if inside else len(events), other)


def _has_token_ids(events: Sequence[TokenEvent]) -> bool:
    return all(event.token_id is not None for event in events)


def _step_at(events: Sequence[TokenEvent], offset: int) -> int:
    """Return the step that writes the character at `offset`."""
    starts = itertools.accumulate((len(event.piece) for event in events), initial=0)
    return bisect.bisect_right(list(starts)[: len(events)], offset) - 1


class DivergenceReason(NamedTuple):
    """Reason why two samplers that saw the same text chose different tokens.

    - `model`: the distributions that the samplers were given differ already.
    - `cut`: on `side`, `stage` excluded the token that the other side drew.
    - `reweighted`: both could draw either token but weighted them differently, and the noise, which is the same, tipped
      the other way. `odds` are how many times likelier the first's token is than the second's: in the model's
      distribution, after the first's stages and after the second's.
    - `unseen`: on `side`, the other's token is too unlikely for the trace to show its fate.
    """

    code: Literal["model", "cut", "reweighted", "unseen"]
    side: int = 0
    stage: str = ""
    odds: tuple[float, float, float] = (1.0, 1.0, 1.0)


def explain_divergence(trace: StepTrace, other: StepTrace) -> list[DivergenceReason]:
    """Return why two steps, the first at which two samples diverge, chose different tokens."""
    if not _has_same_logprobs(trace, other):
        return [DivergenceReason("model")]
    found = []
    for side, own, token in ((0, trace, other.token_id), (1, other, trace.token_id)):
        if stage := excluding_stage(own, token):
            found.append(DivergenceReason("cut", side, stage))
        elif token not in own.candidates:
            found.append(DivergenceReason("unseen", side))
    if not found:
        pair = trace.token_id, other.token_id
        odds = _odds(trace, trace.raw, pair), _odds(trace, trace.final, pair), _odds(other, other.final, pair)
        found.append(DivergenceReason("reweighted", odds=odds))
    return found


def excluding_stage(trace: StepTrace, token: int) -> str | None:
    """Return the stage after which a token was impossible; None if it stayed possible, or if the trace cannot tell."""
    if token in trace.candidates:
        place = trace.candidates.index(token)
        return next((stage.name for stage in trace.stages if stage.logprobs[place] == -math.inf), None)
    for stage in trace.stages:
        if stage.kept == sum(logprob > -math.inf for logprob in stage.logprobs):  # the trace shows all possible tokens
            return stage.name
    return None


def _has_same_logprobs(trace: StepTrace, other: StepTrace) -> bool:
    pairs = (
        (logprob, other.raw.logprobs[other.candidates.index(token)])
        for token, logprob in zip(trace.candidates, trace.raw.logprobs, strict=True)
        if token in other.candidates
    )
    gaps = [abs(one - two) for one, two in pairs]
    return (
        len(gaps) >= min(len(trace.candidates), len(other.candidates)) - 2
        and max(gaps, default=1.0) < _SAME_LOGPROB_TOLERANCE
    )


def _odds(trace: StepTrace, stage: StageSnapshot, pair: tuple[int, int]) -> float:
    """Return how many times likelier the first token is than the second; infinite if a float cannot hold it."""
    first, second = (stage.logprobs[trace.candidates.index(token)] for token in pair)
    return math.exp(first - second) if first - second < 700 else math.inf
