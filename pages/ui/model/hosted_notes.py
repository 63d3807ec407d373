"""Notes on hosted runs beside their answers: queue, unsupported settings, and how exact a step's figures are."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

import streamlit as st

from llm_core.errors import NucleusError
from llm_core.experiments.comparison import Comparison
from pages.ui.model.status import is_hosted
from pages.ui.shell import i18n, services
from pages.ui.shell.i18n import format_number, format_share, t

if TYPE_CHECKING:
    from llm_core.generation.record import Run, TokenEvent


def show_queue_note(runs: Collection[Run]) -> None:
    """Draw how many answers of these runs wait at a provider, and how many answers of other runs are ahead of them.

    Draws exactly one container in every state, so that elements below keep their position.
    """
    hosted = services.router().hosted
    waiting = hosted.queue_state(runs)
    with st.container(key="model.queue_note"):
        if waiting.own:
            words = t("hosted_views.queue.waiting", count=waiting.own, limit=hosted.parallel)
            others = t("hosted_views.queue.others", count=waiting.ahead) if waiting.ahead else ""
            st.caption(f":material/hourglass_top: {words} {others}".strip())


def show_notices(notices: Iterable[NucleusError]) -> None:
    """Draw each distinct notice once."""
    for text in dict.fromkeys(map(i18n.explain, notices)):
        st.info(text, icon=":material/info:")


def show_comparison_notes(comparison: Comparison) -> None:
    """Draw what providers rejected or ignored in a comparison, and what a seed guarantees there."""
    if any(is_hosted(run.request.model_id) for run in comparison.runs):
        st.caption(t("hosted_views.compare.seed"))
    show_notices(notice for run in comparison.runs for notice in run.notices)


def format_step_note(event: TokenEvent) -> str:
    """Return a text on how much of one step's distribution a provider showed, and the error bound of the distribution
    after the sampler."""
    trace = event.known_trace
    shown = t(
        "hosted_views.shown", count=format_number(len(trace.candidates), 0), value=format_share(1 - trace.residual)
    )
    if event.error_bound >= 1:
        return f"{shown} {t('hosted_views.compare.no_bound')}"
    return f"{shown} {t('hosted_views.bound', value=format_share(event.error_bound))}"
