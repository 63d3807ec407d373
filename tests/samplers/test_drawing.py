"""Draws follow the distribution, repeat with their seed, and do not see their neighbours."""

from __future__ import annotations

import pytest
import torch

from samplers import SamplerConfig, draw, next_token_probs, step_noise

WANTED = torch.tensor([0.5, 0.3, 0.15, 0.05, 0.0])
CHI_SQUARE_999 = 16.27  # 3 degrees of freedom: a right sampler stays below in 999 of 1,000 seeds


def test_frequencies_follow_the_distribution():
    count = 20_000
    tokens = draw(WANTED.repeat(count, 1), [3] * count, range(count))
    seen = torch.bincount(tokens, minlength=5).float()
    expected = WANTED[:4] * count
    assert seen[4] == 0
    assert float(((seen[:4] - expected) ** 2 / expected).sum()) < CHI_SQUARE_999


def test_frequencies_over_seeds_too():
    count = 20_000
    tokens = draw(WANTED.repeat(count, 1), range(count), [0] * count)
    expected = WANTED[:4] * count
    seen = torch.bincount(tokens, minlength=5)[:4].float()
    assert float(((seen - expected) ** 2 / expected).sum()) < CHI_SQUARE_999


def test_noise_depends_on_seed_and_step_only():
    state = torch.get_rng_state()
    assert torch.equal(step_noise(5, 9, 100), step_noise(5, 9, 100))
    assert not torch.equal(step_noise(5, 9, 100), step_noise(5, 10, 100))
    assert not torch.equal(step_noise(5, 9, 100), step_noise(6, 9, 100))
    assert not torch.equal(step_noise(5, 6, 100), step_noise(6, 5, 100))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_row_draws_the_same_alone_in_a_batch_and_shuffled():
    logits = torch.randn(6, 200, generator=torch.Generator().manual_seed(2))
    configs = [SamplerConfig(temperature=0.5 + row / 4, top_k=row * 7, seed=row) for row in range(6)]
    seeds, steps = [config.seed for config in configs], [4] * 6
    together = draw(next_token_probs(logits, configs), seeds, steps)
    alone = [draw(next_token_probs(logits[r : r + 1], [configs[r]]), [seeds[r]], [4]).item() for r in range(6)]
    order = [3, 0, 5, 1, 4, 2]
    shuffled = draw(next_token_probs(logits[order], [configs[r] for r in order]), [seeds[r] for r in order], steps)
    assert together.tolist() == alone
    assert shuffled.tolist() == [alone[r] for r in order]


def test_equal_seeds_share_their_noise():
    probs = torch.tensor([[0.6, 0.4], [0.6, 0.4]])
    tokens = [draw(probs, [8, 8], [step, step]).tolist() for step in range(50)]
    assert all(a == b for a, b in tokens)
    assert len({a for a, _ in tokens}) == 2


def test_counts_must_agree():
    with pytest.raises(ValueError, match="expected equal counts"):
        draw(torch.ones(2, 3) / 3, [1], [0, 0])
