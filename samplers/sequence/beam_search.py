"""Run beam search as a step machine: from the live beams' log-probabilities to the beams of the next step.

    search = BeamSearch(4, max_new_tokens=64, end_ids=[2])
    step = search.step(logprobs)        # [1, V] after the prompt
    while not search.done:
        cache.reorder_cache(step.parents)
        step = search.step(...)         # [len(step.tokens), V] after each beam's new token
    search.finished[0].tokens

The search never calls a model. In each step every live beam is extended by every token, and the best
`beams * max(2, 1 + len(end_ids))` extensions are the candidates: enough for `beams` of them to continue even if every
beam could also end in every way. A candidate ends with an end token, or by reaching `max_new_tokens`. Candidates that
end are finished if they are among the best `beams`, else pruned; of the others the best `beams` are kept and the rest
are pruned. On equal scores the lowest (beam, token id) comes first. These are transformers' rules, and a test compares
the search with `generate(num_beams=...)`. In diverse beam search they hold within each group, for its share of the
beams.

Log-probabilities are natural logarithms. They are added in float64, where sums of float32 numbers are nearly always
exact, so that ties between hypotheses do not depend on the order of their tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Literal, NamedTuple

import torch
from torch import Tensor

NodeStatus = Literal["kept", "pruned", "finished"]

_LARGEST_LOGPROB = 1e-3
"""Rounding allowance: a log-probability is at most 0, so a larger number means that logits were passed."""


class BeamStep(NamedTuple):
    """Beams to continue with, best first within a group, groups in order. Empty when the search is done."""

    parents: Tensor
    """Row of the log-probabilities that each beam extends: int64 `[live]`, to reorder a cache by."""
    tokens: Tensor
    """Token that extends each beam: int64 `[live]`."""


@dataclass(frozen=True, slots=True)
class BeamNode:
    """One candidate of one step."""

    parent: int | None
    """Index in `BeamTree.nodes` of the node that this one extends; None after the prompt."""
    token_id: int
    logprob: float
    """Log-probability of this token, as the model gave it."""
    score: float
    """Score that the candidate was ranked by: all log-probabilities up to here, less all diversity penalties."""
    step: int
    """Index of the step, from 0."""
    status: NodeStatus
    """Fate of the candidate. A kept node without children is one that the search stopped at."""
    group: int


@dataclass(frozen=True, slots=True)
class BeamTree:
    """Every candidate that a search considered, in the order of steps, groups and scores. Plain data, no tensors."""

    nodes: list[BeamNode] = field(default_factory=list)

    def path(self, place: int) -> tuple[int, ...]:
        """Return the indices of the nodes from the first token to this one, both included."""
        nodes: list[int] = []
        current: int | None = place
        while current is not None:
            nodes.append(current)
            current = self.nodes[current].parent
        return tuple(reversed(nodes))


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """Finished answer of a search."""

    tokens: tuple[int, ...]
    """Token ids without the prompt, with the end token."""
    score: float
    """Score that hypotheses are compared by: the node's score / `len(tokens) ** length_penalty`."""
    logprob: float
    """Log-probability of all tokens together, as the model gave them, without any penalty."""
    group: int
    node: int
    """Index of the last token in `BeamTree.nodes`."""


