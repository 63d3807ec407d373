"""Convert a request to a prompt of Vertex AI's Prompt Management, and back. Pure functions over dictionaries.

There a prompt is one message with `{name}` for variables, a system text, and the settings of a Gemini request. So
several fields of a `PromptSpec` become one text (`merged`), and fields without a counterpart are named (`dropped`):
nothing is lost silently.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from llm_core.generation.request import (
    MAX_OUTPUT_TOKENS,
    MAX_SAMPLES_PER_REQUEST,
    THINKING,
    GenerationRequest,
    HostedOptions,
    SampleRequest,
)
from llm_core.prompts.output_format import OutputFormat
from llm_core.prompts.spec import Example, PromptSpec
from llm_core.providers.google import wire
from llm_core.providers.http.connection import Connection
from llm_core.providers.http.url_policy import UrlPolicy
from llm_core.providers.model_id import Target, split_model_id
from llm_core.providers.provider import Call
from samplers import SamplerConfig
from samplers.config import SETTINGS, STAGE_FIELDS

_SUPPORTED_FIELDS = {"temperature", "top_k", "top_p", "presence_penalty", "frequency_penalty", "seed"}
"""Fields of `SamplerConfig` that a prompt there can hold."""
_VARIABLE_NAME = re.compile(r"\w[\w\- ]*?")
_EXCLUDED_CONFIG = {"automatic_continuation", "system_instruction", "safety_settings"}
"""Fields of a request's configuration that a prompt's does not have."""


class PromptExport(NamedTuple):
    """Request converted for Vertex AI."""

    data: dict[str, Any]
    """Fields of `agentplatform.types.PromptData`."""
    merged: tuple[str, ...]
    """Fields whose text is kept as a part of the one text."""
    dropped: tuple[str, ...]
    """Fields that are not kept."""


class PromptImport(NamedTuple):
    """Request converted from a prompt of Vertex AI."""

    request: GenerationRequest
    dropped: tuple[str, ...]
    """Fields of the prompt that Nucleus has no field for."""


def export_prompt(request: GenerationRequest, model: str) -> PromptExport:
    """Return the prompt that keeps as much of the request as possible. Raises `NucleusError` for a prompt that is not
    valid."""
    request.validate()
    spec, row = request.prompt, request.samples[0]
    names = spec.variables()
    filled = spec.expand({name: f"{{{name}}}" for name in names})
    *system, message = filled.messages(examples_as="text")
    options = dataclasses.replace(
        request.hosted, images=(), top_logprobs=0
    )  # log-probabilities are for viewing, not part of the prompt
    line = Connection(UrlPolicy())
    call = Call(Target("vertex", model), dataclasses.replace(filled, prefill=""), row, options, None, line)
    config = wire.config(call)
    data: dict[str, Any] = {
        "model": model,
        "contents": [{"role": "user", "parts": [{"text": message.content}]}],
        "generation_config": {name: value for name, value in config.items() if name not in _EXCLUDED_CONFIG},
    }
    if len(request.samples) > 1:
        data["generation_config"]["candidate_count"] = len(request.samples)
    if system:
        data["system_instruction"] = {"parts": [{"text": system[0].content}]}
    if options.safety:
        data["safety_settings"] = config["safety_settings"]
    if names:
        rows = spec.values or ({},)
        data["variables"] = [{name: {"text": str(values.get(name, ""))} for name in names} for values in rows]
    own = split_model_id(request.model_id)
    dropped = [] if own and own.name == model else ["model"]
    dropped += _dropped_fields(request, names, config)
    return PromptExport(data, tuple(_merged_fields(spec)), tuple(dict.fromkeys(dropped)))


def import_prompt(message: Mapping[str, Any], executions: Sequence[Mapping[str, Any]], place: str) -> PromptImport:
    """Return the request that a prompt stands for, from `prompt_message` and `executions` of its schema."""
    dropped: list[str] = []
    rows = _read_values(executions)
    names = tuple(
        name for name in dict.fromkeys(name for row in rows for name in row) if _VARIABLE_NAME.fullmatch(name)
    )
    if any(name not in names for row in rows for name in row):
        dropped.append("values")
    turns = [(turn.get("role") or "user", _read_text(turn, names, dropped)) for turn in message.get("contents") or ()]
    spec = _build_spec(turns, dropped)
    sampler, limits, options, output = _read_settings(dict(message.get("generation_config") or {}), dropped)
    dropped += [name for name in ("tools", "tool_config") if message.get(name)]
    safety, system = message.get("safety_settings") or (), message.get("system_instruction") or {}
    values = tuple({name: row.get(name, "") for name in names} for row in rows)
    spec = dataclasses.replace(
        spec,
        system=_read_text(system, names, dropped),
        output=output,
        stop_sequences=limits["stop_sequences"],
        values=values if any(any(row.values()) for row in values) else (),
    )
    count = limits.pop("candidate_count")
    drawn = [dataclasses.replace(sampler, seed=sampler.seed + place) for place in range(count)]
    hosted = dataclasses.replace(options, safety=tuple(_read_safety(safety, dropped)))
    name = str(message.get("model") or "").rpartition("models/")[2] or "unnamed"
    request = GenerationRequest(
        f"vertex:{name}@{place}", spec, tuple(SampleRequest(each, **limits) for each in drawn), hosted=hosted
    )
    return PromptImport(request, tuple(dict.fromkeys(dropped)))


def _merged_fields(spec: PromptSpec) -> Iterator[str]:
    """Yield the fields that the one text is made of, if there are several, and those that decide how."""
    parts = [name for name in ("context", "instruction", "question") if getattr(spec, name).strip()]
    shown = bool(spec.shown_examples)
    yield from (["role"] if spec.role.strip() else [])
    yield from parts if len(parts) > 1 or shown or spec.traits.reasoning else ()
    if shown:
        yield "examples"
    if spec.traits.reasoning:
        yield "trigger"


def _dropped_fields(request: GenerationRequest, names: Sequence[str], config: Mapping[str, Any]) -> Iterator[str]:
    """Yield the fields of the request that the prompt does not keep."""
    spec, row, options = request.prompt, request.samples[0], request.hosted
    if len(spec.examples) > len(spec.shown_examples):
        yield "examples"
    if spec.technique != "zero_shot" and (spec.traits.votes or spec.traits.steps_back):
        yield "technique"
    yield from ("document",) if spec.document.strip() else ()  # only the passages for the current question are kept
    yield from ("prefill",) if spec.prefill.strip() else ()
    yield from ("extraction",) if spec.extraction.kind != "whole" else ()
    if any(re.search(rf"(?<!\{{)\{{{re.escape(name)}\}}(?!\}})", text) for name in names for _, text in spec.texts()):
        yield "values"  # plain text here, but a variable there
    for stage in row.sampler.stages:
        if STAGE_FIELDS[stage] not in _SUPPORTED_FIELDS:
            yield STAGE_FIELDS[stage]
    if row.sampler.order != "gemini" and len(row.sampler.stages) > 1:
        yield "order"
    yield from ("seed",) if config["seed"] != row.sampler.seed or not _has_consecutive_seeds(request) else ()
    yield from ("stop_sequences",) if len(config.get("stop_sequences", ())) < len(row.stop_sequences) else ()
    yield from ("images",) if options.images else ()
    yield from ("candidates",) if any(each.sampler != _sampler_with_seed(each, row) for each in request.samples) else ()


def _has_consecutive_seeds(request: GenerationRequest) -> bool:
    """Return whether the samples' seeds are consecutive."""
    first = request.samples[0].sampler.seed
    return all(each.sampler.seed == first + place for place, each in enumerate(request.samples))


