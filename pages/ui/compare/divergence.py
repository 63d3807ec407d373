"""Show where two columns of a comparison diverge.

Draws both distributions at that step and explains what in the samplers made the difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from llm_core.analysis.text_metrics import compare_distributions
from llm_core.experiments.comparison import DivergencePoint, DivergenceReason, divergence_point, explain_divergence
from pages.ui.compare.drafts import ShownComparison
from pages.ui.components import charts
from pages.ui.components.live_plot import show_live_plot
from pages.ui.model.hosted_notes import format_step_note
from pages.ui.model.status import is_hosted
from pages.ui.shell import i18n
from pages.ui.shell.i18n import format_number, format_share, t

if TYPE_CHECKING:
    from llm_core.generation.record import Run, TokenEvent
    from samplers import StepTrace


def find_divergence(
    shown: ShownComparison, events: Sequence[Sequence[TokenEvent]], column: int
) -> DivergencePoint | None:
    """Return the point where a column diverges from the reference, or None."""
    reference = shown.reference
    return divergence_point(events[reference], events[column], shown.comparison.has_shared_ids(reference, column))


def show_divergence(
    shown: ShownComparison, names: Sequence[str], events: Sequence[Sequence[TokenEvent]], place: DivergencePoint | None
) -> None:
    """Draw both distributions at a point, with the reasons where it is the point at which the columns diverge."""
    pair = (shown.reference, shown.other)
    if not all(events[place] for place in pair):
        return
    with st.container(border=True, key="compare.divergence_card"):
        parts = find_divergence(shown, events, shown.other)
        st.markdown(f"**{_heading(shown, names, events, parts)}**")
        if place is None:
            return
        both = [
            events[column][step] if step < len(events[column]) else None
            for column, step in zip(pair, place, strict=True)
        ]
        share_ids = shown.comparison.has_shared_ids(*pair)
        if parts is not None and place.other > parts.other:
            st.caption(t("compare.after_parting", step=parts.other + 1))
        elif place == parts:
            _show_reasons(shown, names, both, share_ids)
        for side, (box, column, event) in enumerate(zip(st.columns(2), pair, both, strict=True)):
            with box:
                _show_step_figure(shown.comparison.run(column), names[column], event, place[side], side)
        if not any(event and event.trace for event in both):
            return
        st.caption(t("compare.step_legend"))
        first, second = both
        if share_ids and first and second and first.trace and second.trace:
            st.caption(_format_distances(first.trace, second.trace, parts is None or place.other <= parts.other))
        if first and second and st.toggle(t("step.as_table"), key="compare.step_table"):
            st.dataframe(_step_table(shown, names, first, second), hide_index=True)


def _show_reasons(
    shown: ShownComparison, names: Sequence[str], both: Sequence[TokenEvent | None], share_ids: bool
) -> None:
    """Draw the reasons for the divergence, where both distributions are known and their tokens can be identified."""
    first, second = both
    if not (first and second and first.trace and second.trace):
        return
    if not share_ids:
        st.markdown("- " + t("hosted_views.compare.other_run"))
        return
    if max(first.error_bound, second.error_bound) >= 1:
        st.markdown("- " + t("hosted_views.compare.no_reason"))
        return
    found = explain_divergence(first.trace, second.trace)
    if _has_different_seeds(shown) and not any(reason.code in ("model", "cut") for reason in found):
        st.markdown("- " + _explain_seeds(shown, names, (first, second)))
        return
    for reason in found:
        st.markdown("- " + _explain_reason(reason, shown, names, first, second))


def _heading(
    shown: ShownComparison, names: Sequence[str], events: Sequence[Sequence[TokenEvent]], parts: DivergencePoint | None
) -> str:
    pair = (shown.reference, shown.other)
    first, second = (i18n.escape_markdown(names[place]) for place in pair)
    if shown.reference == shown.other:
        return t("compare.same_column")
    if parts is None:
        return t("compare.together", first=first, second=second, count=min(len(events[place]) for place in pair))
    tokens = [_quote_token(shown, place, events[place][step]) for place, step in zip(pair, parts, strict=True)]
    return t(
        "compare.parting",
        first=first,
        second=second,
        same=parts.other,
        step=parts.other + 1,
        first_token=tokens[0],
        second_token=tokens[1],
    )


def _explain_reason(
    reason: DivergenceReason, shown: ShownComparison, names: Sequence[str], first: TokenEvent, second: TokenEvent
) -> str:
    """Return the reason as a sentence in the reader's language."""
    places, chosen = (shown.reference, shown.other), (first, second)
    columns = [i18n.escape_markdown(names[place]) for place in places]
    tokens = [_quote_token(shown, place, event) for place, event in zip(places, chosen, strict=True)]
    if reason.code == "model":
        return t("compare.why.model")
    if reason.code == "reweighted":
        raw, one, two = map(i18n.format_compact, reason.odds)
        noise_is_shared = not is_hosted(shown.comparison.run(shown.other).request.model_id)
        return t(
            "compare.why.reweighted" if noise_is_shared else "hosted_views.compare.chance",
            **{"first": columns[0], "second": columns[1], "first_token": tokens[0], "second_token": tokens[1]},
            raw=raw,
            one=one,
            two=two,
        )
    other = chosen[1 - reason.side]
    values = {"column": columns[reason.side], "token": tokens[1 - reason.side], "rank": other.known_trace.rank}
    if reason.code == "unseen":
        count = len(chosen[reason.side].known_trace.candidates)
        return t("hosted_views.compare.unseen", **values, count=count)
    values["probability"] = format_number(100 * 2**-other.known_trace.surprisal_bits, 1)
    if reason.stage == "temperature":
        return t("compare.why.greedy", **values)
    return t("compare.why.cut", **values, stage=t(f"stages.{reason.stage}.name"))


