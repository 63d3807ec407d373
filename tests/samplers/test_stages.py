"""Every stage against distributions worked out by hand, and against transformers' own processors."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from samplers import SamplerConfig, next_token_probs
from samplers.stages import PREFIX, top_p, top_p_by_sorting

HALF = torch.tensor([[0.5, 0.25, 0.15, 0.1]]).log()


def probs(logits: torch.Tensor, **fields) -> list[float]:
    return next_token_probs(logits, [SamplerConfig(**fields)])[0].tolist()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [0.5, 0.25, 0.15, 0.1]),
        ({"temperature": 0}, [1, 0, 0, 0]),
        # squares of the probabilities, over their sum 0.345
        ({"temperature": 0.5}, [0.25 / 0.345, 0.0625 / 0.345, 0.0225 / 0.345, 0.01 / 0.345]),
        ({"top_k": 1}, [1, 0, 0, 0]),
        ({"top_k": 2}, [2 / 3, 1 / 3, 0, 0]),
        ({"top_k": 4}, [0.5, 0.25, 0.15, 0.1]),
        ({"top_k": 99}, [0.5, 0.25, 0.15, 0.1]),
        ({"top_p": 0.4}, [1, 0, 0, 0]),
        ({"top_p": 0.6}, [2 / 3, 1 / 3, 0, 0]),
        ({"top_p": 0.8}, [0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9, 0]),
        ({"top_p": 0.95}, [0.5, 0.25, 0.15, 0.1]),
        # top_k = 3 leaves 0.9 of the mass, so the nucleus is then found among 5/9, 5/18 and 1/6
        ({"top_k": 3, "top_p": 0.8, "order": "gemini"}, [2 / 3, 1 / 3, 0, 0]),
        # the same after temperature 0.5: 0.25, 0.0625 and 0.0225 over 0.335, and 0.746 is below 0.8
        ({"top_k": 3, "top_p": 0.8, "temperature": 0.5}, [0.8, 0.2, 0, 0]),
    ],
)
def test_four_tokens_by_hand(fields, expected):
    assert probs(HALF, **fields) == pytest.approx(expected, abs=1e-6)
    assert [p == 0 for p in probs(HALF, **fields)] == [e == 0 for e in expected]


def test_order_decides_which_tokens_survive():
    settings = {"temperature": 2.0, "top_p": 0.75}
    assert sum(p > 0 for p in probs(HALF, order="huggingface", **settings)) == 3  # flattened first: 3 tokens needed
    assert sum(p > 0 for p in probs(HALF, order="llama_cpp", **settings)) == 2


def test_top_k_keeps_exactly_k_of_equal_tokens_lowest_ids_first():
    level = torch.zeros(1, 6)
    assert probs(level, top_k=4) == pytest.approx([0.25, 0.25, 0.25, 0.25, 0, 0])
    edge = torch.tensor([[1.0, 3.0, 1.0, 2.0, 1.0]])
    kept = [p > 0 for p in probs(edge, top_k=3)]
    assert kept == [True, True, False, True, False]


def test_top_p_keeps_the_lowest_ids_of_equal_tokens():
    assert probs(torch.zeros(1, 4), top_p=0.5) == pytest.approx([0.5, 0.5, 0, 0])


def test_greedy_takes_the_lowest_id_of_equal_tokens():
    assert probs(torch.tensor([[1.0, 2.0, 2.0]]), temperature=0) == [0, 1, 0]


def test_rows_have_their_own_settings():
    rows = HALF.repeat(3, 1)
    configs = [SamplerConfig(temperature=0), SamplerConfig(top_k=2, order="gemini"), SamplerConfig()]
    alone = [next_token_probs(HALF, [config])[0] for config in configs]
    together = next_token_probs(rows, configs)
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def test_neutral_settings_change_nothing_and_inputs_stay_as_they_were():
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(1))
    before = logits.clone()
    state = torch.get_rng_state()
    neutral = next_token_probs(logits, [SamplerConfig()] * 3)
    mixed = next_token_probs(logits, [SamplerConfig(top_k=5, top_p=0.7), SamplerConfig(), SamplerConfig(temperature=0)])
    assert torch.equal(neutral, logits.softmax(-1))
    assert torch.equal(mixed[1], logits[1].softmax(-1))
    assert torch.equal(logits, before)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_come_out_as_float32(dtype):
    out = next_token_probs(HALF.to(dtype), [SamplerConfig(top_k=2)])
    assert out.dtype == torch.float32
    assert out.sum() == pytest.approx(1, abs=1e-6)


def test_one_token_vocabulary_and_excluded_input_tokens():
    assert probs(torch.zeros(1, 1), temperature=0.3, top_k=5, top_p=0.1) == [1]
    assert probs(torch.tensor([[-math.inf, 0.0, 0.0]]), top_k=3, top_p=0.9) == pytest.approx([0, 0.5, 0.5])


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (torch.tensor([[0.0, math.nan]]), "row 0 has a NaN"),
        (torch.tensor([[0.0, math.inf]]), r"row 0 has \+inf"),
        (torch.tensor([[-math.inf, -math.inf]]), "no token above -inf"),
        (torch.zeros(2, 2), "shape"),
        (torch.zeros(1, 2, dtype=torch.int64), "floating"),
    ],
)
def test_unusable_logits_are_refused(bad, words):
    with pytest.raises(ValueError, match=words):
        next_token_probs(bad, [SamplerConfig()])


@settings(deadline=None, max_examples=60)
@given(
    vocab=st.integers(1, 3000),
    seed=st.integers(0, 10_000),
    temperature=st.floats(0.05, 5),
    k=st.integers(1, 60),
    p=st.floats(0.05, 0.999),
)
def test_equal_to_transformers(vocab, seed, temperature, k, p):
    logits = torch.randn(2, vocab, generator=torch.Generator().manual_seed(seed)) * 4
    theirs = logits
    for warper in (TemperatureLogitsWarper(temperature), TopKLogitsWarper(k), TopPLogitsWarper(p)):
        theirs = warper(None, theirs)
    ours = next_token_probs(logits, [SamplerConfig(temperature=temperature, top_k=k, top_p=p)] * 2)
    assert torch.allclose(ours, theirs.softmax(-1), atol=1e-6)
    # on the very edge of the nucleus the two cumulative sums may round apart: by one token at most
    assert ((ours > 0).sum(-1) - (theirs > -math.inf).sum(-1)).abs().max() <= 1


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), p=st.floats(0.01, 1), spread=st.sampled_from([0.0, 0.01, 1.0, 5.0]))
def test_fast_top_p_is_the_plain_one_bit_for_bit(seed, p, spread):
    logits = torch.randn(3, 3 * PREFIX, generator=torch.Generator().manual_seed(seed)) * spread
    logits[1] *= 4  # one row that needs no full sort beside rows that do
    values = torch.tensor([[p], [p], [1.0]])
    assert torch.equal(top_p(logits, values), top_p_by_sorting(logits, values))
