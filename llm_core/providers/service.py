"""Hosted runs: queued for each provider's address, written by worker threads under a limit, retried within bounds.

A watcher thread ends what nobody wants any more, ten times a second: it closes the record and cuts the line, so that a
slow server holds up nobody. Keys stay with the jobs that use them and go when these end.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from pydantic import SecretStr

from llm_core.errors import NucleusError
from llm_core.fair_queue import FairQueue
from llm_core.providers import failures
from llm_core.providers.addresses import Addresses
from llm_core.providers.answer_cache import AnswerCache
from llm_core.providers.asked import as_run, left_out, why_dead
from llm_core.providers.base import Call, Chunk, Failure, HostedModel, Provider, Target
from llm_core.providers.capabilities import ENOUGH, CapabilityTable
from llm_core.providers.credentials import Credentials
from llm_core.providers.hosted_answer import HostedAnswer, TokenNames
from llm_core.providers.network import SILENCE_SECONDS, Line, LineCut
from llm_core.providers.partial_view import PartialView
from llm_core.records import FinishReason, GenerationRequest, RowRecord, Run

T = TypeVar("T")

log = logging.getLogger(__name__)

MAX_WAITING = 1024
"""Rows that may wait at one address."""
Verdict = FinishReason | NucleusError
_WATCH_SECONDS = 0.1
_LISTING_SECONDS = 20.0
"""Without a byte, for what a page waits for: listings and counts."""
_PROVEN = 3
"""Tokens with log-probabilities, or text without any, after which it is plain whether they are given."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What an installation allows itself."""

    parallel: int = 8
    """Requests to one address at the same time."""
    attempts: int = 4
    """Of one row, failures that pass included."""
    longest_wait: float = 30.0
    """Seconds before another attempt. A provider that asks for more is told to the reader instead."""
    first_wait: float = 0.5
    refusals: int = 10
    """Fields that may be refused before a row is given up."""
    silence_seconds: float = SILENCE_SECONDS


class Job(NamedTuple):
    """One row on its way."""

    run: Run
    record: RowRecord
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


class Lane:
    """What is queued for one address."""

    def __init__(self) -> None:
        self.queue: FairQueue[Job] = FairQueue()
        self.workers = 0


