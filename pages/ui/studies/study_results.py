"""Draw a running grid experiment: the accuracy of each variant with its interval, and the answers to each item."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from llm_core.analysis.significance import mcnemar, proportion
from llm_core.experiments.study import GridExperiment
from pages.ui.components import charts
from pages.ui.components.live_plot import show_live_plot
from pages.ui.model.hosted_notes import show_notices, show_queue_note
from pages.ui.shell import i18n
from pages.ui.shell.i18n import format_number, t

REFRESH_SECONDS = 1.0


def show_experiment(experiment: GridExperiment, draw: Callable[[], None], key: str) -> None:
    """Draw the experiment's progress with Stop and Resume, and `draw()` below; advance and redraw it while it runs."""
    st.fragment(_refresh_experiment, run_every=REFRESH_SECONDS if experiment.running else None)(
        experiment, draw, key, experiment.running
    )


def _refresh_experiment(experiment: GridExperiment, draw: Callable[[], None], key: str, was_running: bool) -> None:
    experiment.advance()
    done = len(experiment.cells)
    st.progress(done / experiment.total, t("study.progress", done=done, total=experiment.total))
    with st.container(horizontal=True):
        st.button(t("playground.stop"), on_click=experiment.stop, disabled=not experiment.running, key=f"{key}_stop")
        st.button(
            t("study.resume"),
            on_click=experiment.resume,
            disabled=experiment.running or experiment.finished,
            key=f"{key}_resume",
        )
    show_queue_note(experiment.runs)
    draw()
    show_notices(experiment.notices)
    if experiment.from_cache:
        st.caption(t("hosted_views.cache.study", count=experiment.from_cache))
    if errors := [cell.error for cell in experiment.cells.values() if cell.error]:
        st.warning(t("study.failures", count=len(errors)))
        st.caption(i18n.explain(errors[0]))
    if was_running != experiment.running:  # the page sets the refresh interval
        st.rerun()


def show_accuracies(
    experiment: GridExperiment, variant_name: Callable[[Any], str], item_name: Callable[[int], str], key: str
) -> None:
    """Draw the accuracy of each variant and the answers. `way_name` and `item_name` name variants and items."""
    shares = [(variant_name(way), _variant_accuracy(experiment, way)) for way in experiment.variants]
    show_live_plot(
        charts.accuracy_figure(shares, t("study.accuracy")),
        key=f"{key}_plot",
        label=", ".join(f"{name} {format_number(share.value)}" for name, share in shares),
        step=str(len(experiment.cells)),
    )
    st.dataframe([_variant_row(experiment, way, variant_name) for way in experiment.variants], hide_index=True)
    if experiment.finished:
        for line in _compare_variants(experiment, variant_name):
            st.caption(line)
    if experiment.cells:
        only = st.toggle(t("study.only_disagreements"), key=f"{key}_only")
        st.dataframe(_answer_table(experiment, variant_name, item_name, only), hide_index=True)


def _variant_results(experiment: GridExperiment, variant: Any) -> list:
    return [cell for (each, _), cell in experiment.cells.items() if each == variant]


def _variant_accuracy(experiment: GridExperiment, variant: Any):
    cells = _variant_results(experiment, variant)
    return proportion(sum(cell.score for cell in cells), len(cells))


def _variant_row(experiment: GridExperiment, variant: Any, variant_name: Callable[[Any], str]) -> dict[str, str]:
    cells, share = _variant_results(experiment, variant), _variant_accuracy(experiment, variant)
    tokens = sum(cell.tokens for cell in cells) / max(1, len(cells))
    prompt = sum(cell.prompt_tokens for cell in cells) / max(1, len(cells))
    seconds = sum(cell.seconds for cell in cells) / max(1, len(cells))
    return {
        t("study.way"): variant_name(variant),
        t("study.accuracy"): f"{format_number(100 * share.value, 0)} %" if cells else "–",
        t("study.interval"): f"{format_number(100 * share.low, 0)}–{format_number(100 * share.high, 0)} %"
        if cells
        else "–",
        t("study.items"): str(len(cells)),
        t("study.no_answer"): str(sum(cell.answer is None for cell in cells)),
        t("study.prompt_tokens"): format_number(prompt, 0),
        t("study.tokens"): format_number(tokens, 0),
        t("study.seconds"): format_number(seconds, 1),
    }


def _compare_variants(experiment: GridExperiment, variant_name: Callable[[Any], str]) -> list[str]:
    """Compare the best variant with each other one by McNemar's test, on the items that only one of them got right."""
    best = max(experiment.variants, key=lambda way: _variant_accuracy(experiment, way).value)
    lines = []
    for way in experiment.variants:
        if way == best:
            continue
        pairs = [
            (experiment.cells[best, item].score, experiment.cells[way, item].score) for item in range(experiment.items)
        ]
        more, fewer = sum(a > b for a, b in pairs), sum(a < b for a, b in pairs)
        p = mcnemar(more, fewer)
        lines.append(
            t(
                "study.difference" if p < 0.05 else "study.no_difference",
                best=variant_name(best),
                other=variant_name(way),
                more=more,
                fewer=fewer,
                p=format_number(p, 3),
            )
        )
    return lines


def _answer_table(
    experiment: GridExperiment, variant_name: Callable[[Any], str], item_name: Callable[[int], str], only: bool
) -> list[dict]:
    """Return one row for each item with the answer of each variant, ticked if right."""
    rows = []
    for item in range(experiment.items):
        cells = {way: experiment.cells.get((way, item)) for way in experiment.variants}
        if only and len({cell.score for cell in cells.values() if cell}) < 2:
            continue
        row = {t("study.item"): item_name(item)}
        for way, cell in cells.items():
            mark = "" if cell is None else "✓ " if cell.score >= 1 else "✗ "
            row[variant_name(way)] = mark + ((cell.answer or t("run.no_result")) if cell else "…")
        rows.append(row)
    return rows
