"""Form that starts a branch from the chosen step: with another token, a typed text, or a new seed."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import streamlit as st

from llm_core import NucleusError
from llm_core.generation.branches import Branch, BranchOrigin, build_continuation, encode_typed_text
from pages.ui.components import charts
from pages.ui.playground.session_state import playground_state
from pages.ui.settings.sampler_panel import read_sample_request
from pages.ui.shell import i18n, services
from pages.ui.shell.i18n import format_share, t
from pages.ui.shell.session import get, has, put, session

if TYPE_CHECKING:
    from llm_core.generation.record import TokenEvent

MAX_BRANCHES = 64
"""Branches per tab; an answer takes one or two kilobytes per token."""
MAX_TYPED_CHARACTERS = 4000
"""Characters of a typed text at most: the model processes it token by token, as it does while generating."""


def show_branch_form(branch: Branch, events: list[TokenEvent], step: int) -> None:
    """Draw the form for one step of the shown answer."""
    model = branch.run.model
    if model is None:
        return
    trace = events[step].known_trace
    place = f"{branch.run.id}_{step}"
    others = {
        token: _format_candidate(model.label(token), *logprobs)
        for token, *logprobs in zip(trace.candidates, trace.raw.logprobs, trace.final.logprobs, strict=True)
        if token != trace.token_id
    }
    token_key = f"playground.branch_token.{place}"
    pick, go, again = st.columns([2.2, 1, 1], vertical_alignment="bottom")
    pick.selectbox(
        t("branches.token", step=step + 1),
        list(others),
        format_func=others.__getitem__,
        key=token_key,
        help=t("branches.token_help"),
    )
    go.button(
        t("branches.take"),
        key="playground.branch_take",
        type="primary",
        width="stretch",
        on_click=_branch_with_token,
        args=(branch, step, token_key),
    )
    again.button(
        t("branches.again"),
        key="playground.branch_again",
        width="stretch",
        help=t("branches.again_help"),
        on_click=_branch_with_new_seed,
        args=(branch, step),
    )
    with st.expander(t("branches.type")):
        text_key = f"playground.branch_text.{place}"
        if not has(text_key):
            rest = events[step:-1] if events[-1].token_id in model.end_ids else events[step:]
            put(text_key, "".join(event.piece for event in rest)[:MAX_TYPED_CHARACTERS])
        st.text_area(
            t("branches.text"), key=text_key, height=90, max_chars=MAX_TYPED_CHARACTERS, help=t("branches.text_help")
        )
        st.button(
            t("branches.take_text"),
            key="playground.branch_take_text",
            on_click=_branch_with_text,
            args=(branch, step, text_key),
        )
    if playground_state().branch_notice:
        st.error(playground_state().branch_notice, icon=":material/error:")


def _format_candidate(label: str, raw: float, final: float) -> str:
    cut = f" · {t('step.cut')}" if final == -math.inf else ""
    return f"{charts.escape_control_characters(label)}  ·  {format_share(math.exp(raw))}{cut}"


def _branch_with_token(branch: Branch, step: int, key: str) -> None:
    _start_branch(branch, step, (int(get(key)),), "token")


def _branch_with_new_seed(branch: Branch, step: int) -> None:
    _start_branch(branch, step, (), "again")


def _branch_with_text(branch: Branch, step: int, key: str) -> None:
    """Branch with a typed text in place of the rest. The branch begins at the first token that differs from the
    parent's."""
    events, model = branch.events(), branch.run.model
    if model is None:
        return
    tokens = encode_typed_text(model, [event.known_id for event in events[:step]], get(key) or "")
    while tokens and step < len(events) and events[step].token_id == tokens[0]:
        step, tokens = step + 1, tokens[1:]
    _start_branch(branch, step, tokens, "text" if tokens else "again")


def _start_branch(branch: Branch, step: int, forced: tuple[int, ...], origin: BranchOrigin) -> None:
    """Start a branch with the settings of the sampler panel, and show it. `forced` are the token ids that it begins
    with."""
    state = session()
    playground_state().branch_notice = None
    if len(playground_state().tree) >= MAX_BRANCHES:
        playground_state().tree.drop_bare_roots(keep=1)
    try:
        if len(playground_state().tree) >= MAX_BRANCHES:
            raise NucleusError("too_many_branches", limit=MAX_BRANCHES)
        sample = read_sample_request()
        if origin == "again":
            seed = playground_state().tree.choose_unused_seed(branch, sample.sampler.seed)
            sample = dataclasses.replace(sample, sampler=dataclasses.replace(sample.sampler, seed=seed))
        request = dataclasses.replace(build_continuation(branch, step, sample, forced), session=state.id)
        run = services.submit(request)
    except NucleusError as error:
        playground_state().branch_notice = i18n.explain(error)
        return
    playground_state().branch = playground_state().tree.add_branch(branch, step, run, origin).id
    playground_state().selected_step = None
