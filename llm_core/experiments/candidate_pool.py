"""Request many answers to one prompt, each with its own seed: the candidates that best-of-N chooses from.

Candidates that are requested together are one request, so that the prompt is read once. More can be requested later,
with the seeds that follow; existing candidates stay as they are.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence

from llm_core.errors import NucleusError
from llm_core.generation.record import FinishReason, Run, SampleRecord
from llm_core.generation.request import MAX_SAMPLES_PER_REQUEST, GenerationRequest, SampleRequest
from llm_core.generation.technique_run import Submit
from llm_core.prompts.extraction import normalize_result


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """One finished answer, reduced to what criteria look at."""

    index: int
    """Index in the pool, from 0."""
    seed: int | None
    """Seed; None if a provider gave several candidates in one call, which sends no seed."""
    text: str
    """Whole answer, prefill included."""
    result: str | None = None
    """Result that the prompt's extraction finds in the text."""
    logprobs: tuple[float, ...] | None = None
    """Log-probability of each token under the model (temperature 1, before any stage), in nats; None if they are not
    known."""
    certainties: tuple[float, ...] | None = None
    """`StepTrace.self_certainty` of each step, in nats; None if the whole vocabulary was not seen."""
    finish_reason: FinishReason | None = None
    tokens: int = 0
    """Number of tokens, as the engine or the provider counts them."""
    seconds: float = 0.0
    question: str = ""
    """Question of the prompt, or else its instruction: what judges are told that the text answers."""

    @property
    def truncated(self) -> bool:
        """Whether the answer was unfinished when its tokens or its time ran out."""
        return self.finish_reason in ("length", "context", "deadline", "cancelled")


@dataclasses.dataclass(frozen=True, slots=True)
class DuplicateGroup:
    """Candidates with the same text, ignoring case and space."""

    first: Candidate
    members: tuple[int, ...]
    """Indices in the pool, ascending."""

    @property
    def count(self) -> int:
        return len(self.members)


class CandidatePool:
    """Pool of 1 to 64 candidates. Not locked: one thread at a time; the result of `candidates` may go to any thread."""

    def __init__(self, submit: Submit, template: GenerationRequest, n: int, seed: int | None = None) -> None:
        """Request `n` candidates at once. `template` has one sample: the settings of each candidate, and the first
        candidate's seed unless `seed` is given. Raises the `NucleusError` of a request that is refused."""
        if len(template.samples) != 1:
            raise NucleusError("rows_out_of_range", value=len(template.samples), limit=1)
        self.template = template
        self.seed = template.samples[0].sampler.seed if seed is None else seed
        self.runs: list[Run] = []
        self.requested = 0
        """Candidates requested, over all runs."""
        self._submit = submit
        self._known: dict[int, Candidate] = {}
        self.grow(n)

    def grow(self, n: int) -> None:
        """Request as many more candidates as it takes to have `n`, with the seeds that follow; a smaller `n` changes
        nothing. Raises `NucleusError` for more than 64, and for a request that is refused."""
        if not 1 <= n <= MAX_SAMPLES_PER_REQUEST:
            raise NucleusError("candidates_out_of_range", value=n, limit=MAX_SAMPLES_PER_REQUEST)
        if n <= self.requested:
            return
        rows = tuple(self._sample_request(index) for index in range(self.requested, n))
        self.runs.append(self._submit(dataclasses.replace(self.template, samples=rows)))
        self.requested = n

    @property
    def active(self) -> bool:
        return any(run.active for run in self.runs)

    @property
    def records(self) -> list[SampleRecord]:
        """Records of all requested candidates in order, finished or not."""
        return [record for run in self.runs for record in run.samples]

    def find_run(self, index: int) -> Run:
        """Return the run in which a candidate is written. Raises `IndexError`."""
        for run in self.runs:
            if index < len(run.samples):
                return run
            index -= len(run.samples)
        raise IndexError(index)

    def candidates(self) -> list[Candidate]:
        """Return the finished candidates that have a text, in order. Candidates that failed, or that a provider did not
        give, are left out: their indices are in `missing`."""
        for index, record in enumerate(self.records):
            if index not in self._known and not record.active and _is_candidate(record):
                self._known[index] = self._make_candidate(index, record)
        return [self._known[index] for index in sorted(self._known)]

    @property
    def missing(self) -> list[int]:
        """Indices of candidates that were requested and failed."""
        return [index for index, record in enumerate(self.records) if not record.active and not _is_candidate(record)]

    @property
    def error(self) -> NucleusError | None:
        """Error of the first missing candidate, if known."""
        return next((record.error for record in self.records if record.error), None)

    @property
    def duplicate_groups(self) -> list[DuplicateGroup]:
        """Candidates grouped by their text, in the order of their first."""
        return group_duplicates(self.candidates())

    @property
    def tokens(self) -> int:
        """Tokens written so far, over all candidates."""
        alone = sum(_count_tokens(record) for record in self.records if record.usage or not record.shares_call)
        shared = sum(record.length for record in self.records if record.shares_call and not record.usage)
        counted = sum(usage.output_tokens for run in self.runs for usage in run.usages)
        return alone + max(shared, counted)

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt that were read: once a run on a local model, once a call if a provider reports it."""
        local = sum(len(run.rendered.token_ids) for run in self.runs if run.rendered)
        return local + sum(usage.prompt_tokens for run in self.runs for usage in run.all_usages)

    @property
    def seconds(self) -> float:
        """Seconds that the runs took, without waiting in the queue."""
        return sum(max(record.seconds for record in run.samples) for run in self.runs)

    def touch(self) -> None:
        """Keep the runs alive: they are abandoned when nobody touches them."""
        for run in self.runs:
            run.touch()

    def stop(self) -> None:
        """Cancel the active runs. Their text so far stays."""
        for run in self.runs:
            run.cancel()

    def wait(self, timeout: float = math.inf) -> bool:
        """Wait for every candidate. Returns False if that takes longer than `timeout` seconds."""
        until = time.monotonic() + timeout
        while self.active and time.monotonic() < until:
            self.touch()
            next(run for run in self.runs if run.active or run is self.runs[-1]).wait(
                min(1.0, until - time.monotonic())
            )
        return not self.active

    def _sample_request(self, index: int) -> SampleRequest:
        [row] = self.template.samples
        sampler = dataclasses.replace(row.sampler, seed=self.seed + index)
        return dataclasses.replace(row, sampler=sampler, keep_self_certainty=True)

    def _make_candidate(self, index: int, record: SampleRecord) -> Candidate:
        prompt = self.template.prompt
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
            tokens=_count_tokens(record),
            seconds=record.seconds,
            question=prompt.question or prompt.instruction,
        )


def group_duplicates(candidates: Sequence[Candidate]) -> list[DuplicateGroup]:
    """Return the candidates grouped by their text, in the order of their first."""
    members: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        members.setdefault(normalize_result(candidate.text), []).append(candidate)
    return [DuplicateGroup(group[0], tuple(each.index for each in group)) for group in members.values()]


def _is_candidate(record: SampleRecord) -> bool:
    """Return whether a finished sample is a candidate. A failed one is not, even with a part of its text: its end is
    not known."""
    return record.error is None and bool(record.length)


def _count_tokens(record: SampleRecord) -> int:
    return max(record.length, record.usage.output_tokens if record.usage else 0)
