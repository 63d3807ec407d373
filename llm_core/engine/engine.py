"""Serve every browser session from one engine: requests in, append-only run records out.

One daemon thread owns all batches. In each turn it starts waiting samples (sessions take turns), ends samples that were
stopped, expired or abandoned, and advances every batch by one token a sample. Pages read records with cursors and never
wait for the thread; the thread never calls a page.
"""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, NamedTuple, ParamSpec, TypeVar

from llm_core.errors import NucleusError
from llm_core.generation.fair_queue import FairQueue
from llm_core.generation.record import Run, SampleRecord
from llm_core.generation.request import MAX_SAMPLES_PER_REQUEST, GenerationRequest
from llm_core.models.store import ModelStore
from llm_core.prompts.rendering import render

if TYPE_CHECKING:
    from llm_core.decoding.precision import Precision
    from llm_core.engine.batch import Batch
    from llm_core.engine.sequence import ActiveSequence
    from llm_core.generation.record import FinishReason
    from llm_core.models.language_model import LanguageModel
    from samplers.constraints import Constraint

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)

MAX_WAITING_SAMPLES = 1024
"""Largest number of waiting samples, over all sessions."""
MAX_ACTIVE_SAMPLES = MAX_SAMPLES_PER_REQUEST
"""Largest number of samples in prefill or decoding at the same time, so that a whole request can advance together."""
CACHE_BYTES = 2 * 1024**3
"""Bytes for keys and values of active samples, for each model and precision in use."""
PREFIX_BYTES = 512 * 1024**2
"""Bytes for keys and values kept for later runs, for each model and precision."""

MAX_IDLE_BATCHES = 2
"""Number of idle batches that are kept, the most recently used: making one takes seconds, and users alternate between
two."""


class QueuedSample(NamedTuple):
    """One sample in the queue."""

    run: Run
    record: SampleRecord


