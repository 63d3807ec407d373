"""Which step the Lens looks at, and how it gets what the model gave there: from a local model by one forward pass,
once; from a hosted one it came with the token."""

from __future__ import annotations

from typing import NamedTuple

from llm_core.branches import Branch
from llm_core.lens import Lens, lens_of, request_for
from llm_core.partial_lens import partial_lens_of
from llm_core.records import TokenEvent
from pages.ui import resources
from pages.ui.run_view import shown_branch
from pages.ui.state import session

KEPT = 8
"""Steps whose logits a tab remembers: going back and forth needs no forward pass."""
_AT_ONCE = 1.5
"""Seconds in which the logits are usually there, so that the page need not be drawn twice."""


class Place(NamedTuple):
    """One step of the answer that the Playground shows."""

    branch: Branch
    events: list[TokenEvent]
    step: int


def current_place() -> Place | None:
    """The step that the Lens stands at: first the one pinned in the Playground, or else the newest. None without a
    run that has written something."""
    state = session()
    branch = shown_branch(state.askings[state.shown[0]] if state.askings else None)
    events = branch.events() if branch else []
    if branch is None or not events:
        return None
    if state.lens.of != (branch.run.id, branch.chain):
        pinned = state.selected_step
        state.lens.start((branch.run.id, branch.chain), len(events) - 1 if pinned is None else pinned)
    return Place(branch, events, min(state.lens.step, len(events) - 1))


def lens_at(place: Place) -> Lens | None:
    """The lens on this step; None while the model is busy with others. Raises the error that its run failed with."""
    state = session().lens
    key = (*state.of, place.step)
    if key in state.lenses:
        return state.lenses[key]
    asked = place.branch.run
    if asked.model is None:
        trace = place.events[place.step].trace
        if asked.recorded and trace:  # before any stage, every token is possible
            vocabulary: int | None = trace.raw.kept
        else:
            vocabulary = resources.router().hosted.vocabulary(asked.request.model_id)
        return _kept(key, partial_lens_of(asked, place.events, place.step, vocabulary))
    if key not in state.runs:
        for run in state.runs.values():  # the reader has moved on
            run.cancel()
        answer = [event.known_id for event in place.events[: place.step]]
        request = request_for(place.branch.run.request, place.branch.row.request, answer)
        state.runs = {key: resources.submit(request)}
    if not state.runs[key].wait(_AT_ONCE):
        return None
    return _kept(key, lens_of(state.runs.pop(key)))


def _kept(key: tuple[str, int, int], lens: Lens) -> Lens:
    state = session().lens
    state.lenses[key] = lens
    while len(state.lenses) > KEPT:
        del state.lenses[next(iter(state.lenses))]
    return state.lenses[key]
