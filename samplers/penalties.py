"""Compute the stages that look at the tokens so far, or at tokens listed by id.

Each stage has two halves: a rule in plain Python from a row's past to an amount for each token, and one of three
operations on the logits of these tokens. Excluded tokens become `-inf`; the input is never changed. If a stage would
exclude every token of a row that is still possible, the row stays as it was, so that a token can always be drawn.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from samplers.state import RowState

UpdateRule = Mapping[int, float]
"""Amount for each token that a stage changes in one row, by token id."""

_LARGEST_EXPONENT = 69.0
"""Bound of DRY's exponent: `exp(69)` is about 1e30, more than any logit and still a float32."""


def repetition_penalty(row: RowState) -> UpdateRule:
    """Return the penalty for every token of prompt and answer, which divides positive logits and multiplies negative
    ones (Keskar et al. 2019, CTRL, arXiv 1909.05858). In (0, 100], neutral: 1; above 1 discourages repetition."""
    return dict.fromkeys(row.tokens, row.config.repetition_penalty)


def presence_penalty(row: RowState) -> UpdateRule:
    """Return the penalty to subtract once from every token in the answer (OpenAI's API reference). In [-2, 2], neutral:
    0."""
    return dict.fromkeys(row.answer, row.config.presence_penalty)


def frequency_penalty(row: RowState) -> UpdateRule:
    """Return the penalty to subtract from the answer's tokens for each of their occurrences (OpenAI's API reference).
    In [-2, 2], neutral: 0."""
    return {token: count * row.config.frequency_penalty for token, count in Counter(row.answer).items()}


def dry(row: RowState) -> UpdateRule:
    """Return the DRY ("don't repeat yourself") penalties: a token that would continue a repetition of n tokens loses
    `multiplier * base ** (n - allowed_length)` once n reaches `allowed_length` (p-e-w 2024, text-generation-webui
    #5677). `multiplier` in [0, 100], neutral: 0; `base` in [1, 10]; `allowed_length` of at least 1.

    A repetition ends at a sequence breaker and may begin in the prompt. Of several repetitions the longest counts.
    """
    config, tokens = row.config, row.tokens
    breakers = frozenset(config.dry_sequence_breakers)
    unbroken = next((n for n, token in enumerate(reversed(tokens)) if token in breakers), len(tokens))
    longest: dict[int, int] = {}
    for token, length in _match_lengths(tokens):
        longest[token] = max(longest.get(token, 0), min(length, unbroken))
    growth = math.log(config.dry_base)
    return {
        token: config.dry_multiplier * math.exp(min((length - config.dry_allowed_length) * growth, _LARGEST_EXPONENT))
        for token, length in longest.items()
        if length >= config.dry_allowed_length
    }


def _match_lengths(tokens: Sequence[int]) -> list[tuple[int, int]]:
    """Return `(following token, match length)` for every earlier occurrence of the last token.

    The match length is the number of tokens up to that occurrence that equal the end of the sequence. Z-algorithm
    (Gusfield 1997) on the reversed sequence, linear in its length.
    """
    latest = tokens[::-1]
    matched = [0] * len(latest)
    found = []
    left = right = 0
    for place in range(1, len(latest)):
        length = min(matched[place - left], right - place) if place < right else 0
        while place + length < len(latest) and latest[length] == latest[place + length]:
            length += 1
        matched[place] = length
        if place + length > right:
            left, right = place, place + length
        if length:
            found.append((latest[place - 1], length))
    return found


def no_repeat_ngram(row: RowState) -> UpdateRule:
    """Return the tokens that would complete a sequence of n tokens already in prompt or answer, to exclude (Paulus et
    al. 2017, arXiv 1705.04304). n is an integer of at least 0, neutral: 0."""
    tokens, size = row.tokens, row.config.no_repeat_ngram_size
    if len(tokens) < size:
        return {}
    ending = tokens[len(tokens) - size + 1 :]
    starts = range(len(tokens) - size + 1)
    return {tokens[start + size - 1]: 0 for start in starts if tokens[start : start + size - 1] == ending}


def logit_bias(row: RowState) -> UpdateRule:
    """Return the negated bias of each listed token, to subtract (OpenAI's API reference). In [-100, 100], neutral: no
    token."""
    return {token: -bias for token, bias in dict(row.config.logit_bias).items()}


def banned_tokens(row: RowState) -> UpdateRule:
    """Return the tokens that are always excluded. Neutral: no token."""
    return dict.fromkeys(row.config.banned_tokens, 0)


def min_new_tokens(row: RowState) -> UpdateRule:
    """Return the tokens that end an answer while it has fewer tokens than the setting, to exclude. At least 0, neutral:
    0."""
    return dict.fromkeys(row.end_ids, 0) if row.step < row.config.min_new_tokens else {}


class SparseUpdate:
    """Amounts of B rows as index tensors: `rows`, `ids` and `amounts`, all `[N]`.

    Raises `ValueError` naming the stage for a token outside the vocabulary.
    """

    def __init__(self, stage: str, amounts: Sequence[UpdateRule], logits: Tensor) -> None:
        entries = [(row, token, amount) for row, pairs in enumerate(amounts) for token, amount in pairs.items()]
        vocab = logits.shape[-1]
        for _, token, _ in entries:
            if token >= vocab:
                raise ValueError(f"{stage}: token {token} is outside the vocabulary, expected ids below {vocab}")
        rows, ids, values = zip(*entries, strict=True) if entries else ((), (), ())
        self.rows = torch.tensor(rows, dtype=torch.int64, device=logits.device)
        self.ids = torch.tensor(ids, dtype=torch.int64, device=logits.device)
        self.amounts = torch.tensor(values, dtype=logits.dtype, device=logits.device)


def apply_repetition_penalty(logits: Tensor, touched: SparseUpdate) -> Tensor:
    """Divide positive logits by the amount and multiply the others by it."""
    now = logits[touched.rows, touched.ids]
    return _replace_logits(logits, touched, torch.where(now > 0, now / touched.amounts, now * touched.amounts))


def apply_subtraction(logits: Tensor, touched: SparseUpdate) -> Tensor:
    """Subtract the amount from the logits."""
    return _replace_logits(logits, touched, logits[touched.rows, touched.ids] - touched.amounts)


def apply_exclusion(logits: Tensor, touched: SparseUpdate) -> Tensor:
    """Exclude the tokens, except in rows that would lose their last possible token, which stay as they were."""
    out = _replace_logits(logits, touched, torch.full_like(touched.amounts, float("-inf")))
    alive = out.amax(-1, keepdim=True) > float("-inf")
    return out if bool(alive.all()) else torch.where(alive, out, logits)


def _replace_logits(logits: Tensor, touched: SparseUpdate, values: Tensor) -> Tensor:
    return logits.index_put((touched.rows, touched.ids), values)
