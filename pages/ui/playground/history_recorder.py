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
    for asking in state.technique_runs:
        name = asking.runs[0].id
        if asking.active or name in state.recorded or asking.main.recorded:  # a replay is not the reader's own run
            continue
        state.recorded.add(name)
        if state.history_on and state.history_notice is None and any(row.length for row in asking.main.samples):
            try:
                _record_run(name, asking)
            except NucleusError as error:
                state.history_notice = i18n.explain(error)


def _record_run(name: str, asking: TechniqueRun) -> None:
    from llm_core.storage.history import is_history_enabled

    if not is_history_enabled():
        return
    row = asking.main.samples[0]
    outcome = asking.outcomes[0].text if asking.outcomes else row.text
    traced = [event for event in row.events() if event.trace]
    mean = round(sum_logprobs(traced) / len(traced), 4) if traced else math.nan
    summary = {
        "tokens": asking.tokens,
        "seconds": round(asking.seconds, 3),
        "answers": asking.chains,
        "result": (asking.answer or "")[:500] if asking.chains > 1 or asking.answer != outcome else "",
        "finish_reason": row.finish_reason,
        "mean_logprob": mean if math.isfinite(mean) else None,
    }
    services.history().add(name, current_owner(), Recipe.from_request(asking.request), outcome, summary)
