"""Run beam search for one prompt through the engine, as a record that grows while it runs.

Each step is one request with a sample for each live beam: the prompt, the beam's tokens, and one more. The prefix cache
holds all but the newest token of each, so a step costs one forward pass, and other sessions take their turns between
steps. A sample's trace holds the 40 likeliest tokens; a search examines `beams * max(2, 1 + end tokens)` candidates, so
as long as that is no more than 40, the result equals that of `samplers.sequence.beam_search` over the whole vocabulary.

Each step runs on its own thread. The search is cancelled if `touch` was not called for `ABANDONED_AFTER_SECONDS`.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llm_core.errors import NucleusError
from llm_core.generation.record import ABANDONED_AFTER_SECONDS, Run
from llm_core.generation.request import GenerationRequest, SampleRequest
from llm_core.prompts.output_format import OutputFormat
from samplers import SamplerConfig
from samplers.trace import MAX_CANDIDATES

if TYPE_CHECKING:
    from llm_core.models.language_model import LanguageModel
    from samplers.sequence.beam_search import BeamNode, BeamSearch, Hypothesis

log = logging.getLogger(__name__)

MAX_BEAMS = 8
MAX_BEAM_TOKENS = 64


@dataclass(frozen=True, slots=True)
class BeamSettings:
    """Settings of a search; see `samplers.sequence.beam_search.BeamSearch`."""

    beams: int = 3
    max_output_tokens: int = 16
    length_penalty: float = 1.0

    def validate(self) -> None:
        """Raise `NucleusError` naming the field that is out of range."""
        limits = (("beams", 1, MAX_BEAMS), ("max_output_tokens", 1, MAX_BEAM_TOKENS), ("length_penalty", -10, 10))
        for field, low, high in limits:
            value = getattr(self, field)
            if not low <= value <= high:
                raise NucleusError("setting_out_of_range", field=field, value=value, low=low, high=high)


class BeamRun:
    """Beam search from beginning to end. Any thread may read it."""

    def __init__(self, submit: Callable[[GenerationRequest], Run], request: GenerationRequest, settings: BeamSettings):
        """Submit the first step at once. `request` gives prompt, model, precision and session; its samples and its
        output format are ignored. Raises the `NucleusError` of a request that is refused."""
        settings.validate()
        self.settings = settings
        self.error: NucleusError | None = None
        self.active = True
        self.model: LanguageModel | None = None
        self.texts: list[str] = []
        """Answer up to each node of the tree, by node."""
        prompt = dataclasses.replace(request.prompt, output=OutputFormat())
        self._request = dataclasses.replace(request, prompt=prompt)
        self._submit = submit
        self._search: BeamSearch | None = None
        self._stopped = False
        self._read_at = time.monotonic()
        self._beams: list[tuple[int, ...]] = [()]
        self._submit_step()

    @property
    def nodes(self) -> list[BeamNode]:
        """Every candidate so far that `texts` covers; a node's parent is an index into this list."""
        return self._search.tree.nodes[: len(self.texts)] if self._search else []

    @property
    def finished(self) -> list[Hypothesis]:
        """Best hypotheses that have ended, best first."""
        return self._search.finished if self._search else []

    def touch(self) -> None:
        """Keep the search alive: a reader is still interested."""
        self._read_at = time.monotonic()

    def stop(self) -> None:
        """End the search before its next step. Results so far stay."""
        self._stopped = True

    def wait(self, timeout: float) -> bool:
        """Wait for the end; return false if it has not come within `timeout` seconds."""
        until = time.monotonic() + timeout
        while self.active and time.monotonic() < until:
            self.touch()
            time.sleep(0.01)
        return not self.active

    def _submit_step(self) -> None:
        """Submit the next step, and follow it in a thread that ends with it: a thread that stayed would keep the
        helpers that OpenMP gave it, and slow the engine's thread down (see `engine._run_in_background`)."""
        rows = tuple(SampleRequest(SamplerConfig(), 1, prefix_ids=beam) for beam in self._beams)
        run = self._submit(dataclasses.replace(self._request, samples=rows))
        threading.Thread(target=self._run_steps, args=(run,), name="beam search", daemon=True).start()

    def _run_steps(self, run: Run) -> None:
        try:
            if self._wait_for_run(run) and self._advance(run):
                self._submit_step()
                return
        except NucleusError as error:
            self.error = error
        except Exception as error:
            log.exception("a beam search failed")
            self.error = NucleusError("engine_failed", detail=type(error).__name__)
        self.active = False

    def _advance(self, run: Run) -> bool:
        """Extend the beams by a step's log-probabilities; return whether the search continues."""
        if run.error:
            raise run.error
        assert run.model  # a run that ended without an error has a model
        search = self._search or self._start(run.model)
        if not all(row.events() for row in run.samples):  # the context window is full, or the engine closes
            return False
        parents, tokens = (each.tolist() for each in search.step(_next_logprobs(run, run.model.vocab_size)))
        self._beams = [(*self._beams[parent], token) for parent, token in zip(parents, tokens, strict=True)]
        self._record_nodes(search, run.model)
        return not search.done

    def _wait_for_run(self, run: Run) -> bool:
        """Wait for the run; return false if the search is to end instead."""
        while not run.wait(0.2):
            if self._stopped or time.monotonic() - self._read_at > ABANDONED_AFTER_SECONDS:
                run.cancel()
                return False
        return not self._stopped

    def _start(self, model: LanguageModel) -> BeamSearch:
        from samplers.sequence.beam_search import BeamSearch

        settings = self.settings
        most = MAX_CANDIDATES // max(2, 1 + len(model.end_ids))
        if settings.beams > most:
            raise NucleusError("setting_out_of_range", field="beams", value=settings.beams, low=1, high=most)
        self.model = model
        self._search = BeamSearch(
            settings.beams,
            max_new_tokens=settings.max_output_tokens,
            end_ids=model.end_ids,
            length_penalty=settings.length_penalty,
        )
        return self._search

    def _record_nodes(self, search: BeamSearch, model: LanguageModel) -> None:
        nodes = search.tree.nodes
        for place in range(len(self.texts), len(nodes)):
            path = [nodes[each].token_id for each in search.tree.path(place)]
            self.texts.append(model.decode(path))


def _next_logprobs(run: Run, vocabulary: int) -> Any:
    """Return the next token's log-probabilities for each beam, `[beams, V]`: `-inf` except for the likeliest."""
    import torch

    logprobs = torch.full((len(run.samples), vocabulary), -torch.inf)
    for place, row in enumerate(run.samples):
        trace = row.events()[0].known_trace
        logprobs[place, torch.tensor(trace.candidates)] = torch.tensor(trace.raw.logprobs)
    return logprobs
