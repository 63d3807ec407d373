"""Advance one sample: the tokens that the model reads next, and the event that each drawn token becomes for readers."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from llm_core.errors import NucleusError
from llm_core.generation.detokenizer import IncrementalDetokenizer, StopSequenceDetector
from llm_core.generation.record import FinishReason, SampleRecord, TokenEvent
from llm_core.generation.request import SampleRequest
from llm_core.models.language_model import LanguageModel
from samplers import RowState, StepTrace

if TYPE_CHECKING:
    from samplers.constraints import Constraint


class ActiveSequence:
    """Sequence in a batch. `ids` are its tokens so far, prompt included; `state` is the sampler's state of it."""

    def __init__(self, model: LanguageModel, prompt_ids: Sequence[int], record: SampleRecord) -> None:
        request = record.request
        self.record = record
        self.ids = [*prompt_ids, *request.prefix_ids]
        self.state = RowState(request.sampler, prompt_ids, request.prefix_ids, model.end_ids, record.constraint)
        self._model = model
        self._detokenizer = IncrementalDetokenizer(model.decode)
        for token in request.prefix_ids:
            self._detokenizer.push(token)
        self._stop_detector = StopSequenceDetector(request.stop_sequences)
        self._max_tokens = model.context_window - len(self.ids)
        self._started_at = time.perf_counter()
        record.status = "running"
        if self._max_tokens <= 0:
            record.finish("context")

    @property
    def remaining(self) -> int:
        """Number of tokens that the sequence may still write."""
        written = len(self.state.answer) - len(self.record.request.prefix_ids)
        return min(self.record.request.max_output_tokens, self._max_tokens) - written

    @property
    def next_forced_token(self) -> int | None:
        """Token that comes next whatever the sampler draws, or None."""
        request = self.record.request
        place = len(self.state.answer) - len(request.prefix_ids)
        return request.forced_ids[place] if place < len(request.forced_ids) else None

    @property
    def finished(self) -> bool:
        return not self.record.active

    def accept(self, token_id: int, probability: float, trace: StepTrace) -> None:
        """Append the drawn token, record its event, and finish the sequence if the token ends it."""
        if self.next_forced_token is not None:  # a forced token was not drawn, and the sampler may have excluded it
            probability = math.exp(trace.logprob)
        self.state.accept(token_id, probability)
        self.ids.append(token_id)
        is_end = token_id in self._model.end_ids
        completed = self._detokenizer.finish() if is_end else self._detokenizer.push(token_id)
        piece = completed + self._model.label(token_id) if is_end else completed
        event = TokenEvent(
            token_id, piece, self._stop_detector.push(completed), trace, time.perf_counter() - self._started_at
        )
        self.record.append(event)
        if is_end:
            self.finish("end")
        elif self._stop_detector.stopped:
            self.finish("stop")
        elif self.remaining <= 0:
            self.finish("context" if self._max_tokens < self.record.request.max_output_tokens else "length")

    def finish(self, reason: FinishReason) -> None:
        """Close the record, with the text that was still held back."""
        rest = (
            ""
            if self._stop_detector.stopped
            else self._stop_detector.push(self._detokenizer.finish()) + self._stop_detector.finish()
        )
        self.record.finish(reason, rest)


def advance_constraint(grammar: Constraint, request: SampleRequest) -> Constraint:
    """Return the grammar's constraint after the sample's prefix. Raises `NucleusError` if prefix or forced tokens leave
    the grammar."""
    here = grammar.copy()
    try:
        for token in request.prefix_ids:
            here.accept(token)
        ahead = here.copy()
        for token in request.forced_ids:
            ahead.accept(token)
    except ValueError as error:
        raise NucleusError("branch_outside_format") from error
    return here


def check_settings(model: LanguageModel, request: SampleRequest) -> None:
    """Raise `NucleusError` for settings that only the model's vocabulary can refuse."""
    sampler = request.sampler
    if sampler.top_k > model.vocab_size:
        raise NucleusError("top_k_above_vocabulary", value=sampler.top_k, limit=model.vocab_size)
    named = [
        *request.prefix_ids,
        *request.forced_ids,
        *sampler.banned_tokens,
        *dict(sampler.logit_bias),
        *sampler.dry_sequence_breakers,
    ]
    if named and max(named) >= model.vocab_size:
        raise NucleusError("token_outside_vocabulary", value=max(named), limit=model.vocab_size)
