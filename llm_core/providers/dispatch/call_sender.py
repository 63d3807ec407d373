"""Send one call until its answers are written or cannot be, with retries and with fewer settings after a refusal.

Retryable failures are retried within limits; fields that the model refuses are left out and remembered. The response is
split into the samples that the call asks for, and shows what the model does with its settings. Samples that a response
lacks, because the model gives one candidate at a time, are returned as calls of their own.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from llm_core.errors import NucleusError
from llm_core.generation.request import Run
from llm_core.providers.capabilities import ENOUGH, Capabilities, CapabilityTable
from llm_core.providers.dispatch.answer_writer import HostedAnswer
from llm_core.providers.dispatch.call_queue import Job, Limits
from llm_core.providers.dispatch.candidate_demux import Dealer
from llm_core.providers.dispatch.response_cache import AnswerCache
from llm_core.providers.dispatch.setting_support import as_run, left_out
from llm_core.providers.http import error_mapping
from llm_core.providers.http.connection import LineCut
from llm_core.providers.provider import Call, Chunk, Failure, Provider, Target
from samplers.top_logprobs import PartialView

_PROVEN = 3
"""Tokens after which it is clear whether the model gives log-probabilities."""


class Sender:
    """Send calls. Called from any thread."""

    def __init__(self, table: CapabilityTable, limits: Limits, vocabularies: Mapping[str, int]) -> None:
        """Create a sender. `vocabularies` are vocabulary sizes by model id, as far as listings gave them."""
        self._table = table
        self._limits = limits
        self._vocabularies = vocabularies

    def send(self, provider: Provider, job: Job, answers: Sequence[HostedAnswer]) -> list[Job]:
        """Send the call and fill its answers. Returns new calls for samples that need one of their own."""
        for answer in answers:
            if (verdict := job.run.verdict(answer.record)) is not None:
                answer.conclude(verdict)
            answer.start()
        known = self._table.of(job.target)
        attempts, dropped = 1, set[str]()
        while wanted := [answer for answer in answers if answer.record.active]:
            without = known.refused | dropped
            if len(wanted) > 1:
                if not _takes_several(provider, known, without):
                    return _apart(job, wanted)
                without |= set(
                    provider.settings.get("seed", ())
                )  # one seed for all candidates could make them all the same
            failure = self._try(provider, job, wanted, without)
            if failure is None:
                return _apart(job, [answer for answer in wanted if answer.record.active])
            new = set(failure.refused) - without
            if any(answer.begun for answer in wanted):
                _fail(wanted, failure)
                break
            if new and len(dropped) < self._limits.refusals:
                dropped |= new
                for name in new if failure.lasting else ():
                    known.refuse(name, str(failure.error.details.get("detail", "")))
                self.tell(job.run, provider, job.target, failure)
                continue
            wait = failure.wait_seconds or self._limits.first_wait * 2 ** (attempts - 1) * random.uniform(0.8, 1.2)
            if not failure.passing or attempts >= self._limits.attempts or wait > self._limits.longest_wait:
                _fail(wanted, failure)
                break
            attempts += 1
            job.run.notify(NucleusError("provider_tried_again", seconds=max(1, round(wait))))
            job.line.pause(wait)
        return []

    def tell(self, run: Run, provider: Provider, target: Target, refused: Failure | None = None) -> None:
        """Notify the run's readers of requested settings that the model refuses, ignores or cannot be sent."""
        for notice in left_out(run.request, provider, self._table.of(target), refused):
            run.notify(notice)

    def failure(self, error: Exception, provider: Provider, target: Target) -> Failure:
        """Return the failure behind an exception. Exceptions that do not come from the network are raised again."""
        if isinstance(error, Failure):
            return error
        host = urlsplit(target.place if "://" in target.place else provider.own_place).hostname or ""
        return error_mapping.from_exception(error, host, self._limits.silence_seconds)

    def _try(
        self, provider: Provider, job: Job, wanted: Sequence[HostedAnswer], without: frozenset[str]
    ) -> Failure | None:
        """Send the call once. Returns None when a response came; samples that are still active then were not in it."""
        request = job.run.request
        first = wanted[0].record.request
        call = Call(job.target, request.prompt, first, request.hosted, job.secret, job.line, without, len(wanted))
        known = self._table.of(job.target)
        for answer in wanted:
            answer.view = self._view(replace(call, row=answer.record.request), provider, known)
        key = _key(call, provider, job.answers)
        if job.answers is not None and key is not None and (kept := job.answers.get(key)) is not None:
            _repeat(wanted[0], kept)
            return None
        dealer = Dealer(wanted)
        try:
            with contextlib.closing(provider.stream(call)) as chunks:
                for chunk in chunks:
                    if not dealer.take(chunk):
                        job.line.cut()
                        return None
            dealer.close(known.support("candidate_count", ("candidate_count",)) == "honoured")
            whole = wanted[0].record.finish_reason in ("end", "length", "stop")
            if job.answers is not None and key is not None and whole:
                job.answers.put(key, dealer.chunks)
        except Exception as error:
            if job.line.is_cut:
                raise LineCut from None
            return self.failure(error, provider, job.target)
        finally:
            dealer.count()
            if dealer.several is not None:
                known.observe("candidate_count", ENOUGH if dealer.several else -ENOUGH)
            for answer in wanted:
                _learn(replace(call, row=answer.record.request), answer, known)
            self.tell(job.run, provider, job.target)
        return None

    def _view(self, call: Call, provider: Provider, known: Capabilities) -> PartialView:
        config = as_run(call, provider, known)
        constrained = call.prompt.output.kind != "text"
        return PartialView(config, self._vocabularies.get(call.target.model_id), constrained)


def _takes_several(provider: Provider, known: Capabilities, without: frozenset[str]) -> bool:
    """Return whether it is worth asking the model for several candidates in one call."""
    names = provider.settings.get("candidate_count", ())
    return not without.issuperset(names) and known.support("candidate_count", names) != "ignored"


def _apart(job: Job, answers: Sequence[HostedAnswer]) -> list[Job]:
    """Return one call for each answer."""
    for answer in answers:
        answer.wait_again()
    return [job._replace(records=(answer.record,), line=job.line.another()) for answer in answers]


def _fail(answers: Sequence[HostedAnswer], failure: Failure) -> None:
    for answer in answers:
        answer.fail(failure.error)


def _key(call: Call, provider: Provider, answers: AnswerCache | None) -> bytes | None:
    """Return the cache key of the call; None if no cache is used, or if the call has no seed."""
    if answers is None or not answers.on or call.without.issuperset(provider.settings.get("seed", ())):
        return None
    return answers.key(call, provider.body(call))


def _repeat(answer: HostedAnswer, chunks: tuple[Chunk, ...]) -> None:
    """Fill an answer from cached deltas. They are no new evidence about the model."""
    answer.record.from_cache = True
    for chunk in chunks:
        if not answer.take(chunk):
            return
    answer.close()


def _learn(call: Call, answer: HostedAnswer, known: Capabilities) -> None:
    """Record what the answer shows about the model's handling of its settings."""
    first = next(row for row in answer.run.rows if row.request == call.row) is answer.record
    for field, evidence in answer.evidence.items():
        if first:  # a second sample with the same seed is no new evidence
            known.observe(field, evidence)
    answer.evidence.clear()
    if answer.steps:
        known.observe("logprobs", ENOUGH)
    elif call.options.top_logprobs and "logprobs" not in call.without and answer.written >= _PROVEN:
        known.observe("logprobs", -ENOUGH)
    if answer.record.thoughts:
        known.observe("thinking", ENOUGH)
