"""Draw the ranking of candidates: one candidate with its tokens and scores, all scores, and how criteria agree."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from llm_core.best_of_n.scoring import kendall_tau, rank_candidates, rank_correlation
from llm_core.generation.branches import Branch
from pages.ui.best_of_n.criteria_picker import OWN_SCORE, ScoresByCriterion, criterion_name
from pages.ui.best_of_n.drafts import ShownPool
from pages.ui.best_of_n.figures import agreement_figure, length_figure
from pages.ui.best_of_n.session_state import best_of_n_state
from pages.ui.components.live_plot import show_live_plot
from pages.ui.components.token_cells import make_token_cells, strip_texts
from pages.ui.components.token_strip import select_colour_mode, show_token_strip
from pages.ui.playground.session_state import playground_state
from pages.ui.shell import i18n
from pages.ui.shell.i18n import format_number, load_texts, t
from pages.ui.shell.session import get, put

if TYPE_CHECKING:
    from llm_core.best_of_n.criteria import Score

_WINNER_STYLE = "background-color: rgba(230, 159, 0, 0.3); font-weight: 600"
_STRONG_TAU, _WEAK_TAU = 0.6, 0.2


def find_winners(scores: Mapping[int, Score]) -> tuple[int, ...]:
    """Return every candidate with the highest score; empty where all of several score the same."""
    places, winners = rank_candidates(scores)
    return () if 1 < len(places) == len(winners) else winners


def format_score(score: Score) -> str:
    return t("best.failed") if score.value is None else format_number(score.value, 3)


def show_candidate(shown: ShownPool, scores: ScoresByCriterion) -> None:
    """Draw the chosen candidate's tokens and scores, with another candidate beside it."""
    candidates = {candidate.index: candidate for candidate in shown.pool.candidates()}
    if shown.chosen is None or shown.chosen not in candidates:
        st.caption(t("best.choose"))
        return
    with st.container(border=True, key="best_of_n.candidate_card"):
        others = [index for index in candidates if index != shown.chosen]
        if get("best_of_n.beside") not in others:
            put("best_of_n.beside", None)
        st.selectbox(
            t("best.beside"),
            others,
            index=None,
            format_func=lambda index: _candidate_name(index, scores),
            key="best_of_n.beside",
            placeholder=t("best.beside_placeholder"),
        )
        mode = select_colour_mode()
        beside = get("best_of_n.beside")
        for box, index in zip(st.columns(1 if beside is None else 2), (shown.chosen, beside), strict=False):
            with box:
                _show_candidate_scores(shown, scores, index, mode)


def _candidate_name(index: int, scores: ScoresByCriterion) -> str:
    won = [criterion_name(name) for name, each in scores.items() if find_winners(each)[:1] == (index,)]
    name = t("best.candidate", number=index + 1)
    return f"{name} · {', '.join(won)}" if won else name


def _show_candidate_scores(shown: ShownPool, scores: ScoresByCriterion, index: int, mode: Any) -> None:
    run = shown.pool.find_run(index)
    row = shown.pool.records[index]
    branch = Branch(0, run, run.samples.index(row))
    show_token_strip(
        make_token_cells(branch),
        key=f"best_of_n.strip.{run.id}.{index}",
        mode=mode,
        selected=None,
        words=strip_texts(mode, _candidate_name(index, scores)),
        on_pick=lambda step: None,
    )
    st.dataframe(
        [
            _score_row(name, each[index], rank_candidates(each).places.get(index))
            for name, each in scores.items()
            if index in each
        ],
        hide_index=True,
    )
    with st.container(horizontal=True):
        for page in ("playground", "lens"):
            if st.button(t(f"best.open.{page}"), key=f"best_of_n.open.{page}.{index}"):
                state = playground_state()
                state.branch, state.selected_step = state.tree.root(run, branch.chain).id, None
                # Not from within a fragment, because fields outside of it would lose their values.
                best_of_n_state().next_page = page
                st.rerun()


