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
from typing import Any

from llm_core.errors import NucleusError
from llm_core.providers.provider import Failure

MAX_BODY = 64 * 1024
"""Bytes of an error body that are read."""
_MAX_DETAIL = 300

_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_REFUSALS = re.compile(
    r"not (?:be )?(?:supported|enabled|allowed|permitted|available|accepted)|unsupported|does not support|unrecognized|"
    r"unknown|extra_forbidden|extra inputs|deprecated|no longer|cannot be used",
    re.IGNORECASE,
)
"""Words of a message that refuses a field. A value out of range does not count: then the request is wrong, and the user
is told."""
_OF_A_VALUE = re.compile(
    r"unsupported value(?!.*only the default)|supported values|value between|greedy sampling", re.IGNORECASE
)
_TOO_MANY_LOGPROBS = (
    r"logprobs.*(?:greater|between|range|at most|maximum|exceed|less than)|sample logprobs|top_logprobs"
)
"""Words of a message that asks for fewer log-probabilities; after it fewer are requested, and none only if that fails
too."""
_PHRASES: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = tuple(
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


def from_response(
    status: int,
    body: str,
    sent: Iterable[str],
    headers: Mapping[str, str] | None = None,
    model: str = "",
    key: str = "",
) -> Failure:
    """Return the failure behind a response other than 2xx. `sent` are the wire names of the request's fields."""
    error = _error_of(body)
    detail = _shortened(_message(error, body), key)
    wait = retry_after(error, headers or {})
    refused = refused_fields(detail, error, sent) if status in (400, 403, 422) else ()
    passing = status in _PASSING
    lasting = not _OF_A_VALUE.search(detail)
    return Failure(_explained(status, error, detail, model, wait), passing, wait, refused, lasting)


def said(body: str) -> str:
    """Return the message of an error body, in one line."""
    return _shortened(_message(_error_of(body), body), "")


def from_event(error: Mapping[str, Any], key: str = "") -> Failure:
    """Return the failure behind an error in the middle of a stream."""
    return Failure(NucleusError("provider_stream_error", detail=_shortened(_message(error, str(error)), key)))


def from_exception(error: Exception, host: str, seconds: float = 0.0) -> Failure:
    """Return the failure behind a client's exception. Exceptions that do not come from the network are raised again."""
    if isinstance(error, NucleusError):
        return Failure(error)
    kind = {each.__name__ for each in type(error).__mro__}  # httpx and httpx2 have the same names
    causes = list(_causes(error))
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return Failure(NucleusError("provider_certificate", host=host))
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return Failure(NucleusError("provider_unreachable", host=host))
    if kind & {"ConnectError", "ConnectTimeout", "ProxyError"}:
        return Failure(NucleusError("provider_unreachable", host=host), passing=True)
    if "TimeoutException" in kind:
        return Failure(NucleusError("provider_timeout", seconds=round(seconds)), passing=True)
    if kind & {"TransportError", "StreamError", "OSError"}:
        return Failure(NucleusError("provider_disconnected"), passing=True)
    if kind & {"UnknownApiResponseError", "ValueError", "DecodingError"}:
        return Failure(NucleusError("provider_malformed", detail=type(error).__name__))
    raise error


def refused_fields(said: str, error: Mapping[str, Any], sent: Iterable[str]) -> tuple[str, ...]:
    """Return the sent fields that a refusal is about; empty if it is about something else."""
    sent = tuple(sent)
    for phrase, fields in _PHRASES:
        if phrase.search(said) and (found := tuple(name for name in fields if name in sent)):
            return found[:1] if phrase.pattern == _TOO_MANY_LOGPROBS else found
    if not _REFUSALS.search(said):
        return ()
    if (named := error.get("param")) and str(named).split(".")[0] in sent:
        return (str(named).split(".")[0],)
    words = {_snake(word) for word in re.findall(r"\w+", said)}
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


def not_an_api(status: int, body: str) -> Failure:
    """Return the failure for a successful response that is a web page or cannot be read."""
    return Failure(NucleusError("provider_not_api", status=status, detail=_shortened(_stripped(body), "")))


def _explained(status: int, error: Mapping[str, Any], said: str, model: str, wait: float | None) -> NucleusError:
    code = str(error.get("code", "")) + str(error.get("type", "")) + str(error.get("details", ""))
    if status == 401 or "API_KEY_INVALID" in code or "invalid_api_key" in code:
        return NucleusError("provider_key_refused")
    if re.search(r"context (?:length|size|window)|maximum context|exceeds the maximum number of tokens", said, re.I):
        return NucleusError("provider_prompt_too_long", detail=said)
    if not error and status not in (401, 403, 404, 408, 429):
        return NucleusError("provider_not_api", status=status, detail=said)
    match status:
        case 403:
            return NucleusError("provider_forbidden", detail=said)
        case 404:
            return NucleusError("provider_model_unknown", model=model, detail=said)
        case 408 | 504:
            return NucleusError("provider_busy", status=status, detail=said)
        case 429:
            return NucleusError("provider_quota", detail=said, seconds=round(wait) if wait else 60)
        case _ if status >= 500:
            return NucleusError("provider_busy", status=status, detail=said)
    return NucleusError("provider_request_refused", detail=said)


def _error_of(body: str) -> dict[str, Any]:
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


def _message(error: Mapping[str, Any], body: str) -> str:
    said = error.get("message") or error.get("detail")
    return said if isinstance(said, str) else json.dumps(said) if said else _stripped(body)


def _stripped(body: str) -> str:
    """Return an HTML page without its tags: titles of error pages say most."""
    return re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", body, flags=re.DOTALL | re.IGNORECASE)


def _shortened(text: str, key: str) -> str:
    text = " ".join(text.split()).rstrip(".")
    if key:
        text = text.replace(key, "•••")
    text = "".join(character for character in text if character.isprintable())
    return text if len(text) <= _MAX_DETAIL else text[: _MAX_DETAIL - 1] + "…"


def _snake(word: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", word).lower()


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
