"""The sampler's stages over the few tokens that a provider shows, with what that leaves open.

A provider gives raw log-probabilities of the likeliest K tokens and of the drawn one. The rest of the vocabulary has
the probability that is missing to 1, and no token of it has more than the K-th. The real `SamplerChain` runs on
vocabularies between which the true one lies: the rest gathered in as few tokens as possible, spread over many, and cut
off. The first makes the trace; how far the others are from it is the error bound. It holds for temperature, top_k,
top_p, min_p and penalties on what was answered. For stages that look at the whole vocabulary or at the prompt nothing
is promised, and the bound is 1.
"""

from __future__ import annotations

import dataclasses
import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from samplers import RowState, SamplerConfig, StepTrace
from samplers.config import SETTINGS, SWITCHES

if TYPE_CHECKING:
    from torch import Tensor

MOST_GATHERED = 4096
SPREAD = 1024
"""Tokens that stand for the rest."""
LARGEST_VOCABULARY = 2**18
"""Where the provider does not tell: no model in use has more tokens."""
NEGLIGIBLE = 1e-6
"""Probability that single-precision rounding explains."""

BOUNDED = frozenset({"temperature", "top_k", "top_p", "min_p", "presence_penalty", "frequency_penalty"})
"""Stages that the two vocabularies bound, and whose effect on the drawn tokens can be tested."""
_MOST_EVIDENCE = 5.0
"""Of one token, in nats: rounding may exclude a token at the edge, so one alone proves nothing."""


class Seen(NamedTuple):
    """One step."""

    trace: StepTrace
    error_bound: float
    evidence: dict[str, float]
    """For each setting: how much likelier the drawn token is with it than without, in nats."""


class Glimpse(NamedTuple):
    """One distribution, as far as it is known."""

    probs: list[float]
    """Of the known tokens, most likely first in the raw distribution."""
    bound: float
    """The farthest that one of them may be from the truth, in [0, 1]."""
    mass_bound: float
    """The same for what all unseen tokens have together, `1 - sum(probs)`."""
    ceiling: float
    """The most that any one unseen token can have."""
    unseen_kept: bool
    """Whether an unseen token may still be drawn."""
    entropy_bits: tuple[float, float]
    """With the unseen mass in as few tokens as possible, and over as many."""


