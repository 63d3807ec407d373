"""One call, sent until its answers are written or it is plain that they will not be.

Failures that pass are tried again within bounds, fields that the model refuses are left out and remembered. What comes
back is dealt out to the rows that the call asks for, and says what the model makes of its settings. Rows that a call
does not bring, since the model gives one candidate at a time, are handed back, to be sent by themselves.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from llm_core.errors import NucleusError
from llm_core.providers import failures
from llm_core.providers.answer_cache import AnswerCache
from llm_core.providers.asked import as_run, left_out
from llm_core.providers.base import Call, Chunk, Failure, Provider, Target
from llm_core.providers.capabilities import ENOUGH, Capabilities, CapabilityTable
from llm_core.providers.dealing import Dealer
from llm_core.providers.hosted_answer import HostedAnswer
from llm_core.providers.lanes import Job, Limits
from llm_core.providers.network import LineCut
from llm_core.providers.partial_view import PartialView
from llm_core.records import Run

_PROVEN = 3
"""Tokens with log-probabilities, or text without any, after which it is plain whether they are given."""


class Sender:
    """Sends calls, from any thread."""

    def __init__(self, table: CapabilityTable, limits: Limits, vocabularies: Mapping[str, int]) -> None:
        """`vocabularies`: tokens that a model knows, by its id, as far as listings told."""
        self._table = table
        self._limits = limits
        self._vocabularies = vocabularies

    def send(self, provider: Provider, job: Job, answers: Sequence[HostedAnswer]) -> list[Job]:
        """Write the answers. The jobs that come back are for those that need a call of their own."""
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
                without |= set(provider.settings.get("seed", ()))  # one for all could make them all the same
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
        """Tell the run's readers what becomes of what it asks for."""
        for notice in left_out(run.request, provider, self._table.of(target), refused):
            run.notify(notice)

    def failure(self, error: Exception, provider: Provider, target: Target) -> Failure:
        """What an exception means. Those that are none of the network's are raised again."""
        if isinstance(error, Failure):
            return error
        host = urlsplit(target.place if "://" in target.place else provider.own_place).hostname or ""
        return failures.from_exception(error, host, self._limits.silence_seconds)

    def _try(
        self, provider: Provider, job: Job, wanted: Sequence[HostedAnswer], without: frozenset[str]
    ) -> Failure | None:
        """Send the call once. None when it has been answered; rows that are still active then were not brought."""
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
    """Whether it is worth a try."""
    names = provider.settings.get("candidate_count", ())
    return not without.issuperset(names) and known.support("candidate_count", names) != "ignored"


def _apart(job: Job, answers: Sequence[HostedAnswer]) -> list[Job]:
    """A call for each."""
    for answer in answers:
        answer.wait_again()
    return [job._replace(records=(answer.record,), line=job.line.another()) for answer in answers]


def _fail(answers: Sequence[HostedAnswer], failure: Failure) -> None:
    for answer in answers:
        answer.fail(failure.error)


def _key(call: Call, provider: Provider, answers: AnswerCache | None) -> bytes | None:
    """Under which the answer is kept; None where none is, or where asking again is asking for another."""
    if answers is None or not answers.on or call.without.issuperset(provider.settings.get("seed", ())):
        return None
    return answers.key(call, provider.body(call))


def _repeat(answer: HostedAnswer, chunks: tuple[Chunk, ...]) -> None:
    """Write an answer that was kept. It says nothing new of the model."""
    answer.record.from_cache = True
    for chunk in chunks:
        if not answer.take(chunk):
            return
    answer.close()


def _learn(call: Call, answer: HostedAnswer, known: Capabilities) -> None:
    """Note what the answer shows of what was asked for."""
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
