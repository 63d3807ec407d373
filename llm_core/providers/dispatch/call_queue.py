"""Queue calls for each provider's endpoint and send them from a bounded number of worker threads; sessions take turns.

A watcher thread ends unwanted calls ten times a second: it finishes their records and cancels the connection, so that a
slow server holds up nobody. Keys stay with the calls that use them and go when these end.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import SecretStr

from llm_core.errors import NucleusError
from llm_core.generation.fair_queue import FairQueue
from llm_core.generation.record import FinishReason, Run, SampleRecord
from llm_core.providers.dispatch.answer_writer import AnswerWriter, TokenIdAssigner
from llm_core.providers.dispatch.response_cache import ResponseCache
from llm_core.providers.http.connection import READ_TIMEOUT_SECONDS, Connection, RequestCancelled
from llm_core.providers.model_id import Target

log = logging.getLogger(__name__)

MAX_QUEUED_SAMPLES = 1024
"""Samples that may wait at one endpoint."""
EndReason = FinishReason | NucleusError
_WATCH_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class DispatchLimits:
    """Limits of an installation on its calls to providers."""

    parallel: int = 8
    """Calls to one endpoint at the same time."""
    max_attempts: int = 4
    """Attempts per call; only retryable failures lead to another one."""
    max_wait: float = 30.0
    """Seconds to wait at most before another attempt. If a provider asks for more, the user is told instead."""
    first_wait: float = 0.5
    max_refusals: int = 10
    """Fields that a model may refuse before the call is given up."""
    read_timeout: float = READ_TIMEOUT_SECONDS


class QueuedCall(NamedTuple):
    """One call waiting to be sent, or being sent."""

    run: Run
    records: tuple[SampleRecord, ...]
    """Records of its samples; several differ in nothing but their seeds."""
    target: Target
    secret: SecretStr | None
    token_ids: TokenIdAssigner
    connection: Connection
    cache: ResponseCache | None = None
    """Response cache of the user who asked."""


class QueueState(NamedTuple):
    """Number of samples of some runs that were not sent yet, and of those before them."""

    own: int = 0
    """Waiting samples of these runs."""
    ahead: int = 0
    """Samples of other runs that will be sent before the first of these."""


SendCall = Callable[[QueuedCall, Sequence[AnswerWriter]], Iterable[QueuedCall]]
"""Send one call and fill its records. Returns new calls for samples that the response did not contain."""


class _EndpointQueue:
    """Calls that wait for one endpoint, and the number of its workers."""

    def __init__(self) -> None:
        self.queue: FairQueue[QueuedCall] = FairQueue()
        self.workers = 0


class CallQueue:
    """Bounded, fair queue of calls for each endpoint. Called from any thread."""

    def __init__(self, parallel: int, send: SendCall) -> None:
        """Create empty queues; `send` is called on at most `parallel` threads per endpoint."""
        self._parallel = parallel
        self._send = send
        self._queues: dict[Target, _EndpointQueue] = {}
        self._active: dict[int, tuple[QueuedCall, tuple[AnswerWriter, ...]]] = {}
        self._watcher: threading.Thread | None = None
        self._lock = threading.RLock()

    def push(self, jobs: Sequence[QueuedCall]) -> None:
        """Queue the calls of one run. Raises `NucleusError` if too many samples wait already."""
        with self._lock:
            lane = self._queues.get(_endpoint(jobs[0]))
            if lane and _count_samples(lane.queue) + _count_samples(jobs) > MAX_QUEUED_SAMPLES:
                raise NucleusError("queue_full", limit=MAX_QUEUED_SAMPLES)
            self._push(jobs)

    def position(self, run: Run) -> int:
        """Return how many runs will begin before this one; 0 once it has begun."""
        with self._lock:
            for lane in self._queues.values():
                ahead: dict[str, None] = {}
                for job in lane.queue:
                    if job.run is run:
                        return len(ahead) if run.status == "waiting" else 0
                    if job.run.status == "waiting":
                        ahead[job.run.id] = None
        return 0

    def queue_state(self, runs: Collection[Run]) -> QueueState:
        """Return how many samples of these runs wait, and how many of other runs are ahead of them."""
        wanted = {run.id for run in runs}
        own = ahead = 0
        with self._lock:
            for lane in self._queues.values():
                before = 0
                for job in lane.queue:
                    if job.run.id not in wanted:
                        before += _count_unfinished(job)
                    else:
                        own, ahead = own + _count_unfinished(job), ahead + before
                        before = 0
        return QueueState(own, ahead) if own else QueueState()

    def samples_ahead(self, record: SampleRecord) -> int:
        """Return how many samples will be sent before this one's call; 0 once it was sent."""
        with self._lock:
            for lane in self._queues.values():
                before = 0
                for job in lane.queue:
                    if record in job.records:
                        return before
                    before += _count_unfinished(job)
        return 0

    @property
    def active_samples(self) -> int:
        """Samples whose calls are being sent."""
        with self._lock:
            return sum(len(answers) for _, answers in self._active.values())

    @property
    def waiting_samples(self) -> int:
        """Samples that wait to be sent."""
        with self._lock:
            return sum(_count_samples(lane.queue) for lane in self._queues.values())

    def _push(self, jobs: Iterable[QueuedCall]) -> None:
        for job in jobs:
            address = _endpoint(job)
            lane = self._queues.setdefault(address, _EndpointQueue())
            lane.queue.push(job.run.request.session or job.run.id, job)
            if lane.workers < self._parallel:
                lane.workers += 1
                name = f"{address.scheme} row"
                threading.Thread(target=self._work, args=(address, lane), name=name, daemon=True).start()
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, name="hosted runs", daemon=True)
                self._watcher.start()

    def _work(self, address: Target, lane: _EndpointQueue) -> None:
        while True:
            with self._lock:
                job = lane.queue.pop(lambda _: True)
                if job is None:
                    lane.workers -= 1
                    if not lane.workers:
                        del self._queues[address]
                    return
                answers = tuple(AnswerWriter(job.run, record, job.token_ids) for record in job.records if record.active)
                self._active[id(job)] = (job, answers)
            left: Iterable[QueuedCall] = ()
            try:
                left = self._send(job, answers)
            except RequestCancelled:
                pass  # the watcher has ended the records
            except Exception as error:  # one bad call must not end the thread; its text could quote a header
                where = "".join(traceback.format_tb(error.__traceback__))
                log.error("a hosted call failed: %s\n%s", type(error).__name__, where)
                for answer in answers:
                    answer.fail(NucleusError("engine_failed", detail=type(error).__name__))
            finally:
                with self._lock:
                    del self._active[id(job)]
                    self._push(left)
                job.run.notify_if_done()

    def _watch(self) -> None:
        while True:
            with self._lock:
                active = list(self._active.values())
                waiting = [(lane, job) for lane in self._queues.values() for job in lane.queue]
                if not active and not waiting:
                    self._watcher = None
                    return
            for job, answers in active:
                _end_unwanted(job, answers)
            for lane, job in waiting:
                self._drop(lane, job)
            time.sleep(_WATCH_SECONDS)

    def _drop(self, lane: _EndpointQueue, job: QueuedCall) -> None:
        """End the unwanted samples of a waiting call, and remove the call when none is left."""
        verdicts = {place: job.run.end_reason(record) for place, record in enumerate(job.records) if record.active}
        with self._lock:
            if not any(verdicts.values()) or all(each is not job for each in lane.queue):
                return  # the worker that has just taken it checks it
            for place, verdict in verdicts.items():
                if isinstance(verdict, NucleusError):
                    job.records[place].fail(verdict)
                elif verdict is not None:
                    job.records[place].finish(verdict)
            if all(verdicts.values()):
                lane.queue.pop(lambda each: each is job)
        job.run.notify_if_done()


def _end_unwanted(job: QueuedCall, answers: Sequence[AnswerWriter]) -> None:
    """End the unwanted answers of an active call, and cancel the call when none is left."""
    unwanted = [
        (answer, verdict)
        for answer in answers
        if answer.record.active and (verdict := job.run.end_reason(answer.record)) is not None
    ]
    for answer, verdict in unwanted:
        answer.conclude(verdict)
    if unwanted and not any(answer.record.active for answer in answers):
        job.connection.cancel()
        job.run.notify_if_done()


def _endpoint(job: QueuedCall) -> Target:
    return job.target._replace(name="")


def _count_unfinished(job: QueuedCall) -> int:
    return sum(record.active for record in job.records)


def _count_samples(jobs: Iterable[QueuedCall]) -> int:
    return sum(map(_count_unfinished, jobs))
