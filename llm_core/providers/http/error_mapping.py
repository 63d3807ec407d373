"""Map a provider's status, error body or exception to a `Failure`. Pure functions.

Details quote what servers say, shortened, and never the key. Nothing here decides to retry; `Failure.retryable` says
where that makes sense.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from llm_core.errors import NucleusError

MAX_BODY_BYTES = 64 * 1024
"""Bytes of an error body that are read."""
_MAX_DETAIL = 300

_RETRYABLE_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_REFUSAL_PATTERN = re.compile(
    r"not (?:be )?(?:supported|enabled|allowed|permitted|available|accepted)|unsupported|does not support|unrecognized|"
    r"unknown|extra_forbidden|extra inputs|deprecated|no longer|cannot be used",
    re.IGNORECASE,
)
"""Words of a message that refuses a field. A value out of range does not count: then the request is wrong, and the user
is told."""
_VALUE_PATTERN = re.compile(
    r"unsupported value(?!.*only the default)|supported values|value between|greedy sampling", re.IGNORECASE
)
_TOO_MANY_LOGPROBS = (
    r"logprobs.*(?:greater|between|range|at most|maximum|exceed|less than)|sample logprobs|top_logprobs"
)
"""Words of a message that asks for fewer log-probabilities; after it fewer are requested, and none only if that fails
too."""
_FIELD_PATTERNS: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = tuple(
    (re.compile(phrase, re.IGNORECASE), fields)
    for phrase, fields in (
        (r"chat template", ("messages",)),
        (r"logprobs? (?:is|are) not|request logprobs", ("logprobs", "response_logprobs")),
        (_TOO_MANY_LOGPROBS, ("top_logprobs", "logprobs", "response_logprobs")),
        (
            r"multiple candidates|candidate_?\s?count|only one (?:candidate|choice|completion)|\bn_cmpl\b|"
            r"['\"`]n['\"`]|\bn\b\s*(?:must|should|has to|cannot|is|isn|>|=|:)",
            ("candidate_count", "n"),
        ),
        (r"penalty is not enabled", ("presence_penalty", "frequency_penalty")),
        (
            r"ending with a model turn|assistant (?:message )?prefill|must end with a user",
            ("continue_final_message", "prefill"),
        ),
        (r"thinking", ("thinking_config", "reasoning_effort")),
        (r"(?:developer|system) (?:instruction|role)|system message", ("system_instruction",)),
    )
)
"""Messages that name a field differently than the request did, with the wire names that they mean."""


def failure_from_response(
    status: int,
    body: str,
    sent: Iterable[str],
    headers: Mapping[str, str] | None = None,
    model: str = "",
    key: str = "",
) -> Failure:
    """Return the failure behind a response other than 2xx. `sent` are the wire names of the request's fields."""
    error = _parse_error_object(body)
    detail = _shorten(_error_message(error, body), key)
    wait = retry_after(error, headers or {})
    refused = refused_fields(detail, error, sent) if status in (400, 403, 422) else ()
    passing = status in _RETRYABLE_STATUSES
    lasting = not _VALUE_PATTERN.search(detail)
    return Failure(_classify_error(status, error, detail, model, wait), passing, wait, refused, lasting)


def error_message_from_body(body: str) -> str:
    """Return the message of an error body, in one line."""
    return _shorten(_error_message(_parse_error_object(body), body), "")


def failure_from_event(error: Mapping[str, Any], key: str = "") -> Failure:
    """Return the failure behind an error in the middle of a stream."""
    return Failure(NucleusError("provider_stream_error", detail=_shorten(_error_message(error, str(error)), key)))


def failure_from_exception(error: Exception, host: str, seconds: float = 0.0) -> Failure:
    """Return the failure behind a client's exception. Exceptions that do not come from the network are raised again."""
    if isinstance(error, NucleusError):
        return Failure(error)
    kind = {each.__name__ for each in type(error).__mro__}  # httpx and httpx2 have the same names
    causes = list(_iterate_causes(error))
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return Failure(NucleusError("provider_certificate", host=host))
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return Failure(NucleusError("provider_unreachable", host=host))
    if kind & {"ConnectError", "ConnectTimeout", "ProxyError"}:
        return Failure(NucleusError("provider_unreachable", host=host), retryable=True)
    if "TimeoutException" in kind:
        return Failure(NucleusError("provider_timeout", seconds=round(seconds)), retryable=True)
    if kind & {"TransportError", "StreamError", "OSError"}:
        return Failure(NucleusError("provider_disconnected"), retryable=True)
    if kind & {"UnknownApiResponseError", "ValueError", "DecodingError"}:
        return Failure(NucleusError("provider_malformed", detail=type(error).__name__))
    raise error


