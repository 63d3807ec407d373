"""OpenAI and the servers that speak its language: vLLM, SGLang, llama.cpp, Ollama, gateways.

The client is httpx, not the `openai` package: half of what is sent and read here is other servers' own (`top_k`,
`samplers`, token ids), a request must be cut from another thread, and the package would take keys and addresses out of
the environment by itself. httpx comes with google-genai.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from typing import Any

import httpx
from pydantic import SecretStr

from llm_core.errors import NucleusError
from llm_core.providers import failures, openai_wire
from llm_core.providers.base import Call, Chunk, Failure, HostedModel
from llm_core.providers.network import Line
from llm_core.providers.sse import LARGEST, events
from llm_core.providers.token_texts import TokenTexts

OWN_PLACE = "https://api.openai.com/v1"


class OpenAICompatible:
    """One instance serves every address."""

    settings = openai_wire.SETTINGS
    order: str | None = None
    own_place = OWN_PLACE

    def __init__(self) -> None:
        self._texts = TokenTexts()

    def needs_key(self, place: str) -> bool:
        return not place

    def body(self, call: Call) -> dict[str, Any]:
        return openai_wire.body(call)

    def stream(self, call: Call) -> Generator[Chunk, None, None]:
        body = openai_wire.body(call)
        url = f"{_base(call.target.place)}/{openai_wire.path(call.without)}"
        key = call.secret.get_secret_value() if call.secret else ""
        with (
            call.line.client() as client,
            client.stream("POST", url, json=body, headers=_headers(key)) as response,
        ):
            if response.status_code >= 300:
                sent = body.keys() - call.without
                raise failures.from_response(
                    response.status_code, _some(response), sent, response.headers, call.target.name, key
                )
            if "text/event-stream" in response.headers.get("content-type", ""):
                chunks = _streamed(response, key)
                if "return_tokens_as_token_ids" in body:
                    base, name = _base(call.target.place), call.target.name
                    reader = self._texts.reader(client, base, name, _headers(key))
                    chunks = (chunk._replace(labels=reader.texts(chunk.steps)) for chunk in chunks)
                yield from chunks
            else:
                yield openai_wire.chunk(_whole(response), key)

    def models(self, place: str, secret: SecretStr | None, line: Line) -> tuple[HostedModel, ...]:
        key = secret.get_secret_value() if secret else ""
        with line.client() as client, client.stream("GET", f"{_base(place)}/models", headers=_headers(key)) as response:
            if response.status_code >= 300:
                raise failures.from_response(response.status_code, _some(response), (), response.headers, key=key)
            try:
                return openai_wire.models(_whole(response), "openai", place)
            except (KeyError, TypeError, AttributeError) as error:
                raise Failure(NucleusError("provider_malformed", detail=type(error).__name__)) from error

    def count_tokens(self, call: Call) -> int | None:
        """Not before a run: there is no common way to ask."""
        return None


def _base(place: str) -> str:
    """Where the API begins: under `/v1`, unless a path is given."""
    place = place or OWN_PLACE
    return place if httpx.URL(place).path not in ("", "/") else f"{place}/v1"


def _headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def _streamed(response: httpx.Response, key: str) -> Iterator[Chunk]:
    for data in events(response.iter_bytes()):
        if data.strip() == "[DONE]":
            return
        yield openai_wire.chunk(_object(data), key)


def _object(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Failure(NucleusError("provider_malformed", detail=str(error)[:80])) from error
    if not isinstance(data, dict):
        raise Failure(NucleusError("provider_malformed", detail=type(data).__name__))
    return data


def _whole(response: httpx.Response) -> dict[str, Any]:
    """A body of JSON. Raises `Failure` for a web page and the like."""
    text = _some(response, LARGEST)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise failures.not_an_api(response.status_code, text)
    return data


def _some(response: httpx.Response, limit: int = failures.MAX_BODY) -> str:
    """The body, as far as the limit."""
    read = bytearray()
    for piece in response.iter_bytes():
        read += piece
        if len(read) >= limit:
            break
    return bytes(read[:limit]).decode(errors="replace")
