"""Convert a request to what `google-genai` takes, and its responses to stream deltas. Pure functions over dictionaries.

Gemini's own defaults differ from model to model (top_p 0.95, top_k 64), so temperature and top_p are always sent; newer
models refuse them, and are then called without. top_k has no neutral value. Many models refuse several candidates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llm_core.errors import NucleusError
from llm_core.generation.record import FinishReason, Usage
from llm_core.prompts.spec import Message
from llm_core.providers.provider import (
    CONTINUE_PROMPT,
    REDUCED_TOP_LOGPROBS,
    Call,
    HostedModel,
    StreamDelta,
    TokenLogprob,
    TokenLogprobs,
)

SETTINGS: dict[str, tuple[str, ...]] = {
    **{name: (name,) for name in ("temperature", "top_p", "top_k", "seed")},
    **{name: (name,) for name in ("presence_penalty", "frequency_penalty", "stop_sequences", "candidate_count")},
    "logprobs": ("response_logprobs",),
    "prefill": ("prefill",),
    "json_output": ("response_json_schema",),
    "choice_output": ("response_schema",),
    "thinking": ("thinking_config",),
    "safety": ("safety_settings",),
    "images": ("inline_data",),
}

_SEED_RANGE = 2**31
_MAX_STOP_SEQUENCES = 5
"""Stop sequences that Gemini accepts; the answer is watched for all requested ones."""
_BLOCKED_REASONS = frozenset(
    {"SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "MODEL_ARMOR"}
)


def contents(call: Call) -> list[dict[str, Any]]:
    """Return the turns of the chat. A system text that the model refuses is put before the first turn's text."""
    messages = call.prompt.messages()
    turns = [_turn(message) for message in messages if message.role != "system"]
    if messages[0].role == "system" and "system_instruction" in call.omitted:
        turns[0]["parts"].insert(0, {"text": messages[0].content})
    if "inline_data" not in call.omitted:
        images = [{"inline_data": {"mime_type": each.media_type, "data": each.data}} for each in call.options.images]
        turns[-1]["parts"] += images
    if call.prompt.prefill:
        turns.append({"role": "model", "parts": [{"text": call.prompt.prefill}]})
        if "prefill" in call.omitted:
            turns.append({"role": "user", "parts": [{"text": CONTINUE_PROMPT}]})
    return turns


def config(call: Call) -> dict[str, Any]:
    """Return the fields of `GenerateContentConfig`."""
    row, options, sampler = call.row, call.options, call.row.sampler
    sent: dict[str, Any] = {
        "temperature": sampler.temperature,
        "top_p": sampler.top_p,
        "seed": sampler.seed % _SEED_RANGE,
        "max_output_tokens": row.max_output_tokens,
        "automatic_continuation": False,
    }
    first = call.prompt.messages()[0]
    if first.role == "system":
        sent["system_instruction"] = first.content
    for field in ("top_k", "presence_penalty", "frequency_penalty"):
        if sampler.uses(field):
            sent[field] = getattr(sampler, field)
    if call.candidates > 1:
        sent["candidate_count"] = call.candidates
    if row.stop_sequences:
        sent["stop_sequences"] = list(row.stop_sequences[:_MAX_STOP_SEQUENCES])
    if options.safety:
        sent["safety_settings"] = [
            {"category": f"HARM_CATEGORY_{category}", "threshold": threshold} for category, threshold in options.safety
        ]
    if thinking := _thinking_config(call):
        sent["thinking_config"] = thinking
    sent |= _output_fields(call)
    return {name: value for name, value in sent.items() if name not in call.omitted} | _logprob_fields(call)


def call_fields(call: Call) -> set[str]:
    """Return the wire names of what this request has, so that a refusal can be matched to them."""
    names = set(config(call))
    names |= {"prefill"} if call.prompt.prefill else set()
    names |= {"inline_data"} if call.options.images else set()
    return names - call.omitted