def _has_different_seeds(shown: ShownComparison) -> bool:
    """Return whether both columns are recorded answers with different seeds. Other columns share their seeds."""
    one, other = shown.drafts[shown.reference].recorded, shown.drafts[shown.other].recorded
    return one is not None and other is not None and (one[1] is None or one[1] != other[1])


def _explain_seeds(shown: ShownComparison, names: Sequence[str], both: Sequence[TokenEvent]) -> str:
    """Explain a divergence by the seeds: with one sampler and one text, only the noise is left."""
    words: dict[str, str] = {}
    for side, place, event in zip(("first", "second"), (shown.reference, shown.other), both, strict=True):
        trace = event.known_trace
        words[side] = i18n.escape_markdown(names[place])
        words[f"{side}_token"] = _quote_token(shown, place, event)
        words[f"{side}_share"] = format_share(math.exp(trace.final.logprobs[trace.candidates.index(trace.token_id)]))
    return t("recipes.other_seed", **words)


def _quote_token(shown: ShownComparison, place: int, event: TokenEvent) -> str:
    label = event.piece if event.token_id is None else shown.comparison.run(place).label(event.token_id)
    return i18n.escape_markdown(f"“{charts.escape_control_characters(label)}”")


def _show_step_figure(run: Run, name: str, event: TokenEvent | None, step: int, side: int) -> None:
    st.markdown(i18n.escape_markdown(name))
    if event and event.trace is None:
        st.caption(t("hosted_views.compare.no_probabilities"))
        return
    candidates = charts.top_candidates(event.trace, run.label) if event and event.trace else []
    words = {word: t(f"step.{word}") for word in ("raw", "after", "drawn", "cut")}
    words |= {"empty": t("compare.ended_before"), "axis": t("charts.probability")}
    figure = charts.step_figure(candidates, format_share, words)
    show_live_plot(
        figure,
        key=f"compare.step.{side}",
        label=f"{name}: "
        + ", ".join(f"{c.label} {format_number(c.raw)} → {format_number(c.after)}" for c in candidates[:5]),
        step=f"{run.id}:{step}",
    )
    if event and event.trace and is_hosted(run.request.model_id):
        st.caption(format_step_note(event))


def _format_distances(first: StepTrace, second: StepTrace, same_text: bool) -> str:
    forth = compare_distributions(first.candidates, first.final, second.candidates, second.final)
    back = compare_distributions(second.candidates, second.final, first.candidates, first.final)
    words = t(
        "compare.distances",
        forth=format_bits(forth.kl_bits),
        back=format_bits(back.kl_bits),
        jaccard=format_share(forth.jaccard),
    )
    return words if same_text else f"{words} {t('compare.other_text')}"


def format_bits(value: float) -> str:
    return "∞" if value == float("inf") else format_number(value)


def _step_table(shown: ShownComparison, names: Sequence[str], first: TokenEvent, second: TokenEvent) -> list[dict]:
    """Return the tokens of both steps with their probability in the model and after each sampler."""
    rows: dict[int | str, dict] = {}
    share_ids = shown.comparison.has_shared_ids(shown.reference, shown.other)
    for place, event in ((shown.reference, first), (shown.other, second)):
        label = shown.comparison.run(place).label
        for candidate in charts.top_candidates(event.trace, label) if event.trace else []:
            key = candidate.token_id if share_ids else candidate.label
            row = rows.setdefault(key, {t("step.token"): candidate.label})
            row |= {
                f"{names[place]}: {t('step.raw')}": round(candidate.raw, 5),
                f"{names[place]}: {t('step.after')}": round(candidate.after, 5),
                f"{names[place]}: {t('step.drawn')}": candidate.drawn,
            }
    return list(rows.values())
