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
from llm_core.generation.request import GenerationRequest, RowRecord, Run
from llm_core.providers.capabilities import CapabilityTable
from llm_core.providers.credentials import Credentials
from llm_core.providers.dispatch.answer_writer import HostedAnswer, TokenNames
from llm_core.providers.dispatch.call_queue import Job, Lanes, Limits, Waiting
from llm_core.providers.dispatch.call_sender import Sender
from llm_core.providers.dispatch.response_cache import AnswerCache
from llm_core.providers.dispatch.setting_support import together, why_dead
from llm_core.providers.http.connection import Line
from llm_core.providers.http.url_policy import Addresses
from llm_core.providers.provider import Call, Failure, HostedModel, Provider, Target

T = TypeVar("T")

_LISTING_SECONDS = 20.0
"""Seconds without a byte before a request that a page waits for, a listing or a count, fails."""


class HostedService:
    """Accept hosted requests from any thread."""

    def __init__(
        self,
        providers: Mapping[str, Callable[[], Provider]],
        addresses: Addresses | None = None,
        limits: Limits | None = None,
    ) -> None:
        """Create the service. `providers` makes each scheme's client when it is first needed, because their packages
        load slowly."""
        self.table = CapabilityTable()
        self._makers = dict(providers)
        self._made: dict[str, Provider] = {}
        self._addresses = addresses or Addresses()
        self._limits = limits or Limits()
        self._vocabularies: dict[str, int] = {}
        self._sender = Sender(self.table, self._limits, self._vocabularies)
        self._lanes = Lanes(self._limits.parallel, self._send)
        self._lock = threading.RLock()

    def target(self, model_id: str) -> Target | None:
        """Return the parts of a model's id, with its address checked; None for a local model. Raises `NucleusError`."""
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
        """Queue a request and return its run. Samples whose response is in `cache` are not sent, and complete responses
        are stored there. Raises `NucleusError` at once for a bad prompt, a missing key or a full queue."""
        request.validate()
        if any(row.begin for row in request.rows):
            raise NucleusError("provider_cannot_branch")
        provider = self.provider(target.scheme)
        secret = self._secret(provider, target, credentials)
        run = Run(request)
        names = TokenNames(run)
        self._sender.tell(run, provider, target)
        self._lanes.push(
            [
                Job(run, tuple(run.rows[place] for place in places), target, secret, names, self._line(), answers)
                for places in self.calls(request)
            ]
        )
        return run

    def calls(self, request: GenerationRequest) -> list[tuple[int, ...]]:
        """Return the indices of the samples that go into each call, as far as the model is known now."""
        most = 1 if self.dead(request.model_id, ["candidate_count"]) else request.hosted.candidate_count
        return together(request.rows, most)

    def position(self, run: Run) -> int:
        """Return how many runs will begin before this one; 0 once it has begun."""
        return self._lanes.position(run)

    def waiting(self, runs: Collection[Run]) -> Waiting:
        """Return how many samples of these runs wait, and how many of other runs are ahead of them."""
        return self._lanes.waiting(runs)

    def place(self, record: RowRecord) -> int:
        """Return how many samples will be sent before this one's call; 0 once it was sent."""
        return self._lanes.place(record)

    @property
    def parallel(self) -> int:
        """Calls to one address at the same time."""
        return self._limits.parallel

    @property
    def active_rows(self) -> int:
        """Samples whose calls are being sent."""
        return self._lanes.active_rows

    @property
    def waiting_rows(self) -> int:
        """Samples that wait to be sent."""
        return self._lanes.waiting_rows

    def provider(self, scheme: str) -> Provider:
        """Return the client of a scheme, created at the first use."""
        with self._lock:
            if scheme not in self._made:
                self._made[scheme] = self._makers[scheme]()
            return self._made[scheme]

    def support(self, model_id: str) -> dict[str, str]:
        """Return what is known of each setting that a request to this model may have."""
        target = self.target(model_id)
        if target is None:
            return {}
        known = self.table.of(target)
        return {field: known.support(field, names) for field, names in self.provider(target.scheme).settings.items()}

    def dead(self, model_id: str, fields: Iterable[str]) -> dict[str, NucleusError]:
        """Return those of `fields` that have no effect with this model, with the reason."""
        target = self.target(model_id)
        if target is None:
            return {}
        provider, known = self.provider(target.scheme), self.table.of(target)
        reasons = {field: why_dead(field, provider, known) for field in fields}
        return {field: reason for field, reason in reasons.items() if reason is not None}

    def forget(self, model_id: str) -> None:
        """Drop all findings about this model, so that everything is tried again."""
        if (target := self.target(model_id)) is not None:
            self.table.of(target).forget()

    def line(self) -> Line:
        """Return a new connection for one listing or count."""
        return self._line(_LISTING_SECONDS)

    def models(
        self, scheme: str, place: str, credentials: Credentials, line: Line | None = None
    ) -> tuple[HostedModel, ...]:
        """Return the models that the provider lists, over a `connection` that the caller can cancel. Raises
        `NucleusError`."""
        target = Target(scheme, "", self._checked(place))
        provider = self.provider(scheme)
        secret = self._secret(provider, target, credentials)
        sent_over = line or self.line()
        found = self._explained(lambda: provider.models(target.place, secret, sent_over), provider, target)
        self._vocabularies |= {model.id: model.vocabulary for model in found if model.vocabulary}
        return found

    def vocabulary(self, model_id: str) -> int | None:
        """Return the model's vocabulary size, if its provider gave it in a listing."""
        return self._vocabularies.get(model_id)

    def count_tokens(
        self, request: GenerationRequest, target: Target, credentials: Credentials, line: Line | None = None
    ) -> int | None:
        """Return the prompt's tokens as the provider counts them; None if it does not. Connection and errors as in
        `models`."""
        request.validate()
        provider = self.provider(target.scheme)
        secret = self._secret(provider, target, credentials)
        known = self.table.of(target)
        sent_over = line or self.line()
        call = Call(target, request.prompt, request.rows[0], request.hosted, secret, sent_over, known.refused)
        return self._explained(lambda: provider.count_tokens(call), provider, target)

    def body(self, request: GenerationRequest) -> dict[str, Any]:
        """Return the body that is sent for a request's first call, without the key. Raises `NucleusError`."""
        request.validate()
        target = self.target(request.model_id)
        if target is None:
            return {}
        provider, refused = self.provider(target.scheme), self.table.of(target).refused
        call = Call(target, request.prompt, request.rows[0], request.hosted, None, self._line(), refused)
        places = self.calls(request)[0]
        if len(places) > 1:
            call = replace(call, candidates=len(places), without=refused | set(provider.settings.get("seed", ())))
        return provider.body(call)

    def _checked(self, place: str) -> str:
        if not place:
            return place
        return self._addresses.check(place) if "://" in place else self._addresses.check_project(place)

    def _explained(self, ask: Callable[[], T], provider: Provider, target: Target) -> T:
        """Call `function` and raise what fails in it as `NucleusError`."""
        try:
            return ask()
        except Failure as failure:
            raise failure.error from None
        except Exception as error:
            raise self._sender.failure(error, provider, target).error from None

    def _line(self, silence_seconds: float = math.inf) -> Line:
        return Line(self._addresses, min(silence_seconds, self._limits.silence_seconds))

    def _send(self, job: Job, answers: Sequence[HostedAnswer]) -> list[Job]:
        return self._sender.send(self.provider(job.target.scheme), job, answers)

    def _secret(self, provider: Provider, target: Target, credentials: Credentials) -> SecretStr | None:
        secret = credentials.key(target, provider.own_place)
        if secret is None and provider.needs_key(target.place):
            raise NucleusError("provider_key_missing")
        if secret is not None:
            key = secret.get_secret_value()
            if not (key.isascii() and key.isprintable()) or " " in key:
                raise NucleusError("provider_key_malformed")
        return secret


def _split(rest: str) -> tuple[str, str]:
    """Split `NAME@PLACE` into name and place. Names may contain an `@` themselves."""
    for mark in ("@http://", "@https://"):
        if mark in rest:
            name, _, place = rest.partition(mark)
            return name, mark[1:] + place
    name, at, place = rest.rpartition("@")
    return (name, place) if at and "/" in place else (rest, "")