def _sampler_with_seed(sample: SampleRequest, first: SampleRequest) -> SamplerConfig:
    return dataclasses.replace(first.sampler, seed=sample.sampler.seed)


def _build_spec(turns: list[tuple[str, str]], dropped: list[str]) -> PromptSpec:
    """Return the prompt of a chat. Earlier turns become examples; a model turn at the end becomes the prefill."""
    prefill = turns.pop()[1] if turns and turns[-1][0] == "model" else ""
    final = turns.pop()[1] if turns else ""
    pairs = list(zip(turns[::2], turns[1::2], strict=False))
    if len(turns) % 2 or any((user[0], said[0]) != ("user", "model") for user, said in pairs):
        dropped.append("contents")
        pairs = []
    examples = tuple(Example(user[1], said[1]) for user, said in pairs)
    return PromptSpec(final, technique="few_shot" if examples else "zero_shot", examples=examples, prefill=prefill)


def _read_text(content: Mapping[str, Any], names: Sequence[str], dropped: list[str]) -> str:
    """Return the text of a turn, with variables in Nucleus's form, and with text that looks like one escaped."""
    parts = content.get("parts") or ()
    if any(part.get("text") is None for part in parts):
        dropped.append("images" if any("inline_data" in part or "file_data" in part for part in parts) else "contents")
    text = "\n\n".join(part["text"] for part in parts if part.get("text"))
    known = "|".join(map(re.escape, names)) or "(?!)"
    return re.sub(
        rf"(?<!\{{)\{{({known})\}}(?!\}})|\{{{{2,}}",
        lambda found: f"{{{{{found[1]}}}}}" if found[1] else f"\\{found[0]}",
        text,
    )