def refused_fields(message: str, error: Mapping[str, Any], sent: Iterable[str]) -> tuple[str, ...]:
    """Return the sent fields that a refusal is about; empty if it is about something else."""
    sent = tuple(sent)
    for phrase, fields in _FIELD_PATTERNS:
        if phrase.search(message) and (found := tuple(name for name in fields if name in sent)):
            return found[:1] if phrase.pattern == _TOO_MANY_LOGPROBS else found
    if not _REFUSAL_PATTERN.search(message):
        return ()
    if (named := error.get("param")) and str(named).split(".")[0] in sent:
        return (str(named).split(".")[0],)
    words = {_to_snake_case(word) for word in re.findall(r"\w+", message)}
    return tuple(name for name in sent if name in words and name not in ("model", "messages", "contents", "stream"))


def retry_after(error: Mapping[str, Any], headers: Mapping[str, str]) -> float | None:
    """Return the seconds that the provider asks to wait, from Google's RetryInfo or a `Retry-After` header in seconds;
    None if neither is there."""
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, Mapping) and str(detail.get("@type", "")).endswith("RetryInfo"):
            found = re.fullmatch(r"(\d+(?:\.\d+)?)s", str(detail.get("retryDelay", "")))
            if found:
                return float(found[1])
    header = headers.get("retry-after", "")
    return float(header) if re.fullmatch(r"\d+(?:\.\d+)?", header) else None


def not_an_api_failure(status: int, body: str) -> Failure:
    """Return the failure for a successful response that is a web page or cannot be read."""
    return Failure(NucleusError("provider_not_api", status=status, detail=_shorten(_strip_tags(body), "")))


def _classify_error(
    status: int, error: Mapping[str, Any], message: str, model: str, wait: float | None
) -> NucleusError:
    code = str(error.get("code", "")) + str(error.get("type", "")) + str(error.get("details", ""))
    if status == 401 or "API_KEY_INVALID" in code or "invalid_api_key" in code:
        return NucleusError("provider_key_refused")
    if re.search(r"context (?:length|size|window)|maximum context|exceeds the maximum number of tokens", message, re.I):
        return NucleusError("provider_prompt_too_long", detail=message)
    if not error and status not in (401, 403, 404, 408, 429):
        return NucleusError("provider_not_api", status=status, detail=message)
    match status:
        case 403:
            return NucleusError("provider_forbidden", detail=message)
        case 404:
            return NucleusError("provider_model_unknown", model=model, detail=message)
        case 408 | 504:
            return NucleusError("provider_busy", status=status, detail=message)
        case 429:
            return NucleusError("provider_quota", detail=message, seconds=round(wait) if wait else 60)
        case _ if status >= 500:
            return NucleusError("provider_busy", status=status, detail=message)
    return NucleusError("provider_request_refused", detail=message)


def _parse_error_object(body: str) -> dict[str, Any]:
    """Return the error object of a JSON body, however it is wrapped; empty for anything else."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if isinstance(data, list) and data:
        data = data[0]
    if not isinstance(data, dict):
        return {}
    error = data.get("error", data)
    return error if isinstance(error, dict) else {"message": str(error)}


def _error_message(error: Mapping[str, Any], body: str) -> str:
    said = error.get("message") or error.get("detail")
    return said if isinstance(said, str) else json.dumps(said) if said else _strip_tags(body)


def _strip_tags(body: str) -> str:
    """Return the beginning of an HTML page without its tags: titles of error pages say most.

    Takes time in proportion to what is read: a tag ends at the next bracket, a style sheet without end at the page's.
    """
    page = body[:MAX_BODY_BYTES]
    return re.sub(r"<(script|style)\b.*?(?:</\1>|\Z)|<[^<>]*>", " ", page, flags=re.DOTALL | re.IGNORECASE)


def _shorten(text: str, key: str) -> str:
    text = " ".join(text.split()).rstrip(".")
    if key:
        text = text.replace(key, "•••")
    text = "".join(character for character in text if character.isprintable())
    return text if len(text) <= _MAX_DETAIL else text[: _MAX_DETAIL - 1] + "…"


def _to_snake_case(word: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", word).lower()


def _iterate_causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@dataclass(eq=False)
class Failure(Exception):
    """Error of a provider in place of tokens."""

    error: NucleusError
    retryable: bool = False
    """Whether the same request may succeed a little later."""
    wait_seconds: float | None = None
    """Seconds that the provider asked to wait."""
    refused: tuple[str, ...] = field(default=())
    """Wire names of the fields at fault, where the message names them."""
    permanent: bool = True
    """Whether the model refuses these fields as such, and not only their value."""

    def __str__(self) -> str:
        return str(self.error)
