"""Work out which settings a request uses and what becomes of each with one model. Pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from llm_core.errors import NucleusError
from llm_core.generation.request import GenerationRequest, SampleRequest
from llm_core.providers.capabilities import Capabilities
from llm_core.providers.http.error_mapping import Failure
from llm_core.providers.provider import Call, Provider
from samplers import SamplerConfig
from samplers.config import ORDERS, SETTINGS, STAGE_FIELDS


def requested_settings(request: GenerationRequest) -> Iterator[str]:
    """Yield the fields of `Provider.settings` that the request uses."""
    yield from sorted({STAGE_FIELDS[stage] for row in request.samples for stage in row.sampler.stages})
    if any(row.stop_sequences for row in request.samples):
        yield "stop_sequences"
    if request.prompt.prefill:
        yield "prefill"
    if request.prompt.output.kind != "text":
        yield f"{request.prompt.output.kind}_output"
    if request.hosted.top_logprobs:
        yield "logprobs"
    if request.hosted.thinking != "default":
        yield "thinking"
    if request.hosted.safety:
        yield "safety"
    if request.hosted.images:
        yield "images"
    if request.hosted.candidate_count > 1 and len(request.samples) > 1:
        yield "candidate_count"


def group_samples_by_call(samples: Sequence[SampleRequest], limit: int) -> list[tuple[int, ...]]:
    """Return the indices of the samples of each call: neighbours that differ in nothing but their seeds, at most
    `limit` a call."""
    found: list[tuple[int, ...]] = []
    last = None
    for place, row in enumerate(samples):
        kind = dataclasses.replace(row, sampler=dataclasses.replace(row.sampler, seed=0))
        if kind == last and len(found[-1]) < limit:
            found[-1] += (place,)
        else:
            found.append((place,))
        last = kind
    return found


def unsupported_reason(field: str, provider: Provider, known: Capabilities) -> NucleusError | None:
    """Return why a field of `Provider.settings`, or the `order` of the stages, has no effect with this model; None if
    it has one, or if nothing is known yet."""
    if field == "order":
        return _fixed_order_reason(provider)
    names = provider.settings.get(field)
    if names is None:
        return NucleusError("provider_setting_unknown", setting=field)
    support = known.support(field, names)
    if support == "rejected":
        said = next((known.reasons[name] for name in names if known.reasons.get(name)), "")
        return NucleusError("provider_setting_rejected", setting=field, detail=said)
    if support == "ignored" and field == "candidate_count":
        return NucleusError("provider_candidates_ignored")
    if support == "ignored":
        how = "documented" if field in known.documented_ignored else "ignored"
        return NucleusError(f"provider_setting_{how}", setting=field)
    return None


def _fixed_order_reason(provider: Provider) -> NucleusError | None:
    if provider.order is None:
        return None
    has = [stage for stage in ORDERS[provider.order] if STAGE_FIELDS[stage] in provider.settings]
    return NucleusError("provider_order_own", stages=" → ".join(has))


def dropped_settings(
    request: GenerationRequest, provider: Provider, known: Capabilities, refused: Failure | None = None
) -> Iterator[NucleusError]:
    """Yield a notice for each requested setting that cannot be sent, that the model is known to refuse or to ignore, or
    that it has just `refused`."""
    for field in requested_settings(request):
        names = provider.settings.get(field)
        if names is None:
            yield NucleusError("provider_setting_unknown", setting=field)
            continue
        support = known.support(field, names)
        just_now = refused is not None and not set(names).isdisjoint(refused.refused)
        if field == "prefill" and (just_now or support == "rejected"):
            yield NucleusError("provider_prefill_refused")
        elif refused is not None and just_now:
            yield NucleusError(
                "provider_setting_rejected", setting=field, detail=refused.error.details.get("detail", "")
            )
        elif dead := unsupported_reason(field, provider, known):
            yield dead


def effective_sampler(call: Call, provider: Provider, known: Capabilities) -> SamplerConfig:
    """Return the sample's sampler as the provider runs it: in the provider's order, without settings that are not sent
    or are ignored."""
    neutral: dict[str, object] = {}
    for stage in call.row.sampler.stages:
        field = STAGE_FIELDS[stage]
        names = provider.settings.get(field, ())
        if call.omitted.issuperset(names) or known.support(field, names) == "ignored":
            neutral[field] = SETTINGS[field].default if field in SETTINGS else ()
    if provider.order:
        neutral["order"] = provider.order
    return dataclasses.replace(call.row.sampler, **neutral)  # type: ignore[arg-type]
