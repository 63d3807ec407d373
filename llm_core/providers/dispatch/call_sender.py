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
from llm_core.generation.record import Run
from llm_core.providers.capabilities import EVIDENCE_THRESHOLD, Capabilities, CapabilityTable
from llm_core.providers.dispatch.answer_writer import AnswerWriter
from llm_core.providers.dispatch.call_queue import DispatchLimits, QueuedCall
from llm_core.providers.dispatch.candidate_demux import CandidateDemultiplexer
from llm_core.providers.dispatch.response_cache import ResponseCache
from llm_core.providers.dispatch.setting_support import dropped_settings, effective_sampler
from llm_core.providers.http import error_mapping
from llm_core.providers.http.connection import RequestCancelled
from llm_core.providers.http.error_mapping import Failure
from llm_core.providers.model_id import Target
from llm_core.providers.provider import Call, Provider, StreamDelta
from samplers.top_logprobs import TopLogprobsChain

_PROOF_TOKENS = 3
"""Tokens after which it is clear whether the model gives log-probabilities."""


class CallSender:
    """Send calls. Called from any thread."""

    def __init__(self, table: CapabilityTable, limits: DispatchLimits, vocabularies: Mapping[str, int]) -> None:
        """Create a sender. `vocabularies` are vocabulary sizes by model id, as far as listings gave them."""
        self._table = table
        self._limits = limits
        self._vocabularies = vocabularies

    def send(self, provider: Provider, job: QueuedCall, writers: Sequence[AnswerWriter]) -> list[QueuedCall]:
        """Send the call and fill its answers. Returns new calls for samples that need one of their own."""
        for answer in writers:
            if (verdict := job.run.end_reason(answer.record)) is not None:
                answer.conclude(verdict)
            answer.start()
        known = self._table.get(job.target)
        attempts, dropped = 1, set[str]()
        while wanted := [answer for answer in writers if answer.record.active]:
            without = known.refused | dropped
            if len(wanted) > 1:
                if not _accepts_several_candidates(provider, known, without):
                    return _split_call(job, wanted)
                without |= set(
                    provider.settings.get("seed", ())
                )  # one seed for all candidates could make them all the same
            failure = self._send_once(provider, job, wanted, without)
            if failure is None:
                return _split_call(job, [answer for answer in wanted if answer.record.active])
            new = set(failure.refused) - without
            if any(answer.begun for answer in wanted):
                _fail_all(wanted, failure)
                break
            if new and len(dropped) < self._limits.max_refusals:
                dropped |= new
                for name in new if failure.permanent else ():
                    known.record_refusal(name, str(failure.error.details.get("detail", "")))
                self.report_unsupported(job.run, provider, job.target, failure)
                continue
            wait = failure.wait_seconds or self._limits.first_wait * 2 ** (attempts - 1) * random.uniform(0.8, 1.2)
            if not failure.retryable or attempts >= self._limits.max_attempts or wait > self._limits.max_wait:
                _fail_all(wanted, failure)
                break
            attempts += 1
            job.run.notify(NucleusError("provider_tried_again", seconds=max(1, round(wait))))
            job.connection.pause(wait)
        return []

    def report_unsupported(self, run: Run, provider: Provider, target: Target, refused: Failure | None = None) -> None:
        """Notify the run's readers of requested settings that the model refuses, ignores or cannot be sent."""
        for notice in dropped_settings(run.request, provider, self._table.get(target), refused):
            run.notify(notice)

    def to_failure(self, error: Exception, provider: Provider, target: Target) -> Failure:
        """Return the failure behind an exception. Exceptions that do not come from the network are raised again."""
        if isinstance(error, Failure):
            return error
        host = urlsplit(target.place if "://" in target.place else provider.default_place).hostname or ""
        return error_mapping.failure_from_exception(error, host, self._limits.read_timeout)

    def _send_once(
        self, provider: Provider, job: QueuedCall, wanted: Sequence[AnswerWriter], without: frozenset[str]
    ) -> Failure | None:
        """Send the call once. Returns None when a response came; samples that are still active then were not in it."""
        request = job.run.request
        first = wanted[0].record.request
        call = Call(job.target, request.prompt, first, request.hosted, job.secret, job.connection, without, len(wanted))
        known = self._table.get(job.target)
        for answer in wanted:
            answer.view = self._make_chain(replace(call, row=answer.record.request), provider, known)
        key = _cache_key(call, provider, job.cache)
        if job.cache is not None and key is not None and (kept := job.cache.get(key)) is not None:
            _replay_response(wanted[0], kept)
            return None
        dealer = CandidateDemultiplexer(wanted)
        try:
            with contextlib.closing(provider.stream(call)) as chunks:
                for chunk in chunks:
                    if not dealer.feed(chunk):
                        job.connection.cancel()
                        return None
            dealer.close(known.support("candidate_count", ("candidate_count",)) == "honoured")
            whole = wanted[0].record.finish_reason in ("end", "length", "stop")
            if job.cache is not None and key is not None and whole:
                job.cache.put(key, dealer.chunks)
        except Exception as error:
            if job.connection.is_cancelled:
                raise RequestCancelled from None
            return self.to_failure(error, provider, job.target)
        finally:
            dealer.record_usage()
            if dealer.supports_several is not None:
                known.add_evidence(
                    "candidate_count", EVIDENCE_THRESHOLD if dealer.supports_several else -EVIDENCE_THRESHOLD
                )
            for answer in wanted:
                _record_evidence(replace(call, row=answer.record.request), answer, known)
            self.report_unsupported(job.run, provider, job.target)
        return None

    def _make_chain(self, call: Call, provider: Provider, known: Capabilities) -> TopLogprobsChain:
        config = effective_sampler(call, provider, known)
        constrained = call.prompt.output.kind != "text"
        return TopLogprobsChain(config, self._vocabularies.get(call.target.model_id), constrained)


