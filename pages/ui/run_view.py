"""One run as it happens: the answer as a token strip, the distribution of one step, and its figures.

Redrawn by a fragment about three times a second while the engine works; nothing redraws when it rests.
"""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING

import streamlit as st

from llm_core.asking import Asking
from llm_core.records import RowRecord, Run
from pages.ui import charts, i18n, resources
from pages.ui.i18n import number, share, t
from pages.ui.live_plot import live_plot
from pages.ui.state import get, session
from pages.ui.token_strip import Cell, token_strip

if TYPE_CHECKING:
    from llm_core.records import TokenEvent

REFRESH_SECONDS = 0.3


def run_view() -> None:
    """Draw what the session asked, following it while it is active."""
    following = any(asking.active for asking in session().askings)
    st.fragment(_draw, run_every=REFRESH_SECONDS if following else None)(following)


def _draw(following: bool) -> None:
    state = session()
    ended = not any(asking.active for asking in state.askings)  # before the events are read, so none is missed
    for each in state.askings:
        each.advance()
    if len(places := _places()) > 1:
        _overview(places)
    asking = state.askings[state.shown[0]] if state.askings else None
    run = asking.main if asking else None
    row = run.rows[min(state.shown[1], len(run.rows) - 1)] if run else None
    events = row.events() if row else []
    selected = state.selected_step
    step = len(events) - 1 if selected is None else min(selected, len(events) - 1)
    with st.container(border=True, key="answer-card"):
        _answer(run, row, events, step)
        if asking:
            _result(asking)
    with st.container(border=True):
        _step(run, events, step)
    if following and ended:
        st.rerun()


def _places() -> list[tuple[int, int]]:
    """`(prompt, chain)` of every answer."""
    return [(place, chain) for place, asking in enumerate(session().askings) for chain in range(asking.chains)]


def _overview(places: list[tuple[int, int]]) -> None:
    """Which of several answers is shown, and what came of each."""
    state = session()
    names = {place: _place_name(place) for place in places}
    with st.container(border=True):
        st.selectbox(
            t("run.which", count=len(places)),
            places,
            index=places.index(state.shown) if state.shown in places else 0,
            format_func=names.__getitem__,
            key=f"shown_{state.askings[0].runs[0].id}",
            on_change=_show,
        )
        st.dataframe(
            [_overview_row(*place) for place in places], hide_index=True, height="auto" if len(places) < 9 else 320
        )
        if len(state.askings) == 1 and (votes := state.askings[0].votes) and len(places) > 1:
            # A result may be a whole answer; the table above has it in full.
            short = [(textwrap.shorten(result, 40, placeholder="…"), count) for result, count in votes[:5]]
            counts = ", ".join(f"**{i18n.plain(result)}** × {count}" for result, count in short)
            st.markdown(t("run.votes", votes=counts))


def _show() -> None:
    state = session()
    state.shown, state.selected_step = get(f"shown_{state.askings[0].runs[0].id}"), None


def _place_name(place: tuple[int, int]) -> str:
    asking = session().askings[place[0]]
    parts = []
    if len(session().askings) > 1:
        parts.append(t("run.prompt_number", number=place[0] + 1))
    if asking.chains > 1:
        parts.append(t("run.chain_number", number=place[1] + 1))
    return " · ".join(parts)


def _overview_row(place: int, chain: int) -> dict[str, str | int]:
    asking = session().askings[place]
    rows = asking.main.rows
    outcome = asking.outcomes[chain] if asking.outcomes else None
    values = session().asked_values[place] if place < len(session().asked_values) else {}
    row = rows[chain] if chain < len(rows) else None
    return {
        t("run.number"): _place_name((place, chain)),
        **values,
        t("run.result"): (outcome.result or t("run.no_result")) if outcome else "…",
        t("run.answer"): outcome.text if outcome else row.text if row else "",
        t("run.token_count"): len(row.events()) if row else 0,
    }


def _result(asking: Asking) -> None:
    """What the extraction found, where it is not simply the answer."""
    spec = asking.request.prompt
    if spec.method.steps_back and len(asking.runs) > 1:
        with st.expander(t("run.principle")):
            st.code(asking.runs[0].rows[0].text, language=None, wrap_lines=True)
    if asking.error and asking.error is not asking.main.error:
        st.error(i18n.explain(asking.error), icon=":material/error:")
    if asking.outcomes and (spec.extraction.kind != "whole" or len(asking.runs) > 1 or asking.chains > 1):
        found = asking.answer
        st.caption(t("run.result"))
        st.code(t("run.no_result") if found is None else found, language=None, wrap_lines=True)


