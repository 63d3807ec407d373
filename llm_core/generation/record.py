"""Record the outcome of a request, append-only: the engine or a provider writes, any number of readers follow."""

from __future__ import annotations

import math
import threading
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from llm_core.errors import NucleusError
from llm_core.generation.request import GenerationRequest, SampleRequest
from samplers import StepTrace

if TYPE_CHECKING:
    from concurrent.futures import Future

    from torch import Tensor

    from llm_core.models.language_model import LanguageModel
    from llm_core.prompts.rendering import RenderedPrompt
    from samplers.constraints import Constraint as Grammar
    from samplers.state import Constraint

RunStatus = Literal["waiting", "running", "finished", "failed"]


FinishReason = Literal["end", "length", "stop", "context", "cancelled", "deadline"]
"""Reason that an answer ended: an end token, the token limit, a stop sequence, a full context window, Stop by the user,
or the deadline."""


ABANDONED_AFTER_SECONDS = 60.0
"""Seconds without a reader after which a run counts as abandoned by a closed tab."""


@dataclass(frozen=True, slots=True)
class FirstStepLogits:
    """Logits that one step was drawn from, before any stage."""

    logits: Tensor
    """Logits, float32 `[V]`."""
    allowed: Tensor | None
    """Tokens that the output format allowed, bool `[V]`; None without a format."""


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """One chosen token, or a piece of text from a provider that does not separate its tokens."""

    token_id: int | None
    piece: str
    """Whole characters that this token completes: `""` while a character's bytes are incomplete."""
    text: str
    """Part of the piece that belongs to the answer: without stop sequences, and delayed while one may be beginning."""
    trace: StepTrace | None
    """Trace of the step; None if a provider gives no log-probabilities."""
    seconds: float
    """Seconds since the prefill of the sample's prompt began."""
    error_bound: float = 0.0
    """Largest error of a probability after the sampler's stages, in [0, 1]. A provider shows only the likeliest tokens,
    and the distribution of the rest is unknown. The raw probabilities are exact."""

    @property
    def known_id(self) -> int:
        """Id of the token. Raises `ValueError` for a piece of text that came without one."""
        if self.token_id is None:
            raise ValueError("this piece of text came without its tokens")
        return self.token_id

    @property
    def known_trace(self) -> StepTrace:
        """Trace of the step. Raises `ValueError` for a token that came without log-probabilities."""
        if self.trace is None:
            raise ValueError("this token came without log-probabilities")
        return self.trace


@dataclass(frozen=True, slots=True)
class Usage:
    """Number of tokens that the provider counted for one call. Thought tokens are billed as output."""

    prompt_tokens: int = 0
    output_tokens: int = 0
    thought_tokens: int = 0
    """Number of thought tokens, not included in `output_tokens`."""
    cached_tokens: int = 0
    """Number of cached tokens, included in `prompt_tokens`."""


class SampleRecord:
    """Record of one answer as it is generated."""

    def __init__(self, request: SampleRequest) -> None:
        self.request = request
        self.constraint: Constraint | None = None
        """Position in the grammar of the prompt's output format; None without a format."""
        self.first_step: FirstStepLogits | None = None
        """Logits of the first step, if the request asks for them."""
        self.status: RunStatus = "waiting"
        self.finish_reason: FinishReason | None = None
        self.error: NucleusError | None = None
        self.seconds = 0.0
        """Seconds of generation so far."""
        self.cached_tokens = 0
        """Number of prompt tokens that came from the prefix cache."""
        self.thoughts = ""
        """Thoughts of a hosted model before its answer, if it shows them."""
        self.usage: Usage | None = None
        """Usage that a provider counted, if the sample had its own call; else it is among `Run.usages`."""
        self.shares_call = False
        """Whether the sample came in one call with others, and so without a seed of its own."""
        self.from_cache = False
        """Whether the answer is a cached provider response."""
        self._events: list[TokenEvent] = []
        self._last_text = ""
        self._cancelled = False
        self._read_at = time.monotonic()

    @property
    def active(self) -> bool:
        return self.status in ("waiting", "running")

    @property
    def seed(self) -> int | None:
        """Seed of the sampler; None if a provider gave the sample in one call with others, which sends no seed."""
        return None if self.shares_call else self.request.sampler.seed

    def events(self, cursor: int = 0) -> list[TokenEvent]:
        """Return the events from `cursor` on; also marks the record as read, so that the engine does not abandon it."""
        self._read_at = time.monotonic()
        return self._events[cursor:]

    @property
    def length(self) -> int:
        """Number of tokens so far; does not mark the record as read."""
        return len(self._events)

    @property
    def text(self) -> str:
        """Text of the answer so far, without prefill and prefix tokens."""
        return "".join(event.text for event in self._events) + self._last_text

    @property
    def tokens_per_second(self) -> float:
        """Decoding speed without the prompt: tokens after the first, over the seconds since the first."""
        if len(self._events) < 2 or self.from_cache:
            return 0.0
        written = max(len(self._events), self.usage.output_tokens if self.usage else 0)
        seconds = self._events[-1].seconds - self._events[0].seconds
        return (written - 1) / seconds if seconds else 0.0

    def cancel(self) -> None:
        """Stop this sample before its next token. Tokens so far stay."""
        self._cancelled = True

    def append(self, event: TokenEvent) -> None:
        """Append an event. Only the writer of the record calls this and the methods below."""
        self._events.append(event)
        self.seconds = event.seconds

    def finish(self, reason: FinishReason, text: str = "") -> None:
        if self.active:
            self._last_text, self.finish_reason = text, reason
            self.status = "finished"

    def fail(self, error: NucleusError, text: str = "") -> None:
        if self.active:
            self._last_text, self.error = text, error
            self.status = "failed"


