"""What pages say of hosted runs beside their answers: the queue, what was left out, how sure a step's figures are."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

import streamlit as st

from llm_core.errors import NucleusError
from llm_core.experiments.comparison import Comparison
from pages.ui.model.status import is_hosted
from pages.ui.shell import i18n, services
from pages.ui.shell.i18n import number, share, t

if TYPE_CHECKING:
    from llm_core.generation.record import Run, TokenEvent


def queue_note(runs: Collection[Run]) -> None:
    """How many answers of these runs wait for their turn at a provider, and what is in front of them. Always draws one
    element, so that what follows keeps its place."""
    hosted = services.router().hosted
    waiting = hosted.queue_state(runs)
    with st.container(key="queue-note"):
        if waiting.own:
            words = t("hosted_views.queue.waiting", count=waiting.own, limit=hosted.parallel)
            others = t("hosted_views.queue.others", count=waiting.ahead) if waiting.ahead else ""
            st.caption(f":material/hourglass_top: {words} {others}".strip())


def told(notices: Iterable[NucleusError]) -> None:
    """Each once."""
    for text in dict.fromkeys(map(i18n.explain, notices)):
        st.info(text, icon=":material/info:")


def comparison_notes(comparison: Comparison) -> None:
    """What providers refused or ignored, and what a seed is worth there."""
    if any(is_hosted(run.request.model_id) for run in comparison.runs):
        st.caption(t("hosted_views.compare.seed"))
    told(notice for run in comparison.runs for notice in run.notices)


def step_note(event: TokenEvent) -> str:
    """How much a provider showed of one step, and how far what the stages make of it may be off."""
    trace = event.known_trace
    shown = t("hosted_views.shown", count=number(len(trace.candidates), 0), value=share(1 - trace.residual))
    if event.error_bound >= 1:
        return f"{shown} {t('hosted_views.compare.no_bound')}"
    return f"{shown} {t('hosted_views.bound', value=share(event.error_bound))}"