def _answer(run: Run | None, answer: RowRecord | None, events: list[TokenEvent], step: int) -> None:
    token_strip(
        [_cell(run, step, event) for step, event in enumerate(events)] if run else [],
        key="answer",
        selected=step if events else None,
        words={"title": t("run.answer"), "legend": t("run.legend"), "empty": _waiting_words(run)},
        on_pick=_pick,
    )
    if run is None or answer is None:
        return
    if answer.error:
        st.error(i18n.explain(answer.error), icon=":material/error:")
    if events:
        logprobs = [event.trace.logprob for event in events if event.trace]
        figures = [
            t("run.tokens_per_second", value=number(answer.tokens_per_second, 1)),
            t("run.tokens", value=len(events)),
        ]
        if logprobs:
            figures.append(t("run.mean_logprob", value=number(sum(logprobs) / len(logprobs))))
        if run.rendered:
            prompt = number(len(run.rendered.token_ids), 0)
            figures.append(t("run.cached", cached=number(answer.cached_tokens, 0), prompt=prompt))
        if answer.finish_reason:
            figures.append(t(f"run.finished.{answer.finish_reason}"))
        st.caption(" · ".join(figures))
    if events and not run.active and st.toggle(t("run.as_text"), key="as_text"):
        st.code(answer.text, language=None, wrap_lines=True)


def _step(run: Run | None, events: list[TokenEvent], step: int) -> None:
    trace = events[step].trace if events else None
    candidates = charts.top_candidates(trace, run.label) if trace and run else []
    heading, legend = st.columns([1, 1], vertical_alignment="bottom")
    heading.markdown(_heading(step, len(events)))
    legend.html(_legend())
    words = {name: t(f"step.{name}") for name in ("raw", "after", "drawn", "cut", "empty")}
    live_plot(
        charts.step_figure(candidates, share, words),
        key="step_plot",
        label=_spoken(candidates),
        failed=t("step.no_plot"),
        step=f"{run.id if run else ''}:{step}",
    )
    if trace is None:
        st.caption(t("step.hint"))
        return
    figures = [
        t("step.kept", kept=number(trace.final.kept, 0), vocabulary=number(trace.raw.kept, 0)),
        t("step.kept_mass", value=share(trace.final.kept_mass)),
        t("step.residual", value=share(_outside(candidates))),
        t("step.entropy", value=number(trace.raw.entropy_bits)),
        t("step.surprisal", value=number(trace.surprisal_bits)),
    ]
    st.caption(" · ".join(figures))
    if st.toggle(t("step.as_table"), key="as_table"):
        st.dataframe(_table(candidates), hide_index=True)


def _outside(candidates: list[charts.Candidate]) -> float:
    return max(0.0, 1.0 - math.fsum(candidate.raw for candidate in candidates))


def _heading(step: int, count: int) -> str:
    if not count:
        return f"**{t('step.title')}**"
    where = t("step.place", step=step + 1, count=count)
    return f"**{where}**" if session().selected_step is None else f"**{where}** · {t('step.pinned')}"


def _legend() -> str:
    """The chart's colours in words; only texts of ours, so HTML is safe here."""
    names = ((charts.RAW, "raw"), (charts.AFTER, "after"), (charts.DRAWN, "drawn"))
    parts = (f"<span style='color:{color}'>■</span> {t(f'step.{name}')}" for color, name in names)
    return f"<div style='text-align:right;font-size:0.82rem;opacity:0.85'>{' &nbsp; '.join(parts)}</div>"


def _spoken(candidates: list[charts.Candidate]) -> str:
    leading = ", ".join(f"{c.label} {number(c.raw)} → {number(c.after)}" for c in candidates[:5])
    return f"{t('step.title')}: {leading}" if leading else t("step.empty")


def _table(candidates: list[charts.Candidate]) -> list[dict]:
    return [
        {
            t("step.token"): c.label,
            t("step.token_id"): c.token_id,
            t("step.raw"): round(c.raw, 5),
            t("step.after"): round(c.after, 5),
            t("step.drawn"): c.drawn,
            t("step.excluded"): c.excluded,
        }
        for c in candidates
    ]


def _waiting_words(run: Run | None) -> str:
    if run is None:
        return t("run.empty")
    if run.status == "waiting":
        ahead = resources.engine().position(run)
        return t("run.queued", ahead=ahead) if ahead else t("run.starting")
    return t("run.reading") if run.active else t("run.nothing")


def _cell(run: Run, step: int, event: TokenEvent) -> Cell:
    if event.trace is None or event.token_id is None:
        return Cell(event.piece, 0.0, "")
    probability = math.exp(event.trace.logprob)
    label = charts.visible(run.label(event.token_id))
    title = t("run.token", step=step + 1, token=label, value=number(probability, 3), rank=event.trace.rank)
    if run.model and event.token_id in run.model.end_ids:
        return Cell(event.piece, probability, title, "mark")
    if not event.piece:
        return Cell("‥", probability, title, "part")
    return Cell(event.piece, probability, title)


def _pick(index: int) -> None:
    """Pin the step; choosing the pinned one again lets the view follow the newest."""
    state = session()
    state.selected_step = None if state.selected_step == index else index
