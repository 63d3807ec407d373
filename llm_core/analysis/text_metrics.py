"""Measure generated texts: variety, repetition, likelihood, length and difference.

Pure functions over `TextSample`, made of a run's events. Log-probabilities are natural logarithms under the model
itself (temperature 1, before any stage), entropies and divergences are in bits. n-grams are of tokens. A figure that
needs more than is given (an n-gram of a shorter text, a second text to compare with) is None.
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

REPEATED_NGRAM_SIZE = 4
"""Length of the n-grams whose repetition is reported, as in Welleck et al. 2020."""
_ROUNDING = 1e-7
"""Rounding error of float32 probabilities that should add up to 1."""


@dataclass(frozen=True, slots=True)
class TextSample:
    """One text, reduced to what the metrics need: some bytes a token instead of its whole trace."""

    text: str
    tokens: tuple[int, ...]
    """Token ids; empty where a provider does not tell them apart."""
    logprobs: tuple[float, ...]
    """Log-probability of each token under the model. This and the following are empty where a token came without
    probabilities."""
    entropies: tuple[float, ...]
    """Entropy in bits of the model's distribution before each token."""
    sampler_kls: tuple[float, ...] = ()
    """Distance of each step's distribution after the sampler from the model's: `kl_bits(after, before)`."""


def make_text_sample(events: Iterable[TokenEvent]) -> TextSample:
    """Return the text that these events spell."""
    events = tuple(events)
    ids = [event.token_id for event in events if event.token_id is not None]
    traces = [event.trace for event in events if event.trace is not None]
    if len(traces) < len(events):
        traces = []
    return TextSample(
        "".join(event.text for event in events),
        tuple(ids) if len(ids) == len(events) else (),
        tuple(trace.logprob for trace in traces),
        tuple(trace.raw.entropy_bits for trace in traces),
        tuple(map(sampler_kl, traces)),
    )


def distinct_n(texts: Sequence[TextSample], n: int) -> float | None:
    """Return the different n-grams over all n-grams of the texts together, in (0, 1] (distinct-n, Li et al. 2016, arXiv
    1510.03055)."""
    grams = [gram for text in texts for gram in _ngrams(text.tokens, n)]
    return len(set(grams)) / len(grams) if grams else None


def repeated_ngram_share(text: TextSample, n: int = REPEATED_NGRAM_SIZE) -> float | None:
    """Return the share of a text's n-grams that occurred before: `1 - |different n-grams| / |n-grams|` (seq-rep-n,
    Welleck et al. 2020, arXiv 1908.04319)."""
    distinct = distinct_n([text], n)
    return None if distinct is None else 1 - distinct


def self_bleu(texts: Sequence[TextSample]) -> float | None:
    """Return the similarity of the texts: the mean BLEU-4 of each against all others as references, in [0, 1] (Zhu et
    al. 2018, arXiv 1802.01886).

    BLEU is sacrebleu's (Post 2018), with its tokens, smoothing and effective order.
    """
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


def mean_logprob(texts: Sequence[TextSample]) -> float | None:
    """Return the mean log-probability over all tokens of all texts, in nats."""
    return _mean([logprob for text in texts for logprob in text.logprobs])


def perplexity(texts: Sequence[TextSample]) -> float | None:
    """Return `exp(-mean log-probability)` over all tokens: the number of equally likely tokens among which the model
    would seem to have chosen each time.

    Real text lies between what repeats itself and what rambles (Holtzman et al. 2020, arXiv 1904.09751).
    """
    mean = mean_logprob(texts)
    return None if mean is None else math.exp(-mean)


class DistributionDifference(NamedTuple):
    """Distance between two distributions over the same vocabulary."""

    kl_bits: float
    """Kullback-Leibler divergence in bits (Kullback and Leibler 1951); infinite where the second excludes what the
    first allows."""
    jaccard: float
    """Tokens that both allow over tokens that at least one allows, in [0, 1] (Jaccard 1912)."""


