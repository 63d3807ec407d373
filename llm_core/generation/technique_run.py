"""Run a prompt's technique: as one run, or as several that build on each other.

- A step-back asks the general question first; its answer becomes context of the second prompt.
- Reasoning is written freely. If its result is to stand after the answer marker or in an output format, each chain
  then continues after the marker, under the format (the two stages of zero-shot chain-of-thought, Kojima et al. 2022),
  since no trigger tells the model to write a marker. The prefix cache makes this cost its few new tokens.
- Self-consistency writes several chains with different seeds, and the most frequent result wins (Wang et al. 2022).

A page calls `TechniqueRun.advance` whenever it redraws; a program calls `wait`.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple

from llm_core.errors import NucleusError
from llm_core.generation.record import Run, SampleRecord
from llm_core.generation.request import GenerationRequest, SampleRequest
from llm_core.prompts.extraction import Extraction, count_votes
from llm_core.prompts.output_format import OutputFormat
from llm_core.prompts.spec import PromptSpec, remove_control_characters

FINAL_ANSWER_TOKENS = 64
"""Largest number of tokens of the answer after the reasoning."""

Submit = Callable[[GenerationRequest], Run]


class Outcome(NamedTuple):
    """Answer of one chain."""

    text: str
    """Whole text of the chain, prefill included."""
    result: str | None
    """Result that the prompt's extraction finds in the text, or None."""


class TechniqueRun:
    """Runs of one prompt whose variables are filled in. Not locked: one thread at a time."""

    def __init__(self, submit: Submit, request: GenerationRequest) -> None:
        """Submit the first run at once. `request` has one sample: the settings of each chain. Raises the `NucleusError`
        of a request that is refused."""
        self.request = request
        self.runs: list[Run] = []
        """All runs so far, in the order of submission."""
        self.outcomes: tuple[Outcome, ...] = ()
        """One outcome a chain, once all steps are done."""
        self.error: NucleusError | None = None
        self._submit = submit
        self._stopped = False
        self._steps = _plan_steps(request)
        self._current_runs = [submit(each) for each in next(self._steps)]
        self.runs += self._current_runs

    @property
    def active(self) -> bool:
        """Whether a run is being written, or a step is still to be submitted."""
        writing = any(run.active for run in self._current_runs)
        return writing or not (self.outcomes or self.error or self._stopped)

    @property
    def chains(self) -> int:
        """Number of chains."""
        return self.request.prompt.chains if self.request.prompt.traits.votes else 1

    @property
    def main(self) -> Run:
        """Run in which the chains are written, or the latest one while that has not begun."""
        place = 1 if self.request.prompt.traits.steps_back else 0
        return self.runs[min(place, len(self.runs) - 1)]

    @property
    def votes(self) -> list[tuple[str, int]]:
        """Results with the number of chains that gave them, most frequent first."""
        return count_votes([outcome.result for outcome in self.outcomes])

    @property
    def answer(self) -> str | None:
        """Result that counts: the single chain's, or the one with the most votes; None if there is none."""
        return self.votes[0][0] if self.votes else None

    @property
    def tokens(self) -> int:
        """Number of tokens written, over all runs."""
        return sum(len(row.events()) for run in self.runs for row in run.samples)

    @property
    def prompt_tokens(self) -> int:
        """Number of prompt tokens, over all runs that have begun."""
        local = sum(len(run.rendered.token_ids) for run in self.runs if run.rendered)
        return local + sum(usage.prompt_tokens for run in self.runs for usage in run.all_usages)

    @property
    def seconds(self) -> float:
        """Seconds from the first prompt to the last token, without time in the queue between runs."""
        return sum(max(row.seconds for row in run.samples) for run in self.runs)

    def stop(self) -> None:
        """Stop the current runs. Tokens so far stay."""
        for run in self._current_runs:
            run.cancel()
        self._stopped = not self.outcomes

    def wait(self, timeout: float = math.inf) -> bool:
        """Take every step, blocking; return false if not all are done within `timeout` seconds."""
        until = time.monotonic() + timeout
        while self.active and time.monotonic() < until:
            for run in self._current_runs:
                run.wait(max(0.0, min(1.0, until - time.monotonic())))
            self.advance()
        return not self.active

    def advance(self) -> None:
        """Take the next step if the runs of the last one have ended. The technique ends with a request that is refused,
        and with a step whose samples all failed; a chain that failed beside others has no result."""
        for run in self._current_runs:
            run.touch()
        if any(run.active for run in self._current_runs) or not self.active:
            return
        rows = [row for run in self._current_runs for row in run.samples]
        if all(row.error for row in rows):
            self.error = rows[0].error
        cut = any(row.finish_reason in ("cancelled", "deadline") for row in rows)
        if self.error or cut:
            self._stopped = cut
            return
        try:
            self._current_runs = [self._submit(each) for each in self._steps.send(self._current_runs)]
            self.runs += self._current_runs
        except StopIteration as end:
            self.outcomes = end.value
        except NucleusError as error:
            self.error = error


