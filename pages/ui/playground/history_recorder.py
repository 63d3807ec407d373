"""Record finished runs of the Playground in the history, if the reader and the installation allow it."""

from __future__ import annotations

import math

from llm_core import NucleusError
from llm_core.generation.branches import sum_logprobs
from llm_core.generation.technique_run import TechniqueRun
from llm_core.recipes.recipe import Recipe
from pages.ui.playground.session_state import playground_state
from pages.ui.shell import i18n, services
from pages.ui.shell.browser_identity import current_owner


def record_runs() -> None:
    """Record the finished runs that are not yet recorded. Call it whenever the runs are drawn.

    After a database error this tab stops recording, because a run must not wait for the database; the Gallery shows the
    error.
    """
    state = playground_state()
    for technique_run in state.technique_runs:
        name = technique_run.runs[0].id
        if (
            technique_run.active or name in state.recorded or technique_run.main.recorded
        ):  # a replay is not the reader's own run
            continue
        state.recorded.add(name)
        if state.history_on and state.history_notice is None and any(row.length for row in technique_run.main.samples):
            try:
                _record_run(name, technique_run)
            except NucleusError as error:
                state.history_notice = i18n.explain(error)


def _record_run(name: str, technique_run: TechniqueRun) -> None:
    from llm_core.storage.history import is_history_enabled

    if not is_history_enabled():
        return
    row = technique_run.main.samples[0]
    outcome = technique_run.outcomes[0].text if technique_run.outcomes else row.text
    traced = [event for event in row.events() if event.trace]
    mean = round(sum_logprobs(traced) / len(traced), 4) if traced else math.nan
    summary = {
        "tokens": technique_run.tokens,
        "seconds": round(technique_run.seconds, 3),
        "answers": technique_run.chains,
        "result": (technique_run.answer or "")[:500]
        if technique_run.chains > 1 or technique_run.answer != outcome
        else "",
        "finish_reason": row.finish_reason,
        "mean_logprob": mean if math.isfinite(mean) else None,
    }
    services.history().add(name, current_owner(), Recipe.from_request(technique_run.request), outcome, summary)