class PartialView:
    """One row of a hosted model. `config` has only what the provider was sent; `constrained` says that an output
    format, which is not seen here, takes part in what is drawn; `answer` are the ids of the tokens before."""

    def __init__(
        self,
        config: SamplerConfig,
        vocabulary: int | None = None,
        constrained: bool = False,
        answer: Iterable[int] = (),
    ) -> None:
        self._config = config
        self._vocabulary = vocabulary
        self._answer = list(answer)
        rewards = config.presence_penalty < 0 or config.frequency_penalty < 0
        self._certain = BOUNDED.issuperset(config.stages) and not rewards and not constrained
        self._tested = [SWITCHES[stage] for stage in config.stages] if self._certain else []

    def step(self, chosen: int, known: Mapping[int, float], likeliest: int) -> Seen:
        """Take in the next token. `known` are raw log-probabilities by token id, the chosen token's among them; the
        first `likeliest` of them in descending order are the most likely of the whole vocabulary."""
        ids = sorted(known, key=lambda token: (-known[token], token))
        logprobs = [max(known[token], -100.0) for token in ids]
        column = ids.index(chosen)
        largest = math.exp(logprobs[likeliest - 1]) if likeliest else 1.0
        gathered, spread = self._rests(logprobs, largest)
        states = self._states({token: place for place, token in enumerate(ids)})
        trace = self._trace(logprobs, gathered, states[0], column, ids)
        in_few = _outcomes(logprobs, gathered, states)
        in_many = _outcomes(logprobs, spread, states)
        evidence = {
            field: _cautious(_ratio(few, in_few[0], column), _ratio(many, in_many[0], column))
            for field, few, many in zip(self._tested, in_few[1:], in_many[1:], strict=True)
        }
        self._answer.append(chosen)
        bound, _ = self._bounds(logprobs, states[0], largest, gathered, in_few[0], in_many[0], spread, known)
        return Seen(trace, bound, evidence)

    def glimpse(self, known: Mapping[int, float], likeliest: int) -> Glimpse:
        """The next token's distribution after the stages, without taking a token in. Arguments as in `step`."""
        ids = sorted(known, key=lambda token: (-known[token], token))
        logprobs = [max(known[token], -100.0) for token in ids]
        largest = math.exp(logprobs[likeliest - 1]) if likeliest else 1.0
        gathered, spread = self._rests(logprobs, largest)
        [state] = self._states({token: place for place, token in enumerate(ids)}, tested=())
        few, many = (_whole(logprobs, rest, state) for rest in (gathered, spread))
        count = len(logprobs)
        bound, mass_bound = self._bounds(logprobs, state, largest, gathered, few[:count], many[:count], spread, known)
        wide = self._spread_out(many[:count], len(spread))
        unseen = max(0.0, 1 - float(wide.sum())) if len(spread) and float(many[count:].sum()) else 0.0
        highest = max((float(rest.max()) for rest in (few[count:], many[count:]) if len(rest)), default=0.0)
        possible = bool(highest) or mass_bound > 0
        room = (self._vocabulary or LARGEST_VOCABULARY) - count
        most = _entropy(wide) + (unseen * math.log2(room / unseen) if unseen else 0.0)
        least = _entropy(few)
        return Glimpse(
            few[:count].tolist(),
            bound,
            mass_bound,
            min(1.0, highest + bound) if possible else 0.0,
            possible,
            (min(least, most), max(least, most)),
        )

    def _bounds(
        self,
        logprobs: list[float],
        state: RowState,
        largest: float,
        gathered: list[float],
        few: Tensor,
        many: Tensor,
        spread: list[float],
        known: Mapping[int, float],
    ) -> tuple[float, float]:
        """Of the known tokens' probabilities, and of the unseen mass."""
        consistent = not gathered or gathered[0] <= largest
        if not (self._certain and consistent):
            return 1.0, 1.0
        others = [_outcomes(logprobs, [], [state])[0]] if self._config.top_k or self._config.min_p else []
        if gathered and (hidden := self._penalised(known)):
            # these may have had as much as any unseen token, and may have lost all of it
            left = gathered[hidden:]
            share = sum(left) / sum(gathered)
            others.append(_outcomes(logprobs, left, [state])[0])
            others.append(
                self._spread_out(_outcomes(logprobs, [each * share for each in spread], [state])[0], len(spread))
                if share
                else others[-1]
            )
        return self._bound(few, many, others, gathered, len(spread))

    def _penalised(self, known: Mapping[int, float]) -> int:
        """Unseen tokens that a penalty weakens."""
        penalises = self._config.presence_penalty or self._config.frequency_penalty
        return len(set(self._answer) - set(known)) if penalises else 0

    def _rests(self, logprobs: list[float], largest: float) -> tuple[list[float], list[float]]:
        """Probabilities of the tokens that are not known, gathered and spread."""
        rest = 1.0 - math.fsum(map(math.exp, logprobs))
        room = (self._vocabulary or LARGEST_VOCABULARY) - len(logprobs)
        if room <= 0:
            return [], []
        if rest < NEGLIGIBLE:
            # heat makes much of little
            return [], [NEGLIGIBLE / min(SPREAD, room)] * (min(SPREAD, room) * (self._config.temperature > 1))
        most = min(largest, rest) * (1 - 1e-4)  # just below the known ones, so that no tie is broken in its favour
        whole = min(int(rest / most), MOST_GATHERED, room)
        if whole in (MOST_GATHERED, room):
            gathered = [rest / whole] * whole
        else:
            left = rest - whole * most
            gathered = [most] * whole + ([left] if left > 0 else [])
        count = max(len(gathered), min(SPREAD, room))
        return gathered, [rest / count] * count

    def _states(self, columns: Mapping[int, int], tested: Sequence[str] | None = None) -> list[RowState]:
        """The row as it is, and without each of the settings to be tested, over the known tokens' columns."""
        answer = [columns[token] for token in self._answer if token in columns]
        biases = {columns[token]: bias for token, bias in dict(self._config.logit_bias).items() if token in columns}
        banned = tuple(columns[token] for token in self._config.banned_tokens if token in columns)
        config = dataclasses.replace(self._config, logit_bias=biases, banned_tokens=banned, dry_sequence_breakers=())
        neutral = [_without(config, field) for field in (self._tested if tested is None else tested)]
        return [RowState(each, answer=answer) for each in (config, *neutral)]

    def _trace(
        self, logprobs: list[float], rest: list[float], state: RowState, column: int, ids: list[int]
    ) -> StepTrace:
        from samplers import SamplerChain, summarize
        from samplers.chain import Recording

        recording: Recording = []
        SamplerChain([state.config]).logits(_logits(logprobs, rest, 1), [state], recording)
        [trace] = summarize(recording, [column], n=0, also=[range(len(ids))])
        stages = []
        for stage in trace.stages:
            among_known = sum(logprob > -math.inf for logprob in stage.logprobs)
            others = stage.kept - among_known
            if others == len(rest) and self._vocabulary:
                others = self._vocabulary - len(logprobs)
            stages.append(dataclasses.replace(stage, kept=among_known + others))
        candidates = array("i", [ids[place] for place in trace.candidates])
        return StepTrace(ids[column], column + 1, candidates, tuple(stages))

    def _spread_out(self, many: Tensor, spread: int) -> Tensor:
        """The known tokens' probabilities if the rest were spread over all the tokens that there can be."""
        if not spread or not self._config.temperature:
            return many
        # a tail of n tokens weighs n * (r / n) ** (1 / T), and n is larger in truth
        room = (self._vocabulary or LARGEST_VOCABULARY) / spread
        unseen = float(1 - many.sum()) * room ** (1 - 1 / self._config.temperature)
        return many / (float(many.sum()) + unseen)

    def _bound(
        self, few: Tensor, many: Tensor, others: list[Tensor], gathered: list[float], spread: int
    ) -> tuple[float, float]:
        """`others` are further ways in which it may be: one without the tail, since a longer one falls below what
        top_k and min_p keep."""
        if not spread:
            return 0.0, 0.0
        many = self._spread_out(many, spread)
        others = [many, *others]
        edge = 0.0
        if self._config.top_p < 1:
            others.append(many * (few[0] / many[0]))  # a known token at the nucleus's edge, and nothing after it
            if gathered and float(few.sum()) < 1:
                edge = gathered[0]  # or an unknown one, which may reach beyond it
        one = max(float((few - other).abs().max()) for other in others)
        together = max(abs(float((few - other).sum())) for other in others)
        return min(1.0, one + edge), min(1.0, together + edge)


