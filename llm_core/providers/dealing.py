"""What one call brings, dealt out to the rows that it asks for, by the candidates' numbers."""

from __future__ import annotations

from collections.abc import Sequence

from llm_core.errors import NucleusError
from llm_core.providers.base import Chunk
from llm_core.providers.hosted_answer import HostedAnswer
from llm_core.records import Usage


class Dealer:
    """One attempt's. A candidate ends with its own end; the last of them, which the usage may follow, with `close`."""

    def __init__(self, answers: Sequence[HostedAnswer]) -> None:
        self.answers = answers
        self.chunks: list[Chunk] = []
        """All of them so far."""
        self.several: bool | None = None
        """Whether the model gives several candidates a call; None where that does not show."""
        self._came: set[int] = set()
        self._usage: Usage | None = None

    @property
    def shared(self) -> bool:
        return len(self.answers) > 1

    def take(self, chunk: Chunk) -> bool:
        """Deal out a chunk. False once nothing more is wanted."""
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
        """The call has ended as it should. Rows that a model left out which has given several before end with an error;
        those of one that gives one at a time stay as they are."""
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
        """Note once what the provider counted: with the row, or with the run where it is of several."""
        if not self.shared or self._usage is None:
            return
        if len(self._came) == 1:
            self.answers[next(iter(self._came))].count(self._usage)
        else:
            self.answers[0].run.usages.append(self._usage)
        self._usage = None
