"""Draw a running sweep: a curve or a map of one statistic, its table, and the texts of the chosen grid point."""

from __future__ import annotations

import math
from collections.abc import Sequence

import streamlit as st

from llm_core.analysis.reference_texts import score_reference_texts
from llm_core.analysis.text_metrics import STATISTICS
from pages.ui.compare.drafts import ShownSweep
from pages.ui.compare.figures import curve_figure, heatmap_figure
from pages.ui.compare.session_state import compare_state
from pages.ui.compare.statistics import format_statistic, statistic_name
from pages.ui.compare.sweep_settings import axis_label, select_statistic
from pages.ui.components.live_plot import show_live_plot
from pages.ui.model.status import is_hosted
from pages.ui.shell import i18n, services
from pages.ui.shell.i18n import format_compact, t
from pages.ui.shell.session import get, put
from pages.ui.studies.study_results import show_experiment

_SINGLE_TEXT_STATISTICS = ("perplexity", "mean_logprob", "entropy", "repetition", "distinct_1", "distinct_2")
"""Statistics that are defined for a single text, so that seeds and reference texts can be drawn beside the mean."""


def show_sweep() -> None:
    shown = compare_state().swept
    if shown is None:
        st.caption(t("sweep.empty"))
        return
    with st.container(border=True, key="compare.sweep_card"):
        statistic = select_statistic()
        show_experiment(shown.sweep, lambda: _show_results(shown, statistic), key="compare.sweep")


def _show_results(shown: ShownSweep, statistic: str) -> None:
    sweep = shown.sweep
    figures = [sweep.statistic(place, statistic) for place in sweep.variants]
    texts = _reference_statistics(shown, statistic) if sweep.texts and len(shown.fields) == 1 else {}
    show_live_plot(
        _sweep_curve(shown, statistic, figures, texts)
        if len(shown.fields) == 1
        else _sweep_heatmap(shown, statistic, figures),
        key=f"compare.sweep_plot.{len(shown.fields)}",
        label=f"{statistic_name(statistic)}: "
        + ", ".join(
            f"{name} {format_statistic(statistic, figure)}"
            for name, figure in zip(_point_names(shown), figures, strict=True)
            if figure is not None
        ),
        step=f"{len(sweep.texts)}:{statistic}:{shown.place}",
        on_pick=_select_point,
    )
    if statistic == "self_bleu" and sweep.items < 2:
        st.caption(t("sweep.needs_seeds"))
    if texts:
        st.caption(t("sweep.real_texts"))
    if is_hosted(sweep.model_id):
        st.caption(t("hosted_views.compare.figures"))
    if st.toggle(t("step.as_table"), key="compare.sweep_table"):
        st.dataframe(_results_table(shown, statistic), hide_index=True)
    _show_texts(shown, statistic)


def _sweep_curve(shown: ShownSweep, statistic: str, figures: Sequence[float | None], texts: dict[str, float]) -> dict:
    seeds: list[list[float]] = [[] for _ in figures]
    if statistic in _SINGLE_TEXT_STATISTICS:
        seeds = [shown.sweep.statistics_by_seed(place, statistic) for place in shown.sweep.variants]
    titles = (axis_label(shown.fields[0]), t(f"compare.axis.{statistic}"))
    return curve_figure(shown.values[0], figures, seeds, texts, titles, shown.place)


def _sweep_heatmap(shown: ShownSweep, statistic: str, figures: Sequence[float | None]) -> dict:
    across, down = shown.values
    rows = [[figures[x * len(down) + y] for x in range(len(across))] for y in range(len(down))]
    chosen = None if shown.place is None else divmod(shown.place, len(down))
    titles = (axis_label(shown.fields[0]), axis_label(shown.fields[1]), t(f"compare.axis.{statistic}"))
    return heatmap_figure((across, down), rows, titles, chosen)


def _reference_statistics(shown: ShownSweep, statistic: str) -> dict[str, float]:
    """Return the statistic of the reference texts, by title, scored by the model that generated.

    Empty before the model has generated something and for hosted models, because a provider scores only its own texts.
    """
    if is_hosted(shown.sweep.model_id):
        return {}
    model = services.model_store().request(shown.sweep.model_id).model
    if model is None or statistic not in _SINGLE_TEXT_STATISTICS:
        return {}
    found = {name: STATISTICS[statistic]([text]) for name, text in score_reference_texts(model).items()}
    return {t(f"sweep.passages.{name}"): figure for name, figure in found.items() if figure is not None}


def _point_names(shown: ShownSweep) -> list[str]:
    """Return the name of each grid point, as in "Temperature 0.7, Top-P 0.9"."""
    return [
        ", ".join(
            value if isinstance(value, str) else f"{axis_label(field)} {format_compact(value)}"
            for field, value in zip(shown.fields, place, strict=True)
        )
        for place in shown.sweep.variants
    ]


def _results_table(shown: ShownSweep, statistic: str) -> list[dict]:
    rows = []
    for name, place in zip(_point_names(shown), shown.sweep.variants, strict=True):
        row: dict[str, str | int] = {t("sweep.place"): name, t("sweep.texts"): len(shown.sweep.texts_at(place))}
        names = [statistic, *(each for each in STATISTICS if each != statistic)]
        row |= {statistic_name(each): format_statistic(each, shown.sweep.statistic(place, each)) for each in names}
        rows.append(row)
    return rows


def _select_point(place: int) -> None:
    if (shown := compare_state().swept) is not None:
        shown.place = place
        put("compare.sweep_place", place)


def _apply_point_choice() -> None:
    if (shown := compare_state().swept) is not None:
        shown.place = get("compare.sweep_place")


def _show_texts(shown: ShownSweep, statistic: str) -> None:
    """Draw the texts of the grid point that was chosen by a click in the chart or from the list."""
    names = _point_names(shown)
    if get("compare.sweep_place") != shown.place:
        put("compare.sweep_place", shown.place)
    st.selectbox(
        t("sweep.read"),
        range(len(names)),
        index=None,
        format_func=names.__getitem__,
        key="compare.sweep_place",
        placeholder=t("sweep.read_placeholder"),
        on_change=_apply_point_choice,
    )
    if shown.place is None:
        return
    place = shown.sweep.variants[shown.place]
    if not shown.sweep.texts_at(place):
        st.caption(t("sweep.not_yet"))
    for item in range(shown.sweep.items):
        text = shown.sweep.texts.get((place, item))
        if text is None:
            continue
        figure = STATISTICS[statistic]([text]) if statistic in _SINGLE_TEXT_STATISTICS else None
        words = t("compare.seed_of", seed=shown.sweep.seed(item))
        if figure is not None and not math.isnan(figure):
            words += f" · {statistic_name(statistic)} {format_statistic(statistic, figure)}"
        st.caption(i18n.escape_markdown(words))
        st.code(text.text, language=None, wrap_lines=True)
