"""Show the request that a provider would get, and count its tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import streamlit as st

from llm_core import GenerationRequest, NucleusError, PromptSpec
from llm_core.generation.record import Usage
from pages.ui.model.session_state import model_state
from pages.ui.prompt.composer import read_prompt
from pages.ui.shell import i18n, services
from pages.ui.shell.background_call import ask, settle, waiting_line
from pages.ui.shell.i18n import number, t

if TYPE_CHECKING:
    from llm_core.providers.http.background_call import BackgroundCall
from pages.ui.model.hosted_options import _estimated

COUNT = "count"
"""Place of the pending call that counts a prompt's tokens."""


def sent_request(request: Callable[[PromptSpec], GenerationRequest]) -> None:
    """Draw the request body for the current prompt, without the key. It is behind a switch, since building it costs
    time at every rerun."""
    _token_count(request)
    if not st.toggle(t("hosted.show_request"), key="show_request"):
        return
    try:
        asked = request(read_prompt().prompts()[0])
        pictures = tuple(replace(image, data=b"...") for image in asked.hosted.images)
        body = services.router().hosted.body(replace(asked, hosted=replace(asked.hosted, images=pictures)))
    except NucleusError as error:
        st.caption(i18n.explain(error))
        return
    st.code(json.dumps(body, ensure_ascii=False, indent=2, default=str), language="json", wrap_lines=True)


def _token_count(request: Callable[[PromptSpec], GenerationRequest]) -> None:
    """Draw a button that has the provider count the prompt's tokens, and the count while it applies to the current
    prompt."""
    state = model_state()
    try:
        asked = request(read_prompt().prompts()[0])
    except NucleusError:  # a field is incomplete
        return
    counting = settle(COUNT)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            t("hosted.count"),
            key="count_tokens",
            on_click=_count,
            args=(asked,),
            icon=":material/123:",
            disabled=counting,
        )
        if state.counted and state.counted[0] == _counted_of(asked):
            st.markdown(state.counted[1], width="content")
    waiting_line(COUNT)


def _counted_of(asked: GenerationRequest) -> tuple:
    return asked.model_id, asked.prompt, asked.hosted.images


def _count(asked: GenerationRequest) -> None:
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
            parts = [t("hosted.usage.prompt", value=number(counted, 0)), *_estimated(target, Usage(counted))]
            said = " · ".join(parts)
        model_state().counted = (_counted_of(asked), said)

    ask(COUNT, t("hosted.counting"), begin, take)
