"""Run sampler stages over the few tokens that a provider shows, with bounds on the error that this leaves.

A provider gives raw log-probabilities of the K most likely tokens and of the drawn one. The rest of the vocabulary has
the probability that is missing to 1, and no token of it has more than the K-th. `SamplerChain` runs on vocabularies
between which the true one lies: the rest gathered in as few tokens as possible, spread over many, and cut off. The
first makes the trace; the distance of the others from it is the error bound. The bound holds for temperature, top_k,
top_p, min_p and penalties on the tokens of the answer. For stages that look at the whole vocabulary or at the prompt
nothing is promised, and the bound is 1.
"""

from __future__ import annotations

import dataclasses
import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from samplers import RowState, SamplerConfig, StepTrace
from samplers.config import SETTINGS, STAGE_FIELDS

if TYPE_CHECKING:
    from torch import Tensor

MAX_GATHERED_TOKENS = 4096
SPREAD_TOKENS = 1024
"""Number of tokens that stand for the rest when it is spread."""
MAX_VOCABULARY_SIZE = 2**18
"""Vocabulary size where the provider gives none: no model in use has more tokens."""
NEGLIGIBLE_MASS = 1e-6
"""Probability that single-precision rounding explains."""

BOUNDED_STAGES = frozenset({"temperature", "top_k", "top_p", "min_p", "presence_penalty", "frequency_penalty"})
"""Stages that the two vocabularies bound, and whose effect on the drawn tokens can be tested."""
_PENALTY_STAGES = frozenset({"presence_penalty", "frequency_penalty"})
_MAX_EVIDENCE = 5.0
"""Largest evidence of one token, in nats: rounding may exclude a token at the edge, so one alone proves nothing."""


class BoundedStep(NamedTuple):
    """One step: its trace, the error bound of the trace's probabilities in [0, 1], and its evidence."""

    trace: StepTrace
    error_bound: float
    evidence: dict[str, float]
    """For each setting, how much likelier the drawn token is with it than without, in nats."""


class BoundedDistribution(NamedTuple):
    """One distribution over the next token, with bounds for what the provider does not show."""

    probs: list[float]
    """Probabilities of the known tokens, most likely first in the raw distribution."""
    bound: float
    """Largest possible error of one of `probs`, in [0, 1]."""
    mass_bound: float
    """Largest possible error of the unseen tokens' total, `1 - sum(probs)`."""
    ceiling: float
    """Largest possible probability of any one unseen token."""
    unseen_possible: bool
    """Whether an unseen token may still be drawn."""
    entropy_bits: tuple[float, float]
    """Entropy with the unseen mass in as few tokens as possible, and over as many as possible."""


class TailMass(NamedTuple):
    """Probabilities that stand for the tokens that are not known."""

    largest: float
    """Largest possible probability of one of them."""
    gathered: list[float]
    spread: int
    """Number of tokens that the spread variant has."""