class BeamSearch:
    """Beam search after one prompt; diverse beam search if `groups` is above 1.

    ====================  =================================  =====================================================
    setting               range                              meaning
    ====================  =================================  =====================================================
    `beams`               integer >= 1                       hypotheses that continue after a step, all groups
    `max_new_tokens`      integer >= 1                       longest answer, in tokens
    `end_ids`             token ids                          tokens that end an answer
    `groups`              a divisor of `beams`               parts of the search that should differ
    `diversity_penalty`   finite, >= 0                       cost of a token that an earlier group has just taken
    `length_penalty`      [-10, 10]                          above 0 favours long answers, below 0 short ones
    `early_stopping`      False, True, "never"               see below
    ====================  =================================  =====================================================

    Diverse beam search (Vijayakumar et al. 2016, arXiv 1610.02424, Hamming diversity): each group is a separate search
    with `beams / groups` beams. Within a step the groups choose one after the other, and a token loses
    `diversity_penalty` for each time that it ends a candidate that an earlier group kept or finished in this step.
    The loss stays in the score, as in the paper's algorithm 1 and in transformers' group beam search. End tokens never
    lose: groups should differ in what they say, not in when they end. A group that is done penalizes no other.

    A group is done when no beam of it continues, or when it has `beams / groups` finished hypotheses and
      - `early_stopping=True`: at once;
      - `False`: its best live beam, scored as if it ended now, is no better than the worst of them;
      - `"never"`: that beam is no better even if it reached `max_new_tokens` at no further loss (`length_penalty` above
        0; otherwise its best possible score is the one of ending now).

    A setting outside its range raises `ValueError` naming it, the value and the range.
    """

    def __init__(
        self,
        beams: int,
        *,
        max_new_tokens: int,
        end_ids: Iterable[int] = (),
        groups: int = 1,
        diversity_penalty: float = 0.0,
        length_penalty: float = 1.0,
        early_stopping: bool | Literal["never"] = False,
    ) -> None:
        self.beams = _check_integer("beams", beams)
        self.max_new_tokens = _check_integer("max_new_tokens", max_new_tokens)
        self.end_ids = frozenset(end_ids)
        self.groups = _check_integer("groups", groups)
        self.diversity_penalty = _check_number("diversity_penalty", diversity_penalty, 0, math.inf)
        self.length_penalty = _check_number("length_penalty", length_penalty, -10, 10)
        self.early_stopping = early_stopping
        if any(not _is_integer(token, 0) for token in self.end_ids):
            raise ValueError(f"end_ids={sorted(self.end_ids, key=repr)!r}: expected whole numbers of at least 0")
        if beams % groups:
            raise ValueError(f"groups={groups!r}: expected a divisor of beams={beams!r}")
        if not (isinstance(early_stopping, bool) or early_stopping == "never"):
            raise ValueError(f"early_stopping={early_stopping!r}: expected False, True or 'never'")
        self.tree = BeamTree()
        self._width = beams // groups
        self._candidates = self._width * max(2, 1 + len(self.end_ids))
        self._length = 0  # length of the live beams, in tokens
        # for each group, its live beams best first: the row with the beam's log-probabilities, and its node
        self._live: list[list[tuple[int, int | None]]] = [[(0, None)] for _ in range(groups)]
        self._finished: list[list[Hypothesis]] = [[] for _ in range(groups)]

    @property
    def done(self) -> bool:
        return not any(self._live)

    @property
    def finished(self) -> list[Hypothesis]:
        """Best hypotheses that ended so far, at most `beams`, by descending score; earlier groups first on a tie."""
        return _rank_hypotheses(hypothesis for group in self._finished for hypothesis in group)

    def step(self, logprobs: Tensor) -> BeamStep:
        """Advance by one token, given `logprobs` `[live, V]` of the next token of each beam of the previous step, in
        its order.

        The first step has one row, the prompt's, which all groups share. Impossible tokens are `-inf`. Raises
        `ValueError` for a wrong shape, NaN or numbers above 0, and `RuntimeError` when the search is done.
        """
        self._check(logprobs)
        nodes = self.tree.nodes
        parents: list[int] = []
        tokens: list[int] = []
        taken: list[int] = []
        for group, live in enumerate(self._live):
            if not live:
                continue
            added = self._extend(group, live, logprobs, taken)
            taken += [nodes[node].token_id for _, node in added if nodes[node].status != "pruned"]
            ended = [self._hypothesis(node) for _, node in added if nodes[node].status == "finished"]
            self._finished[group] = _rank_hypotheses([*self._finished[group], *ended])[: self._width]
            kept = [(row, node) for row, node in added if nodes[node].status == "kept"]
            if self._stops([nodes[node].score for _, node in kept], self._finished[group]):
                kept = []
            self._live[group] = [(len(parents) + place, node) for place, (_, node) in enumerate(kept)]
            parents += [row for row, _ in kept]
            tokens += [nodes[node].token_id for _, node in kept]
        self._length += 1
        return BeamStep(*(torch.tensor(ids, dtype=torch.int64, device=logprobs.device) for ids in (parents, tokens)))

    def _extend(
        self, group: int, live: list[tuple[int, int | None]], logprobs: Tensor, taken: list[int]
    ) -> list[tuple[int, int]]:
        """Add a group's candidates to the tree; return the row that each came from and its node, best first."""
        nodes = self.tree.nodes
        gained = logprobs[[row for row, _ in live]].double()
        scores = [0.0 if node is None else nodes[node].score for _, node in live]
        penalised = [token for token in taken if token not in self.end_ids]
        counts = torch.bincount(torch.tensor(penalised, dtype=torch.int64), minlength=logprobs.shape[-1])
        totals = gained + torch.tensor(scores, dtype=torch.float64, device=gained.device)[:, None]
        totals -= self.diversity_penalty * counts.to(gained.device)
        last = self._length + 1 == self.max_new_tokens
        added: list[tuple[int, int]] = []
        kept = 0
        places = _top_continuations(totals, self._candidates)
        columns = (part.flatten()[places].tolist() for part in (gained, totals))
        for rank, (place, logprob, score) in enumerate(zip(places.tolist(), *columns, strict=True)):
            beam, token = divmod(place, logprobs.shape[-1])
            status: NodeStatus = "pruned"
            if last or token in self.end_ids:
                if rank < self._width:
                    status = "finished"
            elif kept < self._width:
                status = "kept"
                kept += 1
            row, parent = live[beam]
            added.append((row, len(nodes)))
            nodes.append(BeamNode(parent, token, logprob, score, self._length, status, group))
        return added

    def _hypothesis(self, node: int) -> Hypothesis:
        path = [self.tree.nodes[place] for place in self.tree.path(node)]
        return Hypothesis(
            tokens=tuple(part.token_id for part in path),
            score=self._apply_length_penalty(path[-1].score, len(path)),
            logprob=math.fsum(part.logprob for part in path),
            group=path[-1].group,
            node=node,
        )

    def _stops(self, kept: list[float], finished: list[Hypothesis]) -> bool:
        """Return whether a group is done, given the scores of the beams that could continue and its finished
        hypotheses."""
        if not kept:
            return True
        if len(finished) < self._width:
            return False
        if self.early_stopping is True:
            return True
        hopeful = self.early_stopping == "never" and self.length_penalty > 0
        length = self.max_new_tokens if hopeful else self._length + 1
        return self._apply_length_penalty(kept[0], length) <= finished[-1].score

    def _apply_length_penalty(self, score: float, length: int) -> float:
        return score / length**self.length_penalty

    def _check(self, logprobs: Tensor) -> None:
        if self.done:
            raise RuntimeError("the search is done: no beam is left to extend")
        rows = 1 if self._length == 0 else sum(map(len, self._live))
        if logprobs.ndim != 2 or logprobs.shape[0] != rows or logprobs.shape[1] == 0:
            raise ValueError(f"logprobs has shape {tuple(logprobs.shape)}: expected [{rows}, V] with V of at least 1")
        largest = float(logprobs.amax())  # NaN wins over every number
        if not largest <= _LARGEST_LOGPROB:
            raise ValueError(f"logprobs has {largest}: expected log-probabilities, so nothing above 0")


