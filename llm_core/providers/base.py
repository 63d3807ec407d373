"""What every provider is to the rest of the app, and the few shapes that requests and answers have on their way."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from pydantic import SecretStr

from llm_core.errors import NucleusError
from llm_core.prompts import PromptSpec
from llm_core.providers.network import Line
from llm_core.records import FinishReason, HostedOptions, RowRequest, Usage

CONTINUE = "Go on exactly where your answer stopped. Do not repeat any of it."
"""Asked of a model that does not take a conversation which ends with its own turn."""


FEW_LOGPROBS = 5
"""Asked for where more have been refused."""


class Target(NamedTuple):
    """A hosted model's id in its parts: `scheme:name@place`."""

    scheme: str
    name: str
    place: str = ""
    """A base URL, or `project/location` for Vertex AI; empty for the provider's own."""

    @property
    def model_id(self) -> str:
        return f"{self.scheme}:{self.name}@{self.place}" if self.place else f"{self.scheme}:{self.name}"


class Scored(NamedTuple):
    """A token with its raw log-probability, as a provider names it."""

    text: str
    logprob: float
    token_id: int | None = None


class Step(NamedTuple):
    """One token of an answer and the likeliest ones in its place."""

    chosen: Scored
    likeliest: tuple[Scored, ...] = ()
    data: bytes | None = None
    """The chosen token's bytes, where the provider gives them: a token may hold half a letter."""


class Chunk(NamedTuple):
    """A part of an answer, in the order of arrival."""

    text: str = ""
    thought: str = ""
    steps: tuple[Step, ...] = ()
    end: FinishReason | NucleusError | None = None
    """Why the answer ended. Usage may still follow."""
    usage: Usage | None = None
    labels: Mapping[int, str] = {}
    """Texts of tokens by id, where the steps do not have them."""
    candidate: int | None = 0
    """Which of the call's answers it belongs to; None for all of them. The usage is the call's."""


@dataclass(frozen=True)
class Call:
    """One request, to be sent once: a row, or several that differ in nothing but their seeds."""

    target: Target
    prompt: PromptSpec
    row: RowRequest
    options: HostedOptions
    secret: SecretStr | None
    line: Line
    without: frozenset[str] = frozenset()
    """Wire names of what is not sent, mostly since the model has refused it before."""
    candidates: int = 1
    """Answers to ask for; `row` is the first one's."""


class HostedModel(NamedTuple):
    """A model as its provider lists it. Numbers are None where the provider does not tell."""

    id: str
    """What a request's `model_id` says."""
    name: str
    context_window: int | None = None
    output_limit: int | None = None
    vocabulary: int | None = None


@dataclass(eq=False)
class Failure(Exception):
    """What a provider answered instead of tokens."""

    error: NucleusError
    passing: bool = False
    """Whether the same request may well succeed a little later."""
    wait_seconds: float | None = None
    """How long the provider asked to wait."""
    refused: tuple[str, ...] = field(default=())
    """Wire names of the fields at fault, where the message tells."""
    lasting: bool = True
    """Whether the model refuses these fields as such, and not only the value."""

    def __str__(self) -> str:
        return str(self.error)


class Provider(Protocol):
    """A thin client. Called from several threads at once; keeps nothing of a call."""

    settings: dict[str, tuple[str, ...]]
    """The wire names that carry each field of `SamplerConfig`, and of what else a request asks for. A field that is not
    here cannot be sent."""
    order: str | None
    """The stages' order, where the provider has one of its own."""
    own_place: str
    """What an empty place means."""

    def needs_key(self, place: str) -> bool:
        """Whether nothing works there without a key."""

    def body(self, call: Call) -> dict[str, Any]:
        """What `stream` sends, without the key."""

    def stream(self, call: Call) -> Generator[Chunk, None, None]:
        """Send the call and yield the answers as they come. Raises `Failure`."""

    def models(self, place: str, secret: SecretStr | None, line: Line) -> tuple[HostedModel, ...]:
        """What the provider lists. Raises `Failure`."""

    def count_tokens(self, call: Call) -> int | None:
        """Tokens of the prompt; None where the provider does not count them beforehand. Raises `Failure`."""
