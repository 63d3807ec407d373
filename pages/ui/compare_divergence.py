"""Where two columns part: both distributions at that step, and what in the samplers made the difference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from llm_core.comparison import Reason, first_divergence, reasons
from llm_core.text_statistics import difference
from pages.ui import charts, i18n
from pages.ui.compare_drafts import ShownComparison
from pages.ui.i18n import number, share, t
from pages.ui.live_plot import live_plot

if TYPE_CHECKING:
    from llm_core.records import Run, TokenEvent
    from samplers import StepTrace


def divergence_panel(
    shown: ShownComparison, names: Sequence[str], events: Sequence[Sequence[TokenEvent]], step: int | None
) -> None:
    """Draw both distributions at `step`, with the reasons where that is the step at which they part."""
    pair = (shown.reference, shown.other)
    if not all(events[place] for place in pair):
        return
    with st.container(border=True, key="compare-divergence"):
        parting = first_divergence(events[pair[0]], events[pair[1]])
        st.markdown(f"**{_heading(shown, names, events, parting)}**")
        if step is None:
            return
        both = [events[place][step] if step < len(events[place]) else None for place in pair]
        if parting is not None and step > parting:
            st.caption(t("compare.after_parting", step=parting + 1))
        elif step == parting and both[0] and both[1]:
            for reason in reasons(both[0].known_trace, both[1].known_trace):
                st.markdown("- " + _explained(reason, shown, names, both[0], both[1]))
        for side, (box, place, event) in enumerate(zip(st.columns(2), pair, both, strict=True)):
            with box:
                _figure(shown.comparison.run(place), names[place], event, step, side)
        st.caption(t("compare.step_legend"))
        if both[0] and both[1]:
            st.caption(_distances(both[0].known_trace, both[1].known_trace, parting is None or step <= parting))
            if st.toggle(t("step.as_table"), key="compare_step_table"):
                st.dataframe(_table(shown, names, both[0], both[1]), hide_index=True)


def _heading(
    shown: ShownComparison, names: Sequence[str], events: Sequence[Sequence[TokenEvent]], parting: int | None
) -> str:
    pair = (shown.reference, shown.other)
    first, second = (i18n.plain(names[place]) for place in pair)
    if shown.reference == shown.other:
        return t("compare.same_column")
    if parting is None:
        return t("compare.together", first=first, second=second, count=min(len(events[place]) for place in pair))
    tokens = [_token(shown, place, events[place][parting].known_id) for place in pair]
    return t(
        "compare.parting",
        first=first,
        second=second,
        same=parting,
        step=parting + 1,
        first_token=tokens[0],
        second_token=tokens[1],
    )


def _explained(
    reason: Reason, shown: ShownComparison, names: Sequence[str], first: TokenEvent, second: TokenEvent
) -> str:
    """The reason in the reader's language."""
    places, chosen = (shown.reference, shown.other), (first, second)
    columns = [i18n.plain(names[place]) for place in places]
    tokens = [_token(shown, place, event.known_id) for place, event in zip(places, chosen, strict=True)]
    if reason.code == "model":
        return t("compare.why.model")
    if reason.code == "reweighted":
        raw, one, two = map(i18n.compact, reason.odds)
        return t(
            "compare.why.reweighted",
            **{"first": columns[0], "second": columns[1], "first_token": tokens[0], "second_token": tokens[1]},
            raw=raw,
            one=one,
            two=two,
        )
    other = chosen[1 - reason.side]
    values = {"column": columns[reason.side], "token": tokens[1 - reason.side], "rank": other.known_trace.rank}
    if reason.code == "unseen":
        return t("compare.why.unseen", **values)
    values["probability"] = number(100 * 2**-other.known_trace.surprisal_bits, 1)
    if reason.stage == "temperature":
        return t("compare.why.greedy", **values)
    return t("compare.why.cut", **values, stage=t(f"stages.{reason.stage}.name"))


def _token(shown: ShownComparison, place: int, token_id: int) -> str:
    model = shown.comparison.run(place).model
    return i18n.plain(f"“{charts.visible(model.label(token_id))}”") if model else str(token_id)


def _figure(run: Run, name: str, event: TokenEvent | None, step: int, side: int) -> None:
    st.markdown(i18n.plain(name))
    candidates = charts.top_candidates(event.known_trace, run.model.label) if event and run.model else []
    words = {word: t(f"step.{word}") for word in ("raw", "after", "drawn", "cut")}
    words |= {"empty": t("compare.ended_before"), "axis": t("charts.probability")}
    figure = charts.step_figure(candidates, share, words)
    live_plot(
        figure,
        key=f"compare_step_{side}",
        label=f"{name}: " + ", ".join(f"{c.label} {number(c.raw)} → {number(c.after)}" for c in candidates[:5]),
        step=f"{run.id}:{step}",
    )


def _distances(first: StepTrace, second: StepTrace, same_text: bool) -> str:
    forth = difference(first.candidates, first.final, second.candidates, second.final)
    back = difference(second.candidates, second.final, first.candidates, first.final)
    words = t("compare.distances", forth=bits(forth.kl_bits), back=bits(back.kl_bits), jaccard=share(forth.jaccard))
    return words if same_text else f"{words} {t('compare.other_text')}"


def bits(value: float) -> str:
    return "∞" if value == float("inf") else number(value)


def _table(shown: ShownComparison, names: Sequence[str], first: TokenEvent, second: TokenEvent) -> list[dict]:
    """Tokens of both steps with their probability in the model and after each sampler."""
    rows: dict[int, dict] = {}
    for place, event in ((shown.reference, first), (shown.other, second)):
        model = shown.comparison.run(place).model
        for candidate in charts.top_candidates(event.known_trace, model.label) if model else []:
            row = rows.setdefault(candidate.token_id, {t("step.token"): candidate.label})
            row |= {
                f"{names[place]}: {t('step.raw')}": round(candidate.raw, 5),
                f"{names[place]}: {t('step.after')}": round(candidate.after, 5),
                f"{names[place]}: {t('step.drawn')}": candidate.drawn,
            }
    return list(rows.values())
