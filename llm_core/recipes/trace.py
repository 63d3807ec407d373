"""Record the run of a recipe: what was drawn, from what, and when. It can be shown again without model, key or network.

    trace = make_trace(run)                  # of an ended run, or of answers of several
    recipe.model_copy(update={"trace": trace})

In a file, an answer's text and tokens are readable; what belongs to each token lies packed beside them. A trace from a
stranger is checked as a whole when it is made: whatever can be replayed can be shown on every page.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import math
import zlib
from array import array
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llm_core.generation.record import FinishReason, Run, SampleRecord, TokenEvent, Usage
from llm_core.generation.request import MAX_OUTPUT_TOKENS, MAX_SAMPLES_PER_REQUEST
from samplers import STAGE_NAMES, StepTrace, pack_traces, unpack_traces

if TYPE_CHECKING:
    from llm_core.generation.technique_run import Outcome

MAX_UNPACKED_BYTES = 64 * 2**20
"""Bytes of all packed data of one trace."""
MAX_ANSWER_CHARACTERS = 2_000_000
"""Characters of one answer."""
MAX_LABEL_CHARACTERS = 200
"""Characters of a token."""
MAX_STEP_CANDIDATES = 1_000
"""Candidates of one step."""

_STAGES = frozenset(("raw", "constraint", *STAGE_NAMES))
_ROUNDING = 1e-3
"""Nats above 0 that single precision may give a certain token."""
_STRICT = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True)
Text = Annotated[str, Field(max_length=MAX_ANSWER_CHARACTERS)]
Packed = Annotated[str, Field(max_length=32 * 2**20, pattern=r"^[A-Za-z0-9+/]*={0,2}$")]
TokenId = Annotated[int, Field(ge=0, lt=2**31)]
Count = Annotated[int, Field(ge=0, lt=2**31)]
Seconds = Annotated[float, Field(ge=0, le=1e7)]


class RowTrace(BaseModel):
    """One answer."""

    model_config = _STRICT

    prompt: Annotated[int, Field(ge=0, le=1_000)] = 0
    """Which of the recipe's prompts it answers: they are several where it has a table of values."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    shared: bool = False
    """Whether a provider gave it in one call with others: the seed was not sent."""
    text: Text = ""
    tokens: Annotated[tuple[TokenId | None, ...], Field(max_length=MAX_OUTPUT_TOKENS)] = ()
    """Null for a piece of text that came without its tokens."""
    finish_reason: FinishReason | None = None
    """Null for an answer that failed."""
    error: Annotated[str, Field(max_length=2_000)] = ""
    whole: Text | None = None
    """Where a technique takes a further step to its result: the text with that step's."""
    result: Text | None = None
    """What was found in it."""
    seconds: Seconds = 0.0
    prompt_tokens: Count = 0
    cached_tokens: Count = 0
    """Of the prompt's, what did not have to be read again."""
    thoughts: Text = ""
    usage: tuple[Count, Count, Count, Count] | None = None
    """Tokens as a provider counted them: of the prompt, the answer, the thoughts, and those it had cached."""
    events: Packed = ""
    """base64 of zlib of a JSON list: for each token its piece, its text, its seconds and its error bound."""
    stages: Packed = ""
    """base64 of `samplers.pack_traces`, for the tokens that have log-probabilities."""

    def all_events(self) -> list[TokenEvent]:
        """Return the answer's tokens, unpacked. Raises `ValueError` for data that cannot be shown."""
        return _unpack_events(self, _Unpacker())


