"""View of the current run: the answer as a token strip, the distribution of one step, and figures.

A fragment redraws it about three times a second while the engine works, and not at all otherwise.
"""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING

import streamlit as st

from llm_core.generation.branches import Branch, sum_logprobs
from llm_core.generation.record import Run
from llm_core.generation.technique_run import TechniqueRun
from pages.ui.components import charts
from pages.ui.components.live_plot import show_live_plot
from pages.ui.components.token_cells import forced_token_steps, fork_steps, make_token_cells, strip_texts, token_table
from pages.ui.components.token_strip import ColourMode, select_colour_mode, show_token_strip
from pages.ui.model.hosted_notes import show_queue_note
from pages.ui.model.hosted_options import show_response_notes
from pages.ui.playground.branch_form import show_branch_form
from pages.ui.playground.branch_list import branch_name, show_branches
from pages.ui.playground.history_recorder import record_runs
from pages.ui.playground.session_state import playground_state
from pages.ui.playground.work_address import store_work
from pages.ui.prompt.document_field import show_passages
from pages.ui.recipes.provenance import show_recorded_note, show_run_weights_note
from pages.ui.shell import i18n, services
from pages.ui.shell.i18n import format_number, format_share, t
from pages.ui.shell.session import get, has, put

if TYPE_CHECKING:
    from llm_core.generation.record import TokenEvent

REFRESH_SECONDS = 0.3


def show_run() -> None:
    """Draw the tab's runs and follow them while they are active."""
    following = has_active_runs()
    st.fragment(_refresh_run, run_every=REFRESH_SECONDS if following else None)(following)


def has_active_runs() -> bool:
    """Return whether any run or branch of this tab is active, or still to be requested."""
    return (
        any(technique_run.active for technique_run in playground_state().technique_runs)
        or playground_state().tree.active
    )


def _refresh_run(following: bool) -> None:
    state = playground_state()
    still = has_active_runs()  # read before the events, so that the last ones are not missed
    with services.technique_run_lock():
        for each in state.technique_runs:
            each.advance()
    state.tree.touch()
    store_work()
    record_runs()
    if len(places := _list_answers()) > 1:
        _show_overview(places)
    technique_run = state.technique_runs[state.shown[0]] if state.technique_runs else None
    branch = find_shown_branch(technique_run)
    events = branch.events() if branch else []
    selected = state.selected_step
    step = len(events) - 1 if selected is None else min(selected, len(events) - 1)
    show_queue_note([run for each in state.technique_runs for run in each.runs if run.active])
    with st.container(border=True, key="playground.answer_card"):
        mode = _show_answer(branch, events, step)
        if technique_run and branch and branch.run is technique_run.main:
            _show_result(technique_run)
    if branch:
        show_branches(branch, mode)
    with st.container(border=True):
        _show_step(branch, events, step)
    if following != still:
        st.rerun()


def find_shown_branch(technique_run: TechniqueRun | None) -> Branch | None:
    """Return the chosen branch, or else the answer at the chosen position, which joins the tree with that."""
    state = playground_state()
    if chosen := state.tree.get(state.branch):
        return chosen
    if technique_run is None:
        return None
    run, chain = technique_run.main, min(state.shown[1], len(technique_run.main.samples) - 1)
    if technique_run.request.prompt.traits.steps_back and run is technique_run.runs[0]:
        return Branch(0, run, chain)  # the step-back principle, which the answer soon replaces
    return state.tree.root(run, chain)


def _list_answers() -> list[tuple[int, int]]:
    """Return `(prompt, chain)` of every answer."""
    return [
        (place, chain)
        for place, technique_run in enumerate(playground_state().technique_runs)
        for chain in range(technique_run.chains)
    ]


def _show_overview(places: list[tuple[int, int]]) -> None:
    """Draw the choice of the shown answer, and a table of all answers."""
    state = playground_state()
    names = {place: _answer_name(place) for place in places}
    key = f"playground.shown.{state.technique_runs[0].runs[0].id}"
    if has(key):  # a branch of another answer may have been chosen meanwhile
        put(key, state.shown)
    with st.container(border=True):
        st.selectbox(
            t("run.which", count=len(places)),
            places,
            index=places.index(state.shown) if state.shown in places else 0,
            format_func=names.__getitem__,
            key=key,
            on_change=_select_answer,
            args=(key,),
        )
        st.dataframe(
            [_overview_row(*place) for place in places], hide_index=True, height="auto" if len(places) < 9 else 320
        )
        if len(state.technique_runs) == 1 and (votes := state.technique_runs[0].votes) and len(places) > 1:
            # A result may be as long as an answer; the table above has it in full.
            short = [(textwrap.shorten(result, 40, placeholder="…"), count) for result, count in votes[:5]]
            counts = ", ".join(f"**{i18n.escape_markdown(result)}** × {count}" for result, count in short)
            st.markdown(t("run.votes", votes=counts))


