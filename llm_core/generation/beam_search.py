"""Beam search of one prompt through the engine, as a record that grows while it runs.

Each step is one request with a row for each live beam: the prompt, the beam's tokens, and one more. The prefix cache
knows all but the newest token of each, so a step costs one forward pass, and other sessions take their turns between
steps. A row's trace holds the 40 likeliest tokens; a search looks at `beams * max(2, 1 + end tokens)` candidates, so
as long as that is no more than 40, the result is exactly `samplers.sequence.beam_search`'s over the whole vocabulary.

Threads of the search follow its requests; it ends when nobody asks for its progress any more.
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
MAX_TOKENS = 64


@dataclass(frozen=True, slots=True)
class BeamSettings:
    """See `samplers.sequence.beam_search.BeamSearch`."""

    beams: int = 3
    max_output_tokens: int = 16
    length_penalty: float = 1.0

    def validate(self) -> None:
        """Raises `NucleusError` naming the field that is out of range."""
        limits = (("beams", 1, MAX_BEAMS), ("max_output_tokens", 1, MAX_TOKENS), ("length_penalty", -10, 10))
        for field, low, high in limits:
            value = getattr(self, field)
            if not low <= value <= high:
                raise NucleusError("setting_out_of_range", field=field, value=value, low=low, high=high)


class BeamRun:
    """A search from its beginning to its end. Any thread may read it."""

    def __init__(self, submit: Callable[[GenerationRequest], Run], request: GenerationRequest, settings: BeamSettings):
        """`request` gives prompt, model, precision and session; its rows and its output format are left aside. The
        first step is submitted at once, and raises the `NucleusError` of a request that is refused."""
        settings.validate()
        self.settings = settings
        self.error: NucleusError | None = None
        self.active = True
        self.model: LanguageModel | None = None
        self.texts: list[str] = []
        """Of each node of the tree: the answer up to there."""
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
        """Every candidate so far that `texts` has; a node's parent is a place in this list."""
        return self._search.tree.nodes[: len(self.texts)] if self._search else []

    @property
    def finished(self) -> list[Hypothesis]:
        """The best hypotheses that have ended, the best first."""
        return self._search.finished if self._search else []

    def touch(self) -> None:
        """Somebody is still interested."""
        self._read_at = time.monotonic()

    def stop(self) -> None:
        """End the search before its next step. What was found stays."""
        self._stopped = True

    def wait(self, timeout: float) -> bool:
        """Wait for the end; false if it has not come within `timeout` seconds."""
        until = time.monotonic() + timeout
        while self.active and time.monotonic() < until:
            self.touch()
            time.sleep(0.01)
        return not self.active

    def _submit_step(self) -> None:
        """Submit the next step, and follow it in a thread that ends with it: one that stayed would keep the helpers
        that OpenMP gave it, and slow the engine's thread down (see `engine._in_background`)."""
        rows = tuple(SampleRequest(SamplerConfig(), 1, prefix_ids=beam) for beam in self._beams)
        run = self._submit(dataclasses.replace(self._request, samples=rows))
        threading.Thread(target=self._run_steps, args=(run,), name="beam search", daemon=True).start()

    def _run_steps(self, run: Run) -> None:
        try:
            if self._is_over(run) and self._advance(run):
                self._submit_step()
                return
        except NucleusError as error:
            self.error = error
        except Exception as error:
            log.exception("a beam search failed")
            self.error = NucleusError("engine_failed", detail=type(error).__name__)
        self.active = False

    def _advance(self, run: Run) -> bool:
        """Take in what may follow each beam; whether the search goes on."""
        if run.error:
            raise run.error
        assert run.model  # a run that ended well has begun
        search = self._search or self._start(run.model)
        if not all(row.events() for row in run.samples):  # the context window is full, or the engine closes
            return False
        parents, tokens = (each.tolist() for each in search.step(_next_logprobs(run, run.model.vocab_size)))
        self._beams = [(*self._beams[parent], token) for parent, token in zip(parents, tokens, strict=True)]
        self._record_nodes(search, run.model)
        return not search.done

    def _is_over(self, run: Run) -> bool:
        """Wait for the run; false if the search is to end instead."""
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
    """What may follow each beam: `[rows, V]`, everything but the likeliest tokens impossible."""
    import torch

    logprobs = torch.full((len(run.samples), vocabulary), -torch.inf)
    for place, row in enumerate(run.samples):
        trace = row.events()[0].known_trace
        logprobs[place, torch.tensor(trace.candidates)] = torch.tensor(trace.raw.logprobs)
    return logprobs
