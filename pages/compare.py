"""Lay out the Compare page: several settings on one prompt, and sweeps over settings.

The columns of a comparison run in one batch; the page shows where two of them diverge and why.
"""

from __future__ import annotations

import dataclasses
from collections import Counter

import streamlit as st

from llm_core import GenerationRequest, NucleusError, PromptSpec, SampleRequest
from llm_core.analysis.reference_texts import first_words
from llm_core.experiments.comparison import Comparison, ComparisonColumn
from llm_core.experiments.sweep import Sweep
from llm_core.generation.request import MAX_OUTPUT_TOKENS, MAX_SAMPLES_PER_REQUEST
from llm_core.models.language_model import LanguageModel
from pages.ui.compare.column_settings import show_column_settings
from pages.ui.compare.drafts import ShownComparison, ShownSweep
from pages.ui.compare.results import show_comparison
from pages.ui.compare.session_state import compare_state
from pages.ui.compare.sweep_results import show_sweep
from pages.ui.compare.sweep_settings import read_points, read_seed_count, show_sweep_settings
from pages.ui.components.fields import show_field
from pages.ui.model.hosted_options import show_hosted_options
from pages.ui.model.request_builder import build_request
from pages.ui.model.request_estimate import RequestEstimate, check_request_count, show_request_estimates
from pages.ui.model.status import is_hosted, show_model_status
from pages.ui.prompt.composer import read_prompt
from pages.ui.shell import i18n, services
from pages.ui.shell.frame import page
from pages.ui.shell.i18n import t
from pages.ui.shell.session import Key, get, get_number, has, put, session
from samplers import SamplerConfig

RUN_KINDS = ("columns", "sweep")
PREFILL_KEY = "compare.sweep_beginning"
PROMPT_KEYS = {"columns": "compare.prompt", "sweep": "sweep_prompt"}
DEFAULT_SWEEP_PROMPT = "Continue this text."  # not translated: the built-in model writes English
SEED_KEY, TOKENS_KEY, REPEATS_KEY = "compare.seed", "compare.tokens", "compare.repeats"
_DEFAULTS = {"compare.kind": "columns", SEED_KEY: 7, TOKENS_KEY: 64, REPEATS_KEY: 1}


def show_compare_page() -> None:
    for key, value in _DEFAULTS.items():
        if not has(key):
            put(key, value)
    model = show_model_status()
    with st.container(border=True):
        kinds = {kind: t(f"compare.kinds.{kind}.name") for kind in RUN_KINDS}
        kind = show_field(
            st.segmented_control,
            "compare.kind",
            "compare.kind",
            list(kinds),
            required=True,
            format_func=kinds.__getitem__,
        )
        st.caption(t(f"compare.kinds.{kind}.text"))
        _show_prompt_fields(str(kind))
        if kind == "columns":
            _show_number_fields()
        else:
            show_sweep_settings()
        if is_hosted():
            show_hosted_options()
        show_request_estimates(_estimate_requests(str(kind)))
        _show_run_buttons(str(kind), model)
    if kind == "columns":
        with st.container(border=True):
            show_column_settings()
        show_comparison()
    else:
        show_sweep()


def _show_prompt_fields(kind: str) -> None:
    """Draw the field of the page's own prompt, one for each kind, or the switch to the Playground's whole prompt."""
    key = PROMPT_KEYS[kind]
    if not has(key):
        put(key, DEFAULT_SWEEP_PROMPT if kind == "sweep" else get(Key.INSTRUCTION) or t("playground.first_prompt"))
    if not has(PREFILL_KEY):
        put(PREFILL_KEY, first_words("walden"))
    whole = has(Key.INSTRUCTION) and st.toggle(
        t("compare.whole_prompt"), key="compare.whole_prompt", help=t("compare.whole_prompt_help")
    )
    if not whole:
        show_field(st.text_area, "playground.prompt", key, height=68)
        if kind == "sweep":
            show_field(st.text_area, "parts.prefill", PREFILL_KEY, height=68)


def _show_number_fields() -> None:
    seed, tokens, repeats = st.columns(3)
    show_field(seed.number_input, "settings.seed", SEED_KEY, value=None, step=1, help=t("compare.seed_help"))
    show_field(tokens.number_input, "settings.max_output_tokens", TOKENS_KEY, value=None, step=1)
    show_field(repeats.number_input, "compare.repeats", REPEATS_KEY, value=None, step=1)


