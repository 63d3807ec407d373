"""The loop itself, on the toy: equal to transformers, repeatable, stoppable, honest about why it ended."""

from __future__ import annotations

import itertools

import pytest
import torch

from llm_core import FinishEvent, NucleusError, PromptSpec, TokenEvent, generate
from samplers import SamplerConfig, next_token_probs
from tests.toy import CONTEXT_WINDOW

PROMPT = PromptSpec("Hello there")


def run(model, sampler=None, **options) -> tuple[list[TokenEvent], FinishEvent]:
    ids = options.pop("ids", PROMPT.render(model).token_ids)
    options.setdefault("max_output_tokens", 24)
    *tokens, end = generate(model, ids, sampler or SamplerConfig(seed=1), **options)
    assert isinstance(end, FinishEvent)
    return tokens, end


def ids_of(tokens: list[TokenEvent]) -> list[int]:
    return [token.token_id for token in tokens]


def text_of(tokens: list[TokenEvent], end: FinishEvent) -> str:
    return "".join(token.text for token in tokens) + end.text


@pytest.mark.parametrize("text", ["a", "Hello", "Xin chào các bạn", "0 1 2 3 4 5 6 7 8 9 " * 5])
def test_greedy_equals_transformers(toy, text):
    ids = PromptSpec(text).render(toy).token_ids
    theirs = toy.model.generate(
        torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), do_sample=False, max_new_tokens=40
    )[0, len(ids) :].tolist()
    assert ids_of(run(toy, SamplerConfig(temperature=0), ids=ids, max_output_tokens=40)[0]) == theirs


def test_cached_steps_draw_from_the_distribution_of_a_full_forward_pass(toy):
    sampler = SamplerConfig(temperature=1.3, top_k=20, top_p=0.9, seed=4)
    prompt = list(PROMPT.render(toy).token_ids)
    tokens, _ = run(toy, sampler)
    for step, event in enumerate(tokens):
        context = torch.tensor([prompt + ids_of(tokens[:step])])
        with torch.inference_mode():
            logits = toy.model(context).logits[:, -1]
        probs = next_token_probs(logits, [sampler])[0]
        traced = dict(zip(event.trace.candidates, event.trace.final.logprobs, strict=True))
        assert probs[event.token_id] > 0
        for token_id, logprob in traced.items():
            assert float(probs[token_id]) == pytest.approx(float(torch.tensor(logprob).exp()), abs=1e-4)


def test_a_seed_repeats_its_tokens_and_another_does_not(toy):
    assert ids_of(run(toy, SamplerConfig(seed=5))[0]) == ids_of(run(toy, SamplerConfig(seed=5))[0])
    assert ids_of(run(toy, SamplerConfig(seed=5))[0]) != ids_of(run(toy, SamplerConfig(seed=6))[0])


def test_ends_by_length(toy):
    tokens, end = run(toy, max_output_tokens=3)
    assert (len(tokens), end.reason) == (3, "length")


def test_ends_with_the_model(toy):
    ended = next(
        (tokens, end)
        for seed in itertools.count()
        for tokens, end in [run(toy, SamplerConfig(seed=seed), max_output_tokens=200)]
        if end.reason != "length"
    )
    tokens, end = ended
    assert end.reason == "end"
    assert tokens[-1].token_id in toy.end_ids
    assert tokens[-1].piece.endswith("<|end|>")
    assert "<|end|>" not in text_of(tokens, end)


def test_ends_at_a_stop_sequence_that_spans_tokens(toy):
    tokens, end = run(toy)
    text = text_of(tokens, end)
    stop = text[4:7]
    stopped, reason = run(toy, stop_sequences=[stop, "never to be seen"])
    assert reason.reason == "stop"
    assert text_of(stopped, reason) == text[: text.index(stop)]
    assert ids_of(stopped) == ids_of(tokens)[: len(stopped)]


def test_text_is_whole_characters_of_the_same_tokens(toy):
    tokens, end = run(toy, max_output_tokens=60)
    assert text_of(tokens, end) == toy.tokenizer.decode(ids_of(tokens), skip_special_tokens=True)


def test_stops_when_asked(toy):
    answers = iter([False, False, True])
    tokens, end = run(toy, cancelled=lambda: next(answers))
    assert (len(tokens), end.reason) == (2, "cancelled")


def test_ends_when_the_context_window_is_full(toy):
    ids = list(PROMPT.render(toy).token_ids) * 20
    ids = ids[: CONTEXT_WINDOW - 5]
    tokens, end = run(toy, SamplerConfig(temperature=0), ids=ids, max_output_tokens=50)
    assert (len(tokens), end.reason) == (5, "context")


def test_settings_that_do_not_suit_the_model(toy):
    with pytest.raises(NucleusError) as caught:
        run(toy, SamplerConfig(top_k=toy.vocab_size + 1))
    assert caught.value.code == "top_k_above_vocabulary"
    assert str(toy.vocab_size) in str(caught.value)
    with pytest.raises(NucleusError, match="stop sequence"):
        run(toy, stop_sequences=[""])


def test_labels_show_bytes_of_unfinished_letters(toy):
    first, *_ = toy.tokenizer("ế")["input_ids"]
    assert toy.label(first) == "<E1>"
    assert toy.label(toy.tokenizer("a")["input_ids"][0]) == "a"
    assert toy.label(next(iter(toy.end_ids))) == "<|end|>"
