"""What one row's stages look back on: its tokens so far, and mirostat's running limit. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from samplers.config import SamplerConfig

if TYPE_CHECKING:
    from torch import Tensor


class Constraint(Protocol):
    """A language that a row's answer must belong to."""

    def allowed(self) -> Tensor:
        """Which tokens may come next: bool `[V]`, at least one of them true."""

    def accept(self, token_id: int) -> None:
        """Move on by one token."""


class RowState:
    """One row of a batch between two steps. `accept` is the only way in which it changes.

    `prompt` are the token ids before the answer, `answer` those after it, `end_ids` the tokens that end an answer
    (which `min_new_tokens` keeps away). Raises `ValueError` for a negative token id.
    """

    def __init__(
        self,
        config: SamplerConfig,
        prompt: Iterable[int] = (),
        answer: Iterable[int] = (),
        end_ids: Iterable[int] = (),
        constraint: Constraint | None = None,
    ) -> None:
        self.config = config
        self.prompt = tuple(prompt)
        self.answer = list(answer)
        self.end_ids = frozenset(end_ids)
        self.constraint = constraint
        self.surprise_limit = 2 * config.mirostat_tau
        """Mirostat's mu, in bits. It starts at twice the target."""
        if any(token < 0 for token in self.tokens):
            raise ValueError(f"history contains {min(self.tokens)}: expected token ids of at least 0")

    @property
    def tokens(self) -> list[int]:
        """Prompt and answer so far."""
        return [*self.prompt, *self.answer]

    @property
    def step(self) -> int:
        """Which token of the answer comes next, counting from 0: the noise's second coordinate."""
        return len(self.answer)

    def accept(self, token_id: int, probability: float) -> None:
        """Take in the token that was drawn, and the probability that it was drawn with.

        Mirostat 2.0 (Basu et al. 2020, arXiv 2007.14966): the limit moves against the surprise that exceeded the
        target, `mu <- mu - eta * (-log2 p - tau)`.
        """
        self.answer.append(token_id)
        if self.constraint is not None:
            self.constraint.accept(token_id)
        if self.config.mirostat_tau:
            excess = -math.log2(probability) - self.config.mirostat_tau
            self.surprise_limit -= self.config.mirostat_eta * excess
