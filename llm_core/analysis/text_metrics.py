"""What can be counted and measured on generated texts: variety, repetition, likelihood, length and difference.

Pure functions over `Written`, which a run's events become. Log-probabilities are natural logarithms under the model
itself (temperature 1, before any stage), entropies and divergences are in bits. n-grams are of tokens. A figure that
needs more than there is (an n-gram of a shorter text, a second text to compare with) is None.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from samplers.trace import EXCLUDED_LOGPROB, StageSnapshot, StepTrace

if TYPE_CHECKING:
    from llm_core.generation.record import TokenEvent

REPEATED = 4
"""Length of the n-grams whose repetition is reported, as in Welleck et al. 2020."""
_ROUNDING = 1e-7
"""Of float32 probabilities that should add up to 1."""


@dataclass(frozen=True, slots=True)
class Written:
    """One text, reduced to what the figures need: some bytes a token instead of its whole trace."""

    text: str
    tokens: tuple[int, ...]
    """Empty where a provider does not tell them apart."""
    logprobs: tuple[float, ...]
    """Of each token under the model. This and the rest are empty where some token came without probabilities."""
    entropies: tuple[float, ...]
    """Of the model's distribution that each token was chosen after, bits."""
    bent: tuple[float, ...] = ()
    """How far the sampler moved each step's distribution from the model's: `kl_bits(after, before)`."""


def written(events: Iterable[TokenEvent]) -> Written:
    """The text that these events spell."""
    events = tuple(events)
    ids = [event.token_id for event in events if event.token_id is not None]
    traces = [event.trace for event in events if event.trace is not None]
    if len(traces) < len(events):
        traces = []
    return Written(
        "".join(event.text for event in events),
        tuple(ids) if len(ids) == len(events) else (),
        tuple(trace.logprob for trace in traces),
        tuple(trace.raw.entropy_bits for trace in traces),
        tuple(map(sampler_kl, traces)),
    )


def distinct_n(texts: Sequence[Written], n: int) -> float | None:
    """Different n-grams over all n-grams of the texts together, in (0, 1] (distinct-n, Li et al. 2016,
    arXiv 1510.03055)."""
    grams = [gram for text in texts for gram in _ngrams(text.tokens, n)]
    return len(set(grams)) / len(grams) if grams else None


def repeated_ngrams(text: Written, n: int = REPEATED) -> float | None:
    """Share of a text's n-grams that it has said before: `1 - |different n-grams| / |n-grams|` (seq-rep-n, Welleck
    et al. 2020, arXiv 1908.04319)."""
    distinct = distinct_n([text], n)
    return None if distinct is None else 1 - distinct


def self_bleu(texts: Sequence[Written]) -> float | None:
    """How alike the texts are: the mean BLEU-4 of each against all others as references, in [0, 1] (Zhu et al. 2018,
    arXiv 1802.01886). BLEU is sacrebleu's (Post 2018), with its tokens, smoothing and effective order."""
    words = [text.text for text in texts]
    if len(words) < 2:
        return None
    from sacrebleu.metrics import BLEU

    bleu = BLEU(effective_order=True)
    scores = [
        bleu.sentence_score(each, [other for place, other in enumerate(words) if place != own]).score
        for own, each in enumerate(words)
    ]
    return math.fsum(scores) / len(scores) / 100


def mean_logprob(texts: Sequence[Written]) -> float | None:
    """Over all tokens of all texts, nats."""
    return _mean([logprob for text in texts for logprob in text.logprobs])


def perplexity(texts: Sequence[Written]) -> float | None:
    """`exp(-mean log-probability)` over all tokens: among how many equally likely tokens the model would seem to have
    chosen each time. Real text lies between what repeats itself and what rambles (Holtzman et al. 2020,
    arXiv 1904.09751)."""
    mean = mean_logprob(texts)
    return None if mean is None else math.exp(-mean)


class Difference(NamedTuple):
    """Two distributions over the same vocabulary."""

    kl_bits: float
    """Kullback and Leibler 1951; infinite where the second excludes what the first allows."""
    jaccard: float
    """Tokens that both allow over tokens that one of them allows, in [0, 1] (Jaccard 1912)."""


