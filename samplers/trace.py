"""Summarize one decoding step in numbers small enough to keep for every token and readable without torch.

Log-probabilities are natural logarithms; entropy and surprisal are in bits.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from samplers.chain import StageRecording
    from samplers.shortlist import Scores

MAX_CANDIDATES = 40
EXCLUDED_LOGPROB, MIN_LOGPROB = float("-inf"), -3.0e38
"""`EXCLUDED_LOGPROB` is the logit of an excluded token, `MIN_LOGPROB` its stand-in in products with its probability of
0."""


@dataclass(frozen=True, slots=True)
class StageSnapshot:
    """Distribution after one stage, reduced to the step's candidates."""

    name: str
    logprobs: array[float]
    """Log-probability of each candidate of the step, float32; `-inf` if the stages so far excluded it."""
    kept: int
    """Number of tokens that are still possible."""
    kept_mass: float
    """Raw probability of the tokens that are still possible, in [0, 1]."""
    entropy_bits: float


@dataclass(frozen=True, slots=True)
class StepTrace:
    """One step of one row at every stage, for N candidates: the likeliest raw logits, always with the chosen token."""

    token_id: int
    rank: int
    """Rank of the chosen token in the raw distribution; 1 is the most likely."""
    candidates: array[int]
    """Token ids in descending order of raw probability."""
    stages: tuple[StageSnapshot, ...]
    """Snapshots of the raw distribution first, then of every stage that was not neutral, in the order they ran."""
    self_certainty: float | None = None
    """Divergence of the raw distribution from uniform, in nats: `uniform_kl`. None if it was not requested or is
    infinite."""

    @property
    def raw(self) -> StageSnapshot:
        return self.stages[0]

    @property
    def final(self) -> StageSnapshot:
        return self.stages[-1]

    @property
    def logprob(self) -> float:
        """Log-probability of the chosen token in the raw distribution."""
        return self.raw.logprobs[self.candidates.index(self.token_id)]

    @property
    def surprisal_bits(self) -> float:
        """Surprisal of the chosen token under the raw distribution, `-log2 p`."""
        return -self.logprob / math.log(2)

    @property
    def residual(self) -> float:
        """Raw probability of all tokens that are not candidates, in [0, 1]."""
        return max(0.0, 1.0 - math.fsum(map(math.exp, self.raw.logprobs)))


@dataclass(frozen=True, slots=True)
class VocabularySnapshot:
    """Logits of every token after each stage of one step, for views of the whole vocabulary.

    Logits rather than probabilities, because stages that distinguish positive from negative logits can be run on them
    again.
    """

    stages: tuple[tuple[str, array[float]], ...]
    """`(stage, float32 logits by token id)`, `raw` first."""


def summarize(
    recording: StageRecording,
    token_ids: Sequence[int],
    n: int = MAX_CANDIDATES,
    also: Sequence[Iterable[int]] | None = None,
    certain: Sequence[bool] = (),
) -> list[StepTrace]:
    """Reduce a step's recording to one `StepTrace` a row.

    `token_ids` are the chosen tokens, one a row. The `n` candidates are the likeliest by raw logits; the chosen token
    and the ids in `also` (one collection a row) are always included. `certain` says which rows want `self_certainty`;
    without it none does.
    """
    import torch

    raw = recording[0].scores.logits
    asked = [(token, *(also[row] if also is not None else ())) for row, token in enumerate(token_ids)]
    width = max(map(len, asked))
    wanted = torch.tensor([[*ids, *ids[:1] * (width - len(ids))] for ids in asked], device=raw.device)
    likeliest = min(n, raw.shape[-1])
    ids = torch.cat([torch.topk(raw, likeliest, dim=-1).indices, wanted], dim=-1)
    columns, scores = ids.tolist(), raw.gather(-1, ids).tolist()
    ranks = []
    for row, token in enumerate(token_ids):
        # the rank of a token that is not among the likeliest needs a comparison with every other
        known = token in columns[row][:likeliest]
        above = sum(score > scores[row][likeliest] for score in scores[row][:likeliest])
        ranks.append(1 + (above if known else int((raw[row] > raw[row, token]).count_nonzero())))
    places = [_first_positions(*row) for row in zip(columns, scores, strict=True)]

    snapshots: list[list[StageSnapshot]] = [[] for _ in token_ids]
    for recorded, measured in zip(recording, _measure_stage(recording, ids), strict=True):
        logprobs, kept, mass, entropy = (tensor.tolist() for tensor in measured)
        for place, row in enumerate(recorded.rows):
            snapshots[row].append(
                StageSnapshot(
                    name=recorded.name,
                    logprobs=array("f", [logprobs[place][column] for column in places[row]]),
                    kept=kept[place],
                    kept_mass=min(1.0, mass[place]),
                    entropy_bits=max(0.0, entropy[place]),
                )
            )
    certainties: list[float | None] = [None] * len(token_ids)
    if any(certain):  # the normaliser is known: the likeliest token's logit less its log-probability
        normalisers = [
            row[0] - own[0].logprobs[place.index(0)] for row, own, place in zip(scores, snapshots, places, strict=True)
        ]
        for row, kl in enumerate(uniform_kl(raw, raw.new_tensor(normalisers)).tolist()):
            certainties[row] = kl if certain[row] and kl < math.inf else None
    return [
        StepTrace(
            token_id=token,
            rank=ranks[row],
            candidates=array("i", [columns[row][column] for column in places[row]]),
            stages=tuple(snapshots[row]),
            self_certainty=certainties[row],
        )
        for row, token in enumerate(token_ids)
    ]


