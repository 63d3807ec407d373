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
from pages.ui.shell.i18n import number, t

MOST_REQUESTS = 500
"""Requests that one press of a button may lead to."""
CHARACTERS_A_TOKEN = 3
"""Characters per token, about the fewest in English and Vietnamese, so that the estimate is rather too high."""


class Plan(NamedTuple):
    """Estimated requests of one kind to one model."""

    model_id: str
    requests: int
    characters: int
    """Characters of the prompt."""
    tokens: int
    """Maximum tokens of an answer."""


def together(plans: Sequence[Plan]) -> list[Plan]:
    """Merge estimates for one model into one, with the total number of requests and their mean length. Empty for no
    requests."""
    requests = sum(plan.requests for plan in plans)
    if not requests:
        return []
    tokens = math.ceil(sum(plan.requests * plan.tokens for plan in plans) / requests)
    characters = math.ceil(sum(plan.requests * plan.characters for plan in plans) / requests)
    return [Plan(plans[0].model_id, requests, characters, tokens)]


def plan_note(plans: Iterable[Plan]) -> None:
    """Draw one line per hosted model: number of requests, cost, and the limit if it is exceeded. Local models need
    none."""
    for plan in plans:
        try:
            target = services.router().target(plan.model_id)
            if target is None or not plan.requests:
                continue
            prompt_tokens = math.ceil(plan.characters / CHARACTERS_A_TOKEN)
            estimate = services.prices().estimate(target, Usage(prompt_tokens, plan.tokens), date.today())
        except NucleusError as error:
            st.caption(i18n.explain(error))
            continue
        words = t(
            "hosted_views.plan.requests",
            count=number(plan.requests, 0),
            model=i18n.plain(target.name.rsplit("/", 1)[-1]),
            limit=services.router().hosted.parallel,
        )
        if estimate is None:
            cost = t("hosted_views.plan.no_price")
        else:
            value = i18n.compact(plan.requests * estimate.amount)
            cost = t("hosted_views.plan.cost", value=value, currency=estimate.currency, date=estimate.as_of.isoformat())
        most = t("hosted_views.plan.most", limit=number(MOST_REQUESTS, 0)) if plan.requests > MOST_REQUESTS else ""
        st.caption(f":material/cloud_upload: {words} {cost} {most}".strip())


def check_plan(plans: Iterable[Plan]) -> None:
    """Raise `NucleusError` if the hosted requests are more than `MAX_REQUESTS_PER_RUN`."""
    router = services.router()
    asked = sum(plan.requests for plan in plans if router.target(plan.model_id) is not None)
    if asked > MOST_REQUESTS:
        raise NucleusError("too_many_requests", value=asked, limit=MOST_REQUESTS)
