"""Call open models that were deployed to an endpoint of Vertex AI, such as Gemma on vLLM from its Model Garden.

A dedicated endpoint passes requests through to its server (`:invoke`), so it is OpenAI-compatible, with streams and
log-probabilities. A shared endpoint takes predictions only: the chat as an instance, the answer in one piece.

The client is httpx and not `google-cloud-aiplatform`'s `Endpoint`: that one sends to hosts of its own choice, cannot be
stopped while it waits, and gives whole numbers as floats. The paths and bodies are the ones that it uses.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from llm_core.errors import NucleusError
from llm_core.providers.google.client import PROJECT_AND_LOCATION, location_url
from llm_core.providers.google.identity import GoogleIdentity
from llm_core.providers.http import error_mapping
from llm_core.providers.http.connection import Connection
from llm_core.providers.http.error_mapping import Failure
from llm_core.providers.openai import wire
from llm_core.providers.openai.client import ApiServer, OpenAICompatible, read_json, read_text
from llm_core.providers.provider import Call, HostedModel, StreamDelta

_ENDPOINT_ID = re.compile(r"[\w-]{1,100}", re.ASCII)
"""Pattern of an endpoint's id, which becomes a part of the request's path."""
_OUTPUT_MARKER = "\nOutput:\n"
"""Text before the answer, where a server's plain text repeats the prompt."""


class _Endpoint(NamedTuple):
    """Resource path and host of one endpoint."""

    path: str
    """Resource path, `projects/…/endpoints/…`."""
    dedicated: str
    """Host name of a dedicated endpoint; empty for a shared one."""


class VertexEndpoint(OpenAICompatible):
    """Endpoints of Vertex AI. A model's name is the endpoint's id, its place `project/location`; calls use the server's
    application-default credentials."""

    default_place = "https://aiplatform.googleapis.com"

    def __init__(self, base_url: str = "") -> None:
        """Create the client; `base_url` replaces the location's own URL."""
        super().__init__()
        self._base_url = base_url
        self._identity = GoogleIdentity()
        self._known: dict[str, _Endpoint] = {}

    def needs_key(self, place: str) -> bool:
        return False

    def body(self, call: Call) -> dict[str, Any]:
        return super().body(call) | {"model": ""}  # the endpoint knows its model

    def stream(self, call: Call) -> Generator[StreamDelta, None, None]:
        with call.connection.open_client() as client:
            endpoint = self._find_endpoint(client, call)
        if endpoint.dedicated:
            yield from super().stream(call)
        else:
            yield from self._predict(call, endpoint)

    def models(self, place: str, secret: SecretStr | None, connection: Connection) -> tuple[HostedModel, ...]:
        """Return the endpoints that have a model."""
        url = f"{self._api_url(place)}/{_parent_path(place)}/endpoints?pageSize=100"
        with connection.open_client() as client:
            data = self._request_json(client, url, "")
        try:
            return tuple(
                HostedModel(f"endpoint:{each['name'].rpartition('/')[2]}@{place}", str(each.get("displayName", "")))
                for each in data.get("endpoints", ())
                if each.get("deployedModels")
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise Failure(NucleusError("provider_malformed", detail=type(error).__name__)) from error

    def _resolve_server(self, client: httpx.Client, call: Call) -> ApiServer:
        endpoint, token = self._find_endpoint(client, call), self._identity.token()
        host = f"{urlsplit(self._api_url(call.target.place)).scheme}://{endpoint.dedicated}"
        return ApiServer(f"{host}/v1/{endpoint.path}/invoke/v1", token)

    def _predict(self, call: Call, endpoint: _Endpoint) -> list[StreamDelta]:
        told = self.body(call)
        instance = {name: value for name, value in told.items() if name not in ("model", "stream", "stream_options")}
        if "messages" in instance:
            instance["@requestFormat"] = "chatCompletions"
        url = f"{self._api_url(call.target.place)}/{endpoint.path}:predict"
        with call.connection.open_client() as client:
            data = self._request_json(
                client, url, call.target.name, {"instances": [instance]}, told.keys() - call.omitted
            )
        found = data.get("predictions")
        answer = found[0] if isinstance(found, list) and found else found
        if isinstance(answer, Mapping):
            return wire.stream_deltas(answer)
        if isinstance(answer, str):
            return [StreamDelta(text=answer.rpartition(_OUTPUT_MARKER)[2], end="end")]
        raise Failure(NucleusError("provider_malformed", detail=type(answer).__name__))

    def _find_endpoint(self, client: httpx.Client, call: Call) -> _Endpoint:
        """Return the endpoint that a model's name stands for. Requested once: an endpoint keeps its address."""
        name, place = call.target.name, call.target.place
        if not _ENDPOINT_ID.fullmatch(name):
            raise Failure(NucleusError("provider_model_unnamed", model=call.target.model_id))
        path = f"{_parent_path(place)}/endpoints/{name}"
        if path not in self._known:
            data = self._request_json(client, f"{self._api_url(place)}/{path}", name)
            dedicated = data.get("dedicatedEndpointDns") if data.get("dedicatedEndpointEnabled") else ""
            self._known[path] = _Endpoint(path, str(dedicated or ""))
        return self._known[path]

    def _api_url(self, place: str) -> str:
        return (self._base_url or location_url(place.partition("/")[2])) + "/v1"

    def _request_json(
        self, client: httpx.Client, url: str, name: str, body: Any = None, sent: Any = frozenset()
    ) -> dict[str, Any]:
        """Return the JSON that Vertex AI answers. Raises `Failure`."""
        token = self._identity.token()
        headers = {"Authorization": f"Bearer {token}"}
        with client.stream("GET" if body is None else "POST", url, json=body, headers=headers) as response:
            if response.status_code >= 300:
                text = read_text(response)
                raise error_mapping.failure_from_response(
                    response.status_code, text, sent, response.headers, name, token
                )
            return read_json(response)


def _parent_path(place: str) -> str:
    if not PROJECT_AND_LOCATION.fullmatch(place):
        raise Failure(NucleusError("provider_place_invalid", place=place))
    project, _, location = place.partition("/")
    return f"projects/{project}/locations/{location}"
