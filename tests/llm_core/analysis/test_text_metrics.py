"""Figures of texts, against values worked out by hand and against whole distributions."""

from __future__ import annotations

import math

import pytest
import torch
from sacrebleu.metrics import BLEU

from llm_core.analysis.text_metrics import (
    STATISTICS,
    TextSample,
    compare_distributions,
    diff_tokens,
    distinct_n,
    make_text_sample,
    mean_logprob,
    perplexity,
    repeated_ngram_share,
    sampler_kl,
    self_bleu,
)
from llm_core.generation.record import TokenEvent
from samplers import SamplerChain, SamplerConfig, summarize


def make_sample(*tokens: int, words: str = "", logprobs: tuple[float, ...] = ()) -> TextSample:
    return TextSample(words, tokens, logprobs or (-1.0,) * len(tokens), (2.0,) * len(tokens), (0.5,) * len(tokens))


def trace_step(logits: torch.Tensor, **settings):
    """The trace of one step and its whole distributions: before the sampler and after it."""
    config, recording = SamplerConfig(**settings), []
    probs = SamplerChain([config]).probs(logits[None], None, recording)[0]
    return summarize(recording, [int(probs.argmax())])[0], logits.softmax(-1), probs


def exact_kl(first: torch.Tensor, second: torch.Tensor) -> float:
    possible = first > 0
    return float((first[possible] * (first[possible] / second[possible]).log2()).sum())


def test_distinct_n_counts_over_all_texts():
    texts = [make_sample(1, 2, 1, 2), make_sample(1, 2, 3)]
    assert distinct_n(texts, 1) == 3 / 7
    assert distinct_n(texts, 2) == 3 / 5  # 12, 21, 12, 12, 23
    assert distinct_n([make_sample(1, 2)], 3) is None


def test_repeated_ngrams_look_within_a_text():
    assert repeated_ngram_share(make_sample(*[1, 2, 3, 4] * 2)) == pytest.approx(
        1 / 5
    )  # of five 4-grams, the last is the first
    assert repeated_ngram_share(make_sample(*[7] * 9)) == pytest.approx(5 / 6)
    assert repeated_ngram_share(make_sample(1, 2, 3, 4, 5)) == 0
    assert repeated_ngram_share(make_sample(1, 2, 3)) is None
    # a text too short for a 4-gram has no say in the mean
    assert STATISTICS["repetition"]([make_sample(*[7] * 9), make_sample(1, 2)]) == pytest.approx(5 / 6)


def test_self_bleu_is_each_text_against_the_others():
    words = ["the cat sat on the mat", "the cat sat on a mat", "a dog ran in the park today"]
    found = self_bleu([make_sample(1, words=each) for each in words])
    scores = [
        BLEU(effective_order=True).sentence_score(words[0], words[1:]).score,
        BLEU(effective_order=True).sentence_score(words[1], [words[0], words[2]]).score,
        BLEU(effective_order=True).sentence_score(words[2], words[:2]).score,
    ]
    assert found == pytest.approx(sum(scores) / 300)
    assert self_bleu([make_sample(1, words=words[0])] * 3) == pytest.approx(1)
    assert self_bleu([make_sample(1, words=words[0])]) is None


def test_perplexity_counts_tokens_and_not_texts():
    texts = [make_sample(1, logprobs=(-math.log(8),)), make_sample(1, 2, 3, logprobs=(-math.log(2),) * 3)]
    assert mean_logprob(texts) == pytest.approx(-(math.log(8) + 3 * math.log(2)) / 4)
    assert perplexity(texts) == pytest.approx((8 * 2**3) ** 0.25)
    assert perplexity([]) is None