def compare_distributions(
    candidates: Sequence[int], stage: StageSnapshot, other_candidates: Sequence[int], other: StageSnapshot
) -> DistributionDifference:
    """Compare the first distribution with the second, by the candidates that both traces show.

    All further tokens count as one, which can only make the divergence smaller (the data processing inequality): exact
    where the candidates hold everything that is possible, a lower bound elsewhere.
    """
    second = dict(zip(other_candidates, other.logprobs, strict=True))
    pairs = [(one, second[token]) for token, one in zip(candidates, stage.logprobs, strict=True) if token in second]
    both = sum(one > EXCLUDED_LOGPROB and two > EXCLUDED_LOGPROB for one, two in pairs)
    hidden = stage.kept - sum(one > EXCLUDED_LOGPROB for one, _ in pairs)
    other_hidden = other.kept - sum(two > EXCLUDED_LOGPROB for _, two in pairs)
    rest = (
        _unshown_logprob(hidden, [one for one, _ in pairs]),
        _unshown_logprob(other_hidden, [two for _, two in pairs]),
    )
    kl = math.fsum(_kl_term(*pair) for pair in [*pairs, rest]) / math.log(2)
    # of what the traces do not show, the smaller set is taken to lie in the larger: most stages cut by likelihood
    union = stage.kept + other.kept - both - min(hidden, other_hidden)
    return DistributionDifference(max(0.0, kl), (both + min(hidden, other_hidden)) / union)


def sampler_kl(trace: StepTrace) -> float:
    """Return how far the sampler moved one step's distribution from the model's, in bits: `KL(after || before)`.
    Cutting alone costs `-log2` of the probability that was kept."""
    return compare_distributions(trace.candidates, trace.final, trace.candidates, trace.raw).kl_bits


DiffSpan = tuple[Literal["same", "other"], tuple[int, int], tuple[int, int]]
"""Stretch of two token sequences: `(start, end)` in each."""


def diff_tokens(tokens: Sequence[Hashable], others: Sequence[Hashable]) -> list[DiffSpan]:
    """Return the stretches where two texts have the same tokens and where not, in order (Ratcliff and Obershelp, as in
    difflib).

    Tokens are ids, or pieces of text.
    """
    matcher = difflib.SequenceMatcher(a=tokens, b=others, autojunk=False)
    return [
        ("same" if kind == "equal" else "other", (start, end), (other_start, other_end))
        for kind, start, end, other_start, other_end in matcher.get_opcodes()
    ]


def _mean_repeated_ngram_share(texts: Sequence[TextSample]) -> float | None:
    return _mean([share for text in texts if (share := repeated_ngram_share(text)) is not None])


STATISTICS: Mapping[str, Callable[[Sequence[TextSample]], float | None]] = {
    "length": lambda texts: _mean([len(text.tokens) for text in texts if text.tokens or not text.text]),
    "repetition": _mean_repeated_ngram_share,
    "distinct_1": lambda texts: distinct_n(texts, 1),
    "distinct_2": lambda texts: distinct_n(texts, 2),
    "self_bleu": self_bleu,
    "mean_logprob": mean_logprob,
    "perplexity": perplexity,
    "entropy": lambda texts: _mean([bits for text in texts for bits in text.entropies]),
    "sampler_kl": lambda texts: _mean([bits for text in texts for bits in text.sampler_kls]),
}
"""Metrics of the texts of one setting. Means over steps weigh tokens alike, the others weigh texts alike."""


def _ngrams(tokens: Sequence[int], n: int) -> Iterable[tuple[int, ...]]:
    return zip(*(tokens[start:] for start in range(n)), strict=False)


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _unshown_logprob(tokens: int, logprobs: Sequence[float]) -> float:
    """Return the log-probability of so many tokens that are not shown. Rounding may leave them nothing, but they are
    possible."""
    return math.log(max(_ROUNDING, 1 - math.fsum(map(math.exp, logprobs)))) if tokens else EXCLUDED_LOGPROB


def _kl_term(one: float, two: float) -> float:
    return math.exp(one) * (one - two) if one > EXCLUDED_LOGPROB else 0.0
