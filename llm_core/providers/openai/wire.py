"""Convert a request to an OpenAI-compatible one, and its responses to stream deltas. Pure functions, no network.

Three dialects share the form. OpenAI refuses fields that it does not know; vLLM, SGLang, llama.cpp and Ollama ignore
them silently. So a refused field is not sent any more (`omitted`), and an ignored one shows in the drawn tokens only
(`capabilities`). llama.cpp has its own defaults (top_k 40, top_p 0.95, min_p 0.05, its order of stages), so neutral
values are always sent. Log-probabilities are raw on all of them.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

from llm_core.errors import NucleusError
from llm_core.generation.record import FinishReason, Usage
from llm_core.prompts.spec import SEPARATOR, Message
from llm_core.providers.http import error_mapping
from llm_core.providers.http.error_mapping import Failure
from llm_core.providers.provider import (
    CONTINUE_PROMPT,
    REDUCED_TOP_LOGPROBS,
    Call,
    HostedModel,
    StreamDelta,
    TokenLogprob,
    TokenLogprobs,
)
from samplers import ORDERS, SamplerConfig

SETTINGS: dict[str, tuple[str, ...]] = {
    **{name: (name,) for name in ("temperature", "top_k", "top_p", "min_p", "typical_p", "top_n_sigma", "seed")},
    **{name: (name,) for name in ("presence_penalty", "frequency_penalty", "logit_bias")},
    "repetition_penalty": ("repetition_penalty", "repeat_penalty"),
    "xtc_probability": ("xtc_probability",),
    "dry_multiplier": ("dry_multiplier",),
    "mirostat_tau": ("mirostat",),
    "banned_tokens": ("logit_bias",),
    "min_new_tokens": ("min_tokens",),
    "stop_sequences": ("stop",),
    "candidate_count": ("n",),
    "logprobs": ("logprobs",),
    "prefill": ("continue_final_message",),
    "json_output": ("response_format",),
    "choice_output": ("structured_outputs", "grammar"),
    "thinking": ("reasoning_effort", "chat_template_kwargs"),
    "images": ("image_url",),
}

_LLAMA_CPP_STAGES = {
    "repetition_penalty": "penalties",
    "dry": "dry",
    "top_n_sigma": "top_n_sigma",
    "top_k": "top_k",
    "typical_p": "typ_p",
    "top_p": "top_p",
    "min_p": "min_p",
    "xtc": "xtc",
    "temperature": "temperature",
}
_SEED_RANGE = 2**31
"""Upper bound of a seed. Servers differ in how large a seed may be; llama.cpp takes 2**32 - 1 for none."""
_TOKEN_ID = re.compile(r"token_id:(\d+)")
_TOKENS_AS_IDS = "return_tokens_as_token_ids"


def endpoint_path(omitted: frozenset[str]) -> str:
    """Return the endpoint's path: chat, or plain completions for a model that has no chat template."""
    return "completions" if "messages" in omitted else "chat/completions"


def request_body(call: Call) -> dict[str, Any]:
    """Return the JSON body of the request."""
    prompt, row, without = call.prompt, call.row, call.omitted
    sent: dict[str, Any] = {"model": call.target.name, "stream": True, "stream_options": {"include_usage": True}}
    if "messages" in without:
        pieces = [piece.text for message in prompt.messages(examples_as="text") for piece in message.pieces]
        sent["prompt"] = SEPARATOR.join(pieces) + (f" {prompt.prefill}" if prompt.prefill else "")
    else:
        sent["messages"] = [_wire_message(message) for message in prompt.messages()]
        if call.options.images and "image_url" not in without:
            sent["messages"][-1]["content"] = _content_with_images(call, sent["messages"][-1]["content"])
        if prompt.prefill:
            sent["messages"].append({"role": "assistant", "content": prompt.prefill})
            if "continue_final_message" in without:
                sent["messages"].append({"role": "user", "content": CONTINUE_PROMPT})
            else:
                sent |= {"continue_final_message": True, "add_generation_prompt": False}
    sent["max_completion_tokens" if "max_tokens" in without else "max_tokens"] = row.max_output_tokens
    sent |= _sampling_fields(row.sampler)
    if call.candidates > 1:
        sent["n"] = call.candidates
    if row.stop_sequences:
        sent["stop"] = list(row.stop_sequences)
    sent |= _output_fields(call)
    sent |= _thinking_fields(call)
    return {name: value for name, value in sent.items() if name not in without} | _logprob_fields(call)


