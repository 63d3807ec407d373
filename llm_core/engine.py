"""The one engine that serves every browser tab: requests in, append-only run records out.

One daemon thread takes runs in the order they came, as soon as their model is in memory, and decodes one at a time.
Pages read a run's events with a cursor and never wait for the thread; the thread never calls a page.
"""

from __future__ import annotations

import atexit
import functools
import logging
import math
import threading
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from llm_core.errors import NucleusError
from llm_core.model_store import ModelStore
from llm_core.prompts import PromptSpec, RenderedPrompt
from samplers import SamplerConfig

if TYPE_CHECKING:
    from llm_core.generation import FinishReason, TokenEvent
    from llm_core.language_model import LanguageModel

log = logging.getLogger(__name__)

RunStatus = Literal["waiting", "running", "finished", "failed"]

MAX_WAITING = 64
ABANDONED_SECONDS = 60.0
"""A run that nobody has read for this long belongs to a closed tab."""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """Everything that decides a run's tokens."""

    model_id: str
    prompt: PromptSpec
    sampler: SamplerConfig
    max_output_tokens: int = 128
    stop_sequences: tuple[str, ...] = ()


class Run:
    """One request's record. The engine appends; any number of readers follow with cursors of their own."""

    def __init__(self, request: GenerationRequest) -> None:
        self.id = uuid.uuid4().hex
        self.request = request
        self.status: RunStatus = "waiting"
        self.model: LanguageModel | None = None
        self.rendered: RenderedPrompt | None = None
        self.finish_reason: FinishReason | None = None
        self.error: NucleusError | None = None
        self.seconds = 0.0
        """How long it has been generating."""
        self._events: list[TokenEvent] = []
        self._last_text = ""
        self._cancelled = threading.Event()
        self._done = threading.Event()
        self._read_at = time.monotonic()

    @property
    def active(self) -> bool:
        return self.status in ("waiting", "running")

    def events(self, cursor: int = 0) -> list[TokenEvent]:
        """Events from `cursor` on; also tells the engine that somebody is still interested."""
        self._read_at = time.monotonic()
        return self._events[cursor:]

    @property
    def text(self) -> str:
        """The answer so far."""
        return "".join(event.text for event in self._events) + self._last_text

    @property
    def tokens_per_second(self) -> float:
        """Tokens after the first, over the time since the first: the decoding speed without the prompt."""
        if len(self._events) < 2:
            return 0.0
        return (len(self._events) - 1) / (self._events[-1].seconds - self._events[0].seconds)

    def cancel(self) -> None:
        """Stop before the next token. What was produced stays."""
        self._cancelled.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the run has ended; false if it has not within `timeout` seconds. Waiting counts as reading."""
        until = math.inf if timeout is None else time.monotonic() + timeout
        while not self._done.wait(max(0.0, min(1.0, until - time.monotonic()))):
            self._read_at = time.monotonic()
            if self._read_at >= until:
                return False
        return True

    def _unwanted(self) -> bool:
        return self._cancelled.is_set() or self._abandoned()

    def _abandoned(self) -> bool:
        return time.monotonic() - self._read_at > ABANDONED_SECONDS

    def _end(self, status: RunStatus, error: NucleusError | None = None) -> None:
        self.error = error
        self.status = status
        self._done.set()


class Engine:
    """Accepts requests from any thread and runs them, first come first served."""

    def __init__(self, models: ModelStore) -> None:
        self._models = models
        self._waiting: list[Run] = []
        self._wake = models.changed
        self._thread: threading.Thread | None = None
        self._closing = False
        atexit.register(self.close)  # a daemon thread that is inside torch when the interpreter goes would abort it

    def close(self) -> None:
        """End every run and the thread. Called when the process ends."""
        self._closing = True
        with self._wake:
            for run in self._waiting:
                run.cancel()
            self._wake.notify_all()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def submit(self, request: GenerationRequest) -> Run:
        """Queue a request. Raises `NucleusError` at once for a bad prompt or a full queue."""
        request.prompt.validate()
        if not all(request.stop_sequences):
            raise NucleusError("stop_sequence_empty")
        run = Run(request)
        self._models.request(request.model_id)
        with self._wake:
            if len(self._waiting) >= MAX_WAITING:
                raise NucleusError("queue_full", limit=MAX_WAITING)
            self._waiting.append(run)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._serve, name="engine", daemon=True)
                self._thread.start()
            self._wake.notify_all()
        return run

    def position(self, run: Run) -> int:
        """Runs in front of this one, counting only those that still wait."""
        with self._wake:
            return self._waiting.index(run) if run in self._waiting else 0

    def _serve(self) -> None:
        while not self._closing:
            with self._wake:
                run = self._next()
                if run is None:
                    self._wake.wait(timeout=0.5)  # a Stop on a waiting run sends no notice
                    continue
                self._waiting.remove(run)
            try:
                self._perform(run)
            except NucleusError as error:
                run._end("failed", error)
            except Exception as error:  # one bad run must not end the engine for everybody
                log.exception("run %s failed", run.id)
                run._end("failed", NucleusError("engine_failed", detail=type(error).__name__))

    def _next(self) -> Run | None:
        """The first run that can go ahead: its model has settled, or nobody wants it any more."""
        return next((run for run in self._waiting if run._unwanted() or self._settled(run)), None)

    def _settled(self, run: Run) -> bool:
        return self._models.request(run.request.model_id).result.done()

    def _perform(self, run: Run) -> None:
        from llm_core.generation import TokenEvent, check_settings, generate

        request = run.request
        if run._unwanted():
            run.finish_reason = "cancelled"
            run._end("finished")
            return
        model = self._models.request(request.model_id).result.result()
        _leave_a_core()
        check_settings(model, request.sampler, request.stop_sequences)
        run.model = model
        run.rendered = request.prompt.render(model)
        run.status = "running"
        for event in generate(
            model,
            run.rendered.token_ids,
            request.sampler,
            max_output_tokens=request.max_output_tokens,
            stop_sequences=request.stop_sequences,
            cancelled=lambda: self._closing or run._unwanted(),
        ):
            run.seconds = event.seconds
            if isinstance(event, TokenEvent):
                run._events.append(event)
            else:
                run._last_text = event.text
                run.finish_reason = event.reason
        abandoned = run.finish_reason == "cancelled" and not run._cancelled.is_set()
        error = NucleusError("run_abandoned", seconds=int(ABANDONED_SECONDS)) if abandoned else None
        run._end("failed" if abandoned else "finished", error)


@functools.lru_cache
def _leave_a_core() -> None:
    """Compute on all cores but one, which serves the pages. Decoding waits for memory more than for arithmetic: on two
    cores one thread decodes as fast as two, and does not stall when a page is drawn in between."""
    import torch

    torch.set_num_threads(max(1, torch.get_num_threads() - 1))
