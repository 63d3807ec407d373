"""Reward models made in the test: tiny, real transformers of both conventions, and what is refused."""

from __future__ import annotations

from threading import Event

import pytest
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from llm_core.best_of_n.criteria import RewardModel
from llm_core.experiments.candidate_pool import Candidate
from tests.support.toy_model import save_toy_model, toy_tokenizer

GIVEN = [Candidate(0, 0, "Yes.", question="Is it?"), Candidate(1, 1, "No.", question="Is it?")]


def save_reward_model(directory, chat: bool = True, labels: int = 1, safe: bool = True):
    tokenizer = toy_tokenizer(chat)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        num_labels=labels,
        initializer_range=0.6,
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = LlamaForSequenceClassification(config).eval()
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    if not safe:
        (directory / "model.safetensors").unlink()
        torch.save(model.state_dict(), directory / "pytorch_model.bin")
    return model, tokenizer


@pytest.mark.parametrize("chat", [True, False])
def test_the_score_is_the_one_logit_of_either_convention(tmp_path, chat):
    model, tokenizer = save_reward_model(tmp_path, chat)
    scores = list(RewardModel(str(tmp_path)).score(GIVEN, Event()))
    for score, candidate in zip(scores, GIVEN, strict=True):
        if chat:
            ids = tokenizer.encode(f"<|user|>Is it?<|end|><|assistant|>{candidate.text}<|end|>")
        else:
            ids = tokenizer("Is it?", candidate.text)["input_ids"]
        with torch.inference_mode():
            assert score.value == pytest.approx(float(model(torch.tensor([ids])).logits[0, 0]), abs=1e-5)
    assert scores[0].value != scores[1].value


def test_an_answer_longer_than_the_model_takes_is_cut(tmp_path):
    save_reward_model(tmp_path)
    [score] = RewardModel(str(tmp_path)).score([Candidate(0, 0, "long " * 200, question="Is it?")], Event())
    assert score.value is not None


def refusal_code(source) -> str:
    with pytest.raises(Exception, match=r".") as refused:
        list(RewardModel(str(source)).score(GIVEN, Event()))
    return refused.value.code


def test_what_is_no_reward_model_is_refused(tmp_path):
    save_reward_model(tmp_path / "three", labels=3)
    save_reward_model(tmp_path / "pickled", safe=False)
    save_toy_model(tmp_path / "language")
    assert refusal_code(tmp_path / "three") == "reward_model_unfit"
    assert refusal_code(tmp_path / "pickled") == "model_not_safetensors"
    assert refusal_code(tmp_path / "language") == "reward_model_unfit"  # its head would be random numbers
    assert refusal_code(tmp_path / "nowhere") == "model_not_found"
    assert RewardModel(" ").unavailable_reason(GIVEN).code == "criterion_needs_judge"
