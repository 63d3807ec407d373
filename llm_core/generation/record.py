"""Record what comes of a request, append-only: the engine or a provider writes, any number of readers follow."""

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
"""The model ended it, the token limit, a stop sequence, the context window is full, somebody pressed Stop, or time."""


ABANDONED_AFTER_SECONDS = 60.0
"""A run that nobody has read for this long belongs to a closed tab."""


@dataclass(frozen=True, slots=True)
class FirstStepLogits:
    """What one step was drawn from, before any stage."""

    logits: Tensor
    """float32 `[V]`."""
    allowed: Tensor | None
    """bool `[V]`: what the output format allowed, if there is one."""


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """One chosen token; from a provider that does not tell its tokens apart, a piece of text."""

    token_id: int | None
    piece: str
    """The whole characters that this token completes: `""` while a character's bytes are still coming."""
    text: str
    """The piece as far as it belongs to the answer: without stop sequences, and late while one may be beginning."""
    trace: StepTrace | None
    """None where a provider gives no log-probabilities."""
    seconds: float
    """Since the row's prompt began to be read."""
    error_bound: float = 0.0
    """The farthest that a probability after the sampler's stages may be from the true one, in [0, 1]: a provider shows
    only the likeliest tokens, and how the rest is spread is not known. The raw probabilities are exact."""

    @property
    def known_id(self) -> int:
        """The token's id. Raises `ValueError` for a piece of text that came without one."""
        if self.token_id is None:
            raise ValueError("this piece of text came without its tokens")
        return self.token_id

    @property
    def known_trace(self) -> StepTrace:
        """Raises `ValueError` for a token that came without log-probabilities."""
        if self.trace is None:
            raise ValueError("this token came without log-probabilities")
        return self.trace


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider counted them for one call. Thoughts are billed as output."""

    prompt_tokens: int = 0
    output_tokens: int = 0
    thought_tokens: int = 0
    """Not among the output tokens."""
    cached_tokens: int = 0
    """Of the prompt's tokens."""


class SampleRecord:
    """One answer as it comes about."""

    def __init__(self, request: SampleRequest) -> None:
        self.request = request
        self.constraint: Constraint | None = None
        """Where it stands in the grammar of the prompt's output format."""
        self.first_step: FirstStepLogits | None = None
        """The first step, if the request asks for it."""
        self.status: RunStatus = "waiting"
        self.finish_reason: FinishReason | None = None
        self.error: NucleusError | None = None
        self.seconds = 0.0
        """How long it has been generating."""
        self.cached_tokens = 0
        """Tokens of the prompt that did not have to be read again."""
        self.thoughts = ""
        """What a hosted model thought before it answered, where it shows that."""
        self.usage: Usage | None = None
        """What a provider counted, where the row had a call of its own; else it is among `Run.usages`."""
        self.shares_call = False
        """Whether it came in one call with other rows: its seed was not sent."""
        self.from_cache = False
        """Whether a provider's earlier answer was given again, without asking it."""
        self._events: list[TokenEvent] = []
        self._last_text = ""
        self._cancelled = False
        self._read_at = time.monotonic()

    @property
    def active(self) -> bool:
        return self.status in ("waiting", "running")

    @property
    def seed(self) -> int | None:
        """What it is drawn with; None where a provider gave it in one call with others, and was sent none."""
        return None if self.shares_call else self.request.sampler.seed

    def events(self, cursor: int = 0) -> list[TokenEvent]:
        """Events from `cursor` on; also tells the engine that somebody is still interested."""
        self._read_at = time.monotonic()
        return self._events[cursor:]

    @property
    def length(self) -> int:
        """Tokens so far; asking for it is not reading."""
        return len(self._events)

    @property
    def text(self) -> str:
        """The answer so far, without what it was made to begin with."""
        return "".join(event.text for event in self._events) + self._last_text

    @property
    def tokens_per_second(self) -> float:
        """Tokens after the first, over the time since the first: the decoding speed without the prompt."""
        if len(self._events) < 2 or self.from_cache:
            return 0.0
        written = max(len(self._events), self.usage.output_tokens if self.usage else 0)
        seconds = self._events[-1].seconds - self._events[0].seconds
        return (written - 1) / seconds if seconds else 0.0

    def cancel(self) -> None:
        """Stop this row before its next token. What was produced stays."""
        self._cancelled = True

    def append(self, event: TokenEvent) -> None:
        """Called by the engine only, as are the methods below."""
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
    """Where a recorded run came from."""

    model: str
    """The model's name at that time."""
    at: str
    """When it was recorded, as ISO 8601; empty where that is not known."""
    end_ids: frozenset[int]
    """Tokens that end an answer."""


class Run:
    """One request's record: its rows, and what they share."""

    def __init__(self, request: GenerationRequest) -> None:
        self.id = uuid.uuid4().hex
        self.request = request
        self.samples = tuple(SampleRecord(row) for row in request.samples)
        self.model: LanguageModel | None = None
        """None for a hosted model."""
        self.labels: dict[int, str] = {}
        """Tokens of a hosted model or a recorded run as text. Ids are the model's own, or else numbers given here."""
        self.recorded: ReplayInfo | None = None
        """Where a recorded run came from; None for a run of one's own."""
        self.notices: list[NucleusError] = []
        """What readers should know of a run that goes on, such as a setting that the provider refused."""
        self.usages: list[Usage] = []
        """What a provider counted for each call that brought several rows, which it does not tell apart."""
        self.rendered: RenderedPrompt | None = None
        self.grammar: Future[Grammar | None] | None = None
        """The prompt's output format, being made for the model."""
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
        """The first row's that failed."""
        return next((row.error for row in self.samples if row.error), None)

    def label(self, token_id: int) -> str:
        """One token as text."""
        return self.model.label(token_id) if self.model else self.labels.get(token_id, f"<{token_id}>")

    @property
    def all_usages(self) -> list[Usage]:
        """What a provider counted so far, a call each."""
        return [row.usage for row in self.samples if row.usage] + self.usages

    @property
    def end_ids(self) -> frozenset[int]:
        """Tokens that end an answer, as far as they are known."""
        if self.recorded:
            return self.recorded.end_ids
        return self.model.end_ids if self.model else frozenset()

    def notify(self, notice: NucleusError) -> None:
        """Tell readers something once. Called by whoever writes the record."""
        if str(notice) not in map(str, self.notices):
            self.notices.append(notice)

    def cancel(self) -> None:
        """Stop every row before its next token. What was produced stays."""
        for row in self.samples:
            row.cancel()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until every row has ended; false if not within `timeout` seconds. Waiting counts as reading."""
        until = math.inf if timeout is None else time.monotonic() + timeout
        while not self._done.wait(max(0.0, min(1.0, until - time.monotonic()))):
            self.touch()
            if time.monotonic() >= until:
                return False
        return True

    def touch(self) -> None:
        """Somebody is still interested."""
        for row in self.samples:
            row._read_at = time.monotonic()

    def end_reason(self, row: SampleRecord) -> FinishReason | NucleusError | None:
        """Why this row should end now, if it should: Stop, the deadline, or a tab that was closed."""
        now = time.monotonic()
        if row._cancelled:
            return "cancelled"
        if now > self.deadline:
            return "deadline"
        if all(now - each._read_at > ABANDONED_AFTER_SECONDS for each in self.samples):
            return NucleusError("run_abandoned", seconds=int(ABANDONED_AFTER_SECONDS))
        return None

    def notify_if_done(self) -> None:
        """Wake those who wait, once every row has ended. Called by the engine."""
        if not self.active:
            self._done.set()