def stream_deltas(data: Mapping[str, Any], key: str = "") -> list[StreamDelta]:
    """Return the deltas of one event, or of the whole response of a server that does not stream: one for each
    candidate.

    Raises `Failure` for an error in it.
    """
    if error := data.get("error"):
        raise error_mapping.failure_from_event(error if isinstance(error, Mapping) else {"message": str(error)}, key)
    try:
        usage = _usage(data.get("usage"))
        counted = [StreamDelta(usage=usage, candidate=None)] if usage else []
        return counted + [_candidate_delta(choice) for choice in data.get("choices") or ()]
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise Failure(NucleusError("provider_malformed", detail=type(error).__name__)) from error


def _candidate_delta(choice: Mapping[str, Any]) -> StreamDelta:
    said = choice.get("delta") or choice.get("message") or {}
    index = choice.get("index")
    return StreamDelta(
        text=_require_text(said.get("content") or choice.get("text")),
        thought=_require_text(said.get("reasoning_content") or said.get("reasoning")),
        steps=_token_logprobs(choice.get("logprobs")),
        end=_finish_reason(choice, said),
        candidate=index if isinstance(index, int) else 0,
    )


def hosted_models(data: Mapping[str, Any], scheme: str, place: str) -> tuple[HostedModel, ...]:
    """Return the models of a `/models` response; llama.cpp and vLLM give sizes too."""
    suffix = f"@{place}" if place else ""
    found = []
    for entry in data.get("data") or ():
        details = entry.get("meta") or {}
        found.append(
            HostedModel(
                id=f"{scheme}:{entry['id']}{suffix}",
                name=str(entry["id"]),
                context_window=details.get("n_ctx") or entry.get("max_model_len"),
                vocabulary=details.get("n_vocab"),
            )
        )
    return tuple(found)


def _wire_message(message: Message) -> dict[str, Any]:
    return {"role": message.role, "content": message.content}


def _content_with_images(call: Call, text: str) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [{"type": "text", "text": text}]
    for image in call.options.images:
        url = f"data:{image.media_type};base64,{base64.b64encode(image.data).decode()}"
        parts.append({"type": "image_url", "image_url": {"url": url}})
    return parts


def _sampling_fields(config: SamplerConfig) -> dict[str, Any]:
    order = ORDERS[config.order] if isinstance(config.order, str) else config.order
    sent: dict[str, Any] = {
        **{name: getattr(config, name) for name in ("temperature", "top_p", "top_k", "min_p")},
        "seed": config.seed % _SEED_RANGE,
        "samplers": [_LLAMA_CPP_STAGES[stage] for stage in order if stage in _LLAMA_CPP_STAGES],
    }
    for field in ("typical_p", "top_n_sigma", "presence_penalty", "frequency_penalty"):
        if config.uses(field):
            sent[field] = getattr(config, field)
    if config.uses("repetition_penalty"):
        sent["repetition_penalty"] = sent["repeat_penalty"] = config.repetition_penalty
    if any(map(config.uses, ("repetition_penalty", "presence_penalty", "frequency_penalty"))):
        sent["repeat_last_n"] = -1  # llama.cpp's default window is 64 tokens
    if config.uses("xtc"):
        sent |= {"xtc_probability": config.xtc_probability, "xtc_threshold": config.xtc_threshold}
    if config.uses("dry"):
        sent |= {name: getattr(config, name) for name in ("dry_multiplier", "dry_base", "dry_allowed_length")}
    if config.uses("mirostat"):
        sent |= {"mirostat": 2, "mirostat_tau": config.mirostat_tau, "mirostat_eta": config.mirostat_eta}
    if config.min_new_tokens:
        sent["min_tokens"] = config.min_new_tokens
    biases = dict(config.logit_bias) | dict.fromkeys(config.banned_tokens, -100.0)
    if biases:
        sent["logit_bias"] = {str(token): bias for token, bias in biases.items()}
    return sent


def _logprob_fields(call: Call) -> dict[str, Any]:
    requested = call.options.top_logprobs
    if not requested or "logprobs" in call.omitted:
        return {}
    count = min(requested, REDUCED_TOP_LOGPROBS) if "top_logprobs" in call.omitted else requested
    sent: dict[str, Any] = {"logprobs": True, "top_logprobs": count}
    if "messages" in call.omitted:
        sent = {"logprobs": count}
    # vLLM names tokens by texts that several share (empty for a part of a letter); ids are unique
    return sent | ({} if _TOKENS_AS_IDS in call.omitted else {_TOKENS_AS_IDS: True})


