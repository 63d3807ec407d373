"""Draw a running sweep: a curve or a map of one statistic, its table, and the texts of the chosen grid point."""

from __future__ import annotations

import math
from collections.abc import Sequence

import streamlit as st

from llm_core.analysis.reference_texts import scored
from llm_core.analysis.text_metrics import STATISTICS
from pages.ui.compare.drafts import ShownSweep
from pages.ui.compare.figures import curve_figure, map_figure
from pages.ui.compare.statistics import shown_figure, statistic_name
from pages.ui.compare.sweep_settings import axis_label, statistic_picker
from pages.ui.components.live_plot import live_plot
from pages.ui.model.status import is_hosted
from pages.ui.shell import i18n, services
from pages.ui.shell.i18n import compact, t
from pages.ui.shell.session import get, put, session
from pages.ui.studies.study_results import follow

_OF_ONE_TEXT = ("perplexity", "mean_logprob", "entropy", "repetition", "distinct_1", "distinct_2")
"""Statistics that are defined for a single text, so that seeds and reference texts can be drawn beside the mean."""


def sweep_view() -> None:
    shown = session().swept
    if shown is None:
        st.caption(t("sweep.empty"))
        return
    with st.container(border=True, key="sweep-card"):
        statistic = statistic_picker()
        follow(shown.sweep, lambda: _results(shown, statistic), key="sweep")


def _results(shown: ShownSweep, statistic: str) -> None:
    sweep = shown.sweep
    figures = [sweep.figure(place, statistic) for place in sweep.ways]
    texts = _real_figures(shown, statistic) if sweep.texts and len(shown.fields) == 1 else {}
    live_plot(
        _curve(shown, statistic, figures, texts) if len(shown.fields) == 1 else _map(shown, statistic, figures),
        key=f"sweep_plot_{len(shown.fields)}",
        label=f"{statistic_name(statistic)}: "
        + ", ".join(
            f"{name} {shown_figure(statistic, figure)}"
            for name, figure in zip(_names(shown), figures, strict=True)
            if figure is not None
        ),
        step=f"{len(sweep.texts)}:{statistic}:{shown.place}",
        on_pick=_pick,
    )
    if statistic == "self_bleu" and sweep.items < 2:
        st.caption(t("sweep.needs_seeds"))
    if texts:
        st.caption(t("sweep.real_texts"))
    if is_hosted(sweep.model_id):
        st.caption(t("hosted_views.compare.figures"))
    if st.toggle(t("step.as_table"), key="sweep_table"):
        st.dataframe(_table(shown, statistic), hide_index=True)
    _texts(shown, statistic)


def _curve(shown: ShownSweep, statistic: str, figures: Sequence[float | None], texts: dict[str, float]) -> dict:
    seeds: list[list[float]] = [[] for _ in figures]
    if statistic in _OF_ONE_TEXT:
        seeds = [shown.sweep.figures_by_seed(place, statistic) for place in shown.sweep.ways]
    titles = (axis_label(shown.fields[0]), t(f"compare.axis.{statistic}"))
    return curve_figure(shown.values[0], figures, seeds, texts, titles, shown.place)


def _map(shown: ShownSweep, statistic: str, figures: Sequence[float | None]) -> dict:
    across, down = shown.values
    rows = [[figures[x * len(down) + y] for x in range(len(across))] for y in range(len(down))]
    chosen = None if shown.place is None else divmod(shown.place, len(down))
    titles = (axis_label(shown.fields[0]), axis_label(shown.fields[1]), t(f"compare.axis.{statistic}"))
    return map_figure((across, down), rows, titles, chosen)


def _real_figures(shown: ShownSweep, statistic: str) -> dict[str, float]:
    """Return the statistic of the reference texts, by title, scored by the model that generated.

    Empty before the model has generated something and for hosted models, because a provider scores only its own texts.
    """
    if is_hosted(shown.sweep.model_id):
        return {}
    model = services.models().request(shown.sweep.model_id).model
    if model is None or statistic not in _OF_ONE_TEXT:
        return {}
    found = {name: STATISTICS[statistic]([text]) for name, text in scored(model).items()}
    return {t(f"sweep.passages.{name}"): figure for name, figure in found.items() if figure is not None}


def _names(shown: ShownSweep) -> list[str]:
    """Return the name of each grid point, as in "Temperature 0.7, Top-P 0.9"."""
    return [
        ", ".join(
            value if isinstance(value, str) else f"{axis_label(field)} {compact(value)}"
            for field, value in zip(shown.fields, place, strict=True)
        )
        for place in shown.sweep.ways
    ]


def _table(shown: ShownSweep, statistic: str) -> list[dict]:
    rows = []
    for name, place in zip(_names(shown), shown.sweep.ways, strict=True):
        row: dict[str, str | int] = {t("sweep.place"): name, t("sweep.texts"): len(shown.sweep.texts_at(place))}
        names = [statistic, *(each for each in STATISTICS if each != statistic)]
        row |= {statistic_name(each): shown_figure(each, shown.sweep.figure(place, each)) for each in names}
        rows.append(row)
    return rows


def _pick(place: int) -> None:
    if (shown := session().swept) is not None:
        shown.place = place
        put("sweep_place", place)


def _chosen() -> None:
    if (shown := session().swept) is not None:
        shown.place = get("sweep_place")


def _texts(shown: ShownSweep, statistic: str) -> None:
    """Draw the texts of the grid point that was chosen by a click in the chart or from the list."""
    names = _names(shown)
    if get("sweep_place") != shown.place:
        put("sweep_place", shown.place)
    st.selectbox(
        t("sweep.read"),
        range(len(names)),
        index=None,
        format_func=names.__getitem__,
        key="sweep_place",
        placeholder=t("sweep.read_placeholder"),
        on_change=_chosen,
    )
    if shown.place is None:
        return
    place = shown.sweep.ways[shown.place]
    if not shown.sweep.texts_at(place):
        st.caption(t("sweep.not_yet"))
    for item in range(shown.sweep.items):
        text = shown.sweep.texts.get((place, item))
        if text is None:
            continue
        figure = STATISTICS[statistic]([text]) if statistic in _OF_ONE_TEXT else None
        words = t("compare.seed_of", seed=shown.sweep.seed(item))
        if figure is not None and not math.isnan(figure):
            words += f" · {statistic_name(statistic)} {shown_figure(statistic, figure)}"
        st.caption(i18n.plain(words))
        st.code(text.text, language=None, wrap_lines=True)
