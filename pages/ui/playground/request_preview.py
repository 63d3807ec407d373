"""Show the request that a provider would get, and count its tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import streamlit as st

from llm_core import GenerationRequest, NucleusError, PromptSpec
from llm_core.generation.record import Usage
from pages.ui.model.hosted_options import format_cost
from pages.ui.model.session_state import model_state
from pages.ui.prompt.composer import read_prompt
from pages.ui.shell import i18n, services
from pages.ui.shell.background_call import poll_call, show_call_status, start_call
from pages.ui.shell.i18n import format_number, t

if TYPE_CHECKING:
    from llm_core.providers.http.background_call import BackgroundCall

TOKEN_COUNT_CALL = "count"
"""Place of the pending call that counts a prompt's tokens."""


def show_request(request: Callable[[PromptSpec], GenerationRequest]) -> None:
    """Draw the request body for the current prompt, without the key. It is behind a switch, since building it costs
    time at every rerun."""
    _show_token_count(request)
    if not st.toggle(t("hosted.show_request"), key="playground.show_request"):
        return
    try:
        asked = request(read_prompt().variants()[0])
        pictures = tuple(replace(image, data=b"...") for image in asked.hosted.images)
        body = services.router().hosted.body(replace(asked, hosted=replace(asked.hosted, images=pictures)))
    except NucleusError as error:
        st.caption(i18n.explain(error))
        return
    st.code(json.dumps(body, ensure_ascii=False, indent=2, default=str), language="json", wrap_lines=True)


def _show_token_count(request: Callable[[PromptSpec], GenerationRequest]) -> None:
    """Draw a button that has the provider count the prompt's tokens, and the count while it applies to the current
    prompt."""
    state = model_state()
    try:
        asked = request(read_prompt().variants()[0])
    except NucleusError:  # a field is incomplete
        return
    counting = poll_call(TOKEN_COUNT_CALL)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            t("hosted.count"),
            key="playground.count_tokens",
            on_click=_count_tokens,
            args=(asked,),
            icon=":material/123:",
            disabled=counting,
        )
        if state.token_count and state.token_count[0] == _count_key(asked):
            st.markdown(state.token_count[1], width="content")
    show_call_status(TOKEN_COUNT_CALL)


def _count_key(asked: GenerationRequest) -> tuple:
    return asked.model_id, asked.prompt, asked.hosted.images


def _count_tokens(asked: GenerationRequest) -> None:
    hosted = services.router().hosted

    def begin() -> BackgroundCall[int | None]:
        from llm_core.providers.http.background_call import BackgroundCall

        target, credentials = hosted.target(asked.model_id), services.credentials()
        assert target is not None  # the button is drawn for hosted models only
        return BackgroundCall(
            lambda line: hosted.count_tokens(asked, target, credentials, line), hosted.make_connection()
        )

    def take(counted: int | None) -> None:
        said = t("hosted.not_counted")
        target = hosted.target(asked.model_id)
        if target and counted is not None:
            parts = [t("hosted.usage.prompt", value=format_number(counted, 0)), *format_cost(target, Usage(counted))]
            said = " · ".join(parts)
        model_state().token_count = (_count_key(asked), said)

    start_call(TOKEN_COUNT_CALL, t("hosted.counting"), begin, take)
