"""Run a recipe, show its recorded run again, and compare the two.

    replay(recipe)                           # an ended Run, as pages read it: no model, key or network
    verify(recipe, router.submit)            # identical, or the first step that differs and by how much

Both raise `NucleusError` for a recipe without a recorded run.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from llm_core.errors import NucleusError
from llm_core.generation.record import ReplayInfo, Run, TokenEvent, Usage
from llm_core.generation.request import MAX_SAMPLES_PER_REQUEST
from llm_core.generation.technique_run import Outcome, Submit, TechniqueRun
from llm_core.recipes.trace import MAX_LABEL_CHARACTERS, RecordedSample

if TYPE_CHECKING:
    from llm_core.prompts.spec import PromptSpec
    from llm_core.recipes.recipe import Recipe
    from llm_core.recipes.trace import RowTrace, Trace


class RecordedTechniqueRun(TechniqueRun):
    """Recorded run in the place of a technique run: nothing is submitted."""

    def __init__(self, run: Run, outcomes: Sequence[Outcome]) -> None:
        self.request, self.runs, self.outcomes, self.error = run.request, [run], tuple(outcomes), run.error
        self._current_runs, self._stopped = [], True

    @property
    def chains(self) -> int:
        return len(self.runs[0].samples)

    @property
    def main(self) -> Run:
        return self.runs[0]


def replay(recipe: Recipe) -> Run:
    """Return the recorded run of the recipe's first prompt, ended. Raises `NucleusError` for a recipe without one."""
    return replay_prompts(recipe)[0].main


def replay_prompts(recipe: Recipe) -> list[RecordedTechniqueRun]:
    """Return the recorded run of each of the recipe's prompts. Raises `NucleusError` for a recipe without one."""
    trace = _require_trace(recipe)
    prompts = recipe.prompt.variants()
    rows: dict[int, list[RowTrace]] = {}
    for row in trace.rows:
        rows.setdefault(row.prompt, []).append(row)
    if max(rows) >= len(prompts):
        raise NucleusError("recipe_wrong", place="trace", value=max(rows) + 1, detail="there is no such prompt")
    labels = trace.all_labels()
    return [_rebuild_run(recipe, trace, prompts[place], rows[place], labels) for place in sorted(rows)]


def _rebuild_run(
    recipe: Recipe, trace: Trace, prompt: PromptSpec, rows: Sequence[RowTrace], labels: dict[int, str]
) -> RecordedTechniqueRun:
    like = recipe.rows()[0]
    samples = tuple(dataclasses.replace(like, sampler=dataclasses.replace(like.sampler, seed=row.seed)) for row in rows)
    run = Run(dataclasses.replace(recipe.request(prompt=prompt), samples=samples))
    run.recorded = ReplayInfo(trace.model, trace.at, frozenset(trace.ends))
    run.labels = labels
    for record, row in zip(run.samples, rows, strict=True):
        events = row.all_events()
        for event in events:
            record.append(event)
        record.seconds, record.cached_tokens, record.thoughts = row.seconds, row.cached_tokens, row.thoughts
        record.shares_call = row.shared
        record.usage = Usage(*row.usage) if row.usage else None
        rest = row.text[sum(len(event.text) for event in events) :]
        if row.finish_reason:
            record.finish(row.finish_reason, rest)
        else:
            record.fail(NucleusError("recorded_failure", detail=row.error), rest)
    run.notify_if_done()
    outcomes = [] if run.error else [_make_outcome(prompt, row) for row in rows]
    return RecordedTechniqueRun(run, outcomes)


def _make_outcome(prompt: PromptSpec, row: RowTrace) -> Outcome:
    if row.whole is not None:
        return Outcome(row.whole, row.result)
    text = prompt.prefill + row.text
    return Outcome(text, prompt.extraction.extract(text))


class RecipeRun:
    """Run of a recipe: one technique run for each of its prompts and answers. Not locked: one thread at a time."""

    def __init__(self, recipe: Recipe, submit: Submit, session: str = "") -> None:
        """Submit all parts at once. Raises `NucleusError` if any of them is refused; then nothing runs."""
        prompts = recipe.prompt.variants()
        if len(prompts) * recipe.count > MAX_SAMPLES_PER_REQUEST:
            raise NucleusError("too_many_prompts", value=len(prompts) * recipe.count, limit=MAX_SAMPLES_PER_REQUEST)
        self.recipe = recipe
        self.parts: list[tuple[int, TechniqueRun]] = []
        """Technique runs, each with the number of its prompt, from 0."""
        try:
            for place, prompt in enumerate(prompts):
                request = recipe.request(prompt=prompt, session=session)
                for row in request.samples:
                    row = dataclasses.replace(row, keep_self_certainty="self_certainty" in recipe.criteria)
                    self.parts.append((place, TechniqueRun(submit, dataclasses.replace(request, samples=(row,)))))
        except NucleusError:
            self.stop()
            raise

    @property
    def active(self) -> bool:
        return any(technique_run.active for _, technique_run in self.parts)

    @property
    def error(self) -> NucleusError | None:
        """First error that an answer failed with, or None."""
        errors = (technique_run.error or technique_run.main.error for _, technique_run in self.parts)
        return next(filter(None, errors), None)

    def advance(self) -> None:
        for _, technique_run in self.parts:
            technique_run.advance()

    def stop(self) -> None:
        """Stop the answers under way. What was written stays."""
        for _, technique_run in self.parts:
            technique_run.stop()

    def recorded_samples(self) -> Iterator[RecordedSample]:
        """Yield every answer with what belongs to it, in the recipe's order."""
        return iterate_recorded_samples(self.parts)


