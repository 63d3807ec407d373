"""Find the step that the Lens inspects and get its logits.

For a local model they come from one forward pass, once; for a hosted model the top tokens came with the answer.
"""

from __future__ import annotations

from typing import NamedTuple

from llm_core.analysis.partial_inspector import make_partial_inspector
from llm_core.analysis.step_inspector import StepInspector, make_step_inspector, make_step_request
from llm_core.generation.branches import Branch
from llm_core.generation.record import TokenEvent
from pages.ui.lens.session_state import lens_state
from pages.ui.playground.run_view import find_shown_branch
from pages.ui.playground.session_state import playground_state
from pages.ui.shell import services

MAX_CACHED_STEPS = 8
"""Steps whose inspectors a tab keeps, so that going back and forth needs no forward pass."""
_WAIT_SECONDS = 1.5
"""Seconds to wait for the logits before the page is drawn without them."""


class SelectedStep(NamedTuple):
    """One step of the answer that the Playground shows."""

    branch: Branch
    events: list[TokenEvent]
    step: int


def find_selected_step() -> SelectedStep | None:
    """Return the step that the Lens inspects, or None without a run that has generated something.

    It starts at the step that is pinned in the Playground, or at the newest one.
    """
    state = playground_state()
    branch = find_shown_branch(state.technique_runs[state.shown[0]] if state.technique_runs else None)
    events = branch.events() if branch else []
    if branch is None or not events:
        return None
    if lens_state().of != (branch.run.id, branch.chain):
        pinned = state.selected_step
        lens_state().start((branch.run.id, branch.chain), len(events) - 1 if pinned is None else pinned)
    return SelectedStep(branch, events, min(lens_state().step, len(events) - 1))


def inspect_step(place: SelectedStep) -> StepInspector | None:
    """Return the inspector of the step, or None while the engine is busy.

    Raises the error that the forward pass failed with.
    """
    state = lens_state()
    key = (*state.of, place.step)
    if key in state.lenses:
        return state.lenses[key]
    asked = place.branch.run
    if asked.model is None:
        trace = place.events[place.step].trace
        if asked.recorded and trace:  # before any stage, every token is possible
            vocabulary: int | None = trace.raw.kept
        else:
            vocabulary = services.router().hosted.vocabulary(asked.request.model_id)
        return _cache_inspector(key, make_partial_inspector(asked, place.events, place.step, vocabulary))
    if key not in state.runs:
        for run in state.runs.values():  # the learner has moved to another step
            run.cancel()
        answer = [event.known_id for event in place.events[: place.step]]
        request = make_step_request(place.branch.run.request, place.branch.row.request, answer)
        state.runs = {key: services.submit(request)}
    if not state.runs[key].wait(_WAIT_SECONDS):
        return None
    return _cache_inspector(key, make_step_inspector(state.runs.pop(key)))


def _cache_inspector(key: tuple[str, int, int], lens: StepInspector) -> StepInspector:
    state = lens_state()
    state.lenses[key] = lens
    while len(state.lenses) > MAX_CACHED_STEPS:
        del state.lenses[next(iter(state.lenses))]
    return state.lenses[key]
