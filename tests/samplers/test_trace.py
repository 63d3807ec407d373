"""The trace says what happened: checked against the full distributions."""

from __future__ import annotations

import math

import pytest
import torch

from samplers import SamplerChain, SamplerConfig, StepTrace, summarize

LOGITS = torch.tensor([[0.5, 0.25, 0.15, 0.1]]).log()


def trace(config: SamplerConfig, token_id: int, logits: torch.Tensor = LOGITS, **options) -> StepTrace:
    recorder: list = []
    SamplerChain([config]).probs(logits, recorder)
    return summarize(recorder[0], token_id, **options)


def test_each_stage_by_hand():
    step = trace(SamplerConfig(temperature=0.5, top_k=3, top_p=0.8), token_id=1)
    assert [stage.name for stage in step.stages] == ["raw", "temperature", "top_k", "top_p"]
    assert [stage.kept for stage in step.stages] == [4, 4, 3, 2]
    assert [stage.kept_mass for stage in step.stages] == pytest.approx([1, 1, 0.9, 0.75])
    assert step.raw.entropy_bits == pytest.approx(-sum(p * math.log2(p) for p in (0.5, 0.25, 0.15, 0.1)), abs=1e-5)
    assert step.final.entropy_bits == pytest.approx(-0.8 * math.log2(0.8) - 0.2 * math.log2(0.2), abs=1e-5)
    assert [math.exp(x) for x in step.final.logprobs] == pytest.approx([0.8, 0.2, 0, 0], abs=1e-6)
    assert (step.rank, step.surprisal_bits) == (2, pytest.approx(2))
    assert step.residual == pytest.approx(0, abs=1e-6)


def test_neutral_stages_leave_no_snapshot_even_beside_rows_that_use_them():
    recorder: list = []
    chain = SamplerChain([SamplerConfig(), SamplerConfig(top_k=2), SamplerConfig(order="gemini", top_p=0.5)])
    chain.probs(LOGITS.repeat(3, 1), recorder)
    assert [[name for name, _ in recording] for recording in recorder] == [["raw"], ["raw", "top_k"], ["raw", "top_p"]]


def test_candidates_are_the_likeliest_and_always_hold_the_chosen_and_the_asked_for():
    logits = torch.arange(100.0)[None] / 20
    step = trace(SamplerConfig(), token_id=3, logits=logits, n=5, also=[50, 99])
    assert step.candidates == (99, 98, 97, 96, 95, 50, 3)
    assert step.rank == 97
    full = logits[0].log_softmax(-1)
    assert step.logprob == pytest.approx(float(full[3]), abs=1e-5)
    assert step.residual == pytest.approx(1 - float(full[list(step.candidates)].exp().sum()), abs=1e-5)


def test_recording_changes_no_result():
    config = [SamplerConfig(temperature=0.7, top_p=0.6)]
    assert torch.equal(SamplerChain(config).probs(LOGITS, []), SamplerChain(config).probs(LOGITS))
