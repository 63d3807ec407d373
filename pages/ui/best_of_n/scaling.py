"""Draw how Best-of-N scales with the number of candidates: estimates from the candidates at hand beside theory."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import streamlit as st

from llm_core.best_of_n.estimators import (
    bootstrap_expected_best,
    expected_worth,
    kl_bound,
    pass_at_k,
    vote_accuracy,
    win_rate,
    win_rate_bound,
)
from pages.ui.best_of_n.criteria_picker import ScoresByCriterion, criterion_name
from pages.ui.best_of_n.drafts import ShownPool
from pages.ui.best_of_n.figures import ScalingCurve, estimate_curve, scaling_figure, scaling_table
from pages.ui.components.fields import show_field
from pages.ui.components.live_plot import show_live_plot
from pages.ui.shell.i18n import format_number, t
from pages.ui.shell.session import get, put

if TYPE_CHECKING:
    from llm_core.best_of_n.criteria import Score

N_VALUES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
MIN_CANDIDATES = 2
_CHART_MIN_WIDTH = 560
"""Pixels that a legend of several lines needs; a phone scrolls sideways."""
_MIN_REPORTED_DROP = 0.03
"""Smallest drop of accuracy, in [0, 1], that is reported."""


def n_values(maximum: int) -> list[int]:
    """Return the n that curves are computed at, up to `most`, denser where n is small."""
    return sorted({n for n in N_VALUES if n < maximum} | {maximum})


def show_scaling(shown: ShownPool, scores: ScoresByCriterion) -> None:
    whole = {
        name: complete
        for name, each in scores.items()
        if len(complete := _finite_scores(shown, each)) >= MIN_CANDIDATES
    }
    if not whole:
        st.caption(t("best.theory_needs_scores"))
        return
    if get("best_of_n.about") not in whole:
        put("best_of_n.about", next(iter(whole)))
    about = str(show_field(st.selectbox, "best.about", "best_of_n.about", list(whole), format_func=criterion_name))
    values = tuple(whole[about].values())
    ns = n_values(len(values))
    _show_expected_best(about, values, ns)
    truth = whole.get(shown.ground_truth or "")
    if truth is None:
        st.caption(t("best.no_truth"))
    else:
        _show_accuracy(shown, scores, whole, about, truth)
    left, right = st.columns(2)
    with left:
        _show_win_rate(about, values)
    with right:
        _show_kl_bound(ns)


def _finite_scores(shown: ShownPool, scores: Mapping[int, Score]) -> dict[int, float]:
    """Return the finite scores by candidate index."""
    wanted = (candidate.index for candidate in shown.pool.candidates())
    return {
        index: float(value)
        for index in wanted
        if index in scores and (value := scores[index].value) is not None and abs(value) < float("inf")
    }


def _show_chart(
    name: str, lines: Sequence[ScalingCurve], axis: str, limits: tuple[float, float] | None = None, min_width: int = 0
) -> None:
    """Draw the chart with a switch for its table."""
    said = "; ".join(f"{line.name}: {', '.join(format_number(value, 3) for value in line.values)}" for line in lines)
    show_live_plot(
        scaling_figure(lines, (t("best.n_axis"), axis), t("best.band"), limits),
        key=f"best_of_n.{name}",
        label=said,
        step=f"{len(lines)}:{len(lines[0].ns)}",
        min_width=min_width,
    )
    if st.toggle(t("step.as_table"), key=f"best_of_n.{name}_table"):
        bounds = {"low": t("best.low"), "high": t("best.high")}
        st.dataframe(scaling_table(lines, t("best.n_axis"), bounds), hide_index=True)


def _show_expected_best(about: str, values: tuple[float, ...], ns: Sequence[int]) -> None:
    st.markdown(f"**{t('best.expected')}**")
    st.caption(t("best.expected_text"))
    so_far = [max(values[:n]) for n in ns]
    lines = [
        estimate_curve(t("best.expected_line"), ns, [bootstrap_expected_best(values, n) for n in ns]),
        ScalingCurve(t("best.path_line"), ns, so_far, reference=True),
    ]
    _show_chart("expected", lines, criterion_name(about), min_width=_CHART_MIN_WIDTH)


@functools.lru_cache(maxsize=64)
def _cached_expected_worth(proxy: tuple[float, ...], true: tuple[float, ...], n: int) -> float:
    return expected_worth(proxy, true, n)


@functools.lru_cache(maxsize=64)
def _cached_win_rate(values: tuple[float, ...], n: int) -> float:
    return win_rate(values, values, n)


def _show_accuracy(
    shown: ShownPool, scores: ScoresByCriterion, whole: Mapping, about: str, truth: Mapping[int, float]
) -> None:
    """Draw how often the winner under each criterion is right: where a line falls, optimising the criterion harms."""
    st.markdown(f"**{t('best.accuracy')}**")
    st.caption(t("best.accuracy_text"))
    lines: list[ScalingCurve] = []
    falls = []
    right = sum(value >= 1 for value in truth.values())
    ns = n_values(len(truth))
    lines.append(ScalingCurve(t("best.any_right"), ns, [pass_at_k(len(truth), right, n) for n in ns]))
    for name, proxy in whole.items():
        both = [index for index in proxy if index in truth]
        if name == shown.ground_truth or len(both) < MIN_CANDIDATES:
            continue
        own, worth, here = (
            tuple(proxy[index] for index in both),
            tuple(truth[index] for index in both),
            n_values(len(both)),
        )
        if name == "vote":  # candidates without a result count among the n but do not vote
            here, found = ns, vote_accuracies(scores[name], truth, ns)
        else:
            found = [_cached_expected_worth(own, worth, n) for n in here]
        lines.append(ScalingCurve(criterion_name(name), here, found))
        peak = max(found)
        if peak - found[-1] > _MIN_REPORTED_DROP:
            at = here[found.index(peak)]
            falls.append((criterion_name(name), at, peak, here[-1], found[-1]))
        if name == about:
            lowest, highest = min(own), max(own)
            if highest > lowest:
                known = n_values(len(own))
                scaled = [(bootstrap_expected_best(own, n).value - lowest) / (highest - lowest) for n in known]
                lines.append(
                    ScalingCurve(t("best.proxy_line", name=criterion_name(name)), known, scaled, reference=True)
                )
    _show_chart("accuracy", lines, t("best.accuracy_axis"), (-0.04, 1.04), _CHART_MIN_WIDTH)
    single = sum(truth.values()) / len(truth)
    st.markdown(t("best.single", share=format_number(100 * single, 0), right=right, count=len(truth)))
    if falls:
        told = [
            t(
                "best.falls",
                name=name,
                at=at,
                peak=format_number(100 * peak, 0),
                end=end,
                last=format_number(100 * last, 0),
            )
            for name, at, peak, end, last in falls
        ]
        listed = "\n".join(f"- {line}" for line in told)
        st.warning(f"{t('best.over_optimised')}\n{listed}", icon=":material/trending_down:")


def vote_accuracies(votes: Mapping[int, Score], truth: Mapping[int, float], ns: Sequence[int]) -> list[float]:
    """Return the expected worth of a majority vote's winner, for each n.

    Results count as the same where the criterion `vote` says so.
    """
    named = [votes[index].parts.get("first_same") if index in votes else None for index in truth]
    return [vote_accuracy(named, tuple(truth.values()), n) for n in ns]


def _show_win_rate(about: str, values: tuple[float, ...]) -> None:
    st.markdown(f"**{t('best.win_rate')}**")
    st.caption(t("best.win_rate_text"))
    ns = n_values(len(values) - 1)
    lines = [
        ScalingCurve(t("best.measured", name=criterion_name(about)), ns, [_cached_win_rate(values, n) for n in ns]),
        ScalingCurve(t("best.bound"), ns, [win_rate_bound(n) for n in ns], reference=True),
    ]
    _show_chart("win_rate", lines, t("best.win_rate_axis"), (0.4, 1.04))


def _show_kl_bound(ns: Sequence[int]) -> None:
    st.markdown(f"**{t('best.kl')}**")
    st.caption(t("best.kl_text", n=ns[-1], value=format_number(kl_bound(ns[-1]))))
    _show_chart("kl", [ScalingCurve(t("best.bound"), ns, [kl_bound(n) for n in ns], reference=True)], t("best.kl_axis"))
