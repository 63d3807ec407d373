"""Estimate the requests to a provider before a comparison, sweep or study starts: their number and cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import date
from typing import NamedTuple

import streamlit as st

from llm_core.errors import NucleusError
from llm_core.generation.record import Usage
from pages.ui.shell import i18n, services
from pages.ui.shell.i18n import format_number, t

MAX_REQUESTS_PER_RUN = 500
"""Requests that one press of a button may lead to."""
CHARACTERS_PER_TOKEN = 3
"""Characters per token, about the fewest in English and Vietnamese, so that the estimate is rather too high."""


class RequestEstimate(NamedTuple):
    """Estimated requests of one kind to one model."""

    model_id: str
    requests: int
    characters: int
    """Characters of the prompt."""
    tokens: int
    """Maximum tokens of an answer."""


def merge_estimates(plans: Sequence[RequestEstimate]) -> list[RequestEstimate]:
    """Merge estimates for one model into one, with the total number of requests and their mean length. Empty for no
    requests."""
    requests = sum(plan.requests for plan in plans)
    if not requests:
        return []
    tokens = math.ceil(sum(plan.requests * plan.tokens for plan in plans) / requests)
    characters = math.ceil(sum(plan.requests * plan.characters for plan in plans) / requests)
    return [RequestEstimate(plans[0].model_id, requests, characters, tokens)]


def show_request_estimates(plans: Iterable[RequestEstimate]) -> None:
    """Draw one line per hosted model: number of requests, cost, and the limit if it is exceeded. Local models need
    none."""
    for plan in plans:
        try:
            target = services.router().target(plan.model_id)
            if target is None or not plan.requests:
                continue
            prompt_tokens = math.ceil(plan.characters / CHARACTERS_PER_TOKEN)
            estimate = services.price_table().estimate(target, Usage(prompt_tokens, plan.tokens), date.today())
        except NucleusError as error:
            st.caption(i18n.explain(error))
            continue
        words = t(
            "hosted_views.plan.requests",
            count=format_number(plan.requests, 0),
            model=i18n.escape_markdown(target.name.rsplit("/", 1)[-1]),
            limit=services.router().hosted.parallel,
        )
        if estimate is None:
            cost = t("hosted_views.plan.no_price")
        else:
            value = i18n.format_compact(plan.requests * estimate.amount)
            cost = t("hosted_views.plan.cost", value=value, currency=estimate.currency, date=estimate.as_of.isoformat())
        most = (
            t("hosted_views.plan.most", limit=format_number(MAX_REQUESTS_PER_RUN, 0))
            if plan.requests > MAX_REQUESTS_PER_RUN
            else ""
        )
        st.caption(f":material/cloud_upload: {words} {cost} {most}".strip())


def check_request_count(plans: Iterable[RequestEstimate]) -> None:
    """Raise `NucleusError` if the hosted requests are more than `MAX_REQUESTS_PER_RUN`."""
    router = services.router()
    total = sum(plan.requests for plan in plans if router.target(plan.model_id) is not None)
    if total > MAX_REQUESTS_PER_RUN:
        raise NucleusError("too_many_requests", value=total, limit=MAX_REQUESTS_PER_RUN)