class TopLogprobsChain:
    """Sampler chain of one hosted sample over the provider's top log-probabilities."""

    def __init__(
        self,
        config: SamplerConfig,
        vocabulary: int | None = None,
        constrained: bool = False,
        answer: Iterable[int] = (),
    ) -> None:
        """Create the chain. `config` has only the settings that the provider was sent; `constrained` says that an
        output format, which is not visible here, takes part in the draw; `answer` are the ids of the tokens before."""
        self._config = config
        self._vocabulary = vocabulary
        self._answer = list(answer)
        rewards = {name for name in _PENALTY_STAGES if getattr(config, name) < 0}
        self._constrained = constrained
        self._uncertain = set(config.stages) - BOUNDED_STAGES | rewards
        certain = not (self._uncertain or constrained)
        self._tested = [STAGE_FIELDS[stage] for stage in config.stages] if certain else []

    def step(self, chosen: int, known: Mapping[int, float], likeliest: int) -> BoundedStep:
        """Take in the next token and return its trace and bound. `known` are raw log-probabilities by token id, the
        chosen token's among them; the first `likeliest` of them in descending order are the most likely of the whole
        vocabulary."""
        ids = sorted(known, key=lambda token: (-known[token], token))
        logprobs = [max(known[token], -100.0) for token in ids]
        column = ids.index(chosen)
        largest = math.exp(logprobs[likeliest - 1]) if likeliest else 1.0
        gathered, spread, *further = self._tail_variants(known, logprobs, largest)
        states = self._states({token: place for place, token in enumerate(ids)})
        trace = self._trace(logprobs, gathered, states[0], column, ids)
        in_few = _known_probs(logprobs, gathered, states)
        in_many = _known_probs(logprobs, spread, states)
        evidence = {
            field: _common_evidence(
                _log_likelihood_ratio(few, in_few[0], column), _log_likelihood_ratio(many, in_many[0], column)
            )
            for field, few, many in zip(self._tested, in_few[1:], in_many[1:], strict=True)
        }
        self._answer.append(chosen)
        outcomes = [in_few[0], in_many[0], *(_known_probs(logprobs, rest, states[:1])[0] for rest in further)]
        tails = TailMass(largest, gathered, len(spread))
        bound, _ = self._bounds(frozenset(self._config.stages), outcomes, tails)
        return BoundedStep(trace, bound, evidence)

    def distributions(self, known: Mapping[int, float], likeliest: int) -> list[tuple[str, BoundedDistribution]]:
        """Return the next token's distribution after each stage, `raw` first, without taking a token in. Arguments as
        in `step`."""
        ids = sorted(known, key=lambda token: (-known[token], token))
        logprobs = [max(known[token], -100.0) for token in ids]
        largest = math.exp(logprobs[likeliest - 1]) if likeliest else 1.0
        ways = self._tail_variants(known, logprobs, largest)
        [state] = self._states({token: place for place, token in enumerate(ids)}, tested=())
        tails = TailMass(largest, ways[0], len(ways[1]))
        stages = _probs_by_stage(logprobs, ways, state)
        names = [name for name, _ in stages]
        return [
            (name, self._distribution(frozenset(names[1 : place + 1]), outcomes, len(logprobs), tails))
            for place, (name, outcomes) in enumerate(stages)
        ]

    def _distribution(
        self, done: frozenset[str], outcomes: list[Tensor], count: int, tails: TailMass
    ) -> BoundedDistribution:
        few, many = outcomes[:2]
        bound, mass_bound = self._bounds(done, [each[:count] for each in outcomes], tails)
        wide = self._extrapolate_spread(many[:count], tails.spread, done)
        unseen = max(0.0, 1 - float(wide.sum())) if tails.spread and float(many[count:].sum()) else 0.0
        highest = max((float(rest.max()) for rest in (few[count:], many[count:]) if len(rest)), default=0.0)
        possible = bool(highest) or mass_bound > 0
        ceiling = min(1.0, highest + bound) if done else min(tails.largest, unseen)
        room = (self._vocabulary or MAX_VOCABULARY_SIZE) - count
        most = _entropy(wide) + (unseen * math.log2(room / unseen) if unseen else 0.0)
        least = _entropy(few)
        entropies = min(least, most), max(least, most)
        return BoundedDistribution(
            few[:count].tolist(), bound, mass_bound, ceiling if possible else 0.0, possible, entropies
        )

    def _bounds(self, done: frozenset[str], outcomes: list[Tensor], tails: TailMass) -> tuple[float, float]:
        """Return the largest errors of the known tokens' probabilities and of the unseen mass after the stages `done`.
        `outcomes` are the known tokens' probabilities, one row for each of `_tail_variants`."""
        if not done:
            return 0.0, 0.0  # exactly what the provider gave
        consistent = not tails.gathered or tails.gathered[0] <= tails.largest
        if self._uncertain & done or self._constrained or not consistent:
            return 1.0, 1.0
        if not tails.spread:
            return 0.0, 0.0
        few, many, cut, *penalised = outcomes
        many = self._extrapolate_spread(many, tails.spread, done)
        others = [many]
        if done & {"top_k", "min_p"}:
            others.append(cut)  # these stages cut off a longer tail
        if penalised and done & _PENALTY_STAGES:
            others += [penalised[0], self._extrapolate_spread(penalised[1], tails.spread, done)]
        edge = 0.0
        if "top_p" in done:
            others.append(many * (few[0] / many[0]))  # a known token at the nucleus's edge, and nothing after it
            if tails.gathered and float(few.sum()) < 1:
                edge = tails.gathered[0]  # or an unknown token, which may reach beyond the edge
        one = max(float((few - other).abs().max()) for other in others)
        together = max(abs(float((few - other).sum())) for other in others)
        return min(1.0, one + edge), min(1.0, together + edge)

    def _tail_variants(self, known: Mapping[int, float], logprobs: list[float], largest: float) -> list[list[float]]:
        """Return the probabilities that the unseen tokens may have: gathered in few, spread over many, none; then the
        first two less what a penalty may take from unseen tokens that the answer contains already."""
        gathered, spread = self._tail_masses(logprobs, largest)
        ways = [gathered, spread, []]
        hidden = len(set(self._answer) - set(known)) if _PENALTY_STAGES & set(self._config.stages) else 0
        if gathered and hidden:  # these may have had as much as any unseen token, and may have lost all of it
            left = gathered[hidden:]
            share = sum(left) / sum(gathered)
            ways += [left, [each * share for each in spread] if left else []]
        return ways

    def _tail_masses(self, logprobs: list[float], largest: float) -> tuple[list[float], list[float]]:
        """Return the probabilities of the unknown tokens, gathered in few and spread over many."""
        rest = 1.0 - math.fsum(map(math.exp, logprobs))
        room = (self._vocabulary or MAX_VOCABULARY_SIZE) - len(logprobs)
        if room <= 0:
            return [], []
        if rest < NEGLIGIBLE_MASS:
            # a temperature above 1 makes a negligible mass matter
            return [], [NEGLIGIBLE_MASS / min(SPREAD_TOKENS, room)] * (
                min(SPREAD_TOKENS, room) * (self._config.temperature > 1)
            )
        most = min(largest, rest) * (1 - 1e-4)  # just below the known ones, so that no tie is broken in its favour
        whole = min(int(rest / most), MAX_GATHERED_TOKENS, room)
        if whole in (MAX_GATHERED_TOKENS, room):
            gathered = [rest / whole] * whole
        else:
            left = rest - whole * most
            gathered = [most] * whole + ([left] if left > 0 else [])
        count = max(len(gathered), min(SPREAD_TOKENS, room))
        return gathered, [rest / count] * count

    def _states(self, columns: Mapping[int, int], tested: Sequence[str] | None = None) -> list[RowState]:
        """Return the row's state as it is, and without each of the settings to be tested, over the known tokens'
        columns."""
        answer = [columns[token] for token in self._answer if token in columns]
        biases = {columns[token]: bias for token, bias in dict(self._config.logit_bias).items() if token in columns}
        banned = tuple(columns[token] for token in self._config.banned_tokens if token in columns)
        config = dataclasses.replace(self._config, logit_bias=biases, banned_tokens=banned, dry_sequence_breakers=())
        neutral = [_neutralize(config, field) for field in (self._tested if tested is None else tested)]
        return [RowState(each, answer=answer) for each in (config, *neutral)]

    def _trace(
        self, logprobs: list[float], rest: list[float], state: RowState, column: int, ids: list[int]
    ) -> StepTrace:
        from samplers import SamplerChain, summarize
        from samplers.chain import StageRecording

        recording: StageRecording = []
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

    def _extrapolate_spread(self, many: Tensor, spread: int, done: frozenset[str]) -> Tensor:
        """Return the known tokens' probabilities if the rest were spread over the whole vocabulary."""
        heat = self._config.temperature
        if not spread or not heat or "temperature" not in done:
            return many
        # a tail of n tokens weighs n * (r / n) ** (1 / T), and n is larger in truth
        room = (self._vocabulary or MAX_VOCABULARY_SIZE) / spread
        unseen = float(1 - many.sum()) * room ** (1 - 1 / heat)
        return many / (float(many.sum()) + unseen)


