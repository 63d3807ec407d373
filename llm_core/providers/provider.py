"""Define the `Provider` protocol and the data that pass between a provider and the rest of the app."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from pydantic import SecretStr

from llm_core.errors import NucleusError
from llm_core.generation.record import FinishReason, Usage
from llm_core.generation.request import HostedOptions, SampleRequest
from llm_core.prompts.spec import PromptSpec
from llm_core.providers.http.connection import Connection
from llm_core.providers.model_id import Target

CONTINUE_PROMPT = "Go on exactly where your answer stopped. Do not repeat any of it."
"""Prompt for a model that refuses a conversation that ends with its own turn."""


REDUCED_TOP_LOGPROBS = 5
"""`top_logprobs` to ask for where a larger number was refused."""


class TokenLogprob(NamedTuple):
    """Token with its raw log-probability in nats, as a provider names it."""

    text: str
    logprob: float
    token_id: int | None = None


class TokenLogprobs(NamedTuple):
    """One token of an answer and the most likely alternatives at its position."""

    chosen: TokenLogprob
    likeliest: tuple[TokenLogprob, ...] = ()
    data: bytes | None = None
    """Bytes of the chosen token, where the provider gives them: a token may hold half a letter."""


class StreamDelta(NamedTuple):
    """Part of an answer; parts are in the order of arrival."""

    text: str = ""
    thought: str = ""
    steps: tuple[TokenLogprobs, ...] = ()
    end: FinishReason | NucleusError | None = None
    """Why the answer ended, or None. Usage may still follow."""
    usage: Usage | None = None
    labels: Mapping[int, str] = {}
    """Texts of tokens by id, where `steps` lack them."""
    candidate: int | None = 0
    """Index of the candidate that the delta belongs to; None for all candidates of the call. `usage` is always the
    call's."""


@dataclass(frozen=True)
class Call:
    """One request to a provider, sent once: for one sample, or for several that differ in nothing but their seeds."""

    target: Target
    prompt: PromptSpec
    row: SampleRequest
    options: HostedOptions
    secret: SecretStr | None
    connection: Connection
    omitted: frozenset[str] = frozenset()
    """Wire names of fields that are not sent, mostly because the model has refused them before."""
    candidates: int = 1
    """Number of candidates to ask for; `row` is the first one's sample."""


class HostedModel(NamedTuple):
    """Model as its provider lists it. Numbers are None where the provider does not give them."""

    id: str
    """Id for a request's `model_id`."""
    name: str
    context_window: int | None = None
    output_limit: int | None = None
    vocabulary: int | None = None


class Provider(Protocol):
    """Thin client of one API. Called from several threads at once; keeps nothing of a call."""

    settings: dict[str, tuple[str, ...]]
    """Wire names that carry each field of `SamplerConfig` and each other option of a request. A field that is missing
    here cannot be sent."""
    order: str | None
    """Order of the sampler stages, where the provider has a fixed one."""
    default_place: str
    """Address that an empty place stands for."""

    def needs_key(self, place: str) -> bool:
        """Return whether every request to this place needs a key."""

    def body(self, call: Call) -> dict[str, Any]:
        """Return the body that `stream` sends, without the key."""

    def stream(self, call: Call) -> Generator[StreamDelta, None, None]:
        """Send the call and yield the deltas as they arrive. Raises `Failure`."""

    def models(self, place: str, secret: SecretStr | None, connection: Connection) -> tuple[HostedModel, ...]:
        """Return the models that the provider lists. Raises `Failure`."""

    def count_tokens(self, call: Call) -> int | None:
        """Return the number of tokens of the prompt; None where the provider cannot count them beforehand. Raises
        `Failure`."""
