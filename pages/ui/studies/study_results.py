"""Draw a running grid experiment: the accuracy of each variant with its interval, and the answers to each item."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from llm_core.analysis.significance import mcnemar, proportion
from llm_core.experiments.study import Study
from pages.ui.components import charts
from pages.ui.components.live_plot import live_plot
from pages.ui.model.hosted_notes import queue_note, told
from pages.ui.shell import i18n
from pages.ui.shell.i18n import number, t

REFRESH_SECONDS = 1.0


def follow(study: Study, draw: Callable[[], None], key: str) -> None:
    """Draw the experiment's progress with Stop and Resume, and `draw()` below; advance and redraw it while it runs."""
    st.fragment(_step, run_every=REFRESH_SECONDS if study.running else None)(study, draw, key, study.running)


def _step(study: Study, draw: Callable[[], None], key: str, was_running: bool) -> None:
    study.advance()
    done = len(study.cells)
    st.progress(done / study.total, t("study.progress", done=done, total=study.total))
    with st.container(horizontal=True):
        st.button(t("playground.stop"), on_click=study.stop, disabled=not study.running, key=f"{key}_stop")
        st.button(
            t("study.resume"), on_click=study.resume, disabled=study.running or study.finished, key=f"{key}_resume"
        )
    queue_note(study.runs)
    draw()
    told(study.notices)
    if study.from_cache:
        st.caption(t("hosted_views.cache.study", count=study.from_cache))
    if errors := [cell.error for cell in study.cells.values() if cell.error]:
        st.warning(t("study.failures", count=len(errors)))
        st.caption(i18n.explain(errors[0]))
    if was_running != study.running:  # the page sets the refresh interval
        st.rerun()


def accuracies(study: Study, way_name: Callable[[Any], str], item_name: Callable[[int], str], key: str) -> None:
    """Draw the accuracy of each variant and the answers. `way_name` and `item_name` name variants and items."""
    shares = [(way_name(way), _summary(study, way)) for way in study.ways]
    live_plot(
        charts.accuracy_figure(shares, t("study.accuracy")),
        key=f"{key}_plot",
        label=", ".join(f"{name} {number(share.value)}" for name, share in shares),
        step=str(len(study.cells)),
    )
    st.dataframe([_table_row(study, way, way_name) for way in study.ways], hide_index=True)
    if study.finished:
        for line in _comparisons(study, way_name):
            st.caption(line)
    if study.cells:
        only = st.toggle(t("study.only_disagreements"), key=f"{key}_only")
        st.dataframe(_answers(study, way_name, item_name, only), hide_index=True)


def _of(study: Study, way: Any) -> list:
    return [cell for (each, _), cell in study.cells.items() if each == way]


def _summary(study: Study, way: Any):
    cells = _of(study, way)
    return proportion(sum(cell.score for cell in cells), len(cells))


def _table_row(study: Study, way: Any, way_name: Callable[[Any], str]) -> dict[str, str]:
    cells, share = _of(study, way), _summary(study, way)
    tokens = sum(cell.tokens for cell in cells) / max(1, len(cells))
    prompt = sum(cell.prompt_tokens for cell in cells) / max(1, len(cells))
    seconds = sum(cell.seconds for cell in cells) / max(1, len(cells))
    return {
        t("study.way"): way_name(way),
        t("study.accuracy"): f"{number(100 * share.value, 0)} %" if cells else "–",
        t("study.interval"): f"{number(100 * share.low, 0)}–{number(100 * share.high, 0)} %" if cells else "–",
        t("study.items"): str(len(cells)),
        t("study.no_answer"): str(sum(cell.answer is None for cell in cells)),
        t("study.prompt_tokens"): number(prompt, 0),
        t("study.tokens"): number(tokens, 0),
        t("study.seconds"): number(seconds, 1),
    }


def _comparisons(study: Study, way_name: Callable[[Any], str]) -> list[str]:
    """Compare the best variant with each other one by McNemar's test, on the items that only one of them got right."""
    best = max(study.ways, key=lambda way: _summary(study, way).value)
    lines = []
    for way in study.ways:
        if way == best:
            continue
        pairs = [(study.cells[best, item].score, study.cells[way, item].score) for item in range(study.items)]
        more, fewer = sum(a > b for a, b in pairs), sum(a < b for a, b in pairs)
        p = mcnemar(more, fewer)
        lines.append(
            t(
                "study.difference" if p < 0.05 else "study.no_difference",
                best=way_name(best),
                other=way_name(way),
                more=more,
                fewer=fewer,
                p=number(p, 3),
            )
        )
    return lines


def _answers(study: Study, way_name: Callable[[Any], str], item_name: Callable[[int], str], only: bool) -> list[dict]:
    """Return one row for each item with the answer of each variant, ticked if right."""
    rows = []
    for item in range(study.items):
        cells = {way: study.cells.get((way, item)) for way in study.ways}
        if only and len({cell.score for cell in cells.values() if cell}) < 2:
            continue
        row = {t("study.item"): item_name(item)}
        for way, cell in cells.items():
            mark = "" if cell is None else "✓ " if cell.score >= 1 else "✗ "
            row[way_name(way)] = mark + ((cell.answer or t("run.no_result")) if cell else "…")
        rows.append(row)
    return rows
