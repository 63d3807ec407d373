"""Lay out the Techniques page: grid experiments over the items of a task.

Three kinds: prompting techniques compared by accuracy, orders of the examples, and the label bias of a prompt whose
input says nothing.
"""

from __future__ import annotations

import dataclasses
import itertools
import random

import streamlit as st

from llm_core import GenerationRequest, NucleusError, PromptSpec, SampleRequest
from llm_core.experiments.study import GridExperiment
from llm_core.experiments.tasks import MAX_ITEMS, Task, load_task, task_from_table, task_names
from llm_core.generation.technique_run import count_samples
from llm_core.prompts.spec import TECHNIQUES, Technique
from pages.ui.model.hosted_options import show_hosted_options
from pages.ui.model.request_builder import build_request
from pages.ui.model.request_estimate import (
    RequestEstimate,
    check_request_count,
    merge_estimates,
    show_request_estimates,
)
from pages.ui.model.status import is_hosted, show_model_status
from pages.ui.prompt.session_state import prompt_state
from pages.ui.prompt.table_import import show_table_import
from pages.ui.shell import i18n, services
from pages.ui.shell.frame import page
from pages.ui.shell.i18n import format_number, t
from pages.ui.shell.session import get, session
from pages.ui.studies.session_state import ShownStudy, studies_state
from pages.ui.studies.study_results import show_accuracies, show_experiment
from samplers import SamplerConfig

OWN_TASK = "own"
EXPERIMENT_KINDS = ("techniques", "order", "bias")
CONTENT_FREE_INPUTS = ("-", "N/A", "…")  # content-free inputs of Zhao et al. (2021)
SAMPLES_PER_INPUT = 32
MAX_ORDERS = 8
MAX_ANSWER_TOKENS, MAX_REASONING_TOKENS = 32, 160


def show_techniques_page() -> None:
    state = studies_state()
    model = show_model_status()
    with st.container(border=True):
        kind = st.segmented_control(
            t("study.kind"),
            EXPERIMENT_KINDS,
            default=EXPERIMENT_KINDS[0],
            required=True,
            format_func=lambda each: t(f"study.kinds.{each}.name"),
            key="techniques.kind",
        )
        st.caption(t(f"study.kinds.{kind}.text"))
        task = _select_task()
        if task is not None:
            _show_task_items(task)
            _show_settings(kind, task)
        if state.study_notice:
            st.error(state.study_notice, icon=":material/error:")
        if model:
            st.caption(t("playground.model_line", model=model.name, precision=session().precision))
    if (shown := state.studies.get(kind)) is not None:
        with st.container(border=True):
            st.markdown(f"**{i18n.escape_markdown(shown.title)}**")
            show_experiment(shown.study, lambda: _show_results(kind, shown), key=f"techniques.study.{kind}")


def _show_results(kind: str, shown: ShownStudy) -> None:
    study, items = shown.study, shown.task.items
    if kind == "bias":
        _show_label_shares(study, shown.task)
        return
    name = _technique_name if kind == "techniques" else _order_name
    if kind == "order" and study.finished:
        _show_order_spread(study)
    show_accuracies(study, name, lambda item: items[item].question, key=f"techniques.study.{kind}")


def _select_task() -> Task | None:
    name, count, seed = st.columns([2, 1, 1])
    names = {each: t(f"tasks.{each}") for each in (*task_names(), OWN_TASK)}
    chosen = name.selectbox(t("study.task"), list(names), format_func=names.__getitem__, key="techniques.task")
    items = count.number_input(t("study.count"), 1, MAX_ITEMS, 20, key="techniques.count")
    start = seed.number_input(t("settings.seed"), 0, 10**6, 1, key="techniques.seed")
    if chosen != OWN_TASK:
        return load_task(chosen, int(items), int(start))
    st.text_input(t("playground.prompt"), key="techniques.instruction", max_chars=2000)
    show_table_import("study", _import_task_table, "input,output\n2 + 2,4")
    rows = studies_state().study_rows
    if not rows:
        st.caption(t("study.own_empty"))
        return None
    try:
        return task_from_table(
            rows[: int(items)], get("techniques.instruction") or "", prompt_state().examples.examples
        )
    except NucleusError as error:
        st.warning(i18n.explain(error))
        return None


def _import_task_table(rows: list[dict[str, str]]) -> str:
    task_from_table(rows, "")  # raises if the rows make no task
    studies_state().study_rows = rows
    return t("values.imported", count=len(rows))


def _show_task_items(task: Task) -> None:
    with st.expander(t("study.show_items", items=len(task.items), examples=len(task.examples))):
        rows = [
            {t("examples.input"): item.question, t("examples.output"): " | ".join(item.answers)} for item in task.items
        ]
        st.dataframe(rows, hide_index=True, height=220)


def _show_settings(kind: str, task: Task) -> None:
    chosen: list[Technique] = ["few_shot"]
    if kind == "techniques":
        chosen = st.pills(
            t("techniques.title"),
            list(TECHNIQUES),
            selection_mode="multi",
            default=["zero_shot", "one_shot", "few_shot", "chain_of_thought"],
            format_func=_technique_name,
            key="techniques.compared",
        )
    if kind == "bias" and not task.choices:
        st.caption(t("study.bias_needs_labels"))
        return
    shown = 0
    if len(task.examples) > 1:
        shown = st.slider(
            t("study.example_count"), 1, len(task.examples), min(4, len(task.examples)), key="techniques.example_count"
        )
    if kind == "order" and shown < 2:
        st.caption(t("study.order_needs_examples"))
        return
    if is_hosted():
        show_hosted_options()
        show_request_estimates(_estimate_requests(kind, task, tuple(chosen), shown))
    st.button(
        t("playground.run"),
        type="primary",
        on_click=_start_experiment,
        args=(kind, task, tuple(chosen), shown),
        key="techniques.run",
    )