def _neutralize(config: SamplerConfig, field: str) -> SamplerConfig:
    return dataclasses.replace(config, **{field: SETTINGS[field].default})  # type: ignore[arg-type]


def _logits(logprobs: list[float], rest: list[float], rows: int) -> Tensor:
    import torch

    return torch.tensor([logprobs + [math.log(share) for share in rest]]).expand(rows, -1)


def _known_probs(logprobs: list[float], rest: list[float], states: list[RowState]) -> Tensor:
    """Return the probabilities of the known tokens after all stages, one row per state."""
    from samplers import SamplerChain

    chain = SamplerChain([state.config for state in states])
    return chain.probs(_logits(logprobs, rest, len(states)), states)[:, : len(logprobs)]


def _probs_by_stage(logprobs: list[float], ways: list[list[float]], state: RowState) -> list[tuple[str, list[Tensor]]]:
    """Return, after each stage, the probabilities of the known tokens and of those that stand for the rest, for each
    variant. All variants are rows of one batch, each with its own columns for the rest."""
    import torch

    from samplers import SamplerChain
    from samplers.chain import StageRecording
    from samplers.shortlist import scatter_to_vocabulary

    count, width = len(logprobs), sum(map(len, ways))
    logits = torch.full((len(ways), count + width), -math.inf)
    logits[:, :count] = torch.tensor(logprobs)
    columns, start = [], count
    for row, rest in enumerate(ways):
        logits[row, start : start + len(rest)] = torch.tensor(rest, dtype=torch.float64).log().float()
        columns.append([*range(count), *range(start, start + len(rest))])
        start += len(rest)
    recording: StageRecording = []
    SamplerChain([state.config] * len(ways)).logits(logits, [state] * len(ways), recording)
    stages = []
    for name, _, scores in recording:
        probs = scatter_to_vocabulary(scores, count + width, fill=-math.inf).softmax(-1)
        stages.append((name, [row[places] for row, places in zip(probs, columns, strict=True)]))
    return stages


def _entropy(probs: Tensor) -> float:
    """Return the entropy in bits."""
    import torch

    return float(torch.special.entr(probs).sum()) / math.log(2)


def _log_likelihood_ratio(without: Tensor, with_it: Tensor, column: int) -> float:
    """Return the log-likelihood ratio of the drawn token, with the setting against without, in nats."""
    drawn, otherwise = float(with_it[column]), float(without[column])
    if drawn == 0 and otherwise == 0:
        return 0.0  # another setting excludes the token: no evidence about this one
    if drawn == 0 or otherwise == 0:
        return -_MAX_EVIDENCE if drawn == 0 else _MAX_EVIDENCE
    return max(-_MAX_EVIDENCE, min(_MAX_EVIDENCE, math.log(drawn / otherwise)))


def _common_evidence(one: float, other: float) -> float:
    """Return the evidence that both vocabularies support: the smaller one, or 0 if they disagree on the sign."""
    return 0.0 if one * other <= 0 else min(one, other, key=abs)