def stream_deltas(data: Mapping[str, Any]) -> Iterator[StreamDelta]:
    """Yield the deltas of one SDK response given as a dictionary: one for each of its candidates."""
    usage = _usage(data.get("usage_metadata"))
    blocked = (data.get("prompt_feedback") or {}).get("block_reason")
    if blocked:
        yield StreamDelta(end=NucleusError("provider_prompt_blocked", reason=str(blocked)), usage=usage, candidate=None)
        return
    if usage:  # before the text, since the reader may stop after it
        yield StreamDelta(usage=usage, candidate=None)
    for candidate in data.get("candidates") or ():
        yield _candidate_delta(candidate)


def _candidate_delta(candidate: Mapping[str, Any]) -> StreamDelta:
    parts = (candidate.get("content") or {}).get("parts") or ()
    return StreamDelta(
        text="".join(part.get("text") or "" for part in parts if not part.get("thought")),
        thought="".join(part.get("text") or "" for part in parts if part.get("thought")),
        steps=_token_logprobs(candidate.get("logprobs_result")),
        end=_finish_reason(candidate.get("finish_reason")),
        candidate=candidate.get("index") or 0,
    )


def hosted_model(data: Mapping[str, Any], scheme: str, place: str) -> HostedModel | None:
    """Return one entry of the listing; None for a model that does not write text."""
    actions = data.get("supported_actions")
    if actions and "generateContent" not in actions:
        return None
    name = str(data.get("name", "")).rpartition("models/")[2]
    suffix = f"@{place}" if place else ""
    return HostedModel(f"{scheme}:{name}{suffix}", name, data.get("input_token_limit"), data.get("output_token_limit"))


def _turn(message: Message) -> dict[str, Any]:
    role = "model" if message.role == "assistant" else "user"
    return {"role": role, "parts": [{"text": message.content}]}


def _logprob_fields(call: Call) -> dict[str, Any]:
    count = call.options.top_logprobs
    if not count or "response_logprobs" in call.omitted:
        return {}
    return {
        "response_logprobs": True,
        "logprobs": min(count, REDUCED_TOP_LOGPROBS) if "logprobs" in call.omitted else count,
    }


def _thinking_config(call: Call) -> dict[str, Any]:
    level = call.options.thinking
    sent: dict[str, Any] = {}
    if level == "off":
        sent = {"thinking_budget": 0}
    elif isinstance(level, int):
        sent = {"thinking_budget": level}
    elif level != "default":
        sent = {"thinking_level": level.upper()}
    return sent | ({"include_thoughts": True} if call.options.show_thoughts else {})


def _output_fields(call: Call) -> dict[str, Any]:
    output = call.prompt.output
    if output.kind == "json":
        return {"response_mime_type": "application/json", "response_json_schema": output.parse_schema()}
    if output.kind == "choice":
        schema = {"type": "STRING", "enum": list(output.choices)}
        return {"response_mime_type": "text/x.enum", "response_schema": schema}
    return {}


def _token_logprobs(result: Mapping[str, Any] | None) -> tuple[TokenLogprobs, ...]:
    if not result or not result.get("chosen_candidates"):
        return ()
    chosen: Sequence[Any] = result["chosen_candidates"]
    tops: Sequence[Any] = result.get("top_candidates") or [{}] * len(chosen)
    return tuple(
        TokenLogprobs(_token_logprob(each), tuple(_token_logprob(other) for other in top.get("candidates") or ()))
        for each, top in zip(chosen, tops, strict=False)
    )


def _token_logprob(entry: Mapping[str, Any]) -> TokenLogprob:
    return TokenLogprob(entry.get("token") or "", float(entry.get("log_probability") or 0.0), entry.get("token_id"))


def _finish_reason(reason: str | None) -> FinishReason | NucleusError | None:
    if reason is None or reason == "FINISH_REASON_UNSPECIFIED":
        return None
    if reason == "STOP":
        return "end"
    if reason == "MAX_TOKENS":
        return "length"
    if reason in _BLOCKED_REASONS:
        return NucleusError("provider_answer_blocked", reason=reason)
    return NucleusError("provider_finish_unknown", reason=reason[:80])


def _usage(counted: Mapping[str, Any] | None) -> Usage | None:
    if not counted:
        return None
    names = ("prompt", "candidates", "thoughts", "cached_content")
    return Usage(*(counted.get(f"{name}_token_count") or 0 for name in names))