def _score_row(name: str, score: Score, place: int | None) -> dict[str, str]:
    return {
        t("best.criterion_title"): criterion_name(name),
        t("best.score"): format_score(score),
        t("best.place"): "–" if place is None else str(place),
        t("best.parts_title"): _format_parts(name, score),
    }


def _format_parts(name: str, score: Score) -> str:
    """Return the parts that a score was computed from, or the error in place of a score."""
    if score.error:
        return i18n.explain(score.error).replace("\\", "")
    known = load_texts(i18n.language())
    told = []
    for part, value in score.parts.items():
        if part in ("nearest", "first_same"):
            value = int(value) + 1
        shown = value if isinstance(value, str) else format_number(value, 0 if isinstance(value, int) else 3)
        if name == OWN_SCORE:
            part = criterion_name(part)
        elif f"best.parts.{part}" in known:
            part = t(f"best.parts.{part}")
        told.append(f"{part} {shown}")
    return " · ".join(told)


def show_ranking(shown: ShownPool, scores: ScoresByCriterion) -> None:
    """Draw every score of every candidate as a table that sorts by a click on a heading."""
    if not scores:
        st.caption(t("best.no_scores"))
        return
    groups = shown.pool.duplicate_groups
    titles = {name: criterion_name(name) for name in scores}
    rows = [
        {
            t("best.number"): group.first.index + 1,
            t("best.times"): group.count,
            t("best.text"): group.first.text,
            **{titles[name]: _score_value(each.get(group.first.index)) for name, each in scores.items()},
            t("best.length"): group.first.tokens,
        }
        for group in groups
    ]
    frame = pd.DataFrame(rows)
    best = {titles[name]: each[found[0]].value for name, each in scores.items() if (found := find_winners(each))}
    style = frame.style.apply(
        lambda column: [_WINNER_STYLE if value == best.get(column.name, math.nan) else "" for value in column],
        subset=list(titles.values()),
    ).format(lambda value: "–" if pd.isna(value) else format_number(value, 3), subset=list(titles.values()))
    help_texts = {titles[name]: st.column_config.Column(help=t(f"best.means.{name}")) for name in scores}
    help_texts[t("best.text")] = st.column_config.Column(width="medium")
    st.dataframe(style, hide_index=True, column_config=help_texts, height="auto" if len(rows) < 12 else 420)
    st.caption(t("best.table_help"))
    _show_failures(scores)
    if st.toggle(t("best.with_parts"), key="best_of_n.parts"):
        st.dataframe(
            [
                {t("best.number"): group.first.index + 1}
                | {
                    titles[name]: _format_parts(name, each[group.first.index])
                    for name, each in scores.items()
                    if group.first.index in each
                }
                for group in groups
            ],
            hide_index=True,
        )
    if judge := scores.get("pairwise"):
        _show_position_bias(judge)


def _score_value(score: Score | None) -> float | None:
    return None if score is None else score.value


def _show_failures(scores: ScoresByCriterion) -> None:
    """List the scores that are missing, with the reason; candidates with the same reason are named together."""
    dropped: dict[tuple[str, str], list[int]] = {}
    for name, each in scores.items():
        for index, score in each.items():
            if score.error:
                dropped.setdefault((name, i18n.explain(score.error)), []).append(index + 1)
    for (name, reason), numbers in dropped.items():
        which = ", ".join(map(str, numbers))
        st.markdown(f":material/error: **{criterion_name(name)}** ({t('best.failed_for', numbers=which)}): {reason}")


def _show_position_bias(scores: Mapping[int, Score]) -> None:
    found = next((score.parts for score in scores.values() if "prefers_first" in score.parts), None)
    if found:
        first, steady = float(found["prefers_first"]), float(found["consistent"])
        st.markdown(t("best.position_bias", first=format_number(100 * first, 0), steady=format_number(100 * steady, 0)))
        if abs(first - 0.5) > 0.15 or steady < 0.6:
            st.caption(t("best.biased"))


