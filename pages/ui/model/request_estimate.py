"""What a comparison, sweep or study will ask of a provider, said beforehand: requests, and what they may cost."""

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
"""That one press of a button may lead to."""
CHARACTERS_A_TOKEN = 3
"""A token has at least about as many, in English and in Vietnamese: the estimate is meant to be high."""


class Plan(NamedTuple):
    """Requests of one kind."""

    model_id: str
    requests: int
    characters: int
    """Of the prompt."""
    tokens: int
    """The longest answer."""


def together(plans: Sequence[Plan]) -> list[Plan]:
    """Plans for one model as one: as many requests as all of them, as long as their mean."""
    requests = sum(plan.requests for plan in plans)
    if not requests:
        return []
    tokens = math.ceil(sum(plan.requests * plan.tokens for plan in plans) / requests)
    characters = math.ceil(sum(plan.requests * plan.characters for plan in plans) / requests)
    return [Plan(plans[0].model_id, requests, characters, tokens)]


def plan_note(plans: Iterable[Plan]) -> None:
    """One line a hosted model; nothing for local ones."""
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
    """Raises `NucleusError` where one press would lead to too many requests."""
    router = services.router()
    asked = sum(plan.requests for plan in plans if router.target(plan.model_id) is not None)
    if asked > MOST_REQUESTS:
        raise NucleusError("too_many_requests", value=asked, limit=MOST_REQUESTS)
