"""Route each request to the local engine or to a provider, by the id of its model.

Ids are `openai:NAME@URL` (any server with an OpenAI-compatible API; without a URL, OpenAI), `gemini:NAME`,
`vertex:NAME@PROJECT/LOCATION` (`vertex:NAME` with a key: express mode), `endpoint:ID@PROJECT/LOCATION` (an open model
deployed on Vertex AI); any other id is a local model.
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
    """Engine and providers behind one `submit`. Credentials come with each call and are not kept; without any, those of
    the environment are used."""

    def __init__(self, engine: Engine, hosted: HostedService | None = None) -> None:
        self.engine = engine
        self.hosted = hosted or HostedService(PROVIDERS, UrlPolicy.from_environment(os.environ))

    def target(self, model_id: str) -> Target | None:
        """Return the parts of a hosted model's id, or None for a local one. Raises `NucleusError` for an address that
        is malformed or may not be called."""
        return self.hosted.target(model_id)

    def submit(
        self,
        request: GenerationRequest,
        credentials: Credentials | None = None,
        cache: ResponseCache | None = None,
    ) -> Run:
        """Queue a request and return its run. `cache` holds hosted responses that may be reused. Raises `NucleusError`
        at once for a request that can be refused without the model."""
        target = self.target(request.model_id)
        if target is None:
            return self.engine.submit(request)
        return self.hosted.submit(
            request, target, credentials or Credentials.from_sources(environment=os.environ), cache
        )

    def position(self, run: Run) -> int:
        """Return the number of runs that will begin before this one; 0 once it has begun."""
        return self.engine.position(run) or self.hosted.position(run)