def show_agreement(shown: ShownPool, scores: ScoresByCriterion) -> None:
    """Draw how alike criteria rank the candidates, as a map and in words, and how scores depend on length."""
    pairs = {pair: rank_correlation(scores[pair[0]], scores[pair[1]]) for pair in combinations(scores, 2)}
    if pairs:
        st.markdown(f"**{t('best.agreement')}**")
        st.caption(t("best.agreement_text"))
        names = [criterion_name(name) for name in scores]
        matrix = [
            [1.0 if one == other else pairs.get((one, other), pairs.get((other, one))) for other in scores]
            for one in scores
        ]
        show_live_plot(
            agreement_figure(names, matrix, t("best.agreement_axis"), t("best.criterion_title")),
            key="best_of_n.agreement",
            label="; ".join(_describe_agreement(pair, tau) for pair, tau in pairs.items()),
            step=f"{len(scores)}",
            min_width=140 + 62 * len(names),
        )
        known = sorted(((tau, pair) for pair, tau in pairs.items() if tau is not None), key=lambda each: each[0])
        lines = [
            _describe_agreement(pair, tau) for tau, pair in (known if len(known) < 5 else [*known[:2], *known[-2:]])
        ]
        lines += [_describe_agreement(pair, None) for pair, tau in pairs.items() if tau is None][:2]
        st.markdown("\n".join(f"- {line}" for line in lines))
        if st.toggle(t("step.as_table"), key="best_of_n.agreement_table"):
            rows = [
                {t("best.criterion_title"): name}
                | {other: "–" if tau is None else format_number(tau) for other, tau in zip(names, row, strict=True)}
                for name, row in zip(names, matrix, strict=True)
            ]
            st.dataframe(rows, hide_index=True)
    else:
        st.caption(t("best.agreement_needs_two"))
    _show_length_bias(shown)


def _describe_agreement(pair: tuple[str, str], tau: float | None) -> str:
    one, other = map(criterion_name, pair)
    if tau is None:
        return t("best.agree.constant", one=one, other=other)
    word = (
        "alike"
        if tau >= _STRONG_TAU
        else "partly"
        if tau >= _WEAK_TAU
        else "unrelated"
        if tau > -_WEAK_TAU
        else "opposite"
    )
    return t(f"best.agree.{word}", one=one, other=other, tau=format_number(tau))


def _show_length_bias(shown: ShownPool) -> None:
    """Draw the sum and the mean of log-probabilities against length, side by side."""
    points = [
        (candidate.tokens, math.fsum(candidate.logprobs), candidate.index)
        for candidate in shown.pool.candidates()
        if candidate.logprobs
    ]
    if len(points) < 3:
        return
    lengths, sums = [point[0] for point in points], [point[1] for point in points]
    means = [total / length for total, length in zip(sums, lengths, strict=True)]
    st.markdown(f"**{t('best.length_bias')}**")
    by_sum, by_mean = (kendall_tau(lengths, values) for values in (sums, means))
    tau = {
        "sum": "–" if by_sum is None else format_number(by_sum),
        "mean": "–" if by_mean is None else format_number(by_mean),
    }
    st.caption(t("best.length_bias_text", **tau))
    show_live_plot(
        length_figure(
            lengths,
            (sums, means),
            [point[2] for point in points],
            (t("best.length_axis"), t("best.sum_axis"), t("best.mean_axis")),
        ),
        key="best_of_n.length",
        label=t("best.length_bias_text", **tau),
        step=f"{len(points)}",
        min_width=560,
        on_pick=_select_candidate,
    )
    if st.toggle(t("step.as_table"), key="best_of_n.length_table"):
        st.dataframe(
            [
                {
                    t("best.number"): index + 1,
                    t("best.length_axis"): length,
                    t("best.sum_axis"): round(total, 3),
                    t("best.mean_axis"): round(total / length, 4),
                }
                for length, total, index in points
            ],
            hide_index=True,
        )


def _select_candidate(index: int) -> None:
    if (shown := best_of_n_state().shown) is not None:
        shown.chosen = index
