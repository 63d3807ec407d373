"""Draw statistics of each column's texts, each with a sentence on its meaning, and the entropy along the texts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import streamlit as st

from llm_core.analysis.text_metrics import STATISTICS, compare_distributions, make_text_sample
from pages.ui.compare.divergence import find_divergence, format_bits
from pages.ui.compare.drafts import ShownComparison
from pages.ui.compare.figures import entropy_figure
from pages.ui.components.live_plot import show_live_plot
from pages.ui.model.status import is_hosted
from pages.ui.shell.i18n import format_number, t

_DIGITS = {"length": 0, "perplexity": 1}
_REFERENCE_STATISTICS = ("kl", "jaccard")
"""Statistics of a column against the reference."""


def show_statistics(shown: ShownComparison, names: Sequence[str]) -> None:
    with st.container(border=True, key="compare.statistics_card"):
        st.markdown(f"**{t('compare.statistics', count=shown.comparison.repeats)}**")
        rows = [_statistics_row(shown, place, name) for place, name in enumerate(names)]
        hosted = any(is_hosted(run.request.model_id) for run in shown.comparison.runs)
        help_texts = {
            statistic_name(name): st.column_config.Column(help=t(f"compare.means.{name}"))
            for name in (*STATISTICS, *_REFERENCE_STATISTICS)
        }
        st.dataframe(rows, hide_index=True, column_config=help_texts)
        if hosted:
            st.caption(t("hosted_views.compare.figures"))
        with st.expander(t("compare.what_they_say")):
            st.markdown(
                "\n".join(
                    f"- **{statistic_name(name)}**: {t(f'compare.means.{name}')}"
                    for name in (*STATISTICS, *_REFERENCE_STATISTICS)
                )
            )
        _show_entropy(shown, names)


def statistic_name(name: str) -> str:
    return t(f"compare.statistic.{name}")


def format_statistic(name: str, value: float | None) -> str:
    return (
        "–"
        if value is None
        else format_bits(value)
        if math.isinf(value)
        else format_number(value, _DIGITS.get(name, 2))
    )


def _statistics_row(shown: ShownComparison, place: int, name: str) -> dict[str, str]:
    pair = (shown.reference, place)
    if place not in shown.statistics:
        texts = [
            make_text_sample(shown.comparison.record(place, repeat).events())
            for repeat in range(shown.comparison.repeats)
        ]
        shown.statistics[place] = {each: compute(texts) for each, compute in STATISTICS.items()}
    if pair not in shown.statistics:
        shown.statistics[pair] = _compare_with_reference(shown, place)
    figures = shown.statistics[place] | shown.statistics[pair]
    return {t("compare.column"): name} | {
        statistic_name(each): format_statistic(each, figure) for each, figure in figures.items()
    }


def _compare_with_reference(shown: ShownComparison, place: int) -> dict[str, float | None]:
    """Return KL and Jaccard of the column's distributions against the reference's.

    Each is the mean over the steps at which both had the same text before them, in all repetitions; None without any.
    """
    comparison, found = shown.comparison, []
    for repeat in range(comparison.repeats if comparison.has_shared_ids(shown.reference, place) else 0):
        events = [comparison.record(each, repeat).events() for each in range(len(shown.drafts))]
        reference, own = events[shown.reference], events[place]
        parts = find_divergence(shown, events, place)
        steps = min(len(reference), len(own)) if parts is None else parts.other + 1
        for event, other in zip(own[:steps], reference[:steps], strict=True):
            if (one := event.trace) and (two := other.trace):
                found.append(compare_distributions(one.candidates, one.final, two.candidates, two.final))
    if not found or place == shown.reference:
        return dict.fromkeys(_REFERENCE_STATISTICS)
    kl, jaccard = (sum(column) / len(found) for column in zip(*found, strict=True))
    return {"kl": kl, "jaccard": jaccard}


def _show_entropy(shown: ShownComparison, names: Sequence[str]) -> None:
    lines = {
        name: [event.trace.raw.entropy_bits for event in events if event.trace]
        for place, name in enumerate(names)
        for events in (shown.comparison.record(place, shown.repeat).events(),)
    }
    if not any(lines.values()):
        return
    st.markdown(f"**{t('compare.entropy_title')}**")
    st.caption(t("compare.entropy_text"))
    show_live_plot(
        entropy_figure(lines, t("compare.position"), t("compare.entropy_axis")),
        key="compare.entropy",
        label=", ".join(f"{name}: {format_number(sum(each) / max(1, len(each)))}" for name, each in lines.items()),
        step=f"{shown.comparison.runs[0].id}:{shown.repeat}",
    )
    if st.toggle(t("step.as_table"), key="compare.entropy_table"):
        longest = max(map(len, lines.values()))
        st.dataframe(
            [
                {t("compare.position"): step + 1}
                | {name: round(each[step], 3) if step < len(each) else None for name, each in lines.items()}
                for step in range(longest)
            ],
            hide_index=True,
        )