def _without(config: SamplerConfig, field: str) -> SamplerConfig:
    return dataclasses.replace(config, **{field: SETTINGS[field].default})  # type: ignore[arg-type]


def _logits(logprobs: list[float], rest: list[float], rows: int) -> Tensor:
    import torch

    return torch.tensor([logprobs + [math.log(share) for share in rest]]).expand(rows, -1)


def _outcomes(logprobs: list[float], rest: list[float], states: list[RowState]) -> Tensor:
    """Probabilities of the known tokens after all stages, a row a state."""
    from samplers import SamplerChain

    chain = SamplerChain([state.config for state in states])
    return chain.probs(_logits(logprobs, rest, len(states)), states)[:, : len(logprobs)]


def _whole(logprobs: list[float], rest: list[float], state: RowState) -> Tensor:
    """Probabilities of the known tokens and of those that stand for the rest."""
    from samplers import SamplerChain

    return SamplerChain([state.config]).probs(_logits(logprobs, rest, 1), [state])[0]


def _entropy(probs: Tensor) -> float:
    """In bits."""
    import torch

    return float(torch.special.entr(probs).sum()) / math.log(2)


def _ratio(without: Tensor, with_it: Tensor, column: int) -> float:
    """Log-likelihood ratio of the drawn token, with the setting against without."""
    drawn, otherwise = float(with_it[column]), float(without[column])
    if drawn == 0 and otherwise == 0:
        return 0.0  # another setting excludes it: nothing can be said of this one
    if drawn == 0 or otherwise == 0:
        return -_MOST_EVIDENCE if drawn == 0 else _MOST_EVIDENCE
    return max(-_MOST_EVIDENCE, min(_MOST_EVIDENCE, math.log(drawn / otherwise)))


def _cautious(one: float, other: float) -> float:
    """What both agree on."""
    return 0.0 if one * other <= 0 else min(one, other, key=abs)
