"""One answer of a hosted model being written: what its chunks become for its readers.

Chunks come on one thread, Stop and deadlines on another; whoever ends the answer first ends it.
"""

from __future__ import annotations

import codecs
import math
import threading
import time

from llm_core.errors import NucleusError
from llm_core.providers.base import Chunk, Scored, Step
from llm_core.providers.partial_view import PartialView, Seen
from llm_core.records import FinishReason, RowRecord, Run, TokenEvent, Usage
from llm_core.text_stream import StopWatcher


class TokenNames:
    """Ids for the tokens of one run: the provider's own, or numbers in the order of appearance."""

    def __init__(self, run: Run) -> None:
        self._labels = run.labels
        self._numbers: dict[tuple[str, int], int] = {}
        self._lock = threading.Lock()

    def ids(self, step: Step) -> tuple[int, dict[int, float]]:
        """The chosen token's id, and the raw log-probability of each known token of the step by id."""
        seen: dict[str, int] = {}
        with self._lock:
            known = {self._id(scored, seen): min(0.0, scored.logprob) for scored in step.likeliest}
            same = [scored for scored in step.likeliest if _same(scored, step.chosen)]
            chosen = self._id(same[0] if same else step.chosen, {})
        known.setdefault(chosen, min(0.0, step.chosen.logprob))
        return chosen, known

    def _id(self, scored: Scored, seen: dict[str, int]) -> int:
        if scored.token_id is not None:
            self._labels.setdefault(scored.token_id, scored.text)
            return scored.token_id
        # two tokens of one step may have the same text
        seen[scored.text] = seen.get(scored.text, 0) + 1
        number = self._numbers.setdefault((scored.text, seen[scored.text]), len(self._numbers))
        self._labels[number] = scored.text
        return number


class HostedAnswer:
    """Writes one row's record."""

    def __init__(self, run: Run, record: RowRecord, names: TokenNames) -> None:
        self.run = run
        self.record = record
        self.view = PartialView(record.request.sampler)
        """Computes the sampler's stages where the provider gives log-probabilities."""
        self.evidence: dict[str, float] = {}
        """What the drawn tokens say of each setting so far, in nats."""
        self.written = 0
        """Events so far."""
        self.steps = 0
        """Tokens that came with log-probabilities."""
        self._names = names
        self._watcher = StopWatcher(record.request.stop_sequences)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._end: FinishReason | NucleusError | None = None
        self._began = time.perf_counter()
        self._lock = threading.Lock()

    @property
    def begun(self) -> bool:
        """Whether anything of the answer has come, so that it must not be asked for again."""
        return bool(self.written or self.record.thoughts)

    def start(self) -> None:
        with self._lock:
            if self.record.active:
                self.record.status = "running"
                self._began = time.perf_counter()

    def wait_again(self) -> None:
        """It will be asked for by another call."""
        with self._lock:
            if self.record.active:
                self.record.status = "waiting"

    @property
    def ended(self) -> bool:
        """Whether the provider has said why it ended."""
        return self._end is not None

    def take(self, chunk: Chunk) -> bool:
        """Take in a chunk. False once nothing more is wanted."""
        with self._lock:
            if not self.record.active:
                return False
            self.run.labels.update(chunk.labels)
            events = self._events(chunk)
            self.record.thoughts += chunk.thought
            if chunk.usage is not None:
                self.count(chunk.usage)
            self._end = self._end or chunk.end
            self.written += len(events)
            for event in events:
                self.record.append(event)
            if self._watcher.stopped:
                self.record.finish("stop")
        return self.record.active

    def close(self) -> None:
        """The stream has ended as it should: end the answer for the reason that was given."""
        written = self.written > 0
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

    def conclude(self, verdict: FinishReason | NucleusError) -> None:
        """Somebody ends it from outside; one that is whole already is so all the same."""
        if self.ended:
            self.close()
        elif isinstance(verdict, NucleusError):
            self.fail(verdict)
        else:
            self.end(verdict)

    def end(self, reason: FinishReason) -> None:
        with self._lock:
            self.record.finish(reason, self._held())

    def fail(self, error: NucleusError) -> None:
        """End with a message; what was written stays."""
        with self._lock:
            self.record.fail(error, self._held())

    def _held(self) -> str:
        return "" if self._watcher.stopped else self._watcher.finish()

    def count(self, usage: Usage) -> None:
        self.record.usage = usage
        self.record.cached_tokens = usage.cached_tokens

    def _events(self, chunk: Chunk) -> list[TokenEvent]:
        if chunk.thought and not chunk.text:
            return []
        pieces = self._pieces(chunk)
        events = []
        for piece, step in zip(pieces, chunk.steps or (None,) * len(pieces), strict=True):
            token, seen = self._look(step) if step else (None, None)
            text, seconds = self._watcher.push(piece), time.perf_counter() - self._began
            if seen is None:
                events.append(TokenEvent(token, piece, text, None, seconds))
            else:
                events.append(TokenEvent(token, piece, text, seen.trace, seconds, seen.error_bound))
        return events

    def _pieces(self, chunk: Chunk) -> list[str]:
        """The chunk's text, a piece for each of its tokens. It is the text that counts: where the tokens spell another
        one, as special tokens do, the last of them gets all of it."""
        if not chunk.steps:
            return [chunk.text] if chunk.text else []
        pieces = [self._decoder.decode(step.data or step.chosen.text.encode()) for step in chunk.steps]
        if "".join(pieces) == chunk.text:
            return pieces
        self._decoder.reset()
        return [""] * (len(pieces) - 1) + [chunk.text]

    def _look(self, step: Step) -> tuple[int, Seen | None]:
        chosen, known = self._names.ids(step)
        if not all(map(math.isfinite, known.values())):
            return chosen, None
        seen = self.view.step(chosen, known, len({*known} - {chosen}) + _among(step))
        self.steps += 1
        for field, evidence in seen.evidence.items():
            self.evidence[field] = self.evidence.get(field, 0.0) + evidence
        return chosen, seen


def _same(one: Scored, other: Scored) -> bool:
    if one.token_id is not None and other.token_id is not None:
        return one.token_id == other.token_id
    return one.text == other.text


def _among(step: Step) -> bool:
    """Whether the chosen token is one of the likeliest."""
    return any(_same(scored, step.chosen) for scored in step.likeliest)
