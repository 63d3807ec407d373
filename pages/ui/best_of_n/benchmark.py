"""Benchmark Best-of-N over the items of a task: accuracy of each strategy by number of candidates, and cost."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import streamlit as st

from llm_core import GenerationRequest, NucleusError
from llm_core.experiments.tasks import load_task, task_names
from pages.ui.best_of_n.criteria_picker import LOCAL_ONLY_CRITERIA, criterion_name, make_criteria
from pages.ui.best_of_n.drafts import ShownBenchmark
from pages.ui.best_of_n.figures import ScalingCurve, scaling_figure, scaling_table
from pages.ui.best_of_n.request_estimate import RequestGroup, estimate_requests, merge_by_model, read_best_hosted
from pages.ui.best_of_n.scaling import n_values
from pages.ui.best_of_n.session_state import best_of_n_state
from pages.ui.components.fields import show_field
from pages.ui.components.live_plot import show_live_plot
from pages.ui.model.hosted_notes import show_notices, show_queue_note
from pages.ui.model.request_builder import build_request
from pages.ui.model.request_estimate import check_request_count
from pages.ui.model.status import is_hosted
from pages.ui.settings.sampler_panel import read_sample_request
from pages.ui.shell import i18n, services
from pages.ui.shell.i18n import format_number, t
from pages.ui.shell.session import get, has, put

if TYPE_CHECKING:
    from llm_core.best_of_n.criteria import Criterion
    from llm_core.best_of_n.study import BestOfNStudy
    from llm_core.experiments.tasks import Task

REFRESH_SECONDS = 1.0
MAX_BENCHMARK_ITEMS = 100
TASK_KEY, ITEM_COUNT_KEY, N_KEY, CRITERIA_KEY = (
    "best_of_n.items_task",
    "best_of_n.items_count",
    "best_of_n.items_n",
    "best_of_n.items_criteria",
)
_DEFAULTS = {
    TASK_KEY: "capitals",
    ITEM_COUNT_KEY: 12,
    N_KEY: 8,
    CRITERIA_KEY: ["sum_logprob", "mean_logprob", "self_certainty"],
}
BENCHMARK_CRITERIA = (
    "sum_logprob",
    "mean_logprob",
    "self_certainty",
    "consensus",
    "sentiment",
    "autorater",
    "reward_model",
)
"""Criteria evaluated for every n: their score depends on one candidate or on a pair, never on the whole pool."""


def show_benchmark_settings() -> None:
    for key, value in _DEFAULTS.items():
        if not has(key):
            put(key, value)
    names = {name: t(f"tasks.{name}") for name in task_names()}
    task, items, n = st.columns([2, 1, 1])
    show_field(task.selectbox, "study.task", TASK_KEY, list(names), format_func=names.__getitem__)
    show_field(items.number_input, "study.count", ITEM_COUNT_KEY, value=None, step=1)
    show_field(n.number_input, "best.n", N_KEY, value=None, step=1, help=None)
    without = LOCAL_ONLY_CRITERIA if is_hosted() else {}
    put(CRITERIA_KEY, [name for name in get(CRITERIA_KEY) or () if name not in without])
    show_field(
        st.pills,
        "best.criteria",
        CRITERIA_KEY,
        [name for name in BENCHMARK_CRITERIA if name not in without],
        selection_mode="multi",
        format_func=criterion_name,
        help=t("best.items_help"),
    )
    for name, reason in without.items():
        st.caption(f":material/block: **{criterion_name(name)}**: {i18n.explain(NucleusError(reason))}")


def _load_task() -> Task:
    """Load the chosen task with the requested number of items. Raises `NucleusError`."""
    count = int(get(ITEM_COUNT_KEY) or 0)
    if not 1 <= count <= MAX_BENCHMARK_ITEMS:
        raise NucleusError("best_items_out_of_range", value=count, limit=MAX_BENCHMARK_ITEMS)
    return load_task(str(get(TASK_KEY)), count)


def _read_template() -> GenerationRequest:
    """Return the request that each candidate is generated with, for the first item. Raises `NucleusError`."""
    sample = read_sample_request()
    return build_request(_load_task().prompt("zero_shot", 0), sample, hosted=read_best_hosted())


def _chosen_criteria() -> list[Criterion]:
    return [each for name, each in make_criteria().items() if name in (get(CRITERIA_KEY) or ())]


def estimate_benchmark() -> list[RequestGroup]:
    """Estimate the provider requests that Run would send. Raises `NucleusError`."""
    return estimate_requests(_read_template(), int(get(N_KEY) or 0), _chosen_criteria(), len(_load_task().items))


def start_benchmark() -> None:
    """Start the benchmark and stop the one before it. An error leaves that one in place."""
    from llm_core.best_of_n.study import BestOfNStudy

    state = best_of_n_state()
    state.notice = None
    try:
        task, like, chosen = _load_task(), _read_template(), _chosen_criteria()
        for each in chosen:
            if reason := each.unavailable_reason(()):
                raise reason
        check_request_count(merge_by_model(estimate_benchmark()))
        study = BestOfNStudy(
            services.submit,
            len(task.items),
            lambda item: dataclasses.replace(like, prompt=task.prompt("zero_shot", item)),
            task.score,
            int(get(N_KEY) or 0),
            lambda item: chosen,
        )
    except NucleusError as error:
        state.notice = i18n.explain(error)
        return
    if state.items is not None:
        state.items.study.stop()
    state.items = ShownBenchmark(study, task)


def show_benchmark() -> None:
    shown = best_of_n_state().items
    if shown is None:
        st.caption(t("best.items_empty"))
        return
    with st.container(border=True, key="best_of_n.items_card"):
        st.markdown(f"**{t(f'tasks.{shown.task.name}')}**")
        running = shown.study.running
        st.fragment(_refresh_benchmark, run_every=REFRESH_SECONDS if running else None)(shown, running)


def _refresh_benchmark(shown: ShownBenchmark, was_running: bool) -> None:
    study = shown.study
    study.advance()
    show_queue_note(study.runs)
    st.progress(len(study.results) / study.items, t("best.items_progress", done=len(study.results), total=study.items))
    with st.container(horizontal=True):
        st.button(t("playground.stop"), on_click=study.stop, disabled=not study.running, key="best_of_n.items_stop")
        st.button(
            t("study.resume"),
            on_click=study.resume,
            disabled=study.running or study.finished,
            key="best_of_n.items_resume",
        )
    _show_accuracy(study)
    if errors := [result.error for result in study.results.values() if result.error]:
        st.warning(t("study.failures", count=len(errors)))
        st.caption(i18n.explain(errors[0]))
    if study.missing:
        asked_for = study.n * len(study.results)
        reason = i18n.explain(study.first_error) if study.first_error else t("best.missing_unknown")
        came = asked_for - study.missing
        st.warning(t("best.missing", came=came, asked=asked_for, reason=reason), icon=":material/warning:")
    show_notices(study.notices)
    if was_running != study.running:  # the page sets the refresh interval
        st.rerun()


def strategy_name(way: str) -> str:
    return t(f"best.ways.{way}") if way in ("greedy", "single", "vote") else criterion_name(way)


def _show_accuracy(study: BestOfNStudy) -> None:
    if not study.results:
        return
    ns = n_values(study.n)
    lines = []
    for way in study.strategies:
        found = [study.accuracy(way, n).value for n in ns]
        lines.append(ScalingCurve(strategy_name(way), ns, found, reference=way in ("greedy", "single")))
    axis = (t("best.n_axis"), t("best.items_axis"))
    show_live_plot(
        scaling_figure(lines, axis, limits=(-0.04, 1.04)),
        key="best_of_n.items_plot",
        label="; ".join(f"{line.name} {format_number(line.values[-1])}" for line in lines),
        step=str(len(study.results)),
        min_width=560,
    )
    if st.toggle(t("step.as_table"), key="best_of_n.items_table"):
        st.dataframe(scaling_table(lines, t("best.n_axis")), hide_index=True)
    st.markdown(f"**{t('best.cost', n=study.n)}**")
    st.dataframe([_cost_row(study, way) for way in study.strategies], hide_index=True)
    st.caption(t("best.cost_text"))


def _cost_row(study: BestOfNStudy, way: str) -> dict[str, str]:
    share, cost = study.accuracy(way, study.n), study.cost(way, study.n)
    proxy = study.expected_score(way, study.n) if way not in ("greedy", "single", "vote") else None
    first = study.expected_score(way, 1) if proxy is not None else None
    rises = "–" if proxy is None or first is None else f"{format_number(first)} → {format_number(proxy)}"
    return {
        t("study.way"): strategy_name(way),
        t("study.accuracy"): f"{format_number(100 * share.value, 0)} %",
        t("study.interval"): f"{format_number(100 * share.low, 0)}–{format_number(100 * share.high, 0)} %",
        t("study.tokens"): format_number(cost.tokens, 0),
        t("study.seconds"): format_number(cost.seconds, 1),
        t("best.own_score"): rises,
    }