def _top_continuations(totals: Tensor, count: int) -> Tensor:
    """Return the flat indices of the `count` largest totals, best first, the lowest index on a tie, none at `-inf`.

    `topk` does not promise which of equal values it takes, so it only finds the bar; a stable sort ranks the values
    above.
    """
    flat = totals.flatten()
    bar = flat.topk(min(count, len(flat))).values[-1]
    places = ((flat >= bar) & (flat > -math.inf)).nonzero().squeeze(-1)
    return places[flat[places].sort(descending=True, stable=True).indices[:count]]


def _rank_hypotheses(hypotheses: Iterable[Hypothesis]) -> list[Hypothesis]:
    return sorted(hypotheses, key=lambda hypothesis: -hypothesis.score)


def _is_integer(value: object, low: int) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= low


def _check_integer(name: str, value: int) -> int:
    if not _is_integer(value, 1):
        raise ValueError(f"{name}={value!r}: expected a whole number of at least 1")
    return value


def _check_number(name: str, value: float, low: float, high: float) -> float:
    if not isinstance(value, Real) or isinstance(value, bool) or not (low <= value <= high) or math.isinf(value):
        most = f" and at most {high:g}" if high < math.inf else ""
        raise ValueError(f"{name}={value!r}: expected a finite number of at least {low:g}{most}")
    return float(value)
