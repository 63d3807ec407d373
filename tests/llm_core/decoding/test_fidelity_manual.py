"""The measure itself, on distributions worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from llm_core.decoding.fidelity import Fidelity, collect_logits, compare_logits, measure_fidelity
from llm_core.decoding.llama_decoder import LlamaDecoder
from llm_core.decoding.transformers_decoder import TransformersDecoder
from tests.support.tiny_models import tiny_model

IDS = [(7 * place) % 95 + 1 for place in range(75)]


def test_by_hand():
    expected = torch.tensor([[0.5, 0.5], [0.8, 0.2]]).log()
    found = torch.tensor([[0.25, 0.75], [0.8, 0.2]]).log() + 3  # any constant leaves a distribution as it is
    kl = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert compare_logits(found, expected) == pytest.approx(Fidelity(kl / 2, 0.5))


def test_logits_along_are_those_of_one_pass():
    model = tiny_model("llama")
    tokens = torch.tensor([IDS])
    with torch.inference_mode():
        expected = model(tokens, attention_mask=torch.ones_like(tokens)).logits[0, 1:]
    for kind in (LlamaDecoder, TransformersDecoder):
        torch.testing.assert_close(collect_logits(kind(model, 512), IDS), expected, atol=1e-4, rtol=0)


def test_zero_for_itself_and_more_for_coarser_formats():
    model = tiny_model("llama")
    reference = TransformersDecoder(model, 512)
    found = [
        measure_fidelity(LlamaDecoder(model, 512, name), reference, IDS) for name in ("float32", "bfloat16", "int4")
    ]
    assert found[0].mean_kl < 1e-6
    assert found[0].mean_kl < found[1].mean_kl < found[2].mean_kl
    assert found[0].top1 == 1
