"""Call the Gemini Developer API, and the same models on Vertex AI, through `google-genai`.

Every call gets its own client over its own connection, so that it can be cancelled. The SDK then neither retries nor
waits without end, and takes no address or switch from the environment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
from pydantic import SecretStr

from llm_core.errors import NucleusError
from llm_core.providers.google import wire
from llm_core.providers.google.identity import GoogleIdentity
from llm_core.providers.http import error_mapping
from llm_core.providers.http.connection import Connection
from llm_core.providers.http.error_mapping import Failure
from llm_core.providers.provider import Call, HostedModel, StreamDelta

if TYPE_CHECKING:
    from google.genai import Client

_MAX_MODELS = 1000
_MODEL_NAME = re.compile(r"[\w.-]+(/[\w.-]+)*", re.ASCII)
"""Pattern of a model's name, which becomes a part of the request's path."""
PROJECT_AND_LOCATION = re.compile(r"[a-z0-9][a-z0-9.:-]*/[a-z0-9-]+")


class Gemini:
    """Gemini Developer API, which needs a key. A place is the base URL of a gateway."""

    settings = wire.SETTINGS
    order: str | None = "gemini"
    default_place = "https://generativelanguage.googleapis.com"
    scheme = "gemini"

    def needs_key(self, place: str) -> bool:
        return not place

    def body(self, call: Call) -> dict[str, Any]:
        return {"model": call.target.name, "contents": wire.contents(call), "config": wire.config(call)}

    def stream(self, call: Call) -> Generator[StreamDelta, None, None]:
        begun = False
        _check_model_name(call)
        with (
            self._client(call.target.place, call.secret, call.connection) as client,
            _raise_sdk_errors_as_failures(call, lambda: begun),
        ):
            responses = client.models.generate_content_stream(
                model=call.target.name,
                contents=wire.contents(call),  # type: ignore[arg-type]
                config=wire.config(call),  # type: ignore[arg-type]
            )
            for response in responses:
                begun = True
                yield from wire.stream_deltas(response.model_dump(mode="json", exclude_none=True))

    def models(self, place: str, secret: SecretStr | None, connection: Connection) -> tuple[HostedModel, ...]:
        found = []
        with self._client(place, secret, connection) as client, _raise_sdk_errors_as_failures():
            for each in client.models.list(config={"page_size": 200}):
                model = wire.hosted_model(each.model_dump(mode="json", exclude_none=True), self.scheme, place)
                found += [model] if model else []
                if len(found) >= _MAX_MODELS:
                    break
        return tuple(found)

    def count_tokens(self, call: Call) -> int | None:
        """Return the number of tokens of the prompt, system text included: it is sent as its own turn, since this API
        counts no other."""
        _check_model_name(call)
        turns = wire.contents(call)
        if system := wire.config(call).get("system_instruction"):
            turns.insert(0, {"role": "user", "parts": [{"text": system}]})
        with (
            self._client(call.target.place, call.secret, call.connection) as client,
            _raise_sdk_errors_as_failures(call),
        ):
            return client.models.count_tokens(model=call.target.name, contents=turns).total_tokens  # type: ignore[arg-type]

    @contextmanager
    def _client(self, place: str, secret: SecretStr | None, connection: Connection) -> Iterator[Client]:
        from google import genai

        key = secret.get_secret_value() if secret else "none"  # a gateway may need none, but the SDK does
        with open_http_client(connection) as http:
            options = http_options(http, place or self.default_place, "v1beta", connection)
            yield genai.Client(vertexai=False, api_key=key, http_options=options)


class Vertex(Gemini):
    """Gemini on Vertex AI. A place is `project/location` and uses the server's application-default credentials; without
    one, a key selects express mode."""

    default_place = "https://aiplatform.googleapis.com"
    scheme = "vertex"

    def __init__(self, base_url: str = "") -> None:
        """Create the client; `base_url` replaces the location's own URL."""
        self._base_url = base_url
        self._identity = GoogleIdentity()

    @contextmanager
    def _client(self, place: str, secret: SecretStr | None, connection: Connection) -> Iterator[Client]:
        from google import genai

        if place and not PROJECT_AND_LOCATION.fullmatch(place):
            raise Failure(NucleusError("provider_place_invalid", place=place))
        project, _, location = place.partition("/")
        with open_http_client(connection) as http:
            options = http_options(http, self._base_url or location_url(location), "v1beta1", connection)
            if place:
                yield genai.Client(
                    vertexai=True,
                    project=project,
                    location=location,
                    credentials=self._identity.credentials(),
                    http_options=options,
                )
            else:
                key = secret.get_secret_value() if secret else ""
                yield genai.Client(vertexai=True, api_key=key, http_options=options)