def iterate_recorded_samples(parts: Iterable[tuple[int, TechniqueRun]]) -> Iterator[RecordedSample]:
    """Yield every answer with what belongs to it, for `trace.make_trace`. `parts` have the prompt's number, from 0."""
    for place, technique_run in parts:
        for number, row in enumerate(technique_run.main.samples):
            outcome = technique_run.outcomes[number] if number < len(technique_run.outcomes) else None
            yield RecordedSample(technique_run.main, row, outcome, place)


class ReplayVerdict(NamedTuple):
    """Comparison of a new run with the recorded one."""

    identical: bool
    """Whether tokens and ends are the same."""
    drift: float
    """Largest distance of a drawn token's raw log-probability from the recorded one while the tokens agree, in nats."""
    answer: int = 0
    """Number of the first answer that differs, from 1; 0 for none."""
    step: int = 0
    """Number of its first token that differs, or that only one of the two has, from 1; 0 for none."""
    expected: str = ""
    found: str = ""
    """Text of the new token; `expected` is that of the recorded one."""
    nats: float | None = None
    """Largest distance of the model's log-probabilities at that step from the recorded ones; None where either has
    none."""


def compare_with_trace(recipe: Recipe, run: RecipeRun) -> ReplayVerdict:
    """Compare an ended run of the recipe with its trace. Raises `NucleusError` for a recipe without one, and the error
    that the run failed with."""
    trace = _require_trace(recipe)
    if run.error:
        raise run.error
    answers = list(run.recorded_samples())
    labels = trace.all_labels()
    drift = 0.0
    if len(answers) != len(trace.rows):
        return ReplayVerdict(False, drift, min(len(answers), len(trace.rows)) + 1)
    for number, (row, new) in enumerate(zip(trace.rows, answers, strict=True), 1):
        old_events, new_events = row.all_events(), new.sample.events()
        names = _token_keys(labels, new.run)
        for step in range(max(len(old_events), len(new_events))):
            old, now = (events[step] if step < len(events) else None for events in (old_events, new_events))
            if old and now and _is_same_token(old, now, names):
                drift = max(drift, _max_logprob_gap(old, now, names, only_drawn=True) or 0.0)
                continue
            texts = (_token_label(old, labels.get), _token_label(now, new.run.label))
            nats = _max_logprob_gap(old, now, names) if old and now else None
            return ReplayVerdict(False, drift, number, step + 1, *texts, nats)
        if (row.text, row.finish_reason) != (new.sample.text, new.sample.finish_reason):
            return ReplayVerdict(False, drift, number, len(old_events) + 1)
    return ReplayVerdict(True, drift)


def verify(recipe: Recipe, submit: Submit, timeout: float | None = None) -> ReplayVerdict:
    """Run the recipe again and compare it with its trace, within its own deadline or `timeout` seconds.

    Raises `NucleusError`, as `compare_with_trace` does.
    """
    _require_trace(recipe)
    run = RecipeRun(recipe, submit)
    until = time.monotonic() + (recipe.limits.deadline_seconds if timeout is None else timeout)
    while run.active and time.monotonic() < until:
        run.advance()
        time.sleep(0.02)
    run.stop()
    return compare_with_trace(recipe, run)


def _require_trace(recipe: Recipe) -> Trace:
    if recipe.trace is None:
        raise NucleusError("recipe_without_trace")
    return recipe.trace


_TokenKeys = tuple[Callable[[int], Hashable], Callable[[int], Hashable]]
"""Keys that identify a token in the record and in the new run, alike in both."""


def _token_keys(labels: dict[int, str], run: Run) -> _TokenKeys:
    """Return the keys of tokens: a local model's ids, or the texts, since hosted runs number tokens as they come."""
    if run.model is not None:
        return int, int
    return lambda token: labels.get(token, token), lambda token: run.label(token)[:MAX_LABEL_CHARACTERS]


def _is_same_token(old: TokenEvent, now: TokenEvent, names: _TokenKeys) -> bool:
    if old.token_id is None or now.token_id is None:
        return old.piece == now.piece
    return names[0](old.token_id) == names[1](now.token_id)


def _token_label(event: TokenEvent | None, label: Callable[[int], str | None]) -> str:
    if event is None:
        return ""
    return (label(event.token_id) if event.token_id is not None else None) or event.piece


def _max_logprob_gap(old: TokenEvent, now: TokenEvent, names: _TokenKeys, only_drawn: bool = False) -> float | None:
    """Return the largest gap between the raw log-probabilities, over the tokens that both know, in nats; None without
    any."""
    if old.trace is None or now.trace is None:
        return None
    one, other = (
        {name(token): logprob for token, logprob in zip(trace.candidates, trace.raw.logprobs, strict=True)}
        for trace, name in zip((old.trace, now.trace), names, strict=True)
    )
    shared = {names[0](old.trace.token_id)} if only_drawn else one.keys() & other.keys()
    gaps = [abs(one[token] - other[token]) for token in shared if one[token] > -math.inf and other[token] > -math.inf]
    return max(gaps, default=None)