class Engine:
    """Engine that accepts requests from any thread and advances the samples of all of them together."""

    def __init__(self, models: ModelStore) -> None:
        self._models = models
        self._queue: FairQueue[QueuedSample] = FairQueue()
        self._wake = models.changed
        self._owners: dict[ActiveSequence, Run] = {}
        """Run of every sequence that is in a batch."""
        self._batches: dict[tuple[LanguageModel, Precision], Future[Batch]] = {}
        self._thread: threading.Thread | None = None
        self._closing = False
        atexit.register(self.close)  # a daemon thread inside torch would abort the interpreter's exit

    def close(self) -> None:
        """End every run and the thread. Called when the process ends."""
        self._closing = True
        with self._wake:
            for job in self._queue:
                job.run.cancel()
            self._wake.notify_all()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def submit(self, request: GenerationRequest) -> Run:
        """Queue a request and return its run. Raises `NucleusError` at once for a bad prompt or a full queue."""
        request.validate()
        run = Run(request)
        self._models.request(request.model_id)
        with self._wake:
            if len(self._queue) + len(run.samples) > MAX_WAITING_SAMPLES:
                raise NucleusError("queue_full", limit=MAX_WAITING_SAMPLES)
            for record in run.samples:
                self._queue.push(request.session or run.id, QueuedSample(run, record))
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run_loop, name="engine", daemon=True)
                self._thread.start()
            self._wake.notify_all()
        return run

    def position(self, run: Run) -> int:
        """Return the number of runs that will begin before this one; 0 once it has begun."""
        with self._wake:
            ahead: dict[str, None] = {}
            for job in self._queue:
                if job.run is run:
                    return len(ahead)
                if job.run.status == "waiting":
                    ahead[job.run.id] = None
            return 0

    @property
    def active_samples(self) -> int:
        return len(self._owners)

    @property
    def waiting_samples(self) -> int:
        with self._wake:
            return len(self._queue)

    @property
    def active_bytes(self) -> int:
        """Bytes allocated for the keys and values of active samples."""
        return sum(future.result().active_bytes for future in list(self._batches.values()) if _is_ready(future))

    def _run_loop(self) -> None:
        try:
            while not self._closing:
                self._admit()
                self._cancel_unwanted()
                batches = [future.result() for future in self._batches.values() if _is_ready(future)]
                busy = [batch for batch in batches if batch.sequences]
                for batch in busy:
                    self._advance(batch)
                if not busy:
                    self._wait_for_work()
        except BaseException as error:  # the next request starts a new thread
            log.exception("the engine's thread ended")
            self._fail_all(NucleusError("engine_failed", detail=type(error).__name__))
            if not isinstance(error, Exception):
                raise
        else:
            self._release_all()

    def _wait_for_work(self) -> None:
        with self._wake:
            if not self._closing and not any(self._is_runnable(job) for job in self._queue):
                self._wake.wait(timeout=0.2)  # stopping a waiting run does not notify

    def _admit(self) -> None:
        while True:
            full = len(self._owners) >= MAX_ACTIVE_SAMPLES
            with self._wake:
                job = self._queue.pop(self._is_unwanted if full else self._is_runnable)
            if job is None:
                return
            try:
                self._start_sequence(job)
            except NucleusError as error:
                job.record.fail(error)
            except Exception as error:  # one bad sample must not end the engine
                log.exception("run %s failed", job.run.id)
                job.record.fail(NucleusError("engine_failed", detail=type(error).__name__))
            job.run.notify_if_done()

    def _is_runnable(self, job: QueuedSample) -> bool:
        """Return whether a sample can leave the queue: it is unwanted, its model failed, or its batch and grammar are
        ready."""
        if self._is_unwanted(job):
            return True
        loading = self._models.request(job.run.request.model_id).result
        if not loading.done():
            return False
        if loading.exception():
            return True
        return self._get_batch(job).done() and self._get_grammar(job.run, loading.result()).done()

    def _is_unwanted(self, job: QueuedSample) -> bool:
        return self._end_reason(job) is not None

    def _end_reason(self, job: QueuedSample) -> FinishReason | NucleusError | None:
        """Return why a sample should end now, or None."""
        return "cancelled" if self._closing else job.run.end_reason(job.record)

    def _get_batch(self, job: QueuedSample) -> Future[Batch]:
        """Return the batch of the sample's model and precision, made in the background if it is new."""
        model = self._models.request(job.run.request.model_id).result.result()
        key = (model, job.run.request.precision)
        if key in self._batches:
            self._batches[key] = self._batches.pop(key)  # mark as the most recently used
        else:
            self._evict_idle_batches()
            self._batches[key] = _run_in_background(_make_batch, *key)
            self._batches[key].add_done_callback(lambda _: self._notify())
        return self._batches[key]

    def _get_grammar(self, run: Run, model: LanguageModel) -> Future[Constraint | None]:
        """Return the run's output format, compiled in the background: a large schema takes a while."""
        if run.grammar is None:
            run.grammar = _run_in_background(run.request.prompt.output.constraint, model)
            run.grammar.add_done_callback(lambda _: self._notify())
        return run.grammar

    def _notify(self) -> None:
        with self._wake:
            self._wake.notify_all()

    def _evict_idle_batches(self) -> None:
        """Drop idle batches except the most recently used, so that models that left the store also leave the memory."""
        idle = [key for key, future in self._batches.items() if _is_ready(future) and not future.result().sequences]
        loaded = self._models.loaded_models()
        for key in idle:
            if key[0] not in loaded or key not in idle[-MAX_IDLE_BATCHES:]:
                del self._batches[key]

    def _start_sequence(self, job: QueuedSample) -> None:
        from llm_core.engine.sequence import ActiveSequence, advance_constraint, check_settings

        run, record = job
        verdict = self._end_reason(job)
        if isinstance(verdict, NucleusError):
            raise verdict
        if verdict is not None:
            record.finish(verdict)
            return
        model = self._models.request(run.request.model_id).result.result()
        batch = self._get_batch(job).result()
        check_settings(model, record.request)
        if run.rendered is None:
            run.model, run.rendered = model, render(run.request.prompt, model)
        grammar = self._get_grammar(run, model).result()
        record.constraint = grammar and advance_constraint(grammar, record.request)
        answer = ActiveSequence(model, run.rendered.token_ids, record)
        if not answer.finished:
            batch.join(answer)
            self._owners[answer] = run

    def _cancel_unwanted(self) -> None:
        for answer, run in list(self._owners.items()):
            verdict = self._end_reason(QueuedSample(run, answer.record))
            if isinstance(verdict, NucleusError):
                answer.record.fail(verdict)
            elif verdict is not None:
                answer.finish(verdict)

    def _release_all(self) -> None:
        """End all active and waiting samples as cancelled when the engine closes."""
        self._cancel_unwanted()
        for run in {*self._owners.values(), *(job.run for job in self._queue)}:
            for record in run.samples:
                record.finish("cancelled")
            run.notify_if_done()

    def _advance(self, batch: Batch) -> None:
        try:
            batch.advance()
        except Exception as error:  # out of memory, or a model that fails: other batches continue
            log.exception("a batch failed")
            batch.clear(NucleusError("engine_failed", detail=type(error).__name__))
        for answer, run in list(self._owners.items()):
            if answer.finished:
                del self._owners[answer]
                run.notify_if_done()

    def _fail_all(self, error: NucleusError) -> None:
        """Fail all active and waiting samples, and drop the batches, whose state may be half written."""
        with self._wake:
            jobs = [*self._queue, *(QueuedSample(run, answer.record) for answer, run in self._owners.items())]
            self._queue, self._owners, self._batches = FairQueue(), {}, {}
        for run, record in jobs:
            record.fail(error)
            run.notify_if_done()


def _run_in_background(work: Callable[P, T], *args: P.args, **options: P.kwargs) -> Future[T]:
    """Run `work` in a thread of its own, which ends with it, and return the future of its result.

    A pool's thread would stay, and with it the helpers that OpenMP gave it: with more of them than cores they stop
    spinning, which costs the engine's thread all that it gains from a second core.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work(*args, **options))
        except BaseException as error:  # raised again by `future.result()`
            future.set_exception(error)

    threading.Thread(target=run, name=work.__name__, daemon=True).start()
    return future


def _is_ready(future: Future[Batch]) -> bool:
    return future.done() and not future.exception()


def _make_batch(model: LanguageModel, precision: Precision) -> Batch:
    import torch

    from llm_core.decoding.decoder import UnsupportedModel
    from llm_core.decoding.factory import make_decoder
    from llm_core.decoding.quantized_linear import FormatUnavailable
    from llm_core.decoding.thread_tuning import default_thread_count
    from llm_core.engine.batch import Batch

    torch.set_num_threads(default_thread_count())
    try:
        decoder = make_decoder(model, precision)
    except FormatUnavailable as error:
        raise NucleusError("precision_unavailable", precision=precision, detail=str(error)) from error
    except UnsupportedModel as error:
        raise NucleusError("model_unsupported", model=model.id, detail=str(error)) from error
    return Batch(decoder, CACHE_BYTES, PREFIX_BYTES)