class Trace(BaseModel):
    """A recorded run. Making one raises `ValidationError` for data that cannot be replayed."""

    model_config = _STRICT

    at: Annotated[str, Field(max_length=40, pattern=r"^[0-9TZ:.+\-]*$")] = ""
    """When it was recorded, as ISO 8601."""
    model: Annotated[str, Field(max_length=200)] = ""
    """The model's name."""
    rows: Annotated[tuple[RowTrace, ...], Field(min_length=1, max_length=MAX_SAMPLES_PER_REQUEST)]
    ends: Annotated[tuple[TokenId, ...], Field(max_length=64)] = ()
    """Tokens that end an answer."""
    labels: Packed = ""
    """base64 of zlib of a JSON object: every token that occurs, as text."""

    @model_validator(mode="after")
    def _check_replayable(self) -> Self:
        budget = _Unpacker()
        self.all_labels(budget)
        for row in self.rows:
            if bool(row.error) == (row.finish_reason is not None):
                raise ValueError("an answer has either a finish_reason or an error")
            _unpack_events(row, budget)
        return self

    def all_labels(self, budget: _Unpacker | None = None) -> dict[int, str]:
        labels = (budget or _Unpacker()).unpack_json(self.labels, {})
        if not isinstance(labels, dict) or not all(isinstance(label, str) for label in labels.values()):
            raise ValueError("labels: not an object of texts")
        return {int(token): label[:MAX_LABEL_CHARACTERS] for token, label in labels.items()}


class _Unpacker:
    """Reader of packed data that unpacks a bounded number of bytes in all."""

    def __init__(self) -> None:
        self.remaining_bytes = MAX_UNPACKED_BYTES

    def unpack_json(self, packed: str, empty: Any) -> Any:
        if not packed:
            return empty
        try:
            unpacker = zlib.decompressobj()
            data = unpacker.decompress(base64.b64decode(packed, validate=True), self.remaining_bytes)
            if unpacker.unconsumed_tail or not unpacker.eof:
                raise ValueError("packed data is too large, or cut short")
            self.remaining_bytes -= len(data)
            return json.loads(data)
        except (zlib.error, binascii.Error, RecursionError) as error:
            raise ValueError(f"packed data is damaged: {error}") from error

    def unpack_steps(self, packed: str) -> list[StepTrace]:
        if not packed:
            return []
        try:
            traces = unpack_traces(base64.b64decode(packed, validate=True), self.remaining_bytes)
        except binascii.Error as error:
            raise ValueError(f"packed data is damaged: {error}") from error
        self.remaining_bytes -= sum(4 * len(trace.candidates) * (1 + len(trace.stages)) + 64 for trace in traces)
        return traces


class RecordedSample(NamedTuple):
    """One ended answer to record."""

    run: Run
    sample: SampleRecord
    outcome: Outcome | None = None
    prompt: int = 0


def make_trace(source: Run | Iterable[RecordedSample], at: str = "") -> Trace:
    """Make the trace of an ended run, or of answers of several. Raises `ValueError` for an answer that has not
    ended."""
    recordings = [RecordedSample(source, row) for row in source.samples] if isinstance(source, Run) else list(source)
    if any(each.sample.active for each in recordings):
        raise ValueError("the run has not ended")
    labels: dict[int, str] = {}
    names = {run.id: _assign_token_ids(run, labels) for run in dict.fromkeys(each.run for each in recordings)}
    model = recordings[0].run.model
    return Trace(
        at=at,
        model=model.name if model else "",
        rows=tuple(_make_row_trace(each, names[each.run.id]) for each in recordings),
        ends=tuple(sorted(recordings[0].run.end_ids)),
        labels=_pack_json({str(token): label for token, label in labels.items()}),
    )


def _assign_token_ids(run: Run, labels: dict[int, str]) -> dict[int, int]:
    """Add the run's tokens to `labels`, and return the new ids of tokens whose id in the trace differs from that in the
    run.

    Hosted runs number tokens as they come, each for itself; in the trace one text is one token in all of them.
    """
    known: dict[str, list[int]] = {}
    for token, label in labels.items():
        known.setdefault(label, []).append(token)
    names: dict[int, int] = {}
    taken: set[int] = set()
    for token in dict.fromkeys(
        token for row in run.samples for event in row.events() for token in _candidate_ids(event)
    ):
        label, name = run.label(token), token
        if run.model is None:  # a local model's ids are its own
            fitting = [each for each in (token, *known.get(label, ())) if labels.get(each, label) == label]
            name = next((each for each in fitting if each not in taken), max(labels, default=0) + 1)
            taken.add(name)
        labels.setdefault(name, label)
        if name != token:
            names[token] = name
    return names


def _candidate_ids(event: TokenEvent) -> tuple[int, ...]:
    return tuple(event.trace.candidates) if event.trace else ()