def difference(
    candidates: Sequence[int], stage: StageSnapshot, other_candidates: Sequence[int], other: StageSnapshot
) -> Difference:
    """How far the first distribution is from the second, by the candidates that both traces show.

    All further tokens count as one, which can only make the divergence smaller (the data processing inequality): exact
    where the candidates hold everything that is possible, a lower bound elsewhere.
    """
    second = dict(zip(other_candidates, other.logprobs, strict=True))
    pairs = [(one, second[token]) for token, one in zip(candidates, stage.logprobs, strict=True) if token in second]
    both = sum(one > EXCLUDED_LOGPROB and two > EXCLUDED_LOGPROB for one, two in pairs)
    hidden = stage.kept - sum(one > EXCLUDED_LOGPROB for one, _ in pairs)
    other_hidden = other.kept - sum(two > EXCLUDED_LOGPROB for _, two in pairs)
    rest = _rest(hidden, [one for one, _ in pairs]), _rest(other_hidden, [two for _, two in pairs])
    kl = math.fsum(_kl_term(*pair) for pair in [*pairs, rest]) / math.log(2)
    # of what the traces do not show, the smaller set is taken to lie in the larger: most stages cut by likelihood
    union = stage.kept + other.kept - both - min(hidden, other_hidden)
    return Difference(max(0.0, kl), (both + min(hidden, other_hidden)) / union)


def sampler_kl(trace: StepTrace) -> float:
    """How far the sampler moved one step's distribution from the model's, bits: `KL(after || before)`. Cutting alone
    costs `-log2` of the probability that was kept."""
    return difference(trace.candidates, trace.final, trace.candidates, trace.raw).kl_bits


Piece = tuple[Literal["same", "other"], tuple[int, int], tuple[int, int]]
"""A stretch of two token sequences: `(start, end)` in each."""


def text_diff(tokens: Sequence[Hashable], others: Sequence[Hashable]) -> list[Piece]:
    """Where two texts say the same tokens and where not, in order (Ratcliff and Obershelp, as in difflib). Tokens are
    ids, or pieces of text."""
    matcher = difflib.SequenceMatcher(a=tokens, b=others, autojunk=False)
    return [
        ("same" if kind == "equal" else "other", (start, end), (other_start, other_end))
        for kind, start, end, other_start, other_end in matcher.get_opcodes()
    ]


def _repetition(texts: Sequence[Written]) -> float | None:
    return _mean([share for text in texts if (share := repeated_ngrams(text)) is not None])


STATISTICS: Mapping[str, Callable[[Sequence[Written]], float | None]] = {
    "length": lambda texts: _mean([len(text.tokens) for text in texts if text.tokens or not text.text]),
    "repetition": _repetition,
    "distinct_1": lambda texts: distinct_n(texts, 1),
    "distinct_2": lambda texts: distinct_n(texts, 2),
    "self_bleu": self_bleu,
    "mean_logprob": mean_logprob,
    "perplexity": perplexity,
    "entropy": lambda texts: _mean([bits for text in texts for bits in text.entropies]),
    "sampler_kl": lambda texts: _mean([bits for text in texts for bits in text.bent]),
}
"""Figures over the texts that one setting wrote. Tokens count alike in means over steps, texts in the others."""


def _ngrams(tokens: Sequence[int], n: int) -> Iterable[tuple[int, ...]]:
    return zip(*(tokens[start:] for start in range(n)), strict=False)


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _rest(tokens: int, logprobs: Sequence[float]) -> float:
    """Log-probability of so many tokens that are not shown; rounding may leave them nothing, but they are possible."""
    return math.log(max(_ROUNDING, 1 - math.fsum(map(math.exp, logprobs)))) if tokens else EXCLUDED_LOGPROB


def _kl_term(one: float, two: float) -> float:
    return math.exp(one) * (one - two) if one > EXCLUDED_LOGPROB else 0.0
