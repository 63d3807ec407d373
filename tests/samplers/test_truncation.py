"""Selection stages against distributions worked out by hand from the papers' definitions."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from samplers import RowState, SamplerConfig, draw, next_token_probs, truncation
from samplers.noise import step_uniform
from samplers.truncation import PREFIX, top_p, top_p_by_sorting

HALF = torch.tensor([[0.5, 0.25, 0.15, 0.1]]).log()
FLAT = torch.tensor([[0.2, 0.1, 0.3, 0.05, 0.25, 0.1]]).log()


def token_probs(logits: torch.Tensor, **fields) -> list[float]:
    return next_token_probs(logits, [SamplerConfig(**fields)])[0].tolist()


def kept_tokens(logits: torch.Tensor, **fields) -> list[int]:
    return [token for token, p in enumerate(token_probs(logits, **fields)) if p > 0]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [0.5, 0.25, 0.15, 0.1]),
        ({"temperature": 0}, [1, 0, 0, 0]),
        # squares of the probabilities, over their sum 0.345
        ({"temperature": 0.5}, [0.25 / 0.345, 0.0625 / 0.345, 0.0225 / 0.345, 0.01 / 0.345]),
        ({"temperature": 1e-30}, [1, 0, 0, 0]),
        ({"temperature": 1e-45}, [1, 0, 0, 0]),
        ({"top_k": 1}, [1, 0, 0, 0]),
        ({"top_k": 2}, [2 / 3, 1 / 3, 0, 0]),
        ({"top_k": 4}, [0.5, 0.25, 0.15, 0.1]),
        ({"top_k": 99}, [0.5, 0.25, 0.15, 0.1]),
        ({"top_p": 0.4}, [1, 0, 0, 0]),
        ({"top_p": 0.6}, [2 / 3, 1 / 3, 0, 0]),
        ({"top_p": 0.8}, [0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9, 0]),
        ({"top_p": 0.95}, [0.5, 0.25, 0.15, 0.1]),
        # a share of the best one's 0.5: the bars are 0.25 (met exactly or missed by a hair), 0.14 and 0.5
        ({"min_p": 0.49}, [2 / 3, 1 / 3, 0, 0]),
        ({"min_p": 0.51}, [1, 0, 0, 0]),
        ({"min_p": 0.28}, [0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9, 0]),
        ({"min_p": 1}, [1, 0, 0, 0]),
        ({"epsilon_cutoff": 0.12}, [0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9, 0]),
        ({"epsilon_cutoff": 0.6}, [1, 0, 0, 0]),
        # H = 1.2080 nats, exp(-H) = 0.2988: for epsilon 0.2 the bar is min(0.2, 0.4472 * 0.2988 = 0.1336)
        ({"eta_cutoff": 0.2}, [0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9, 0]),
        # and for 0.05 it is min(0.05, 0.0668)
        ({"eta_cutoff": 0.05}, [0.5, 0.25, 0.15, 0.1]),
        # for 0.4 it is 0.6325 * 0.2988 = 0.1890
        ({"eta_cutoff": 0.4}, [2 / 3, 1 / 3, 0, 0]),
        # |-ln p - H|: 0.515, 0.178, 0.689, 1.095, so the ranking is 1, 0, 2, 3
        ({"typical_p": 0.2}, [0, 1, 0, 0]),
        ({"typical_p": 0.26}, [2 / 3, 1 / 3, 0, 0]),
        ({"typical_p": 0.76}, [0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9, 0]),
        ({"typical_p": 0.95}, [0.5, 0.25, 0.15, 0.1]),
        # surprise in bits: 1, 2, 2.737, 3.322; the limit starts at twice tau
        ({"mirostat_tau": 0.4}, [1, 0, 0, 0]),
        ({"mirostat_tau": 1.01}, [2 / 3, 1 / 3, 0, 0]),
        ({"mirostat_tau": 1.4}, [0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9, 0]),
        ({"mirostat_tau": 1.7}, [0.5, 0.25, 0.15, 0.1]),
        # tokens of at least 0.12: the first three; the third, the least likely of them, stays
        ({"xtc_probability": 1, "xtc_threshold": 0.12}, [0, 0, 0.6, 0.4]),
        ({"xtc_probability": 1, "xtc_threshold": 0.2}, [0, 0.5, 0.3, 0.2]),
        ({"xtc_probability": 1, "xtc_threshold": 0.3}, [0.5, 0.25, 0.15, 0.1]),
        ({"xtc_probability": 1, "xtc_threshold": 0.6}, [0.5, 0.25, 0.15, 0.1]),
        ({"xtc_probability": 1, "xtc_threshold": 0.01}, [0, 0, 0, 1]),
        # top_k = 3 leaves 0.9 of the mass, so the nucleus is then found among 5/9, 5/18 and 1/6
        ({"top_k": 3, "top_p": 0.8, "order": "gemini"}, [2 / 3, 1 / 3, 0, 0]),
        # the same after temperature 0.5: 0.25, 0.0625 and 0.0225 over 0.335, and 0.746 is below 0.8
        ({"top_k": 3, "top_p": 0.8, "temperature": 0.5}, [0.8, 0.2, 0, 0]),
    ],
)
def test_four_tokens_by_hand(fields, expected):
    assert token_probs(HALF, **fields) == pytest.approx(expected, abs=1e-6)
    assert [p == 0 for p in token_probs(HALF, **fields)] == [e == 0 for e in expected]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"top_k": 3}, [0, 2, 4]),
        ({"top_p": 0.54}, [2, 4]),
        ({"top_p": 0.56}, [0, 2, 4]),
        ({"min_p": 0.6}, [0, 2, 4]),
        ({"epsilon_cutoff": 0.15}, [0, 2, 4]),
        # H = 1.6400, exp(-H) = 0.1940; sqrt(0.3) * 0.1940 = 0.1063
        ({"eta_cutoff": 0.3}, [0, 2, 4]),
        # |-ln p - H|: 0 0.031, 1 0.663, 2 0.436, 3 1.356, 4 0.254, 5 0.663
        ({"typical_p": 0.19}, [0]),
        ({"typical_p": 0.4}, [0, 4]),
        ({"typical_p": 0.7}, [0, 2, 4]),
        ({"typical_p": 0.8}, [0, 1, 2, 4]),
        # surprise in bits: 2.32, 3.32, 1.74, 4.32, 2, 3.32
        ({"mirostat_tau": 1.1}, [2, 4]),
        ({"mirostat_tau": 1.2}, [0, 2, 4]),
        ({"xtc_probability": 1, "xtc_threshold": 0.15}, [0, 1, 3, 5]),
    ],
)
def test_six_unsorted_tokens_by_hand(fields, expected):
    assert kept_tokens(FLAT, **fields) == expected


@pytest.mark.parametrize(("n", "expected"), [(0.5, [1]), (1.1, [1, 4]), (1.7, [1, 2, 4]), (3, [0, 1, 2, 3, 4])])
def test_top_n_sigma_by_hand(n, expected):
    """Logits 0, 4, 2, 0, 3 (mean 1.8, variance (3.24 + 4.84 + 0.04 + 3.24 + 1.44) / 5 = 2.56, sigma 1.6)."""
    logits = torch.tensor([[0.0, 4.0, 2.0, 0.0, 3.0]])
    assert kept_tokens(logits, top_n_sigma=n) == expected
    hotter = kept_tokens(logits, top_n_sigma=n, temperature=3.0)
    assert hotter == expected, "the kept set does not depend on the temperature"
    # excluded tokens count neither in the mean nor in the deviation
    assert kept_tokens(torch.cat([logits, torch.full((1, 4), -math.inf)], -1), top_n_sigma=n) == expected


def test_order_decides_which_tokens_survive():
    settings = {"temperature": 2.0, "top_p": 0.75}
    assert len(kept_tokens(HALF, order="huggingface", **settings)) == 3  # flattened first: 3 tokens needed
    assert len(kept_tokens(HALF, order="llama_cpp", **settings)) == 2
    assert kept_tokens(HALF, order=("top_p", "temperature"), **settings) == [0, 1]


def test_top_k_keeps_exactly_k_of_equal_tokens_lowest_ids_first():
    level = torch.zeros(1, 6)
    assert token_probs(level, top_k=4) == pytest.approx([0.25, 0.25, 0.25, 0.25, 0, 0])
    assert kept_tokens(torch.tensor([[1.0, 3.0, 1.0, 2.0, 1.0]]), top_k=3) == [0, 1, 3]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"temperature": 0}, [0]),
        ({"top_p": 0.5}, [0, 1]),
        ({"typical_p": 0.5}, [0, 1]),
        ({"min_p": 1}, [0, 1, 2, 3]),
        ({"epsilon_cutoff": 0.9}, [0, 1, 2, 3]),
        ({"eta_cutoff": 0.9}, [0, 1, 2, 3]),
        ({"top_n_sigma": 0.1}, [0, 1, 2, 3]),
        ({"mirostat_tau": 0.1}, [0, 1, 2, 3]),
        ({"xtc_probability": 1, "xtc_threshold": 0.2}, [3]),
        ({"xtc_probability": 1, "xtc_threshold": 0.25}, [3]),
    ],
)
def test_equal_tokens(fields, expected):
    assert kept_tokens(torch.zeros(1, 4), **fields) == expected


def test_xtc_happens_as_often_as_its_probability_says():
    config = SamplerConfig(xtc_probability=0.3, xtc_threshold=0.2, seed=11)
    outcomes = []
    for step in range(400):
        cut = next_token_probs(HALF, [config], [[0] * step])[0, 0] == 0
        assert cut == (step_uniform(11, step) < 0.3)
        outcomes.append(bool(cut))
    assert 0.2 < sum(outcomes) / 400 < 0.4  # three and a half standard deviations to either side


@pytest.mark.thorough
def test_mirostat_steers_each_row_towards_its_own_target():
    """Over a heavy-tailed vocabulary the mean surprise of what is drawn settles at tau."""
    logits = -1.1 * torch.arange(1.0, 2001.0).log()[None]
    rows = [RowState(SamplerConfig(mirostat_tau=tau, seed=5)) for tau in (2.0, 5.0)]
    configs = [row.config for row in rows]
    surprises: list[list[float]] = [[], []]
    for step in range(600):
        after = next_token_probs(logits.expand(2, -1), configs, rows)
        tokens = draw(after, [5, 5], [step, step]).tolist()
        for place, (row, token) in enumerate(zip(rows, tokens, strict=True)):
            surprises[place].append(-math.log2(float(after[place, token])))
            row.accept(token, float(after[place, token]))
    assert [sum(each[100:]) / 500 for each in surprises] == pytest.approx([2.0, 5.0], abs=0.1)


def test_mirostat_update_by_hand():
    row = RowState(SamplerConfig(mirostat_tau=3, mirostat_eta=0.5))
    assert row.surprise_limit == 6
    row.accept(4, 0.25)  # 2 bits: one fewer than wanted, so the limit rises by half a bit
    assert row.surprise_limit == 6.5
    row.accept(4, 1 / 32)
    assert row.surprise_limit == 5.5


@pytest.mark.parametrize("fields", [{"temperature": 0.3, "top_k": 5, "top_p": 0.1}, {"typical_p": 0.1}, {"min_p": 1}])
def test_one_token_vocabulary(fields):
    assert token_probs(torch.zeros(1, 1), **fields) == [1]


ONE_OF_EACH = [
    {"temperature": 0},
    {"temperature": 0.7},
    {"top_k": 2},
    {"top_p": 0.5},
    {"min_p": 0.5},
    {"typical_p": 0.5},
    {"epsilon_cutoff": 0.3},
    {"eta_cutoff": 0.3},
    {"top_n_sigma": 0.5},
    {"xtc_probability": 1, "xtc_threshold": 0.2},
    {"mirostat_tau": 0.5},
]


@pytest.mark.parametrize("fields", ONE_OF_EACH)
def test_excluded_input_tokens_stay_excluded_and_do_not_count(fields):
    padded = torch.full((1, 9), -math.inf)
    padded[:, 1:8:2] = HALF
    assert [token_probs(padded, **fields)[token] for token in (1, 3, 5, 7)] == pytest.approx(
        token_probs(HALF, **fields)
    )
    assert set(kept_tokens(padded, **fields)) <= {1, 3, 5, 7}


@given(seed=st.integers(0, 10_000), p=st.floats(0.01, 1), spread=st.sampled_from([0.0, 0.01, 1.0, 5.0]))
def test_fast_top_p_is_the_plain_one_bit_for_bit(seed, p, spread):
    logits = torch.randn(4, 3 * PREFIX, generator=torch.Generator().manual_seed(seed)) * spread
    logits[1] *= 4  # one row that needs no full sort beside rows that do
    logits[3, 200:] = -math.inf
    values = torch.tensor([[p], [p], [1.0], [p]])
    assert torch.equal(top_p(logits, values), top_p_by_sorting(logits, values))


def test_fast_top_p_is_the_plain_one_where_few_tokens_are_left():
    logits = torch.randn(2, 3 * PREFIX, generator=torch.Generator().manual_seed(4))
    logits[:, 150:] = -math.inf
    values = torch.tensor([[0.9], [0.99999]])
    assert torch.equal(top_p(logits, values), top_p_by_sorting(logits, values))


@pytest.mark.parametrize(
    ("stage", "neutral", "active"),
    [
        (truncation.temperature, (1.0,), (0.5,)),
        (truncation.top_k, (0,), (2,)),
        (truncation.top_p, (1.0,), (0.5,)),
        (truncation.min_p, (0.0,), (0.5,)),
        (truncation.typical_p, (1.0,), (0.5,)),
        (truncation.epsilon_cutoff, (0.0,), (0.3,)),
        (truncation.eta_cutoff, (0.0,), (0.3,)),
        (truncation.top_n_sigma, (0.0,), (0.5,)),
        (truncation.xtc, (0.0, 0.001, 0.0), (1.0, 0.001, 0.5)),
        (truncation.mirostat, (math.inf,), (1.5,)),
    ],
)
def test_a_neutral_row_beside_an_active_one_comes_back_bit_for_bit(stage, neutral, active):
    logits = torch.randn(2, 3000, generator=torch.Generator().manual_seed(6)) * 4
    logits[1, 5] = -math.inf
    settings = [torch.tensor([[use], [off]]) for use, off in zip(active, neutral, strict=True)]
    before = logits.clone()
    out = stage(logits, *settings)
    assert torch.equal(out[1], logits[1])
    assert not torch.equal(out[0], logits[0])
    assert torch.equal(logits, before)
