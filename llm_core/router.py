"""One way in for every model: `submit` takes a request to the local engine or to a provider by its model's id.

Ids are `openai:NAME@URL` (any server that speaks OpenAI's language; without a URL, OpenAI), `gemini:NAME`,
`vertex:NAME@PROJECT/LOCATION` (`vertex:NAME` with a key: express mode), `endpoint:ID@PROJECT/LOCATION` (an open model
deployed on Vertex AI); anything else is a local model.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from llm_core.engine.engine import Engine
from llm_core.generation.record import Run
from llm_core.generation.request import GenerationRequest
from llm_core.providers.credentials import Credentials
from llm_core.providers.dispatch.response_cache import ResponseCache
from llm_core.providers.dispatch.service import HostedService
from llm_core.providers.http.url_policy import UrlPolicy
from llm_core.providers.model_id import Target
from llm_core.providers.provider import Provider


def _openai() -> Provider:
    from llm_core.providers.openai.client import OpenAICompatible

    return OpenAICompatible()


def _gemini() -> Provider:
    from llm_core.providers.google.client import Gemini

    return Gemini()


def _vertex() -> Provider:
    from llm_core.providers.google.client import Vertex

    return Vertex()


def _endpoint() -> Provider:
    from llm_core.providers.google.vertex_endpoint import VertexEndpoint

    return VertexEndpoint()


PROVIDERS: dict[str, Callable[[], Provider]] = {
    "openai": _openai,
    "gemini": _gemini,
    "vertex": _vertex,
    "endpoint": _endpoint,
}


class Router:
    """Engine and providers as one. Keys come with each call and are not kept; without any, those of the environment
    count."""

    def __init__(self, engine: Engine, hosted: HostedService | None = None) -> None:
        self.engine = engine
        self.hosted = hosted or HostedService(PROVIDERS, UrlPolicy.from_environment(os.environ))

    def target(self, model_id: str) -> Target | None:
        """The parts of a hosted model's id; None for a local one. Raises `NucleusError` for an address that is
        malformed or may not be called."""
        return self.hosted.target(model_id)

    def submit(
        self,
        request: GenerationRequest,
        credentials: Credentials | None = None,
        cache: ResponseCache | None = None,
    ) -> Run:
        """Queue a request. `answers` are hosted ones that may be given again. Raises `NucleusError` at once for what
        needs no model to be refused."""
        target = self.target(request.model_id)
        if target is None:
            return self.engine.submit(request)
        return self.hosted.submit(
            request, target, credentials or Credentials.from_sources(environment=os.environ), cache
        )

    def position(self, run: Run) -> int:
        """Runs that will begin before this one; 0 once it has begun."""
        return self.engine.position(run) or self.hosted.position(run)