def uniform_kl(logits: Tensor, normaliser: Tensor) -> Tensor:
    """Return `KL(U || p)` of each row of `[B, V]` in nats, U uniform over the vocabulary: the self-certainty of one
    step (Kang et al. 2025, arXiv 2502.18581), `-mean_v log(V p_v)`, which is `logsumexp(x) - mean(x) - log V` of the
    logits x.

    `normaliser` `[B]` is the logsumexp. The result is at least 0, and infinite if a token is impossible, as in the
    definition.
    """
    return (normaliser - logits.mean(-1) - math.log(logits.shape[-1])).clamp(min=0.0)


def vocabulary_snapshot(recording: StageRecording, row: int) -> VocabularySnapshot:
    """Return the logits of one row over the whole vocabulary after every stage of a step."""
    from samplers.shortlist import scatter_to_vocabulary

    vocab = recording[0].scores.logits.shape[-1]
    stages = []
    for recorded in recording:
        if row in recorded.rows:
            place = recorded.rows.index(row)
            logits = scatter_to_vocabulary(recorded.scores, vocab, fill=EXCLUDED_LOGPROB)[place]
            stages.append((recorded.name, array("f", logits.cpu().numpy().tobytes())))
    return VocabularySnapshot(tuple(stages))


def _measure_stage(recording: StageRecording, ids: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Yield for each stage: log-probabilities of `ids`, number of tokens kept, raw mass kept and entropy in bits."""
    import torch

    raw_probs = recording[0].scores.logits.softmax(-1)
    for recorded in recording:
        logits, columns = recorded.scores
        members = slice(None) if len(recorded.rows) == len(ids) else list(recorded.rows)
        weights, wanted = raw_probs[members], ids[members]
        if columns is not None:
            weights = weights.gather(-1, columns)
        probs = raw_probs if recorded is recording[0] else logits.softmax(-1)
        # one exp over the columns is enough: the normaliser follows from the most likely token
        normaliser = logits.amax(-1) - probs.amax(-1).log()
        if bool(
            logits.amin() > EXCLUDED_LOGPROB
        ):  # no stage has excluded anything yet: half of the passes can be skipped
            kept, mass = torch.full_like(normaliser, logits.shape[-1], dtype=torch.int64), weights.sum(-1)
        else:
            possible = logits > EXCLUDED_LOGPROB
            kept, mass = possible.count_nonzero(-1), torch.where(possible, weights, 0.0).sum(-1)
            logits = logits.clamp(min=MIN_LOGPROB)
        # row by row: a row stays in the processor's cache, and the product of the whole batch is never stored
        entropy = normaliser - torch.stack([torch.dot(*row) for row in zip(probs, logits, strict=True)])
        logprobs = _gather(recorded.scores, wanted) - normaliser[:, None]
        yield logprobs, kept, mass, entropy / math.log(2)


def _gather(scores: Scores, wanted: Tensor) -> Tensor:
    """Return the logits of the wanted tokens, `[b, m]`; a token without a column is excluded."""
    import torch

    logits, columns = scores
    if columns is None:
        return logits.gather(-1, wanted)
    places = torch.searchsorted(columns, wanted).clamp(max=columns.shape[-1] - 1)
    return logits.gather(-1, places).masked_fill(columns.gather(-1, places) != wanted, EXCLUDED_LOGPROB)


def _first_positions(ids: list[int], scores: list[float]) -> list[int]:
    """Return the first position of each distinct id, ordered by descending score, then by id."""
    first = {token: place for place, token in reversed(list(enumerate(ids)))}
    return sorted(first.values(), key=lambda place: (-scores[place], ids[place]))
