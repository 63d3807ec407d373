"""The sampler's view from a few tokens, against the truth over the whole vocabulary, and evidence by hand."""

from __future__ import annotations

import math

import pytest
import torch

from samplers import SamplerConfig, next_token_probs
from samplers.top_logprobs import TopLogprobsChain

HALF, QUARTER, EIGHTH = math.log(0.5), math.log(0.25), math.log(0.125)


def top_logprobs_of(logits: torch.Tensor, count: int) -> dict[int, float]:
    top = logits.log_softmax(-1)[0].topk(count)
    return dict(zip(top.indices.tolist(), top.values.tolist(), strict=True))


CONFIGS = [
    {},
    {"temperature": 0},
    {"temperature": 0.6},
    {"temperature": 1.6},
    {"temperature": 1.6, "top_p": 0.9},
    {"temperature": 0.8, "top_p": 0.95, "order": "llama_cpp"},
    {"temperature": 1.3, "top_k": 40, "top_p": 0.9, "order": "gemini"},
    {"top_k": 7},
    {"min_p": 0.05, "temperature": 1.2},
    {"min_p": 0.001, "top_p": 0.99},
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("spread", [1.0, 3.0, 6.0])
def test_the_truth_lies_within_the_bound(config, told, spread):
    generator = torch.Generator().manual_seed(7)
    sampler = SamplerConfig(**config)
    for vocabulary in (50, 3000):
        for _ in range(6):
            logits = torch.randn(1, vocabulary, generator=generator) * spread
            known = top_logprobs_of(logits, 20)
            chosen = next(iter(known))
            seen = TopLogprobsChain(sampler, vocabulary if told else None).step(chosen, known, 20)
            true = next_token_probs(logits, [sampler])[0]
            for token, logprob in zip(seen.trace.candidates, seen.trace.final.logprobs, strict=True):
                assert abs(math.exp(logprob) - float(true[token])) <= seen.error_bound + 1e-4
            raw = [math.exp(logprob) for logprob in seen.trace.raw.logprobs]
            assert raw == pytest.approx([math.exp(value) for value in known.values()], abs=1e-5)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("told", [True, False])
def test_no_unseen_token_exceeds_its_ceiling(config, told):
    generator = torch.Generator().manual_seed(7)
    sampler = SamplerConfig(**config)
    for vocabulary in (50, 3000):
        for _ in range(6):
            logits = torch.randn(1, vocabulary, generator=generator) * 2
            known = top_logprobs_of(logits, 20)
            stages = TopLogprobsChain(sampler, vocabulary if told else None).distributions(known, 20)
            (_, raw), (_, final) = stages[0], stages[-1]
            unseen = torch.ones(vocabulary, dtype=torch.bool).index_fill(0, torch.tensor(list(known)), False)
            least, rest = math.exp(min(known.values())), 1 - math.fsum(map(math.exp, known.values()))
            assert raw.ceiling == pytest.approx(min(least, rest), rel=2e-5)
            assert float(next_token_probs(logits, [sampler])[0][unseen].max()) <= final.ceiling + 1e-4


def test_a_cut_within_the_known_tokens_leaves_nothing_open():
    seen = TopLogprobsChain(SamplerConfig(top_k=2), 1000).step(5, {5: HALF, 9: QUARTER, 3: EIGHTH}, 3)
    assert seen.error_bound == pytest.approx(0, abs=1e-6)
    assert [math.exp(logprob) for logprob in seen.trace.final.logprobs] == pytest.approx([2 / 3, 1 / 3, 0])
    assert (seen.trace.final.kept, seen.trace.raw.kept) == (2, 1000)
    assert seen.trace.residual == pytest.approx(0.125)


def test_a_drawn_token_beyond_the_known_ones_is_among_the_candidates():
    seen = TopLogprobsChain(SamplerConfig(), 1000).step(7, {5: HALF, 9: QUARTER, 7: math.log(0.001)}, 2)
    assert list(seen.trace.candidates) == [5, 9, 7]
    assert seen.trace.rank == 3


@pytest.mark.parametrize(
    ("config", "chosen", "field", "evidence"),
    [
        ({"top_k": 1}, 5, "top_k", math.log(2)),  # certain with it, one half without
        ({"top_k": 1}, 9, "top_k", -5),  # impossible with it
        ({"top_k": 2}, 5, "top_k", math.log(4 / 3)),
        ({"temperature": 0}, 5, "temperature", math.log(2)),
        ({"temperature": 0}, 9, "temperature", -5),
        ({"top_p": 0.6, "top_k": 1}, 9, "top_k", -5),
        ({"top_p": 0.6, "top_k": 1}, 3, "top_k", 0),  # the other one excludes it too
    ],
)
def test_evidence_by_hand(config, chosen, field, evidence):
    seen = TopLogprobsChain(SamplerConfig(**config), 1000).step(chosen, {5: HALF, 9: QUARTER, 3: EIGHTH}, 3)
    assert seen.evidence[field] == pytest.approx(evidence, abs=1e-4)


def test_penalties_look_at_the_answer():
    view = TopLogprobsChain(SamplerConfig(presence_penalty=1.0), 1000)
    known = {5: HALF, 9: math.log(0.4999)}
    first = view.step(5, known, 2)
    second = view.step(9, known, 2)
    assert math.exp(first.trace.final.logprobs[0]) == pytest.approx(0.5, abs=1e-3)
    assert math.exp(second.trace.final.logprobs[0]) == pytest.approx(1 / (1 + math.e), abs=1e-3)


def test_what_cannot_be_bounded_says_so():
    for config in ({"typical_p": 0.5}, {"top_n_sigma": 1.0}, {"repetition_penalty": 1.2}, {"presence_penalty": -1.0}):
        assert TopLogprobsChain(SamplerConfig(**config)).step(5, {5: HALF, 9: QUARTER}, 2).error_bound == 1.0


@pytest.mark.parametrize(
    ("chosen", "known", "likeliest"),
    [
        (5, {5: math.log(0.2)}, 0),  # nothing but the drawn token
        (5, {5: -0.1, 9: -9999.0, 3: -9999.0}, 3),  # vLLM's way of writing what it excluded
        (5, {5: -9.0, 9: -9.1, 3: -9.2}, 3),  # hardly anything is known
        (5, {5: 0.0}, 1),
        (5, {5: -0.1, 9: -0.1}, 2),  # more than all
        (5, {5: -50.0, 9: -0.7, 3: -0.7}, 2),
    ],
)
@pytest.mark.parametrize("config", [{}, {"top_k": 1}, {"top_p": 0.5, "temperature": 1.5}, {"temperature": 0}])
def test_odd_numbers_are_drawn_too(chosen, known, likeliest, config):
    seen = TopLogprobsChain(SamplerConfig(**config)).step(chosen, known, likeliest)
    assert set(seen.trace.candidates) == set(known)
    assert seen.trace.token_id == chosen
    assert 0 <= seen.error_bound <= 1
    assert all(math.isfinite(value) for value in seen.evidence.values())


def test_an_output_format_takes_part_unseen():
    """A grammar may have drawn what top_k would not: that says nothing of top_k."""
    seen = TopLogprobsChain(SamplerConfig(top_k=1), 1000, constrained=True).step(9, {5: HALF, 9: QUARTER}, 2)
    assert (seen.evidence, seen.error_bound) == ({}, 1.0)
