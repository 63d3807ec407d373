"""One answer, on the toy: equal to transformers, repeatable, stoppable, honest about why it ended."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from llm_core import NucleusError, PromptSpec, SampleRecord, SampleRequest
from llm_core.engine.sequence import ActiveSequence, check_settings
from llm_core.prompts.rendering import render
from samplers import SamplerConfig, next_token_probs
from tests.support.batch_generation import generate, make_batch, token_ids
from tests.support.toy_model import CONTEXT_WINDOW

PROMPT = PromptSpec("Hello there")


def generate_all_of(model, sampler=None, **options) -> SampleRecord:
    ids = options.pop("ids", render(PROMPT, model).token_ids)
    options.setdefault("max_output_tokens", 24)
    return generate(model, ids, sampler or SamplerConfig(seed=1), **options)


@pytest.mark.parametrize("text", ["a", "Hello", "Xin chào các bạn", "0 1 2 3 4 5 6 7 8 9 " * 5])
def test_greedy_equals_transformers(toy, text):
    ids = render(PromptSpec(text), toy).token_ids
    theirs = toy.model.generate(
        torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), do_sample=False, max_new_tokens=40
    )[0, len(ids) :].tolist()
    assert token_ids(generate_all_of(toy, SamplerConfig(temperature=0), ids=ids, max_output_tokens=40)) == theirs


def test_cached_steps_draw_from_the_distribution_of_a_full_forward_pass(toy):
    sampler = SamplerConfig(temperature=1.3, top_k=20, top_p=0.9, seed=4)
    prompt = list(render(PROMPT, toy).token_ids)
    answer = generate_all_of(toy, sampler)
    for step, event in enumerate(answer.events()):
        context = torch.tensor([prompt + token_ids(answer)[:step]])
        with torch.inference_mode():
            logits = toy.model(context).logits[:, -1]
        probs = next_token_probs(logits, [sampler])[0]
        traced = dict(zip(event.trace.candidates, event.trace.final.logprobs, strict=True))
        assert probs[event.token_id] > 0
        for token_id, logprob in traced.items():
            assert float(probs[token_id]) == pytest.approx(float(torch.tensor(logprob).exp()), abs=1e-4)


def test_a_seed_repeats_its_tokens_and_another_does_not(toy):
    assert token_ids(generate_all_of(toy, SamplerConfig(seed=5))) == token_ids(
        generate_all_of(toy, SamplerConfig(seed=5))
    )
    assert token_ids(generate_all_of(toy, SamplerConfig(seed=5))) != token_ids(
        generate_all_of(toy, SamplerConfig(seed=6))
    )


def test_ends_by_length(toy):
    answer = generate_all_of(toy, max_output_tokens=3)
    assert (len(answer.events()), answer.finish_reason) == (3, "length")


def test_ends_with_the_model(toy):
    tries = (generate_all_of(toy, SamplerConfig(seed=seed), max_output_tokens=200) for seed in itertools.count())
    answer = next(answer for answer in tries if answer.finish_reason != "length")
    assert answer.finish_reason == "end"
    assert answer.events()[-1].token_id in toy.end_ids
    assert answer.events()[-1].piece.endswith("<|end|>")
    assert "<|end|>" not in answer.text


def test_ends_at_a_stop_sequence_that_spans_tokens(toy):
    answer = generate_all_of(toy)
    stop = answer.text[4:7]
    stopped = generate_all_of(toy, stop_sequences=(stop, "never to be seen"))
    assert stopped.finish_reason == "stop"
    assert stopped.text == answer.text[: answer.text.index(stop)]
    assert token_ids(stopped) == token_ids(answer)[: len(stopped.events())]


def test_text_is_whole_characters_of_the_same_tokens(toy):
    answer = generate_all_of(toy, max_output_tokens=60)
    assert answer.text == toy.tokenizer.decode(token_ids(answer), skip_special_tokens=True)


def test_a_branch_goes_on_as_the_whole_answer_did(toy):
    whole = generate_all_of(
        toy, SamplerConfig(seed=3, repetition_penalty=1.2, presence_penalty=0.5), max_output_tokens=20
    )
    for place in (1, 7, 19):
        begin = tuple(token_ids(whole)[:place])
        branch = generate_all_of(toy, whole.request.sampler, prefix_ids=begin, max_output_tokens=20 - place)
        assert token_ids(branch) == token_ids(whole)[place:]
    other = generate_all_of(toy, whole.request.sampler, prefix_ids=(*token_ids(whole)[:6], 40), max_output_tokens=13)
    assert token_ids(other) != token_ids(whole)[7:]


def test_forced_tokens_come_first_with_their_own_probabilities_and_the_sampler_goes_on(toy):
    sampler = SamplerConfig(seed=3, top_k=2, mirostat_tau=2, presence_penalty=0.5)
    whole = generate_all_of(toy, sampler, max_output_tokens=12)
    unlikely = whole.events()[4].trace.candidates[-1]
    branch = generate_all_of(
        toy, sampler, prefix_ids=tuple(token_ids(whole)[:4]), forced_ids=(unlikely, 200), max_output_tokens=6
    )
    assert token_ids(branch)[:2] == [unlikely, 200]
    assert len(branch.events()) == 6
    forced, original = branch.events()[0].trace, whole.events()[4].trace
    assert (forced.token_id, forced.candidates) == (unlikely, original.candidates)
    assert forced.logprob == pytest.approx(original.raw.logprobs[-1], abs=1e-4)
    assert forced.rank > 2
    assert forced.final.logprobs[-1] == -math.inf  # Top-K had excluded it
    same = generate_all_of(
        toy,
        sampler,
        prefix_ids=tuple(token_ids(whole)[:4]),
        forced_ids=tuple(token_ids(whole)[4:6]),
        max_output_tokens=6,
    )
    assert token_ids(same) == token_ids(whole)[4:10]


def test_a_forced_end_token_ends_the_answer_and_a_forced_letter_is_joined(toy):
    end = next(iter(toy.end_ids))
    letter = tuple(toy.tokenizer("ế")["input_ids"])
    answer = generate_all_of(toy, SamplerConfig(seed=1), forced_ids=(*letter, end), max_output_tokens=9)
    assert [event.piece for event in answer.events()] == ["", "", "ế", "<|end|>"]
    assert (answer.text, answer.finish_reason) == ("ế", "end")


def test_ending_an_answer_from_outside_keeps_what_was_written(toy):
    record = SampleRecord(SampleRequest(SamplerConfig(seed=1), 50))
    answer = ActiveSequence(toy, render(PROMPT, toy).token_ids, record)
    batch = make_batch(toy)
    batch.join(answer)
    for _ in range(4):
        batch.advance()
    written = len(record.events())
    answer.finish("cancelled")
    batch.advance()
    assert (batch.sequences, record.finish_reason) == ([], "cancelled")
    assert 2 <= written == len(record.events())


def test_ends_when_the_context_window_is_full(toy):
    ids = list(render(PROMPT, toy).token_ids) * 20
    ids = ids[: CONTEXT_WINDOW - 5]
    answer = generate_all_of(toy, SamplerConfig(temperature=0), ids=ids, max_output_tokens=50)
    assert (len(answer.events()), answer.finish_reason) == (5, "context")
    full = generate_all_of(toy, SamplerConfig(temperature=0), ids=ids, prefix_ids=(40,) * 5)
    assert (full.events(), full.finish_reason) == ([], "context")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"top_k": 1000}, "top_k_above_vocabulary"),
        ({"banned_tokens": (1000,)}, "token_outside_vocabulary"),
        ({"logit_bias": {1000: 1}}, "token_outside_vocabulary"),
        ({"dry_sequence_breakers": (1000,)}, "token_outside_vocabulary"),
    ],
)
def test_settings_that_do_not_suit_the_model(toy, fields, code):
    with pytest.raises(NucleusError) as caught:
        check_settings(toy, SampleRequest(SamplerConfig(**fields)))
    assert caught.value.code == code
    assert str(toy.vocab_size) in str(caught.value)


@pytest.mark.parametrize("given", [{"prefix_ids": (1000,)}, {"forced_ids": (1000,)}])
def test_given_tokens_must_be_in_the_vocabulary(toy, given):
    with pytest.raises(NucleusError) as caught:
        check_settings(toy, SampleRequest(SamplerConfig(), **given))
    assert caught.value.code == "token_outside_vocabulary"


def test_labels_show_bytes_of_unfinished_letters(toy):
    first, *_ = toy.tokenizer("ế")["input_ids"]
    assert toy.label(first) == "<E1>"
    assert toy.label(toy.tokenizer("a")["input_ids"][0]) == "a"
    assert toy.label(next(iter(toy.end_ids))) == "<|end|>"
