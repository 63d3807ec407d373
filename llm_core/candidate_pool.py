"""Many answers to one prompt, each with a seed of its own: what best-of-N chooses from.

All candidates that are asked for together are one request, so that the prompt is read once; more can be asked for
later, with the seeds that follow, and what is there stays as it is.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence

from llm_core.asking import Submit
from llm_core.errors import NucleusError
from llm_core.extraction import normalized
from llm_core.records import FinishReason, GenerationRequest, RowRecord, RowRequest, Run

MAX_CANDIDATES = 64


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """One answer that has ended, reduced to what criteria look at."""

    index: int
    """Its place in the pool, from 0."""
    seed: int | None
    """None where a provider gave it in one call with others, and was sent none."""
    text: str
    """All of the answer, what it was made to begin with included."""
    result: str | None = None
    """What the prompt's extraction finds in it."""
    logprobs: tuple[float, ...] | None = None
    """Of each token under the model (temperature 1, before any stage), nats; None where they did not come."""
    certainties: tuple[float, ...] | None = None
    """`StepTrace.self_certainty` of each step, nats; None where the whole vocabulary was not seen."""
    finish_reason: FinishReason | None = None
    tokens: int = 0
    """As counted by whoever wrote it."""
    seconds: float = 0.0
    question: str = ""
    """The prompt's question, or else its instruction: what judges are told that it answers."""

    @property
    def cut_off(self) -> bool:
        """Whether it was not finished when its tokens or its time ran out."""
        return self.finish_reason in ("length", "context", "deadline", "cancelled")


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """Candidates with the same text, but for case and space."""

    first: Candidate
    members: tuple[int, ...]
    """Indices in the pool, ascending."""

    @property
    def count(self) -> int:
        return len(self.members)


class CandidatePool:
    """1 to 64 candidates. Not locked: one thread at a time; what `candidates` returns may go to any thread."""

    def __init__(self, submit: Submit, like: GenerationRequest, n: int, seed: int | None = None) -> None:
        """`like` has one row: what each candidate is written with. Its seed is the first candidate's where `seed` says
        nothing else. Submits at once and raises the `NucleusError` of a request that is refused."""
        if len(like.rows) != 1:
            raise NucleusError("rows_out_of_range", value=len(like.rows), limit=1)
        self.like = like
        self.seed = like.rows[0].sampler.seed if seed is None else seed
        self.runs: list[Run] = []
        self.asked = 0
        """Candidates asked for, over all runs."""
        self._submit = submit
        self._known: dict[int, Candidate] = {}
        self.grow(n)

    def grow(self, n: int) -> None:
        """Ask for as many more as it takes to have `n`, with the seeds that follow; fewer than there are changes
        nothing. Raises `NucleusError` for more than 64, and for a request that is refused."""
        if not 1 <= n <= MAX_CANDIDATES:
            raise NucleusError("candidates_out_of_range", value=n, limit=MAX_CANDIDATES)
        if n <= self.asked:
            return
        rows = tuple(self._row(index) for index in range(self.asked, n))
        self.runs.append(self._submit(dataclasses.replace(self.like, rows=rows)))
        self.asked = n

    @property
    def active(self) -> bool:
        return any(run.active for run in self.runs)

    @property
    def records(self) -> list[RowRecord]:
        """Of every candidate asked for, in order, while they form."""
        return [record for run in self.runs for record in run.rows]

    def run_of(self, index: int) -> Run:
        """The run in which a candidate is written."""
        for run in self.runs:
            if index < len(run.rows):
                return run
            index -= len(run.rows)
        raise IndexError(index)

    def candidates(self) -> list[Candidate]:
        """Those that have ended and have a text, in order. Candidates that failed, or that a provider did not give,
        are not among them: their indices are in `missing`."""
        for index, record in enumerate(self.records):
            if index not in self._known and not record.active and _counts(record):
                self._known[index] = self._candidate(index, record)
        return [self._known[index] for index in sorted(self._known)]

    @property
    def missing(self) -> list[int]:
        """Indices of candidates that were asked for and ended without one."""
        return [index for index, record in enumerate(self.records) if not record.active and not _counts(record)]

    @property
    def error(self) -> NucleusError | None:
        """Why the first missing one is missing, where that is known."""
        return next((record.error for record in self.records if record.error), None)

    @property
    def folded(self) -> list[Group]:
        """Candidates with the same text as one, in the order of their first."""
        return folded(self.candidates())

    @property
    def tokens(self) -> int:
        """Written so far, over all candidates."""
        alone = sum(_tokens(record) for record in self.records if record.usage or not record.shared)
        shared = sum(record.length for record in self.records if record.shared and not record.usage)
        counted = sum(usage.output_tokens for run in self.runs for usage in run.usages)
        return alone + max(shared, counted)

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt that were read: once a run on a local model, once a call where a provider says so."""
        local = sum(len(run.rendered.token_ids) for run in self.runs if run.rendered)
        return local + sum(usage.prompt_tokens for run in self.runs for usage in run.all_usages)

    @property
    def seconds(self) -> float:
        """What the runs took, without waiting in the queue."""
        return sum(max(record.seconds for record in run.rows) for run in self.runs)

    def touch(self) -> None:
        """Somebody is still interested."""
        for run in self.runs:
            run.touch()

    def stop(self) -> None:
        """End what is under way. What was written stays."""
        for run in self.runs:
            run.cancel()

    def wait(self, timeout: float = math.inf) -> bool:
        """Wait for every candidate; false if some are not done within `timeout` seconds."""
        until = time.monotonic() + timeout
        while self.active and time.monotonic() < until:
            self.touch()
            next(run for run in self.runs if run.active or run is self.runs[-1]).wait(
                min(1.0, until - time.monotonic())
            )
        return not self.active

    def _row(self, index: int) -> RowRequest:
        [row] = self.like.rows
        sampler = dataclasses.replace(row.sampler, seed=self.seed + index)
        return dataclasses.replace(row, sampler=sampler, keep_certainty=True)

    def _candidate(self, index: int, record: RowRecord) -> Candidate:
        prompt = self.like.prompt
        text = prompt.prefill + record.text
        events = record.events()
        traces = [event.trace for event in events if event.trace is not None]
        complete = bool(traces) and len(traces) == len(events)
        certainties = [trace.self_certainty for trace in traces if trace.self_certainty is not None]
        return Candidate(
            index=index,
            seed=record.seed,
            text=text,
            result=prompt.extraction.extract(text),
            logprobs=tuple(trace.logprob for trace in traces) if complete else None,
            certainties=tuple(certainties) if complete and len(certainties) == len(traces) else None,
            finish_reason=record.finish_reason,
            tokens=_tokens(record),
            seconds=record.seconds,
            question=prompt.question or prompt.instruction,
        )


def folded(candidates: Sequence[Candidate]) -> list[Group]:
    """Candidates with the same text as one, in the order of their first."""
    members: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        members.setdefault(normalized(candidate.text), []).append(candidate)
    return [Group(group[0], tuple(each.index for each in group)) for group in members.values()]


def _counts(record: RowRecord) -> bool:
    """Whether an ended row is a candidate. One that failed is not, even with a part of its text: what it would have
    become is not known."""
    return record.error is None and bool(record.length)


def _tokens(record: RowRecord) -> int:
    return max(record.length, record.usage.output_tokens if record.usage else 0)