def _show_run_buttons(kind: str, model: LanguageModel | None) -> None:
    state = compare_state()
    shown = state.comparison
    with st.container(horizontal=True, vertical_alignment="center"):
        start = _start_comparison if kind == "columns" else _start_sweep
        st.button(t("playground.run"), key="compare.run", type="primary", on_click=start, shortcut="Ctrl+Enter")
        if kind == "columns":  # a sweep's Stop is beside its progress
            active = shown is not None and shown.comparison.active
            st.button(t("playground.stop"), key="compare.stop", on_click=_stop_comparison, disabled=not active)
        st.caption(t("playground.shortcut"), width="content")
        if model:
            st.space("stretch")
            st.caption(t("playground.model_line", model=model.name, precision=session().precision), width="content")
    if state.compare_notice:
        st.error(state.compare_notice, icon=":material/error:")


def _read_prompt(kind: str) -> PromptSpec:
    if get("compare.whole_prompt") and has(Key.INSTRUCTION):
        return read_prompt().variants()[0]
    return PromptSpec(get(PROMPT_KEYS[kind]) or "", prefill=(get(PREFILL_KEY) or "") if kind == "sweep" else "")


def _make_request(prompt: PromptSpec, tokens: int, seed: int) -> GenerationRequest:
    return build_request(prompt, SampleRequest(SamplerConfig(seed=seed), tokens))


def _estimate_requests(kind: str) -> list[RequestEstimate]:
    """Estimate the provider requests that Run would send; empty while a field cannot be read."""
    try:
        prompt = _read_prompt(kind)
        characters = sum(len(message.content) for message in prompt.messages())
        if kind == "sweep":
            tokens = int(get_number("compare.sweep_tokens", "max_output_tokens", 1, MAX_OUTPUT_TOKENS))
            points, *_ = read_points(tokens)
            return [RequestEstimate(session().model_id, len(points) * read_seed_count(), characters, tokens)]
        tokens = int(get_number(TOKENS_KEY, "max_output_tokens", 1, MAX_OUTPUT_TOKENS))
        models = Counter(draft.model_id or session().model_id for draft in compare_state().columns.drafts)
        return [
            RequestEstimate(model, count * int(get(REPEATS_KEY) or 0), characters, tokens)
            for model, count in models.items()
        ]
    except NucleusError:
        return []


def _start_comparison() -> None:
    """Start the comparison that the page describes. An error leaves the comparison before it in place."""
    state = session()
    compare_state().compare_notice = None
    drafts = tuple(dataclasses.replace(draft) for draft in compare_state().columns.drafts)
    try:
        prompt = _read_prompt("columns")
        seed = int(get_number(SEED_KEY, "seed", 0, 2**53 - MAX_SAMPLES_PER_REQUEST))
        tokens = int(get_number(TOKENS_KEY, "max_output_tokens", 1, MAX_OUTPUT_TOKENS))
        repeats = int(get(REPEATS_KEY) or 0)
        columns = [
            ComparisonColumn(
                draft.sampler,
                draft.model_id or state.model_id,
                dataclasses.replace(prompt, instruction=draft.prompt) if draft.prompt else prompt,
            )
            for draft in drafts
        ]
        local = {column.model_id for column in columns if not is_hosted(column.model_id)}
        if (count := len(local)) > services.MAX_MODELS_IN_MEMORY:
            compare_state().compare_notice = t(
                "compare.too_many_models", count=count, limit=services.MAX_MODELS_IN_MEMORY
            )
            return
        like = _make_request(prompt, tokens, seed)
        comparison = Comparison(services.submit, columns, repeats, like, seed=seed)
    except NucleusError as error:
        compare_state().compare_notice = i18n.explain(error)
        return
    _stop_comparison()
    compare_state().comparison = ShownComparison(comparison, drafts)


def _stop_comparison() -> None:
    if (shown := compare_state().comparison) is not None:
        shown.comparison.stop()


def _start_sweep() -> None:
    """Start the sweep that the page describes and stop the one before it. An error leaves that one in place."""
    state = compare_state()
    state.compare_notice = None
    try:
        tokens = int(get_number("compare.sweep_tokens", "max_output_tokens", 1, MAX_OUTPUT_TOKENS))
        points, fields, values = read_points(tokens)
        request = _make_request(
            _read_prompt("sweep"), tokens, int(get_number(SEED_KEY, "seed", 0, 2**53 - MAX_SAMPLES_PER_REQUEST))
        )
        check_request_count(_estimate_requests("sweep"))
        sweep = Sweep(services.submit, request, points, read_seed_count())
    except NucleusError as error:
        state.compare_notice = i18n.explain(error)
        return
    if state.swept is not None:
        state.swept.sweep.stop()
    state.swept = ShownSweep(sweep, fields, values)


with page("compare.title"):
    show_compare_page()