def _accepts_several_candidates(provider: Provider, known: Capabilities, without: frozenset[str]) -> bool:
    """Return whether it is worth asking the model for several candidates in one call."""
    names = provider.settings.get("candidate_count", ())
    return not without.issuperset(names) and known.support("candidate_count", names) != "ignored"


def _split_call(job: QueuedCall, writers: Sequence[AnswerWriter]) -> list[QueuedCall]:
    """Return one call for each answer."""
    for answer in writers:
        answer.requeue()
    return [job._replace(records=(answer.record,), connection=job.connection.make_sibling()) for answer in writers]


def _fail_all(writers: Sequence[AnswerWriter], failure: Failure) -> None:
    for answer in writers:
        answer.fail(failure.error)


def _cache_key(call: Call, provider: Provider, cache: ResponseCache | None) -> bytes | None:
    """Return the cache key of the call; None if no cache is used, or if the call has no seed."""
    if cache is None or not cache.enabled or call.omitted.issuperset(provider.settings.get("seed", ())):
        return None
    return cache.key(call, provider.body(call))


def _replay_response(writer: AnswerWriter, deltas: tuple[StreamDelta, ...]) -> None:
    """Fill an answer from cached deltas. They are no new evidence about the model."""
    writer.record.from_cache = True
    for chunk in deltas:
        if not writer.feed(chunk):
            return
    writer.close()


def _record_evidence(call: Call, writer: AnswerWriter, known: Capabilities) -> None:
    """Record what the answer shows about the model's handling of its settings."""
    first = next(row for row in writer.run.samples if row.request == call.row) is writer.record
    for field, evidence in writer.evidence.items():
        if first:  # a second sample with the same seed is no new evidence
            known.add_evidence(field, evidence)
    writer.evidence.clear()
    if writer.steps:
        known.add_evidence("logprobs", EVIDENCE_THRESHOLD)
    elif call.options.top_logprobs and "logprobs" not in call.omitted and writer.event_count >= _PROOF_TOKENS:
        known.add_evidence("logprobs", -EVIDENCE_THRESHOLD)
    if writer.record.thoughts:
        known.add_evidence("thinking", EVIDENCE_THRESHOLD)
