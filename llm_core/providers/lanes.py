"""Calls in line for each provider's address, sent by worker threads under a limit; sessions take turns.

A watcher thread ends what nobody wants any more, ten times a second: it closes the records and cuts the line, so that
a slow server holds up nobody. Keys stay with the jobs that use them and go when these end.
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
from llm_core.fair_queue import FairQueue
from llm_core.providers.answer_cache import AnswerCache
from llm_core.providers.base import Target
from llm_core.providers.hosted_answer import HostedAnswer, TokenNames
from llm_core.providers.network import SILENCE_SECONDS, Line, LineCut
from llm_core.records import FinishReason, RowRecord, Run

log = logging.getLogger(__name__)

MAX_WAITING = 1024
"""Rows that may wait at one address."""
Verdict = FinishReason | NucleusError
_WATCH_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Limits:
    """What an installation allows itself."""

    parallel: int = 8
    """Calls to one address at the same time."""
    attempts: int = 4
    """Of one call, failures that pass included."""
    longest_wait: float = 30.0
    """Seconds before another attempt. A provider that asks for more is told to the reader instead."""
    first_wait: float = 0.5
    refusals: int = 10
    """Fields that may be refused before a call is given up."""
    silence_seconds: float = SILENCE_SECONDS


class Job(NamedTuple):
    """One call on its way."""

    run: Run
    records: tuple[RowRecord, ...]
    """Of the rows that it asks for: several differ in nothing but their seeds."""
    target: Target
    secret: SecretStr | None
    names: TokenNames
    line: Line
    answers: AnswerCache | None = None
    """The asker's own."""


class Waiting(NamedTuple):
    """What of some runs has not been sent yet."""

    own: int = 0
    """Their rows that wait."""
    ahead: int = 0
    """Rows of others that will be sent before the first of them."""


Send = Callable[[Job, Sequence[HostedAnswer]], Iterable[Job]]
"""Writes a call's answers. What it gives back has to be sent too: rows that the call did not bring."""


class _Lane:
    """What is in line for one address."""

    def __init__(self) -> None:
        self.queue: FairQueue[Job] = FairQueue()
        self.workers = 0


class Lanes:
    """One for each address. Called from any thread."""

    def __init__(self, parallel: int, send: Send) -> None:
        self._parallel = parallel
        self._send = send
        self._lanes: dict[Target, _Lane] = {}
        self._active: dict[int, tuple[Job, tuple[HostedAnswer, ...]]] = {}
        self._watcher: threading.Thread | None = None
        self._lock = threading.RLock()

    def push(self, jobs: Sequence[Job]) -> None:
        """Put one run's calls in line. Raises `NucleusError` where too many wait already."""
        with self._lock:
            lane = self._lanes.get(_address(jobs[0]))
            if lane and _rows(lane.queue) + _rows(jobs) > MAX_WAITING:
                raise NucleusError("queue_full", limit=MAX_WAITING)
            self._push(jobs)

    def position(self, run: Run) -> int:
        """Runs that will begin before this one; 0 once it has begun."""
        with self._lock:
            for lane in self._lanes.values():
                ahead: dict[str, None] = {}
                for job in lane.queue:
                    if job.run is run:
                        return len(ahead) if run.status == "waiting" else 0
                    if job.run.status == "waiting":
                        ahead[job.run.id] = None
        return 0

    def waiting(self, runs: Collection[Run]) -> Waiting:
        """How much of these runs is in line, and how much of others is in front of it."""
        wanted = {run.id for run in runs}
        own = ahead = 0
        with self._lock:
            for lane in self._lanes.values():
                before = 0
                for job in lane.queue:
                    if job.run.id not in wanted:
                        before += _unwritten(job)
                    else:
                        own, ahead = own + _unwritten(job), ahead + before
                        before = 0
        return Waiting(own, ahead) if own else Waiting()

    def place(self, record: RowRecord) -> int:
        """Rows that will be sent before the call of this one; 0 once it has been."""
        with self._lock:
            for lane in self._lanes.values():
                before = 0
                for job in lane.queue:
                    if record in job.records:
                        return before
                    before += _unwritten(job)
        return 0

    @property
    def active_rows(self) -> int:
        """Rows whose threads are at work."""
        with self._lock:
            return sum(len(answers) for _, answers in self._active.values())

    @property
    def waiting_rows(self) -> int:
        with self._lock:
            return sum(_rows(lane.queue) for lane in self._lanes.values())

    def _push(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            address = _address(job)
            lane = self._lanes.setdefault(address, _Lane())
            lane.queue.push(job.run.request.session or job.run.id, job)
            if lane.workers < self._parallel:
                lane.workers += 1
                name = f"{address.scheme} row"
                threading.Thread(target=self._work, args=(address, lane), name=name, daemon=True).start()
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, name="hosted runs", daemon=True)
                self._watcher.start()

    def _work(self, address: Target, lane: _Lane) -> None:
        while True:
            with self._lock:
                job = lane.queue.pop(lambda _: True)
                if job is None:
                    lane.workers -= 1
                    if not lane.workers:
                        del self._lanes[address]
                    return
                answers = tuple(HostedAnswer(job.run, record, job.names) for record in job.records if record.active)
                self._active[id(job)] = (job, answers)
            left: Iterable[Job] = ()
            try:
                left = self._send(job, answers)
            except LineCut:
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
                job.run.settle()

    def _watch(self) -> None:
        while True:
            with self._lock:
                active = list(self._active.values())
                waiting = [(lane, job) for lane in self._lanes.values() for job in lane.queue]
                if not active and not waiting:
                    self._watcher = None
                    return
            for job, answers in active:
                _end(job, answers)
            for lane, job in waiting:
                self._drop(lane, job)
            time.sleep(_WATCH_SECONDS)

    def _drop(self, lane: _Lane, job: Job) -> None:
        """End those rows of a waiting call that nobody wants, and the call with the last of them."""
        verdicts = {place: job.run.verdict(record) for place, record in enumerate(job.records) if record.active}
        with self._lock:
            if not any(verdicts.values()) or all(each is not job for each in lane.queue):
                return  # a worker that has just taken it looks itself
            for place, verdict in verdicts.items():
                if isinstance(verdict, NucleusError):
                    job.records[place].fail(verdict)
                elif verdict is not None:
                    job.records[place].finish(verdict)
            if all(verdicts.values()):
                lane.queue.pop(lambda each: each is job)
        job.run.settle()


def _end(job: Job, answers: Sequence[HostedAnswer]) -> None:
    """End those answers that nobody wants, and the call with the last of them."""
    unwanted = [
        (answer, verdict)
        for answer in answers
        if answer.record.active and (verdict := job.run.verdict(answer.record)) is not None
    ]
    for answer, verdict in unwanted:
        answer.conclude(verdict)
    if unwanted and not any(answer.record.active for answer in answers):
        job.line.cut()
        job.run.settle()


def _address(job: Job) -> Target:
    return job.target._replace(name="")


def _unwritten(job: Job) -> int:
    return sum(record.active for record in job.records)


def _rows(jobs: Iterable[Job]) -> int:
    return sum(map(_unwritten, jobs))