def _read_values(executions: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    rows = []
    for execution in executions:
        row = {}
        for name, value in (execution.get("arguments") or {}).items():
            parts = (value.get("part_list") or {}).get("parts") or ()
            row[name] = "".join(part.get("text") or "" for part in parts)
        rows.append(row)
    return rows


def _read_settings(
    config: dict[str, Any], dropped: list[str]
) -> tuple[SamplerConfig, dict[str, Any], HostedOptions, OutputFormat]:
    """Return the settings of the configuration that are within range; the others are added to `dropped`."""
    chosen: dict[str, Any] = {}
    for name in sorted(_SUPPORTED_FIELDS):
        if (value := config.pop(name, None)) is None:
            continue
        if SETTINGS[name].whole and value == int(value):
            value = int(value)
        try:
            SETTINGS[name].check(name, value)
            chosen[name] = value
        except ValueError:
            dropped.append(name)
    stops = tuple(stop for stop in config.pop("stop_sequences", None) or () if stop)
    limits: dict[str, Any] = {"stop_sequences": stops}
    for name, most in (("max_output_tokens", MAX_OUTPUT_TOKENS), ("candidate_count", MAX_SAMPLES_PER_REQUEST)):
        value = config.pop(name, None)
        if value is not None and not 1 <= value <= most:
            dropped.append(name)
            value = None
        if value is not None:
            limits[name] = value
    limits.setdefault("candidate_count", 1)
    for name in ("logprobs", "response_logprobs"):  # always requested
        config.pop(name, None)
    options = _read_thinking(config.pop("thinking_config", None) or {}, dropped)
    output = _read_output(config, dropped)
    dropped += [name for name, value in config.items() if value not in (None, [], {})]
    return SamplerConfig(**chosen, order="gemini"), limits, options, output


def _read_thinking(thinking: Mapping[str, Any], dropped: list[str]) -> HostedOptions:
    level, budget = str(thinking.get("thinking_level") or "").lower(), thinking.get("thinking_budget")
    how: Any = "off" if budget == 0 else budget if budget and budget > 0 else level if level in THINKING else "default"
    if how == "default" and (level or budget is not None):
        dropped.append("thinking")
    return HostedOptions(how, bool(thinking.get("include_thoughts")))


def _read_output(config: dict[str, Any], dropped: list[str]) -> OutputFormat:
    kind = config.pop("response_mime_type", None)
    schema, plain = config.pop("response_json_schema", None), config.pop("response_schema", None)
    if isinstance(schema, dict):
        return OutputFormat("json", schema=json.dumps(schema, ensure_ascii=False, indent=2))
    if plain and kind == "text/x.enum" and plain.get("enum"):
        return OutputFormat("choice", tuple(plain["enum"]))
    if plain or kind not in (None, "text/plain"):
        dropped.append("output")
    return OutputFormat()


def _read_safety(settings: Sequence[Mapping[str, Any]], dropped: list[str]) -> Iterator[tuple[str, str]]:
    for each in settings:
        category, threshold = str(each.get("category") or ""), str(each.get("threshold") or "")
        if each.get("method") or not category.startswith("HARM_CATEGORY_"):
            dropped.append("safety")
        else:
            yield category.removeprefix("HARM_CATEGORY_"), threshold