def _select_answer(key: str) -> None:
    state = playground_state()
    state.shown, state.branch, state.selected_step = get(key), None, None


def _answer_name(place: tuple[int, int]) -> str:
    technique_run = playground_state().technique_runs[place[0]]
    parts = []
    if len(playground_state().technique_runs) > 1:
        parts.append(t("run.prompt_number", number=place[0] + 1))
    if technique_run.chains > 1:
        parts.append(t("run.chain_number", number=place[1] + 1))
    return " · ".join(parts)


def _overview_row(place: int, chain: int) -> dict[str, str | int]:
    state = playground_state()
    technique_run = state.technique_runs[place]
    rows = technique_run.main.samples
    outcome = technique_run.outcomes[chain] if technique_run.outcomes else None
    values = state.run_values[place] if place < len(state.run_values) else {}
    row = rows[chain] if chain < len(rows) else None
    result = {t("run.result"): (outcome.result or t("run.no_result")) if outcome else "…"}
    return {
        t("run.number"): _answer_name((place, chain)),
        **values,
        **(result if _has_separate_result(technique_run) else {}),
        t("run.answer"): outcome.text if outcome else row.text if row else "",
        t("run.token_count"): len(row.events()) if row else 0,
    }


def _has_separate_result(technique_run: TechniqueRun) -> bool:
    """Return whether the answer's result is something other than its whole text."""
    spec = technique_run.request.prompt
    return spec.extraction.kind != "whole" or spec.traits.reasoning or technique_run.chains > 1


def _show_result(technique_run: TechniqueRun) -> None:
    """Draw the extracted result if it differs from the answer, with the step-back principle and the cited passages."""
    spec = technique_run.request.prompt
    if spec.traits.steps_back and len(technique_run.runs) > 1:
        with st.expander(t("run.principle")):
            st.code(technique_run.runs[0].samples[0].text, language=None, wrap_lines=True)
    if spec.document and technique_run.outcomes:
        with st.expander(t("document.sources"), expanded=True):
            show_passages(
                spec, technique_run.outcomes[min(playground_state().shown[1], len(technique_run.outcomes) - 1)].text
            )
    if technique_run.error and technique_run.error is not technique_run.main.error:
        st.error(i18n.explain(technique_run.error), icon=":material/error:")
    if technique_run.outcomes and _has_separate_result(technique_run):
        found = technique_run.answer
        st.caption(t("run.result"))
        st.code(t("run.no_result") if found is None else found, language=None, wrap_lines=True)


def _show_answer(branch: Branch | None, events: list[TokenEvent], step: int) -> ColourMode:
    """Draw the strip with notes and figures of the answer. Returns the mode by which it is coloured."""
    state = playground_state()
    if branch:
        show_recorded_note(branch.run)
        show_run_weights_note(state.run_recipe, branch.run)
    mode = select_colour_mode()
    cells = make_token_cells(branch) if branch else ()
    running = bool(branch and branch.row.active)
    title = branch_name(branch) if branch and len(state.tree) > 1 else t("run.answer")
    show_token_strip(
        cells[: len(events)],
        key="playground.answer",
        mode=mode,
        selected=step if events else None,
        words=strip_texts(mode, title, _status_text(branch.run if branch else None)),
        on_pick=_toggle_step,
        live=running and state.selected_step is None,
        forks=fork_steps(branch) if branch else (),
        given=forced_token_steps(branch) if branch else (),
    )
    if branch is None:
        return mode
    if branch.row.error:
        st.error(i18n.explain(branch.row.error), icon=":material/error:")
    show_response_notes(branch.run, branch.row)
    if not events:
        return mode
    st.caption(" · ".join(_format_statistics(branch, events)))
    with st.container(horizontal=True):
        as_text = not running and st.toggle(t("run.as_text"), key="playground.as_text")
        as_table = st.toggle(t("strip.as_table"), key="playground.strip_table")
    if as_text:
        st.code(branch.text, language=None, wrap_lines=True)
    if as_table:
        st.dataframe(token_table(cells[: len(events)]), hide_index=True, height="auto" if len(cells) < 9 else 320)
    return mode


