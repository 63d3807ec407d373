"""Keep what the stages need of one row's past: its tokens so far, and mirostat's running limit. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from samplers.config import SamplerConfig

if TYPE_CHECKING:
    from torch import Tensor


class Constraint(Protocol):
    """Language that a row's answer must belong to."""

    def allowed(self) -> Tensor:
        """Return the tokens that may come next: bool `[V]`, at least one of them true."""

    def accept(self, token_id: int) -> None:
        """Advance by one token."""


class RowState:
    """State of one batch row between two steps; only `accept` changes it.

    `prompt` are the token ids before the answer, `answer` those of the answer so far, `end_ids` the tokens that end an
    answer (which `min_new_tokens` excludes). Raises `ValueError` for a negative token id.
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
        """Mirostat's mu, in bits; starts at twice the target."""
        if any(token < 0 for token in self.tokens):
            raise ValueError(f"history contains {min(self.tokens)}: expected token ids of at least 0")

    @property
    def tokens(self) -> list[int]:
        """Token ids of the prompt and the answer so far."""
        return [*self.prompt, *self.answer]

    @property
    def step(self) -> int:
        """Index of the next token within the answer, from 0: the second coordinate of the noise."""
        return len(self.answer)

    def accept(self, token_id: int, probability: float) -> None:
        """Append the drawn token, given the probability that it was drawn with.

        Mirostat 2.0 (Basu et al. 2020, arXiv 2007.14966): the limit moves against the surprise in excess of the target,
        `mu <- mu - eta * (-log2 p - tau)`.
        """
        self.answer.append(token_id)
        if self.constraint is not None:
            self.constraint.accept(token_id)
        if self.config.mirostat_tau:
            excess = -math.log2(probability) - self.config.mirostat_tau
            self.surprise_limit -= self.config.mirostat_eta * excess