class HostedService:
    """Accepts hosted requests from any thread."""

    def __init__(
        self,
        providers: Mapping[str, Callable[[], Provider]],
        addresses: Addresses | None = None,
        limits: Limits | None = None,
    ) -> None:
        """`providers` makes each scheme's client when it is first needed: their packages load slowly."""
        self.table = CapabilityTable()
        self._makers = dict(providers)
        self._made: dict[str, Provider] = {}
        self._addresses = addresses or Addresses()
        self._limits = limits or Limits()
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._active: dict[int, tuple[Job, HostedAnswer]] = {}
        self._vocabularies: dict[str, int] = {}
        self._watcher: threading.Thread | None = None
        self._lock = threading.RLock()

    def target(self, model_id: str) -> Target | None:
        """The id's parts, its address checked; None for the id of a local model. Raises `NucleusError`."""
        scheme, colon, rest = model_id.partition(":")
        if not colon or scheme not in self._makers:
            return None
        name, place = _split(rest)
        if not name.strip() or not name.isprintable() or len(name) > 300:
            raise NucleusError("provider_model_unnamed", model=model_id[:100])
        return Target(scheme, name, self._checked(place))

    def submit(
        self,
        request: GenerationRequest,
        target: Target,
        credentials: Credentials,
        answers: AnswerCache | None = None,
    ) -> Run:
        """Queue a request. Rows that `answers` has are not sent, and whole answers are put there. Raises
        `NucleusError` at once for a bad prompt, a missing key or a full queue."""
        request.validate()
        if any(row.begin for row in request.rows):
            raise NucleusError("provider_cannot_branch")
        provider = self.provider(target.scheme)
        secret = self._secret(provider, target, credentials)
        run = Run(request)
        names = TokenNames(run)
        self._tell(run, provider, target)
        with self._lock:
            key = (target.scheme, target.place)
            lane = self._lanes.setdefault(key, Lane())
            if len(lane.queue) + len(run.rows) > MAX_WAITING:
                raise NucleusError("queue_full", limit=MAX_WAITING)
            for record in run.rows:
                line = Line(self._addresses, self._limits.silence_seconds)
                lane.queue.push(request.session or run.id, Job(run, record, target, secret, names, line, answers))
            for _ in range(min(len(run.rows), self._limits.parallel - lane.workers)):
                lane.workers += 1
                threading.Thread(target=self._work, args=(key, lane), name=f"{target.scheme} row", daemon=True).start()
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, name="hosted runs", daemon=True)
                self._watcher.start()
        return run

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
        """How much of these runs is queued, and how much of others is in front of it."""
        wanted = {run.id for run in runs}
        own = ahead = 0
        with self._lock:
            for lane in self._lanes.values():
                before = 0
                for job in lane.queue:
                    if job.run.id not in wanted:
                        before += 1
                    else:
                        own, ahead = own + 1, ahead + before
                        before = 0
        return Waiting(own, ahead) if own else Waiting()

    def place(self, record: RowRecord) -> int:
        """Rows that will be sent before this one; 0 once it has been."""
        with self._lock:
            for lane in self._lanes.values():
                for place, job in enumerate(lane.queue):
                    if job.record is record:
                        return place
        return 0

    @property
    def parallel(self) -> int:
        """Requests that one address gets at the same time."""
        return self._limits.parallel

    @property
    def active_rows(self) -> int:
        """Rows whose threads are at work."""
        with self._lock:
            return len(self._active)

    @property
    def waiting_rows(self) -> int:
        with self._lock:
            return sum(len(lane.queue) for lane in self._lanes.values())

    def provider(self, scheme: str) -> Provider:
        with self._lock:
            if scheme not in self._made:
                self._made[scheme] = self._makers[scheme]()
            return self._made[scheme]

    def support(self, model_id: str) -> dict[str, str]:
        """What is known of each thing that a request to this model may ask for."""
        target = self.target(model_id)
        if target is None:
            return {}
        known = self.table.of(target)
        return {field: known.support(field, names) for field, names in self.provider(target.scheme).settings.items()}

    def dead(self, model_id: str, fields: Iterable[str]) -> dict[str, NucleusError]:
        """Of these things that a request may ask for: which do nothing with this model, and why."""
        target = self.target(model_id)
        if target is None:
            return {}
        provider, known = self.provider(target.scheme), self.table.of(target)
        reasons = {field: why_dead(field, provider, known) for field in fields}
        return {field: reason for field, reason in reasons.items() if reason is not None}

    def forget(self, model_id: str) -> None:
        """Try everything with this model again."""
        if (target := self.target(model_id)) is not None:
            self.table.of(target).forget()

    def line(self) -> Line:
        """For one listing or count."""
        return Line(self._addresses, min(_LISTING_SECONDS, self._limits.silence_seconds))

    def models(
        self, scheme: str, place: str, credentials: Credentials, line: Line | None = None
    ) -> tuple[HostedModel, ...]:
        """What the provider lists, over a `line` that the caller can cut. Raises `NucleusError`."""
        target = Target(scheme, "", self._checked(place))
        provider = self.provider(scheme)
        secret = self._secret(provider, target, credentials)
        sent_over = line or self.line()
        found = self._explained(lambda: provider.models(target.place, secret, sent_over), provider, target)
        self._vocabularies |= {model.id: model.vocabulary for model in found if model.vocabulary}
        return found

    def vocabulary(self, model_id: str) -> int | None:
        """Tokens that the model knows, where its provider told when it was listed."""
        return self._vocabularies.get(model_id)

    def count_tokens(
        self, request: GenerationRequest, target: Target, credentials: Credentials, line: Line | None = None
    ) -> int | None:
        """Tokens of the prompt, as the provider counts them; None where it does not. As `models`."""
        request.validate()
        provider = self.provider(target.scheme)
        secret = self._secret(provider, target, credentials)
        known = self.table.of(target)
        sent_over = line or self.line()
        call = Call(target, request.prompt, request.rows[0], request.hosted, secret, sent_over, known.refused)
        return self._explained(lambda: provider.count_tokens(call), provider, target)

    def body(self, request: GenerationRequest) -> dict[str, Any]:
        """What is sent for the first row of a request, without the key. Raises `NucleusError`."""
        request.validate()
        target = self.target(request.model_id)
        if target is None:
            return {}
        line = Line(self._addresses, self._limits.silence_seconds)
        refused = self.table.of(target).refused
        call = Call(target, request.prompt, request.rows[0], request.hosted, None, line, refused)
        return self.provider(target.scheme).body(call)

    def _checked(self, place: str) -> str:
        if not place:
            return place
        return self._addresses.check(place) if "://" in place else self._addresses.check_project(place)

    def _explained(self, ask: Callable[[], T], provider: Provider, target: Target) -> T:
        try:
            return ask()
        except Failure as failure:
            raise failure.error from None
        except Exception as error:
            raise self._failure(error, provider, target).error from None

    def _failure(self, error: Exception, provider: Provider, target: Target) -> Failure:
        if isinstance(error, Failure):
            return error
        host = urlsplit(target.place if "://" in target.place else provider.own_place).hostname or ""
        return failures.from_exception(error, host, self._limits.silence_seconds)

    def _secret(self, provider: Provider, target: Target, credentials: Credentials) -> SecretStr | None:
        secret = credentials.key(target, provider.own_place)
        if secret is None and provider.needs_key(target.place):
            raise NucleusError("provider_key_missing")
        if secret is not None:
            key = secret.get_secret_value()
            if not (key.isascii() and key.isprintable()) or " " in key:
                raise NucleusError("provider_key_malformed")
        return secret

    def _work(self, key: tuple[str, str], lane: Lane) -> None:
        while True:
            with self._lock:
                job = lane.queue.pop(lambda _: True)
                if job is None:
                    lane.workers -= 1
                    if not lane.workers:
                        del self._lanes[key]
                    return
                answer = HostedAnswer(job.run, job.record, job.names)
                self._active[id(job.record)] = (job, answer)
            try:
                self._write(job, answer)
            except LineCut:
                pass  # the watcher has ended the record
            except Exception as error:  # one bad row must not end the thread; its text could quote a header
                where = "".join(traceback.format_tb(error.__traceback__))
                log.error("a hosted row failed: %s\n%s", type(error).__name__, where)
                answer.fail(NucleusError("engine_failed", detail=type(error).__name__))
            finally:
                with self._lock:
                    del self._active[id(job.record)]
                job.run.settle()

    def _write(self, job: Job, answer: HostedAnswer) -> None:
        verdict = job.run.verdict(job.record)
        if verdict is not None:
            _end(answer, verdict)
            return
        provider = self.provider(job.target.scheme)
        known = self.table.of(job.target)
        answer.start()
        attempts, dropped = 1, set[str]()
        while True:
            without = known.refused | dropped
            failure = self._try(provider, job, answer, without)
            if failure is None:
                return
            new = set(failure.refused) - without
            if answer.begun:
                answer.fail(failure.error)
                return
            if new and len(dropped) < self._limits.refusals:
                dropped |= new
                for name in new if failure.lasting else ():
                    known.refuse(name, str(failure.error.details.get("detail", "")))
                self._tell(job.run, provider, job.target, failure)
                continue
            wait = failure.wait_seconds or self._limits.first_wait * 2 ** (attempts - 1) * random.uniform(0.8, 1.2)
            if not failure.passing or attempts >= self._limits.attempts or wait > self._limits.longest_wait:
                answer.fail(failure.error)
                return
            attempts += 1
            job.run.notify(NucleusError("provider_tried_again", seconds=max(1, round(wait))))
            job.line.pause(wait)

    def _try(self, provider: Provider, job: Job, answer: HostedAnswer, without: frozenset[str]) -> Failure | None:
        """Send the row once. None when the answer has ended."""
        request = job.run.request
        call = Call(job.target, request.prompt, job.record.request, request.hosted, job.secret, job.line, without)
        answer.view = self._view(call, provider)
        answers = job.answers
        key = self._key(call, provider, answers)
        if answers is not None and key is not None and (kept := answers.get(key)) is not None:
            _repeat(answer, kept)
            return None
        taken: list[Chunk] = []
        try:
            with contextlib.closing(provider.stream(call)) as chunks:
                for chunk in chunks:
                    taken.append(chunk)
                    if not answer.take(chunk):
                        job.line.cut()
                        return None
            answer.close()
            if answers is not None and key is not None and answer.record.finish_reason in ("end", "length", "stop"):
                answers.put(key, taken)
        except Exception as error:
            if job.line.is_cut:
                raise LineCut from None
            return self._failure(error, provider, job.target)
        finally:
            self._learn(call, answer, provider)
        return None

    def _key(self, call: Call, provider: Provider, answers: AnswerCache | None) -> bytes | None:
        """Under which the answer is kept; None where none is, or where asking again is asking for another."""
        if answers is None or not answers.on or call.without.issuperset(provider.settings.get("seed", ())):
            return None
        return answers.key(call, provider.body(call))

    def _learn(self, call: Call, answer: HostedAnswer, provider: Provider) -> None:
        """Note what the answer shows of what was asked for, and tell the reader of what is ignored."""
        known = self.table.of(call.target)
        first = next(row for row in answer.run.rows if row.request == call.row) is answer.record
        for field, evidence in answer.evidence.items():
            if first:  # a second row with the same seed says the same again
                known.observe(field, evidence)
        answer.evidence.clear()
        if answer.steps:
            known.observe("logprobs", ENOUGH)
        elif call.options.top_logprobs and "logprobs" not in call.without and answer.written >= _PROVEN:
            known.observe("logprobs", -ENOUGH)
        if answer.record.thoughts:
            known.observe("thinking", ENOUGH)
        self._tell(answer.run, provider, call.target)

    def _tell(self, run: Run, provider: Provider, target: Target, refused: Failure | None = None) -> None:
        for notice in left_out(run.request, provider, self.table.of(target), refused):
            run.notify(notice)

    def _view(self, call: Call, provider: Provider) -> PartialView:
        config = as_run(call, provider, self.table.of(call.target))
        constrained = call.prompt.output.kind != "text"
        return PartialView(config, self._vocabularies.get(call.target.model_id), constrained)

    def _watch(self) -> None:
        while True:
            with self._lock:
                active = list(self._active.values())
                waiting = [(lane, job) for lane in self._lanes.values() for job in lane.queue]
                if not active and not waiting:
                    self._watcher = None
                    return
            for job, answer in active:
                verdict = job.run.verdict(job.record)
                if verdict is not None:
                    _end(answer, verdict)
                    job.line.cut()
                    job.run.settle()
            for lane, job in waiting:
                verdict = job.run.verdict(job.record)
                if verdict is not None:
                    self._drop(lane, job, verdict)
            time.sleep(_WATCH_SECONDS)

    def _drop(self, lane: Lane, job: Job, verdict: Verdict) -> None:
        """End a row that has not begun."""
        with self._lock:
            if lane.queue.pop(lambda each: each is job) is None:
                return  # a worker has just taken it, and looks itself
        if isinstance(verdict, NucleusError):
            job.record.fail(verdict)
        else:
            job.record.finish(verdict)
        job.run.settle()


def _end(answer: HostedAnswer, verdict: Verdict) -> None:
    if isinstance(verdict, NucleusError):
        answer.fail(verdict)
    else:
        answer.end(verdict)


def _repeat(answer: HostedAnswer, chunks: tuple[Chunk, ...]) -> None:
    """Write an answer that was kept. It says nothing new of the model."""
    answer.record.from_cache = True
    for chunk in chunks:
        if not answer.take(chunk):
            return
    answer.close()


def _split(rest: str) -> tuple[str, str]:
    """Name and place. Names may hold an `@` themselves."""
    for mark in ("@http://", "@https://"):
        if mark in rest:
            name, _, place = rest.partition(mark)
            return name, mark[1:] + place
    name, at, place = rest.rpartition("@")
    return (name, place) if at and "/" in place else (rest, "")