def _format_statistics(branch: Branch, events: list[TokenEvent]) -> list[str]:
    row, run = branch.row, branch.run
    timed = row.length > 1 and not row.from_cache
    speed = [t("run.tokens_per_second", value=format_number(row.tokens_per_second, 1))] if timed else []
    figures = [*speed, t("run.tokens", value=len(events))]
    if traced := [event for event in events if event.trace]:
        figures.append(t("run.mean_logprob", value=format_number(sum_logprobs(traced) / len(traced))))
    if run.rendered:
        prompt = format_number(len(run.rendered.token_ids) + len(row.request.prefix_ids), 0)
        figures.append(t("run.cached", cached=format_number(row.cached_tokens, 0), prompt=prompt))
    if row.finish_reason:
        figures.append(t(f"run.finished.{row.finish_reason}"))
    return figures


def _show_step(branch: Branch | None, events: list[TokenEvent], step: int) -> None:
    run = branch.run if branch else None
    trace = events[step].trace if events else None
    candidates = charts.top_candidates(trace, run.label) if trace and run else []
    heading, legend = st.columns([1.5, 1], vertical_alignment="bottom")
    rests = bool(run and run.model and not run.active)
    heading.markdown(_step_heading(step, len(events), rests))
    legend.html(_legend_html())
    with st.container():  # drawn even if empty, so that the plot below keeps its position and its node
        if branch and branch in playground_state().tree and events and playground_state().selected_step is not None:
            show_branch_form(branch, events, step)
    words = {name: t(f"step.{name}") for name in ("raw", "after", "drawn", "cut", "empty")}
    words["axis"] = t("charts.probability")
    show_live_plot(
        charts.step_figure(candidates, format_share, words),
        key="playground.step_plot",
        label=_describe_chart(candidates),
        step=f"{run.id if run else ''}:{step}",
    )
    if trace is None:
        st.caption(t("step.hint"))
        return
    figures = [
        t("step.kept", kept=format_number(trace.final.kept, 0), vocabulary=format_number(trace.raw.kept, 0)),
        t("step.kept_mass", value=format_share(trace.final.kept_mass)),
        t("step.residual", value=format_share(_unshown_probability(candidates))),
        t("step.entropy", value=format_number(trace.raw.entropy_bits)),
        t("step.surprisal", value=format_number(trace.surprisal_bits)),
    ]
    st.caption(" · ".join(figures))
    if st.toggle(t("step.as_table"), key="playground.step_table"):
        st.dataframe(_candidate_table(candidates), hide_index=True)


def _unshown_probability(candidates: list[charts.StepCandidate]) -> float:
    return max(0.0, 1.0 - math.fsum(candidate.raw for candidate in candidates))


def _step_heading(step: int, count: int, can_branch: bool) -> str:
    if not count:
        return f"**{t('step.title')}**"
    where = t("step.place", step=step + 1, count=count)
    if playground_state().selected_step is not None:
        return f"**{where}** · {t('step.pinned')}"
    return f"**{where}** · {t('branches.hint')}" if can_branch else f"**{where}**"


def _legend_html() -> str:
    """Return the legend of the chart's colours. Its texts are the app's own, so HTML is safe."""
    names = ((charts.RAW_COLOUR, "raw"), (charts.AFTER_COLOUR, "after"), (charts.DRAWN_COLOUR, "drawn"))
    parts = (
        f"<span style='white-space:nowrap'><span style='color:{color}'>■</span> {t(f'step.{name}')}</span>"
        for color, name in names
    )
    return f"<div style='text-align:right;font-size:0.82rem;opacity:0.85'>{' &nbsp; '.join(parts)}</div>"


def _describe_chart(candidates: list[charts.StepCandidate]) -> str:
    leading = ", ".join(f"{c.label} {format_number(c.raw)} → {format_number(c.after)}" for c in candidates[:5])
    return f"{t('step.title')}: {leading}" if leading else t("step.empty")


def _candidate_table(candidates: list[charts.StepCandidate]) -> list[dict]:
    return [
        {
            t("step.token"): c.label,
            t("step.token_id"): c.token_id,
            t("step.raw"): round(c.raw, 5),
            t("step.after"): round(c.after, 5),
            t("step.drawn"): c.drawn,
            t("step.excluded"): c.excluded,
        }
        for c in candidates
    ]


def _status_text(run: Run | None) -> str:
    if run is None:
        return t("run.empty")
    if run.status == "waiting":
        ahead = services.router().position(run)
        return t("run.queued", ahead=ahead) if ahead else t("run.starting")
    return t("run.reading") if run.active else t("run.nothing")


def _toggle_step(index: int) -> None:
    """Pin a step; choosing the pinned one again follows the newest step."""
    state = playground_state()
    state.selected_step = None if state.selected_step == index else index
