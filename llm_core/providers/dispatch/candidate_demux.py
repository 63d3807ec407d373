"""Split the response to one call into the answers of its candidates, by the candidates' indices."""

from __future__ import annotations

from collections.abc import Sequence

from llm_core.errors import NucleusError
from llm_core.generation.request import Usage
from llm_core.providers.dispatch.answer_writer import HostedAnswer
from llm_core.providers.provider import Chunk


class Dealer:
    """Split one streamed response into per-candidate streams. A candidate finishes when its finish reason arrives; the
    last one finishes at `close()`, because the usage may come after it."""

    def __init__(self, answers: Sequence[HostedAnswer]) -> None:
        """Create a demultiplexer for one attempt; `answers` are the writers of the samples that the call asks for."""
        self.answers = answers
        self.chunks: list[Chunk] = []
        """All deltas so far."""
        self.several: bool | None = None
        """Whether the model gives several candidates per call; None where the response does not show it."""
        self._came: set[int] = set()
        self._usage: Usage | None = None

    @property
    def shared(self) -> bool:
        """Whether several samples share the call."""
        return len(self.answers) > 1

    def take(self, chunk: Chunk) -> bool:
        """Pass a delta to the answers that it belongs to. Returns False once no answer wants more."""
        self.chunks.append(chunk)
        self._usage = chunk.usage or self._usage
        for place, answer in enumerate(self.answers):
            if chunk.candidate == place:
                self._came.add(place)
                answer.record.shared = self.shared
            if chunk.candidate in (place, None):
                answer.take(chunk._replace(usage=None) if self.shared else chunk)
        if self.shared and any(answer.record.active and not answer.ended for answer in self.answers):
            for answer in self.answers:
                if answer.ended:
                    answer.close()
        return any(answer.record.active for answer in self.answers)

    def close(self, known_to_give_several: bool) -> None:
        """Finish the answers after the stream ended normally.

        Samples that the response lacks end with an error if the model has given several candidates before; for a model
        that gives one per call they stay active.
        """
        self.count()
        if self.shared and self._came:
            self.several = len(self._came) > 1 or (None if known_to_give_several else False)
        for place, answer in enumerate(self.answers):
            if not self.shared or not self._came or place in self._came:
                answer.close()
            elif self.several is not False:
                came, asked = len(self._came), len(self.answers)
                answer.fail(NucleusError("provider_candidates_fewer", came=came, asked=asked))

    def count(self) -> None:
        """Record the provider's token counts once: on the sample that they belong to, or on the run if they cover
        several."""
        if not self.shared or self._usage is None:
            return
        if len(self._came) == 1:
            self.answers[next(iter(self._came))].count(self._usage)
        else:
            self.answers[0].run.usages.append(self._usage)
        self._usage = None