def _output_fields(call: Call) -> dict[str, Any]:
    output = call.prompt.output
    if output.kind == "json":
        schema = {"name": "answer", "schema": output.parse_schema()}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    if output.kind == "choice":
        alternatives = " | ".join(map(_quote_gbnf, output.choices))
        return {"structured_outputs": {"choice": list(output.choices)}, "grammar": f"root ::= {alternatives}"}
    return {}


def _quote_gbnf(text: str) -> str:
    """Return the text as a string of llama.cpp's grammar language (GBNF)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'


def _thinking_fields(call: Call) -> dict[str, Any]:
    level = call.options.thinking
    if level == "default":
        return {}
    if level == "off":
        return {"reasoning_effort": "none", "chat_template_kwargs": {"enable_thinking": False}}
    if isinstance(level, int):
        level = "low" if level < 2048 else "medium" if level < 16384 else "high"
    return {"reasoning_effort": level, "chat_template_kwargs": {"enable_thinking": True}}


def _require_text(value: object) -> str:
    if value is not None and not isinstance(value, str):
        raise TypeError
    return value or ""


def _token_logprobs(logprobs: Mapping[str, Any] | None) -> tuple[TokenLogprobs, ...]:
    if not logprobs:
        return ()
    if logprobs.get("content") is not None:
        return tuple(_chat_token_logprobs(entry) for entry in logprobs["content"])
    if not logprobs.get("tokens"):
        return ()
    tops = logprobs.get("top_logprobs") or [None] * len(logprobs["tokens"])
    return tuple(
        TokenLogprobs(
            _token_logprob(token, logprob), tuple(_token_logprob(text, value) for text, value in (top or {}).items())
        )
        for token, logprob, top in zip(logprobs["tokens"], logprobs["token_logprobs"], tops, strict=True)
    )


def _chat_token_logprobs(entry: Mapping[str, Any]) -> TokenLogprobs:
    likeliest = tuple(_chat_token_logprob(each) for each in entry.get("top_logprobs") or ())
    data = entry.get("bytes")
    placeholder = data is not None and bytes(data) == entry["token"].encode() and _TOKEN_ID.fullmatch(entry["token"])
    return TokenLogprobs(
        _chat_token_logprob(entry), likeliest, bytes(data) if data is not None and not placeholder else None
    )


def _chat_token_logprob(entry: Mapping[str, Any]) -> TokenLogprob:
    scored = _token_logprob(entry["token"], entry["logprob"])
    if scored.token_id is not None:
        return scored
    data = entry.get("bytes")
    text = scored.text
    if data and "\ufffd" in bytes(data).decode(errors="replace"):
        text = "<" + bytes(data).hex(" ").upper() + ">"
    return TokenLogprob(text, scored.logprob, entry["id"] if isinstance(entry.get("id"), int) else None)


def _token_logprob(token: str, logprob: float) -> TokenLogprob:
    if found := _TOKEN_ID.fullmatch(token):
        return TokenLogprob(placeholder_text(int(found[1])), float(logprob), int(found[1]))
    return TokenLogprob(token, float(logprob))


def placeholder_text(token: int) -> str:
    """Return the text that stands for a token of which only the id is known."""
    return f"<{token}>"


def _finish_reason(choice: Mapping[str, Any], said: Mapping[str, Any]) -> FinishReason | NucleusError | None:
    reason = choice.get("finish_reason")
    if said.get("refusal"):
        return NucleusError("provider_answer_blocked", reason="refusal")
    if reason is None:
        return None
    if reason in ("stop", "eos", "end_turn"):
        return "stop" if isinstance(choice.get("stop_reason"), str) else "end"
    if reason in ("length", "max_tokens"):
        return "length"
    if reason == "content_filter":
        return NucleusError("provider_answer_blocked", reason=reason)
    return NucleusError("provider_finish_unknown", reason=str(reason)[:80])


def _usage(counted: Mapping[str, Any] | None) -> Usage | None:
    if not counted:
        return None
    written = counted.get("completion_tokens") or 0
    thought = (counted.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    cached = (counted.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return Usage(counted.get("prompt_tokens") or 0, written - thought, thought, cached)