def count_samples(prompt: PromptSpec) -> int:
    """Return the number of answers that running this prompt writes, intermediate steps included."""
    chains = prompt.chains if prompt.traits.votes else 1
    return chains * (2 if _has_final_step(prompt) else 1) + prompt.traits.steps_back


def _has_final_step(spec: PromptSpec) -> bool:
    """Return whether each chain continues after the answer marker in a run of its own."""
    marked = spec.extraction == Extraction("marker", spec.answer_marker)
    return spec.traits.reasoning and (marked or spec.output.kind != "text")


def _plan_steps(request: GenerationRequest) -> Generator[Sequence[GenerationRequest], list[Run], tuple[Outcome, ...]]:
    """Yield requests that may run together, receive their runs once they have ended, and return the outcomes."""
    spec, [row] = request.prompt, request.samples
    method = spec.traits
    if method.steps_back:
        [principle] = yield [dataclasses.replace(request, prompt=spec.make_step_back_prompt())]
        spec = spec.add_principle(remove_control_characters(principle.samples[0].text))
    rows = tuple(_chain_samples(row, number) for number in range(spec.chains if method.votes else 1))
    if not _has_final_step(spec):
        [run] = yield [dataclasses.replace(request, prompt=spec, samples=rows)]
        return tuple(_read_outcome(spec, record) for record in run.samples)
    free = dataclasses.replace(spec, output=OutputFormat())
    [run] = yield [dataclasses.replace(request, prompt=free, samples=rows)]
    openings = {
        place: _text_up_to_marker(spec.prefill, record, spec.answer_marker)
        for place, record in enumerate(run.samples)
        if not record.error
    }
    finals = yield [
        dataclasses.replace(
            request,
            prompt=dataclasses.replace(spec, prefill=opening, output=_prefix_choices_with_space(spec.output)),
            samples=(_final_sample(rows[place], spec),),
        )
        for place, opening in openings.items()
    ]
    outcomes = [_read_outcome(spec, record) for record in run.samples]
    for (place, opening), final in zip(openings.items(), finals, strict=True):
        [record] = final.samples
        result = None if record.error else _final_result(spec, opening, record.text)
        outcomes[place] = Outcome(opening + record.text, result)
    return tuple(outcomes)


def _read_outcome(spec: PromptSpec, record: SampleRecord) -> Outcome:
    text = spec.prefill + record.text
    return Outcome(text, None if record.error else spec.extraction.extract(text))


def _chain_samples(row: SampleRequest, number: int) -> SampleRequest:
    return dataclasses.replace(row, sampler=dataclasses.replace(row.sampler, seed=row.sampler.seed + number))


def _text_up_to_marker(prefill: str, record: SampleRecord, marker: str) -> str:
    """Return the chain up to and including the answer marker: its own marker, with the text after it cut off, or an
    added one."""
    written = remove_control_characters(prefill + record.text)
    before, found, _ = written.rpartition(marker) if marker else (written, "", "")
    return before + marker if found else f"{written.rstrip()}\n{marker}"


def _prefix_choices_with_space(output: OutputFormat) -> OutputFormat:
    """Return the format with a space before each choice, which belongs to the first token of a word."""
    return dataclasses.replace(output, choices=tuple(f" {choice}" for choice in output.choices))


def _final_sample(chain: SampleRequest, spec: PromptSpec) -> SampleRequest:
    """Return the settings of the answer after the marker, which has at least one token. A free answer ends with its
    line; a format decides its own end."""
    sampler = dataclasses.replace(chain.sampler, min_new_tokens=max(1, chain.sampler.min_new_tokens))
    stops = ("\n",) if spec.output.kind == "text" else ()
    return dataclasses.replace(
        chain, sampler=sampler, max_output_tokens=FINAL_ANSWER_TOKENS, stop_sequences=chain.stop_sequences + stops
    )


def _final_result(spec: PromptSpec, opening: str, text: str) -> str | None:
    """Return the result after the marker. A model that adds nothing there gave it in the last line of its reasoning."""
    if spec.output.kind == "choice":
        return text.strip()
    if spec.output.kind == "json":
        return spec.extraction.extract(text)
    concluded = Extraction("last_line").extract(opening.removesuffix(spec.answer_marker))
    return spec.extraction.extract(opening + text) or concluded
