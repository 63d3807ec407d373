"""Write one answer of a hosted model into its record, from the deltas of its stream.

Deltas arrive on one thread, Stop and deadlines on another; whoever ends the answer first ends it.
"""

from __future__ import annotations

import codecs
import math
import threading
import time

from llm_core.errors import NucleusError
from llm_core.generation.detokenizer import StopSequenceDetector
from llm_core.generation.record import FinishReason, Run, SampleRecord, TokenEvent, Usage
from llm_core.providers.provider import StreamDelta, TokenLogprob, TokenLogprobs
from samplers.top_logprobs import BoundedStep, TopLogprobsChain


class TokenIdAssigner:
    """Assign ids to the tokens of one run: the provider's own, or numbers in the order of appearance."""

    def __init__(self, run: Run) -> None:
        self._labels = run.labels
        self._numbers: dict[tuple[str, int], int] = {}
        self._lock = threading.Lock()

    def ids(self, step: TokenLogprobs) -> tuple[int, dict[int, float]]:
        """Return the chosen token's id, and the raw log-probability of each known token of the step by id."""
        seen: dict[str, int] = {}
        with self._lock:
            known = {self._id(scored, seen): min(0.0, scored.logprob) for scored in step.likeliest}
            same = [scored for scored in step.likeliest if _is_same_token(scored, step.chosen)]
            chosen = self._id(same[0] if same else step.chosen, {})
        known.setdefault(chosen, min(0.0, step.chosen.logprob))
        return chosen, known

    def _id(self, scored: TokenLogprob, seen: dict[str, int]) -> int:
        if scored.token_id is not None:
            self._labels.setdefault(scored.token_id, scored.text)
            return scored.token_id
        # two tokens of one step may have the same text
        seen[scored.text] = seen.get(scored.text, 0) + 1
        number = self._numbers.setdefault((scored.text, seen[scored.text]), len(self._numbers))
        self._labels[number] = scored.text
        return number


class AnswerWriter:
    """Write one sample's record."""

    def __init__(self, run: Run, record: SampleRecord, token_ids: TokenIdAssigner) -> None:
        self.run = run
        self.record = record
        self.view = TopLogprobsChain(record.request.sampler)
        """Sampler stages over the provider's log-probabilities, where it gives any."""
        self.evidence: dict[str, float] = {}
        """Evidence of the drawn tokens for each setting so far, in nats."""
        self.event_count = 0
        """Number of events so far."""
        self.steps = 0
        """Number of tokens that came with log-probabilities."""
        self._token_ids = token_ids
        self._stop_detector = StopSequenceDetector(record.request.stop_sequences)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._end: FinishReason | NucleusError | None = None
        self._began = time.perf_counter()
        self._lock = threading.Lock()

    @property
    def begun(self) -> bool:
        """Whether a part of the answer has arrived, so that the call must not be retried."""
        return bool(self.event_count or self.record.thoughts)

    def start(self) -> None:
        """Mark the sample as running and start its clock."""
        with self._lock:
            if self.record.active:
                self.record.status = "running"
                self._began = time.perf_counter()

    def requeue(self) -> None:
        """Mark the sample as waiting again, because another call will ask for it."""
        with self._lock:
            if self.record.active:
                self.record.status = "waiting"

    @property
    def ended(self) -> bool:
        """Whether the provider has given a finish reason."""
        return self._end is not None

    def feed(self, chunk: StreamDelta) -> bool:
        """Add a delta to the record. Returns False once the record wants no more."""
        with self._lock:
            if not self.record.active:
                return False
            self.run.labels.update(chunk.labels)
            events = self._events(chunk)
            self.record.thoughts += chunk.thought
            if chunk.usage is not None:
                self.record_usage(chunk.usage)
            self._end = self._end or chunk.end
            self.event_count += len(events)
            for event in events:
                self.record.append(event)
            if self._stop_detector.stopped:
                self.record.finish("stop")
        return self.record.active

    def close(self) -> None:
        """Finish the answer after its stream ended normally, with the reason that the provider gave."""
        written = self.event_count > 0
        match self._end:
            case None:
                self.fail(NucleusError("provider_disconnected"))
            case NucleusError() as error:
                self.fail(error)
            case reason if not written and (reason == "length" or self.record.thoughts):
                self.fail(NucleusError("provider_only_thoughts"))
            case _ if not written:
                self.fail(NucleusError("provider_empty"))
            case reason:
                self.end(reason)

    def conclude(self, reason: FinishReason | NucleusError) -> None:
        """End the answer from outside; an answer that is already complete keeps the provider's reason."""
        if self.ended:
            self.close()
        elif isinstance(reason, NucleusError):
            self.fail(reason)
        else:
            self.end(reason)

    def end(self, reason: FinishReason) -> None:
        """End the answer with a finish reason."""
        with self._lock:
            self.record.finish(reason, self._remaining_text())

    def fail(self, error: NucleusError) -> None:
        """End the answer with an error; its text so far stays."""
        with self._lock:
            self.record.fail(error, self._remaining_text())

    def _remaining_text(self) -> str:
        return "" if self._stop_detector.stopped else self._stop_detector.finish()

    def record_usage(self, usage: Usage) -> None:
        """Record the provider's token counts on the sample."""
        self.record.usage = usage
        self.record.cached_tokens = usage.cached_tokens

    def _events(self, chunk: StreamDelta) -> list[TokenEvent]:
        if chunk.thought and not chunk.text:
            return []
        pieces = self._pieces(chunk)
        events = []
        for piece, step in zip(pieces, chunk.steps or (None,) * len(pieces), strict=True):
            token, seen = self._process_step(step) if step else (None, None)
            text, seconds = self._stop_detector.push(piece), time.perf_counter() - self._began
            if seen is None:
                events.append(TokenEvent(token, piece, text, None, seconds))
            else:
                events.append(TokenEvent(token, piece, text, seen.trace, seconds, seen.error_bound))
        return events

    def _pieces(self, chunk: StreamDelta) -> list[str]:
        """Return the delta's text, split into a piece for each of its tokens. The text takes precedence: where the
        tokens spell another one, as special tokens do, the last of them gets all of it."""
        if not chunk.steps:
            return [chunk.text] if chunk.text else []
        pieces = [self._decoder.decode(step.data or step.chosen.text.encode()) for step in chunk.steps]
        if "".join(pieces) == chunk.text:
            return pieces
        self._decoder.reset()
        return [""] * (len(pieces) - 1) + [chunk.text]

    def _process_step(self, step: TokenLogprobs) -> tuple[int, BoundedStep | None]:
        chosen, known = self._token_ids.ids(step)
        if not all(map(math.isfinite, known.values())):
            return chosen, None
        seen = self.view.step(chosen, known, len({*known} - {chosen}) + _is_chosen_among_likeliest(step))
        self.steps += 1
        for field, evidence in seen.evidence.items():
            self.evidence[field] = self.evidence.get(field, 0.0) + evidence
        return chosen, seen


def _is_same_token(one: TokenLogprob, other: TokenLogprob) -> bool:
    if one.token_id is not None and other.token_id is not None:
        return one.token_id == other.token_id
    return one.text == other.text


def _is_chosen_among_likeliest(step: TokenLogprobs) -> bool:
    """Return whether the chosen token is one of the most likely."""
    return any(_is_same_token(scored, step.chosen) for scored in step.likeliest)
