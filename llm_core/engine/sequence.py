"""One answer being written: what the model reads next, and what each drawn token becomes for its readers."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from llm_core.errors import NucleusError
from llm_core.generation.detokenizer import CharacterJoiner, StopWatcher
from llm_core.generation.request import FinishReason, RowRecord, RowRequest, TokenEvent
from llm_core.models.language_model import LanguageModel
from samplers import RowState, StepTrace

if TYPE_CHECKING:
    from samplers.constraints import Constraint


class Answer:
    """A row of a batch. `ids` are its tokens so far, prompt included; `state` is what its sampler looks back on."""

    def __init__(self, model: LanguageModel, prompt_ids: Sequence[int], record: RowRecord) -> None:
        request = record.request
        self.record = record
        self.ids = [*prompt_ids, *request.begin]
        self.state = RowState(request.sampler, prompt_ids, request.begin, model.end_ids, record.constraint)
        self._model = model
        self._characters = CharacterJoiner(model.decode)
        for token in request.begin:
            self._characters.push(token)
        self._watcher = StopWatcher(request.stop_sequences)
        self._room = model.context_window - len(self.ids)
        self._began = time.perf_counter()
        record.status = "running"
        if self._room <= 0:
            record.finish("context")

    @property
    def left(self) -> int:
        """Tokens that it may still write."""
        written = len(self.state.answer) - len(self.record.request.begin)
        return min(self.record.request.max_output_tokens, self._room) - written

    @property
    def forced(self) -> int | None:
        """The token that comes next whatever the sampler draws, if there is one."""
        request = self.record.request
        place = len(self.state.answer) - len(request.begin)
        return request.forced[place] if place < len(request.forced) else None

    @property
    def ended(self) -> bool:
        return not self.record.active

    def accept(self, token_id: int, probability: float, trace: StepTrace) -> None:
        """Take in the drawn token, tell the readers, and end the answer where it ends."""
        if self.forced is not None:  # no probability that it was drawn with, and the sampler may have excluded it
            probability = math.exp(trace.logprob)
        self.state.accept(token_id, probability)
        self.ids.append(token_id)
        is_end = token_id in self._model.end_ids
        completed = self._characters.finish() if is_end else self._characters.push(token_id)
        piece = completed + self._model.label(token_id) if is_end else completed
        event = TokenEvent(token_id, piece, self._watcher.push(completed), trace, time.perf_counter() - self._began)
        self.record.append(event)
        if is_end:
            self.end("end")
        elif self._watcher.stopped:
            self.end("stop")
        elif self.left <= 0:
            self.end("context" if self._room < self.record.request.max_output_tokens else "length")

    def end(self, reason: FinishReason) -> None:
        """Close the record, with the text that was still held back."""
        rest = "" if self._watcher.stopped else self._watcher.push(self._characters.finish()) + self._watcher.finish()
        self.record.finish(reason, rest)


def continued(grammar: Constraint, request: RowRequest) -> Constraint:
    """Where an answer that begins with given tokens stands in its grammar. Raises `NucleusError` if they leave it."""
    here = grammar.copy()
    try:
        for token in request.begin:
            here.accept(token)
        ahead = here.copy()
        for token in request.forced:
            ahead.accept(token)
    except ValueError as error:
        raise NucleusError("branch_outside_format") from error
    return here


def check_settings(model: LanguageModel, request: RowRequest) -> None:
    """Refuse what only shows once the model is known."""
    sampler = request.sampler
    if sampler.top_k > model.vocab_size:
        raise NucleusError("top_k_above_vocabulary", value=sampler.top_k, limit=model.vocab_size)
    named = [
        *request.begin,
        *request.forced,
        *sampler.banned_tokens,
        *dict(sampler.logit_bias),
        *sampler.dry_sequence_breakers,
    ]
    if named and max(named) >= model.vocab_size:
        raise NucleusError("token_outside_vocabulary", value=max(named), limit=model.vocab_size)
