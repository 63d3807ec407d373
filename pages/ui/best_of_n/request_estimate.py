"""Estimate the provider requests of a Best-of-N run, and choose whether one request asks for several candidates."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import streamlit as st

from llm_core import GenerationRequest, HostedOptions, NucleusError
from llm_core.generation.request import MAX_CANDIDATES_PER_CALL, MAX_SAMPLES_PER_REQUEST
from pages.ui.best_of_n.criteria_picker import criterion_name
from pages.ui.components.fields import show_field
from pages.ui.model.hosted_options import read_hosted_options
from pages.ui.model.request_estimate import (
    CHARACTERS_PER_TOKEN,
    RequestEstimate,
    merge_estimates,
    show_request_estimates,
)
from pages.ui.model.status import is_hosted
from pages.ui.settings.unsupported_settings import explain_unsupported, show_unsupported_note
from pages.ui.shell import services
from pages.ui.shell.i18n import format_number, t
from pages.ui.shell.session import get, has, put

if TYPE_CHECKING:
    from llm_core.best_of_n.criteria import Criterion

ONE_CALL_KEY = "best_of_n.one_call"


class RequestGroup(NamedTuple):
    """An estimate of requests of one kind: of candidates, or of one judge."""

    words: str
    estimate: RequestEstimate | None = None
    """None for a service that is not a model."""


def show_one_call_field() -> None:
    """Draw the switch for several candidates in one request; nothing for a local model, which shares the prompt."""
    if not is_hosted():
        return
    if not has(ONE_CALL_KEY):
        put(ONE_CALL_KEY, True)
    dead = explain_unsupported(fields=("candidate_count",))
    show_field(st.toggle, "best.one_call", ONE_CALL_KEY, disabled=bool(dead))
    show_unsupported_note(dead, dead)
    if not dead:
        st.caption(t("best.one_call_on", most=MAX_CANDIDATES_PER_CALL) if get(ONE_CALL_KEY) else t("best.one_call_off"))


def read_best_hosted() -> HostedOptions:
    """Return the options of hosted models with the number of candidates in one request.

    A switch that is on is sent even where the model is known to refuse it; the provider's refusal is then reported.
    """
    count = MAX_CANDIDATES_PER_CALL if get(ONE_CALL_KEY) and is_hosted() else 1
    return dataclasses.replace(read_hosted_options(), candidate_count=count)


def estimate_requests(
    like: GenerationRequest, n: int, criteria: Sequence[Criterion], items: int = 0
) -> list[RequestGroup]:
    """Estimate the requests for `n` candidates of a request with one sample, and those of their judges.

    Over `items` items the estimate is for all together, and each item has a greedy answer too. Empty if `n` is invalid.
    """
    if not 1 <= n <= MAX_SAMPLES_PER_REQUEST:
        return []
    times, [row] = max(1, items), like.samples
    characters = sum(len(message.content) for message in like.prompt.messages())
    found = []
    if is_hosted(like.model_id):
        calls = services.router().hosted.plan_calls(dataclasses.replace(like, samples=(row,) * n))
        requests = times * (len(calls) + bool(items))
        answers = times * (n + bool(items))
        kind = "items" if items else "candidates" if len(calls) < n else "alone"
        words = t(
            f"best.plan.{kind}",
            count=n,
            items=format_number(items, 0),
            requests=format_number(requests, 0),
            each=max(map(len, calls)),
        )
        tokens = math.ceil(answers * row.max_output_tokens / requests)
        found.append(RequestGroup(words, RequestEstimate(like.model_id, requests, characters, tokens)))
    said = characters + CHARACTERS_PER_TOKEN * row.max_output_tokens
    judges = (_estimate_judge(criterion, n, times, said) for criterion in criteria)
    return found + [judge for judge in judges if judge]


def _estimate_judge(criterion: Criterion, n: int, times: int, characters: int) -> RequestGroup | None:
    """Estimate a hosted judge's requests, or None for others; `characters` counts a question with its answer."""
    questions = getattr(criterion, "questions", None)
    request: GenerationRequest | None = getattr(criterion, "template", None)
    if questions is None or (request and not (request.model_id and is_hosted(request.model_id))):
        return None
    requests = times * questions(n)
    words = t("best.plan.judge", name=criterion_name(criterion.id), requests=format_number(requests, 0))
    if request is None:
        return RequestGroup(words)
    prompt = request.prompt
    own = sum(map(len, (prompt.role, prompt.context, prompt.instruction, prompt.question)))
    shown = own + characters * (2 if criterion.id == "pairwise" else 1)
    return RequestGroup(words, RequestEstimate(request.model_id, requests, shown, request.samples[0].max_output_tokens))


def merge_by_model(groups: Sequence[RequestGroup]) -> list[RequestEstimate]:
    """Merge the estimates of each model."""
    known = [each.estimate for each in groups if each.estimate is not None]
    models = dict.fromkeys(plan.model_id for plan in known)
    return [plan for model in models for plan in merge_estimates([each for each in known if each.model_id == model])]


def show_request_estimate(read: Callable[[], list[RequestGroup]]) -> None:
    """Draw the estimate that `read` returns; no text while a field is invalid.

    Always draws one container, so that the buttons keep their place.
    """
    with st.container(key="best_of_n.requests", gap="small"):
        try:
            found = read()
        except NucleusError:
            return
        if found:
            st.caption(" ".join(each.words for each in found))
            show_request_estimates(merge_by_model(found))
