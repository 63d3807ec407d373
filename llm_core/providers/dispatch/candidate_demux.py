"""Split the response to one call into the answers of its candidates, by the candidates' indices."""

from __future__ import annotations

from collections.abc import Sequence

from llm_core.errors import NucleusError
from llm_core.generation.record import Usage
from llm_core.providers.dispatch.answer_writer import AnswerWriter
from llm_core.providers.provider import StreamDelta


class CandidateDemultiplexer:
    """Split one streamed response into per-candidate streams. A candidate finishes when its finish reason arrives; the
    last one finishes at `close()`, because the usage may come after it."""

    def __init__(self, answers: Sequence[AnswerWriter]) -> None:
        """Create a demultiplexer for one attempt; `answers` are the writers of the samples that the call asks for."""
        self.answers = answers
        self.chunks: list[StreamDelta] = []
        """All deltas so far."""
        self.supports_several: bool | None = None
        """Whether the model gives several candidates per call; None where the response does not show it."""
        self._arrived: set[int] = set()
        self._usage: Usage | None = None

    @property
    def shared(self) -> bool:
        """Whether several samples share the call."""
        return len(self.answers) > 1

    def feed(self, chunk: StreamDelta) -> bool:
        """Pass a delta to the answers that it belongs to. Returns False once no answer wants more."""
        self.chunks.append(chunk)
        self._usage = chunk.usage or self._usage
        for place, answer in enumerate(self.answers):
            if chunk.candidate == place:
                self._arrived.add(place)
                answer.record.shares_call = self.shared
            if chunk.candidate in (place, None):
                answer.feed(chunk._replace(usage=None) if self.shared else chunk)
        if self.shared and any(answer.record.active and not answer.ended for answer in self.answers):
            for answer in self.answers:
                if answer.ended:
                    answer.close()
        return any(answer.record.active for answer in self.answers)

    def close(self, known_to_support_several: bool) -> None:
        """Finish the answers after the stream ended normally.

        Samples that the response lacks end with an error if the model has given several candidates before; for a model
        that gives one per call they stay active.
        """
        self.record_usage()
        if self.shared and self._arrived:
            self.supports_several = len(self._arrived) > 1 or (None if known_to_support_several else False)
        for place, answer in enumerate(self.answers):
            if not self.shared or not self._arrived or place in self._arrived:
                answer.close()
            elif self.supports_several is not False:
                came, requested = len(self._arrived), len(self.answers)
                answer.fail(NucleusError("provider_candidates_fewer", came=came, asked=requested))

    def record_usage(self) -> None:
        """Record the provider's token counts once: on the sample that they belong to, or on the run if they cover
        several."""
        if not self.shared or self._usage is None:
            return
        if len(self._arrived) == 1:
            self.answers[next(iter(self._arrived))].record_usage(self._usage)
        else:
            self.answers[0].run.usages.append(self._usage)
        self._usage = None
