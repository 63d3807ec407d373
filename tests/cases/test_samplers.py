"""Sampler stages that differ from their reference today."""

from __future__ import annotations

import pytest
import torch

from samplers import RowState, SamplerConfig, next_token_probs


@pytest.mark.xfail(strict=True, reason="DRY weakens a token that is a sequence breaker", raises=AssertionError)
def test_dry_never_weakens_a_sequence_breaker():
    """Case of llama.cpp's tests/test-sampling.cpp; text-generation-webui #5677 and vLLM agree."""
    config = SamplerConfig(dry_multiplier=1.0, dry_base=1.1, dry_allowed_length=2, dry_sequence_breakers=(3,))
    row = RowState(config, prompt=(0, 1, 3, 4, 0, 1))  # 0 1 came before, and the breaker followed
    assert next_token_probs(torch.zeros(1, 5), [config], [row])[0].tolist() == pytest.approx([0.2] * 5)