def _renumber_tokens(event: TokenEvent, names: dict[int, int]) -> TokenEvent:
    """Return the event with the trace's token ids."""
    if not names or event.token_id is None or event.trace is None:
        return event
    token, candidates = event.token_id, (names.get(each, each) for each in event.trace.candidates)
    trace = dataclasses.replace(event.trace, token_id=names.get(token, token), candidates=array("i", candidates))
    return dataclasses.replace(event, token_id=trace.token_id, trace=trace)


def _make_row_trace(recording: RecordedSample, names: dict[int, int]) -> RowTrace:
    run, row, outcome, prompt = recording
    events = [_renumber_tokens(event, names) for event in row.events()]
    two_stages = outcome and outcome.text != run.request.prompt.prefill + row.text
    traces = [event.trace for event in events if event.trace]
    return RowTrace(
        prompt=prompt,
        seed=row.request.sampler.seed,
        shared=row.shares_call,
        text=row.text,
        tokens=tuple(event.token_id for event in events),
        finish_reason=row.finish_reason,
        error=str(row.error)[:2_000] if row.error else "",
        result=outcome.result if outcome and two_stages else None,
        whole=outcome.text if outcome and two_stages else None,
        seconds=round(row.seconds, 6),
        prompt_tokens=len(run.rendered.token_ids) if run.rendered else 0,
        cached_tokens=row.cached_tokens,
        thoughts=row.thoughts,
        usage=_usage_counts(row.usage) if row.usage else None,
        events=_pack_json([[e.piece, e.text, round(e.seconds, 6), e.error_bound, e.trace is not None] for e in events]),
        stages=base64.b64encode(pack_traces(traces)).decode() if traces else "",
    )


def _usage_counts(usage: Usage) -> tuple[int, int, int, int]:
    return usage.prompt_tokens, usage.output_tokens, usage.thought_tokens, usage.cached_tokens


def _pack_json(data: Any) -> str:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def _unpack_events(row: RowTrace, budget: _Unpacker) -> list[TokenEvent]:
    """Unpack the answer's tokens. Raises `ValueError` for whatever a page could fail on."""
    told = budget.unpack_json(row.events, [])
    traces = iter(budget.unpack_steps(row.stages))
    if not isinstance(told, list) or len(told) != len(row.tokens):
        raise ValueError("events: not one for each token")
    events = []
    for token, item in zip(row.tokens, told, strict=True):
        match item:
            case [str(piece), str(text), int() | float() as seconds, int() | float() as bound, bool(traced)]:
                if not (0 <= seconds <= 1e7 and 0 <= bound <= 1):
                    raise ValueError("events: a time or an error bound is out of range")
            case _:
                raise ValueError("events: not a piece, a text, seconds, an error bound and whether it has a trace")
        trace = next(traces, None) if traced else None
        if traced and (trace is None or trace.token_id != token):
            raise ValueError("stages: they belong to other tokens")
        if trace:
            _check_step(trace)
        events.append(TokenEvent(token, piece, text, trace, float(seconds), float(bound)))
    if next(traces, None):
        raise ValueError("stages: more than tokens")
    if not row.text.startswith("".join(event.text for event in events)):
        raise ValueError("text: not what its tokens say")
    return events


def _check_step(trace: StepTrace) -> None:
    count = len(trace.candidates)
    if not 1 <= count <= MAX_STEP_CANDIDATES or min(trace.candidates) < 0 or len(set(trace.candidates)) != count:
        raise ValueError("stages: candidates that are none")
    if trace.stages[0].name != "raw" or not _STAGES.issuperset(stage.name for stage in trace.stages):
        raise ValueError("stages: an unknown stage, or none before them")
    if trace.rank >= 2**31 or not trace.logprob > -math.inf:
        raise ValueError("stages: a token that the model could not have drawn")
    for stage in trace.stages:
        sums = sum(stage.logprobs)  # NaN if any is
        if math.isnan(sums) or max(stage.logprobs) > _ROUNDING:
            raise ValueError("stages: log-probabilities that are none")
        if not (0 <= stage.kept < 2**31 and 0 <= stage.kept_mass <= 1 and 0 <= stage.entropy_bits <= 64):
            raise ValueError("stages: a number of tokens, a mass or an entropy is out of range")