def test_every_statistic_says_nothing_of_nothing():
    assert {compute([]) for compute in STATISTICS.values()} == {None}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"top_k": 5}, {"top_k": 12}),
        ({"top_p": 0.6}, {"temperature": 0.5}),
        ({"min_p": 0.2}, {"top_k": 30, "temperature": 2}),
        ({"temperature": 0}, {"top_k": 3}),
        ({"top_k": 30}, {"temperature": 0.2}),
    ],
)
def test_differences_are_exact_where_the_candidates_hold_everything_possible(first, second):
    logits = torch.linspace(4, -6, 36)
    one, _, probs = trace_step(logits, **first)
    two, _, others = trace_step(logits, **second)
    found = compare_distributions(one.candidates, one.final, two.candidates, two.final)
    assert found.kl_bits == pytest.approx(exact_kl(probs, others), abs=1e-5)
    both, either = ((probs > 0) & (others > 0)).sum(), ((probs > 0) | (others > 0)).sum()
    assert found.jaccard == pytest.approx(float(both / either))


def test_what_is_nearly_impossible_is_not_taken_for_excluded():
    one, _, _ = trace_step(torch.tensor([5.0, 0.0]))
    two, _, _ = trace_step(torch.tensor([5.0, 0.0]), temperature=0.001)
    rare = 1 / (1 + math.exp(5))
    found = compare_distributions(one.candidates, one.final, two.candidates, two.final)
    expected = (1 - rare) * math.log2(1 - rare) + rare * (math.log2(rare) + 5000 / math.log(2))
    assert found.kl_bits == pytest.approx(expected, rel=1e-5)
    assert found.jaccard == 1


def test_what_the_second_excludes_makes_the_difference_infinite():
    one, _, _ = trace_step(torch.linspace(3, 0, 20), top_k=5)
    two, _, _ = trace_step(torch.linspace(3, 0, 20), top_k=2)
    assert compare_distributions(one.candidates, one.final, two.candidates, two.final).kl_bits == math.inf
    assert compare_distributions(two.candidates, two.final, one.candidates, one.final).kl_bits < math.inf


@pytest.mark.parametrize("seed", range(5))
def test_in_a_large_vocabulary_the_difference_is_a_lower_bound(seed):
    logits = torch.randn(3000, generator=torch.Generator().manual_seed(seed)) * 3
    one, _, probs = trace_step(logits, temperature=0.7)
    two, _, others = trace_step(logits, temperature=1.4)
    found = compare_distributions(one.candidates, one.final, two.candidates, two.final)
    assert 0 < found.kl_bits <= exact_kl(probs, others) + 1e-6
    assert found.jaccard == 1


def test_cutting_costs_the_logarithm_of_what_is_kept():
    trace, raw, probs = trace_step(torch.linspace(2, -2, 500), top_k=7)
    assert sampler_kl(trace) == pytest.approx(-math.log2(float(raw[probs > 0].sum())), abs=1e-5)
    assert sampler_kl(trace_step(torch.linspace(2, -2, 500))[0]) == 0


def test_text_diff_covers_both_texts_in_order():
    pieces = diff_tokens([1, 2, 3, 4, 5], [1, 2, 9, 4, 5, 6])
    assert pieces == [
        ("same", (0, 2), (0, 2)),
        ("other", (2, 3), (2, 3)),
        ("same", (3, 5), (3, 5)),
        ("other", (5, 5), (5, 6)),
    ]


def test_pieces_without_tokens_or_probabilities_leave_their_figures_out():
    trace, *_ = trace_step(torch.tensor([0.5, 0.3, 0.2]).log())
    bare = make_text_sample(
        [TokenEvent(None, "The sea", "The sea", None, 0.0), TokenEvent(None, " is", " is", None, 0.1)]
    )
    assert (bare.text, bare.tokens, bare.logprobs, bare.entropies, bare.sampler_kls) == ("The sea is", (), (), (), ())
    figures = {name: compute([bare, bare]) for name, compute in STATISTICS.items()}
    assert {name for name, figure in figures.items() if figure is not None} == {"self_bleu"}
    half = make_text_sample([TokenEvent(0, "The", "The", trace, 0.0), TokenEvent(1, " sea", " sea", None, 0.1)])
    assert (half.tokens, half.logprobs) == ((0, 1), ()), "a mean over some tokens would be another figure"
    assert STATISTICS["length"]([half]) == 2
    assert diff_tokens(["a", "b"], ["a", "c"])[0] == ("same", (0, 1), (0, 1))