class SeparatorEscapingStream(httpx.SyncByteStream):
    """JSON byte stream with U+2028, U+2029 and U+0085 escaped, because the SDK takes them for line ends."""

    _ESCAPES = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))
    _HALVES = (b"\xe2\x80", b"\xe2", b"\xc2")

    def __init__(self, body: httpx.SyncByteStream) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        held = b""
        for piece in self._body:
            held += piece
            for raw, escape in self._ESCAPES:
                held = held.replace(raw, escape)
            split = next((len(half) for half in self._HALVES if held.endswith(half)), 0)
            yield held[: len(held) - split]
            held = held[len(held) - split :]
        yield held

    def close(self) -> None:
        self._body.close()


def _check_model_name(call: Call) -> None:
    if not _MODEL_NAME.fullmatch(call.target.name) or ".." in call.target.name:
        raise Failure(NucleusError("provider_model_unnamed", model=call.target.model_id))


def location_url(location: str) -> str:
    """Return the base URL of Vertex AI for a location; an empty location is express mode."""
    if location in ("us", "eu"):
        return f"https://aiplatform.{location}.rep.googleapis.com"
    regional = f"{location}-" if location not in ("", "global") else ""
    return f"https://{regional}aiplatform.googleapis.com"


@contextmanager
def open_http_client(connection: Connection) -> Iterator[httpx.Client]:
    """Open the connection's HTTP client with the hooks that the SDK needs."""
    with connection.open_client() as http:
        http.event_hooks["request"].append(_disable_compression)
        http.event_hooks["response"].append(_escape_separators)
        yield http


def _disable_compression(request: httpx.Request) -> None:
    request.headers["accept-encoding"] = "identity"


def _escape_separators(response: httpx.Response) -> None:
    assert isinstance(response.stream, httpx.SyncByteStream)
    response.stream = SeparatorEscapingStream(response.stream)


def http_options(http: httpx.Client, base_url: str, version: str, connection: Connection) -> Any:
    """Return the SDK's `HttpOptions` with a timeout and without anything from the environment."""
    from google.genai import types

    milliseconds = int(connection.read_timeout * 1000)
    return types.HttpOptions(base_url=base_url, api_version=version, timeout=milliseconds, httpx_client=http)


@contextmanager
def _raise_sdk_errors_as_failures(call: Call | None = None, begun: Any = lambda: False) -> Iterator[None]:
    """Raise the SDK's errors as `Failure`. `begun` returns whether a part of the stream has arrived."""
    from google.auth.exceptions import GoogleAuthError, TransportError
    from google.genai import errors

    try:
        yield
    except errors.APIError as error:
        body = error.details if isinstance(error.details, (dict, list)) else {}
        key = call.secret.get_secret_value() if call and call.secret else ""
        if begun():
            raise error_mapping.failure_from_event(error_object(body), key) from None
        text = json.dumps(body) if error_object(body) else str(error.message)
        headers = getattr(error.response, "headers", None) or {}
        name = call.target.name if call else ""
        sent: Iterable[str] = wire.call_fields(call) if call else ()
        raise error_mapping.failure_from_response(error.code or 0, text, sent, headers, name, key) from None
    except TransportError as error:
        raise Failure(NucleusError("provider_unreachable", host="oauth2.googleapis.com"), retryable=True) from error
    except GoogleAuthError:
        raise Failure(NucleusError("provider_credentials_missing")) from None


def error_object(body: Any) -> dict[str, Any]:
    """Return the error object of a response that the SDK parsed; empty if it was not the API's JSON."""
    found = body.get("error", {}) if isinstance(body, dict) else {}
    return found if isinstance(found, dict) else {}
