"""Best-of-N on hosted models: several candidates in one request or each in its own, and what a press will ask for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import streamlit as st

from llm_core import GenerationRequest, HostedOptions, NucleusError
from llm_core.candidate_pool import MAX_CANDIDATES
from llm_core.records import MAX_CANDIDATES_A_CALL
from pages.ui import resources
from pages.ui.best_criteria import criterion_name
from pages.ui.dead_controls import dead_note, dead_settings
from pages.ui.hosted_options import read_hosted
from pages.ui.hosted_plan import CHARACTERS_A_TOKEN, Plan, plan_note, together
from pages.ui.i18n import number, t
from pages.ui.model_status import is_hosted
from pages.ui.state import get, has, put

if TYPE_CHECKING:
    from llm_core.criteria import Criterion

ONE_CALL = "best_one_call"


class Asked(NamedTuple):
    """Requests of one kind that a press leads to."""

    words: str
    plan: Plan | None = None
    """None for a service that is no model."""


def one_call_field() -> None:
    """Several candidates a request, or each in its own. Nothing on a local model: it reads the prompt once anyway."""
    if not is_hosted():
        return
    if not has(ONE_CALL):
        put(ONE_CALL, True)
    dead = dead_settings(fields=("candidate_count",))
    st.toggle(
        t("best.one_call"), key=ONE_CALL, disabled=bool(dead), help=t("best.one_call_help"), persist_state="session"
    )
    dead_note(dead, dead)
    if not dead:
        st.caption(t("best.one_call_on", most=MAX_CANDIDATES_A_CALL) if get(ONE_CALL) else t("best.one_call_off"))


def read_best_hosted() -> HostedOptions:
    """What only hosted models take; where the switch is on though the model refuses it, it is sent all the same to see
    it refused, and told."""
    count = MAX_CANDIDATES_A_CALL if get(ONE_CALL) and is_hosted() else 1
    return dataclasses.replace(read_hosted(), candidate_count=count)


def asked(like: GenerationRequest, n: int, criteria: Sequence[Criterion], items: int = 0) -> list[Asked]:
    """What n candidates of a request with one row lead to, and their judges; over a set of items, each of which has a
    greedy answer too, for all of them together."""
    if not 1 <= n <= MAX_CANDIDATES:
        return []
    times, [row] = max(1, items), like.rows
    characters = sum(len(message.content) for message in like.prompt.messages())
    found = []
    if is_hosted(like.model_id):
        calls = resources.router().hosted.calls(dataclasses.replace(like, rows=(row,) * n))
        requests = times * (len(calls) + bool(items))
        answers = times * (n + bool(items))
        kind = "items" if items else "candidates" if len(calls) < n else "alone"
        words = t(
            f"best.plan.{kind}",
            count=n,
            items=number(items, 0),
            requests=number(requests, 0),
            each=max(map(len, calls)),
        )
        tokens = math.ceil(answers * row.max_output_tokens / requests)
        found.append(Asked(words, Plan(like.model_id, requests, characters, tokens)))
    said = characters + CHARACTERS_A_TOKEN * row.max_output_tokens
    judges = (_judge(criterion, n, times, said) for criterion in criteria)
    return found + [judge for judge in judges if judge]


def _judge(criterion: Criterion, n: int, times: int, characters: int) -> Asked | None:
    """What a judge elsewhere is asked; `characters` are those of a question with its answer."""
    questions = getattr(criterion, "questions", None)
    request: GenerationRequest | None = getattr(criterion, "like", None)
    if questions is None or (request and not (request.model_id and is_hosted(request.model_id))):
        return None
    requests = times * questions(n)
    words = t("best.plan.judge", name=criterion_name(criterion.id), requests=number(requests, 0))
    if request is None:
        return Asked(words)
    prompt = request.prompt
    own = sum(map(len, (prompt.role, prompt.context, prompt.instruction, prompt.question)))
    shown = own + characters * (2 if criterion.id == "pairwise" else 1)
    return Asked(words, Plan(request.model_id, requests, shown, request.rows[0].max_output_tokens))


def plans(found: Sequence[Asked]) -> list[Plan]:
    """One for each model."""
    known = [each.plan for each in found if each.plan is not None]
    models = dict.fromkeys(plan.model_id for plan in known)
    return [plan for model in models for plan in together([each for each in known if each.model_id == model])]


def requests_note(read: Callable[[], list[Asked]]) -> None:
    """Say it; nothing while a field is being typed. Always draws one element, so that the buttons keep their place."""
    with st.container(key="best-requests", gap="small"):
        try:
            found = read()
        except NucleusError:
            return
        if found:
            st.caption(" ".join(each.words for each in found))
            plan_note(plans(found))
