"""Run hosted requests: find their targets and keys, keep what is known of the models, and queue their calls.

`call_queue` queues the calls and `call_sender` sends them.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from pydantic import SecretStr

from llm_core.errors import NucleusError
from llm_core.generation.record import Run, SampleRecord
from llm_core.generation.request import GenerationRequest
from llm_core.providers.capabilities import CapabilityTable
from llm_core.providers.credentials import Credentials
from llm_core.providers.dispatch.answer_writer import AnswerWriter, TokenIdAssigner
from llm_core.providers.dispatch.call_queue import CallQueue, DispatchLimits, QueuedCall, QueueState
from llm_core.providers.dispatch.call_sender import CallSender
from llm_core.providers.dispatch.response_cache import ResponseCache
from llm_core.providers.dispatch.setting_support import group_samples_by_call, unsupported_reason
from llm_core.providers.http.connection import Connection
from llm_core.providers.http.error_mapping import Failure
from llm_core.providers.http.url_policy import UrlPolicy
from llm_core.providers.model_id import Target, check_place, parse_model_id
from llm_core.providers.provider import Call, HostedModel, Provider

T = TypeVar("T")

_LISTING_TIMEOUT_SECONDS = 20.0
"""Seconds without a byte before a request that a page waits for, a listing or a count, fails."""


class HostedService:
    """Accept hosted requests from any thread."""

    def __init__(
        self,
        providers: Mapping[str, Callable[[], Provider]],
        url_policy: UrlPolicy | None = None,
        limits: DispatchLimits | None = None,
    ) -> None:
        """Create the service. `providers` makes each scheme's client when it is first needed, because their packages
        load slowly."""
        self.table = CapabilityTable()
        self._factories = dict(providers)
        self._providers: dict[str, Provider] = {}
        self._url_policy = url_policy or UrlPolicy()
        self._limits = limits or DispatchLimits()
        self._vocabularies: dict[str, int] = {}
        self._sender = CallSender(self.table, self._limits, self._vocabularies)
        self._queue = CallQueue(self._limits.parallel, self._send)
        self._lock = threading.RLock()

    def target(self, model_id: str) -> Target | None:
        """Return the parts of a model's id, with its address checked; None for a local model. Raises `NucleusError`."""
        return parse_model_id(model_id, self._url_policy)

    def submit(
        self,
        request: GenerationRequest,
        target: Target,
        credentials: Credentials,
        cache: ResponseCache | None = None,
    ) -> Run:
        """Queue a request and return its run. Samples whose response is in `cache` are not sent, and complete responses
        are stored there. Raises `NucleusError` at once for a bad prompt, a missing key or a full queue."""
        request.validate()
        if any(row.prefix_ids for row in request.samples):
            raise NucleusError("provider_cannot_branch")
        provider = self.provider(target.scheme)
        secret = self._find_key(provider, target, credentials)
        run = Run(request)
        names = TokenIdAssigner(run)
        self._sender.report_unsupported(run, provider, target)
        self._queue.push(
            [
                QueuedCall(
                    run,
                    tuple(run.samples[place] for place in places),
                    target,
                    secret,
                    names,
                    self._make_connection(),
                    cache,
                )
                for places in self.plan_calls(request)
            ]
        )
        return run

    def plan_calls(self, request: GenerationRequest) -> list[tuple[int, ...]]:
        """Return the indices of the samples that go into each call, as far as the model is known now."""
        most = 1 if self.unsupported_settings(request.model_id, ["candidate_count"]) else request.hosted.candidate_count
        return group_samples_by_call(request.samples, most)

    def position(self, run: Run) -> int:
        """Return how many runs will begin before this one; 0 once it has begun."""
        return self._queue.position(run)

    def queue_state(self, runs: Collection[Run]) -> QueueState:
        """Return how many samples of these runs wait, and how many of other runs are ahead of them."""
        return self._queue.queue_state(runs)

    def samples_ahead(self, record: SampleRecord) -> int:
        """Return how many samples will be sent before this one's call; 0 once it was sent."""
        return self._queue.samples_ahead(record)

    @property
    def parallel(self) -> int:
        """Calls to one address at the same time."""
        return self._limits.parallel

    @property
    def active_samples(self) -> int:
        """Samples whose calls are being sent."""
        return self._queue.active_samples

    @property
    def waiting_samples(self) -> int:
        """Samples that wait to be sent."""
        return self._queue.waiting_samples

    def provider(self, scheme: str) -> Provider:
        """Return the client of a scheme, created at the first use."""
        with self._lock:
            if scheme not in self._providers:
                self._providers[scheme] = self._factories[scheme]()
            return self._providers[scheme]

    def support(self, model_id: str) -> dict[str, str]:
        """Return what is known of each setting that a request to this model may have."""
        target = self.target(model_id)
        if target is None:
            return {}
        known = self.table.get(target)
        return {field: known.support(field, names) for field, names in self.provider(target.scheme).settings.items()}

    def unsupported_settings(self, model_id: str, fields: Iterable[str]) -> dict[str, NucleusError]:
        """Return those of `fields` that have no effect with this model, with the reason."""
        target = self.target(model_id)
        if target is None:
            return {}
        provider, known = self.provider(target.scheme), self.table.get(target)
        reasons = {field: unsupported_reason(field, provider, known) for field in fields}
        return {field: reason for field, reason in reasons.items() if reason is not None}

    def forget(self, model_id: str) -> None:
        """Drop all findings about this model, so that everything is tried again."""
        if (target := self.target(model_id)) is not None:
            self.table.get(target).forget()

    def make_connection(self) -> Connection:
        """Return a new connection for one listing or count."""
        return self._make_connection(_LISTING_TIMEOUT_SECONDS)

    def models(
        self, scheme: str, place: str, credentials: Credentials, connection: Connection | None = None
    ) -> tuple[HostedModel, ...]:
        """Return the models that the provider lists, over a `connection` that the caller can cancel. Raises
        `NucleusError`."""
        target = Target(scheme, "", check_place(place, self._url_policy))
        provider = self.provider(scheme)
        secret = self._find_key(provider, target, credentials)
        sent_over = connection or self.make_connection()
        found = self._call_provider(lambda: provider.models(target.place, secret, sent_over), provider, target)
        self._vocabularies |= {model.id: model.vocabulary for model in found if model.vocabulary}
        return found

    def vocabulary(self, model_id: str) -> int | None:
        """Return the model's vocabulary size, if its provider gave it in a listing."""
        return self._vocabularies.get(model_id)

    def count_tokens(
        self, request: GenerationRequest, target: Target, credentials: Credentials, connection: Connection | None = None
    ) -> int | None:
        """Return the prompt's tokens as the provider counts them; None if it does not. Connection and errors as in
        `models`."""
        request.validate()
        provider = self.provider(target.scheme)
        secret = self._find_key(provider, target, credentials)
        known = self.table.get(target)
        sent_over = connection or self.make_connection()
        call = Call(target, request.prompt, request.samples[0], request.hosted, secret, sent_over, known.refused)
        return self._call_provider(lambda: provider.count_tokens(call), provider, target)

    def body(self, request: GenerationRequest) -> dict[str, Any]:
        """Return the body that is sent for a request's first call, without the key. Raises `NucleusError`."""
        request.validate()
        target = self.target(request.model_id)
        if target is None:
            return {}
        provider, refused = self.provider(target.scheme), self.table.get(target).refused
        call = Call(target, request.prompt, request.samples[0], request.hosted, None, self._make_connection(), refused)
        places = self.plan_calls(request)[0]
        if len(places) > 1:
            call = replace(call, candidates=len(places), omitted=refused | set(provider.settings.get("seed", ())))
        return provider.body(call)

    def _call_provider(self, function: Callable[[], T], provider: Provider, target: Target) -> T:
        """Call `function` and raise what fails in it as `NucleusError`."""
        try:
            return function()
        except Failure as failure:
            raise failure.error from None
        except Exception as error:
            raise self._sender.to_failure(error, provider, target).error from None

    def _make_connection(self, read_timeout: float = math.inf) -> Connection:
        return Connection(self._url_policy, min(read_timeout, self._limits.read_timeout))

    def _send(self, job: QueuedCall, answers: Sequence[AnswerWriter]) -> list[QueuedCall]:
        return self._sender.send(self.provider(job.target.scheme), job, answers)

    def _find_key(self, provider: Provider, target: Target, credentials: Credentials) -> SecretStr | None:
        secret = credentials.key(target, provider.default_place)
        if secret is None and provider.needs_key(target.place):
            raise NucleusError("provider_key_missing")
        if secret is not None:
            key = secret.get_secret_value()
            if not (key.isascii() and key.isprintable()) or " " in key:
                raise NucleusError("provider_key_malformed")
        return secret