def _start_experiment(kind: str, task: Task, techniques: tuple[Technique, ...], shown: int) -> None:
    """Start the experiment and stop one of the same kind that is running."""
    state = studies_state()
    state.study_notice = None
    if kind == "techniques" and not techniques:
        state.study_notice = t("study.choose_technique")
        return
    try:
        check_request_count(_estimate_requests(kind, task, techniques, shown))
    except NucleusError as error:
        state.study_notice = i18n.explain(error)
        return
    if kind in state.studies:
        state.studies[kind].study.stop()
    examples = task.examples[: shown or None]
    submit = services.submit
    study: GridExperiment
    if kind == "techniques":
        study = GridExperiment(
            submit,
            techniques,
            len(task.items),
            lambda technique, item: _make_request(task.prompt(technique, item, examples)),
            task.score,
        )
    elif kind == "order":
        study = GridExperiment(
            submit,
            _example_orders(len(examples)),
            len(task.items),
            lambda order, item: _make_request(task.prompt("few_shot", item, [examples[place] for place in order])),
            task.score,
        )
    else:
        study = GridExperiment(
            submit,
            tuple(itertools.product(("zero_shot", "few_shot"), CONTENT_FREE_INPUTS)),
            SAMPLES_PER_INPUT,
            lambda way, draw: _make_request(_content_free_prompt(task, way, examples), SamplerConfig(seed=draw)),
            lambda draw, answer: 1.0,
        )
    title = f"{t(f'tasks.{task.name}')} · {t(f'study.kinds.{kind}.name')}"
    state.studies[kind] = ShownStudy(study, task, title)


def _make_request(prompt: PromptSpec, sampler: SamplerConfig | None = None) -> GenerationRequest:
    """Return the request for a prompt: greedy by default, with temperature 0.7 where the technique takes a vote."""
    method = prompt.traits
    sampler = sampler or SamplerConfig(temperature=0.7 if method.votes else 0)
    tokens = MAX_REASONING_TOKENS if method.reasoning else MAX_ANSWER_TOKENS
    return build_request(prompt, SampleRequest(sampler, tokens))


def _estimate_requests(kind: str, task: Task, techniques: tuple[Technique, ...], shown: int) -> list[RequestEstimate]:
    """Estimate the provider requests of the experiment from the prompts of its first item."""
    examples = task.examples[: shown or None]
    if kind == "techniques":
        prompts = [(task.prompt(technique, 0, examples), len(task.items)) for technique in techniques]
    elif kind == "order":
        prompts = [(task.prompt("few_shot", 0, examples), len(task.items) * len(_example_orders(len(examples))))]
    else:
        ways = itertools.product(("zero_shot", "few_shot"), CONTENT_FREE_INPUTS)
        prompts = [(_content_free_prompt(task, way, examples), SAMPLES_PER_INPUT) for way in ways]  # type: ignore[arg-type]
    plans = [
        RequestEstimate(
            session().model_id,
            count * count_samples(prompt),
            sum(len(message.content) for message in prompt.messages()),
            _make_request(prompt).samples[0].max_output_tokens,
        )
        for prompt, count in prompts
    ]
    return merge_estimates(plans)


def _content_free_prompt(task: Task, way: tuple[Technique, str], examples: tuple) -> PromptSpec:
    """Return the first item's prompt with a content-free input (Zhao et al. 2021)."""
    technique, blank = way
    return dataclasses.replace(task.prompt(technique, 0, examples), question=blank)


def _example_orders(count: int) -> tuple[tuple[int, ...], ...]:
    """Return all orders of up to three examples, or `MAX_ORDERS` drawn with a fixed seed, the given order first."""
    if count <= 3:
        return tuple(itertools.permutations(range(count)))
    source = random.Random(count)
    orders = {tuple(range(count)): None}
    while len(orders) < MAX_ORDERS:
        orders[tuple(source.sample(range(count), count))] = None
    return tuple(orders)


def _technique_name(technique: Technique) -> str:
    return t(f"techniques.{technique}.name")


def _order_name(order: tuple[int, ...]) -> str:
    return "·".join(str(place + 1) for place in order)


def _show_order_spread(study: GridExperiment) -> None:
    shares = [sum(study.cells[way, item].score for item in range(study.items)) / study.items for way in study.variants]
    low, high = min(shares), max(shares)
    st.markdown(
        t("study.spread", low=format_number(100 * low, 0), high=format_number(100 * high, 0), orders=len(shares))
    )


def _show_label_shares(study: GridExperiment, task: Task) -> None:
    """Draw how often each label is generated for content-free inputs, in percent."""
    rows = []
    for technique, blank in study.variants:
        answers = [cell.answer for (way, _), cell in study.cells.items() if way == (technique, blank)]
        shares = {
            label: format_number(100 * answers.count(label) / max(1, len(answers)), 0) + " %" for label in task.choices
        }
        rows.append({t("study.way"): _technique_name(technique), t("parts.question"): blank} | shares)
    st.dataframe(rows, hide_index=True)
    st.caption(t("study.bias_help", draws=SAMPLES_PER_INPUT))


with page("study.title"):
    show_techniques_page()
