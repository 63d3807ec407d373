"""Call OpenAI and the servers that speak its protocol: vLLM, SGLang, llama.cpp, Ollama, gateways.

The client is httpx and not the `openai` package: half of what is sent and read here is specific to other servers
(`top_k`, `samplers`, token ids), a request must be cancelled from another thread, and the package would take keys and
addresses from the environment by itself. httpx comes with google-genai.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

import httpx
from pydantic import SecretStr

from llm_core.errors import NucleusError
from llm_core.providers.http import error_mapping
from llm_core.providers.http.connection import Connection
from llm_core.providers.http.error_mapping import Failure
from llm_core.providers.http.sse import MAX_EVENT_SIZE, parse_events
from llm_core.providers.openai import wire
from llm_core.providers.openai.token_lookup import TokenTextCache
from llm_core.providers.provider import Call, HostedModel, StreamDelta

DEFAULT_PLACE = "https://api.openai.com/v1"


class ApiServer(NamedTuple):
    """Base URL of a server's API, and the key for it."""

    base_url: str
    """URL under which the API begins."""
    key: str

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers that carry the key."""
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}


class OpenAICompatible:
    """Provider for every OpenAI-compatible server; one instance serves all addresses."""

    settings = wire.SETTINGS
    order: str | None = None
    default_place = DEFAULT_PLACE

    def __init__(self) -> None:
        self._token_texts = TokenTextCache()

    def needs_key(self, place: str) -> bool:
        return not place

    def body(self, call: Call) -> dict[str, Any]:
        return wire.request_body(call)

    def stream(self, call: Call) -> Generator[StreamDelta, None, None]:
        body, name = self.body(call), call.target.name
        with call.connection.open_client() as client:
            way = self._resolve_server(client, call)
            url = f"{way.base_url}/{wire.endpoint_path(call.omitted)}"
            with client.stream("POST", url, json=body, headers=way.headers) as response:
                if response.status_code >= 300:
                    sent, text = body.keys() - call.omitted, read_text(response)
                    raise error_mapping.failure_from_response(
                        response.status_code, text, sent, response.headers, name, way.key
                    )
                if "text/event-stream" in response.headers.get("content-type", ""):
                    with call.connection.open_client(
                        max_keepalive=1
                    ) as other:  # many small requests beside the long one
                        reader = self._token_texts.make_reader(other, way.base_url, body["model"], way.headers)
                        for chunk in _parse_stream(response, way.key):
                            yield chunk._replace(labels=reader.look_up(chunk.steps))
                else:
                    yield from wire.stream_deltas(read_json(response), way.key)

    def _resolve_server(self, client: httpx.Client, call: Call) -> ApiServer:
        return _resolve_server(call.target.place, call.secret)

    def models(self, place: str, secret: SecretStr | None, connection: Connection) -> tuple[HostedModel, ...]:
        way = _resolve_server(place, secret)
        with (
            connection.open_client() as client,
            client.stream("GET", f"{way.base_url}/models", headers=way.headers) as response,
        ):
            if response.status_code >= 300:
                text = read_text(response)
                raise error_mapping.failure_from_response(response.status_code, text, (), response.headers, key=way.key)
            try:
                return wire.hosted_models(read_json(response), "openai", place)
            except (KeyError, TypeError, AttributeError) as error:
                raise Failure(NucleusError("provider_malformed", detail=type(error).__name__)) from error

    def count_tokens(self, call: Call) -> int | None:
        """Return None: these servers have no common way to count tokens before a run."""
        return None


def _resolve_server(place: str, secret: SecretStr | None) -> ApiServer:
    """Return the server of a place. Its API is under `/v1`, unless the place has a path."""
    place = place or DEFAULT_PLACE
    base = place if httpx.URL(place).path not in ("", "/") else f"{place}/v1"
    return ApiServer(base, secret.get_secret_value() if secret else "")


def _parse_stream(response: httpx.Response, key: str) -> Iterator[StreamDelta]:
    for data in parse_events(response.iter_bytes()):
        if data.strip() == "[DONE]":
            return
        yield from wire.stream_deltas(_parse_object(data), key)


def _parse_object(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Failure(NucleusError("provider_malformed", detail=str(error)[:80])) from error
    if not isinstance(data, dict):
        raise Failure(NucleusError("provider_malformed", detail=type(data).__name__))
    return data


def read_json(response: httpx.Response) -> dict[str, Any]:
    """Return the JSON object of a response. Raises `Failure` for a web page and the like."""
    text = read_text(response, MAX_EVENT_SIZE)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise error_mapping.not_an_api_failure(response.status_code, text)
    return data


def read_text(response: httpx.Response, limit: int = error_mapping.MAX_BODY_BYTES) -> str:
    """Return the response's text, up to `limit` bytes."""
    read = bytearray()
    for piece in response.iter_bytes():
        read += piece
        if len(read) >= limit:
            break
    return bytes(read[:limit]).decode(errors="replace")