@dataclass(frozen=True, slots=True)
class ReplayInfo:
    """Origin of a recorded run."""

    model: str
    """Name of the model at that time."""
    at: str
    """Time of the recording, as ISO 8601; "" if unknown."""
    end_ids: frozenset[int]
    """Ids of the tokens that end an answer."""


class Run:
    """Record of one request: its samples, and what they share."""

    def __init__(self, request: GenerationRequest) -> None:
        self.id = uuid.uuid4().hex
        self.request = request
        self.samples = tuple(SampleRecord(row) for row in request.samples)
        self.model: LanguageModel | None = None
        """Local model; None for a hosted one."""
        self.labels: dict[int, str] = {}
        """Token texts of a hosted model or a recorded run. Ids are the model's own, or numbers assigned here."""
        self.recorded: ReplayInfo | None = None
        """Origin of a recorded run; None for a live one."""
        self.notices: list[NucleusError] = []
        """Warnings about a run that continues, such as a setting that the provider refused."""
        self.usages: list[Usage] = []
        """Usage of each call that brought several samples, which the provider does not split between them."""
        self.rendered: RenderedPrompt | None = None
        self.grammar: Future[Grammar | None] | None = None
        """Output format of the prompt, being compiled for the model."""
        self.deadline = time.monotonic() + request.deadline_seconds
        self._done = threading.Event()

    @property
    def status(self) -> RunStatus:
        statuses = {row.status for row in self.samples}
        if statuses == {"waiting"}:
            return "waiting"
        if statuses & {"waiting", "running"}:
            return "running"
        return "failed" if statuses == {"failed"} else "finished"

    @property
    def active(self) -> bool:
        return any(row.active for row in self.samples)

    @property
    def error(self) -> NucleusError | None:
        """Error of the first sample that failed, or None."""
        return next((row.error for row in self.samples if row.error), None)

    def label(self, token_id: int) -> str:
        """Return one token as text."""
        return self.model.label(token_id) if self.model else self.labels.get(token_id, f"<{token_id}>")

    @property
    def all_usages(self) -> list[Usage]:
        """Usage of every call to a provider so far."""
        return [row.usage for row in self.samples if row.usage] + self.usages

    @property
    def end_ids(self) -> frozenset[int]:
        """Ids of the tokens that end an answer, as far as they are known."""
        if self.recorded:
            return self.recorded.end_ids
        return self.model.end_ids if self.model else frozenset()

    def notify(self, notice: NucleusError) -> None:
        """Add a notice for readers, once. Called by the writer of the record."""
        if str(notice) not in map(str, self.notices):
            self.notices.append(notice)

    def cancel(self) -> None:
        """Stop every sample before its next token. Tokens so far stay."""
        for row in self.samples:
            row.cancel()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until every sample has ended; return false if not in `timeout` seconds. Waiting counts as reading."""
        until = math.inf if timeout is None else time.monotonic() + timeout
        while not self._done.wait(max(0.0, min(1.0, until - time.monotonic()))):
            self.touch()
            if time.monotonic() >= until:
                return False
        return True

    def touch(self) -> None:
        """Mark every sample as read: a reader is still interested."""
        for row in self.samples:
            row._read_at = time.monotonic()

    def end_reason(self, row: SampleRecord) -> FinishReason | NucleusError | None:
        """Return why this sample should end now, or None: Stop, the deadline, or a closed tab."""
        now = time.monotonic()
        if row._cancelled:
            return "cancelled"
        if now > self.deadline:
            return "deadline"
        if all(now - each._read_at > ABANDONED_AFTER_SECONDS for each in self.samples):
            return NucleusError("run_abandoned", seconds=int(ABANDONED_AFTER_SECONDS))
        return None

    def notify_if_done(self) -> None:
        """Wake waiting threads once every sample has ended. Called by the writer of the record."""
        if not self.active:
            self._done.set()
