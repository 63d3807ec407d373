"""Open a client for Vertex AI's own services for one task, through `agentplatform.Client` of `google-cloud-aiplatform`.

It sends over a `Connection` like every other request: with a timeout, cancellable from any thread, and to no address
that this installation may not call. The package loads in seconds, so only when it is needed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from llm_core.errors import NucleusError
from llm_core.providers.google.client import (
    PROJECT_AND_LOCATION,
    error_object,
    http_options,
    location_url,
    open_http_client,
)
from llm_core.providers.google.identity import GoogleIdentity
from llm_core.providers.http import error_mapping
from llm_core.providers.http.connection import Connection
from llm_core.providers.http.error_mapping import Failure

if TYPE_CHECKING:
    from agentplatform import Client


@contextmanager
def open_vertex_client(
    place: str, identity: GoogleIdentity, connection: Connection, base_url: str = ""
) -> Iterator[Client]:
    """Open a client for `project/location` with application-default credentials. Raises `NucleusError` for what fails
    inside; if the connection was cancelled, the original exception is raised."""
    if not PROJECT_AND_LOCATION.fullmatch(place):
        raise NucleusError("provider_place_invalid", place=place)
    project, _, location = place.partition("/")
    url = base_url or location_url(location)
    try:
        import agentplatform

        with open_http_client(connection) as http:
            yield agentplatform.Client(
                project=project,
                location=location,
                credentials=identity.credentials(),
                http_options=http_options(http, url, "v1beta1", connection),
            )
    except NucleusError:
        raise
    except Exception as error:
        if connection.is_cancelled:
            raise
        raise error_from_exception(error, urlsplit(url).hostname or "", connection.read_timeout) from None


def error_from_exception(error: Exception, host: str, seconds: float) -> NucleusError:
    """Return the error behind an exception of the SDK or the network. Other exceptions are raised again."""
    from google.auth.exceptions import GoogleAuthError, TransportError
    from google.genai.errors import APIError

    if isinstance(error, Failure):
        return error.error
    if isinstance(error, APIError):
        body: Any = error.details if isinstance(error.details, (dict, list)) else {}
        text = json.dumps(body) if error_object(body) else str(error.message)
        headers = getattr(error.response, "headers", None) or {}
        if error.code == 404:
            return NucleusError("vertex_not_found", detail=error_mapping.error_message_from_body(text))
        return error_mapping.failure_from_response(error.code or 0, text, (), headers).error
    if isinstance(error, TransportError):
        return NucleusError("provider_unreachable", host="oauth2.googleapis.com")
    if isinstance(error, GoogleAuthError):
        return NucleusError("provider_credentials_missing")
    if isinstance(error, TimeoutError):  # an operation that did not end
        return NucleusError("provider_timeout", seconds=round(seconds))
    if isinstance(error, (AttributeError, LookupError, TypeError)):  # the SDK failed to read a malformed answer
        return NucleusError("provider_malformed", detail=type(error).__name__)
    return error_mapping.failure_from_exception(error, host, seconds).error
