"""The OpenAI-compatible provider against llama.cpp's own server, with the built-in model in its own file format."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from benchmarks.llama_cpp import run_llama_server
from llm_core import GenerationRequest, HostedOptions, PromptSpec, SampleRequest
from llm_core.models.builtin import GGUF_MEMBER
from llm_core.paths import cache_directory
from llm_core.prompts.output_format import OutputFormat
from llm_core.prompts.rendering import render
from llm_core.providers.credentials import Credentials
from llm_core.providers.dispatch.service import DispatchLimits
from samplers import SamplerConfig, next_token_probs
from tests.llm_core.providers.conftest import make_request, make_router, wait_until_finished

QUESTIONS = ("What is the capital of France?", "Name a colour.", "Thủ đô của Việt Nam là gì?")


@pytest.fixture(scope="module")
def gguf(builtin) -> Path:
    return cache_directory() / "models" / GGUF_MEMBER.rsplit("/", 1)[-1]


@pytest.fixture(scope="module")
def server(gguf):
    with run_llama_server(gguf, threads=1) as running:
        yield running


@pytest.fixture(scope="module")
def router():
    return make_router(DispatchLimits())


@pytest.fixture
def model(server, router) -> str:
    [model] = router.hosted.models("openai", server.address, Credentials())
    return model.id


def test_several_candidates_come_in_one_call(router, model):
    hosted = HostedOptions(candidate_count=4)
    request = make_request(model, "Describe the sea in a few sentences.", rows=4, hosted=hosted, max_output_tokens=8)
    run = wait_until_finished(router.submit(request))
    assert router.hosted.support(model)["candidate_count"] == "honoured"
    assert len({row.text for row in run.samples}) > 1
    # Without a seed nobody knows what is drawn: an answer may end early.
    assert all(0 < row.length <= 8 and row.shares_call and row.events()[0].trace for row in run.samples)
    assert len(run.usages) == 1


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_likeliest_tokens_are_those_of_the_local_model(router, model, builtin, question):
    hosted = wait_until_finished(router.submit(make_request(model, question, temperature=0, max_output_tokens=1)))
    [event] = hosted.samples[0].events()
    with torch.inference_mode():
        ids = render(PromptSpec(question), builtin).token_ids
        local = builtin.model(torch.tensor([ids])).logits[0, -1].float().log_softmax(-1)
    assert hosted.samples[0].usage.prompt_tokens == len(ids)
    top = local.topk(3)
    shown = dict(zip(event.trace.candidates, event.trace.raw.logprobs, strict=True))
    for token, logprob in zip(top.indices.tolist(), top.values.tolist(), strict=True):
        assert shown[token] == pytest.approx(logprob, abs=0.15)
    assert event.trace.raw.kept == builtin.vocab_size
    assert hosted.label(event.token_id) == builtin.label(event.token_id)


@pytest.mark.thorough
def test_settings_are_found_to_be_honoured(router, model):
    wild = {"temperature": 1.6, "top_k": 4, "order": "llama_cpp"}
    wait_until_finished(router.submit(make_request(model, "Tell a story.", rows=3, max_output_tokens=30, **wild)))
    wait_until_finished(router.submit(make_request(model, "Tell a story.", temperature=0, max_output_tokens=30)))
    support = router.hosted.support(model)
    assert (support["top_k"], support["temperature"], support["logprobs"]) == ("honoured", "honoured", "honoured")


def test_its_own_defaults_are_off(router, model):
    """At temperature 3 some token is none of the 20 likeliest; top-P of 0.95, min-P of 0.05 and the like keep fewer."""
    run = wait_until_finished(router.submit(make_request(model, "Tell a story.", temperature=3, max_output_tokens=12)))
    assert max(event.trace.rank for event in run.samples[0].events()) > 20


@pytest.mark.thorough
def test_prefill_json_and_whole_letters(router, model):
    run = wait_until_finished(
        router.submit(make_request(model, QUESTIONS[0], prefill="It is the city of", temperature=0))
    )
    assert run.samples[0].text.startswith(" Paris")
    schema = OutputFormat(
        "json", schema='{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}'
    )
    run = wait_until_finished(
        router.submit(make_request(model, QUESTIONS[0], output=schema, temperature=0, max_output_tokens=40))
    )
    assert run.samples[0].text.replace(" ", "").replace("\n", "").startswith('{"city":')
    run = wait_until_finished(
        router.submit(
            make_request(model, QUESTIONS[0], output=OutputFormat("choice", ("Rome", "Paris")), temperature=0)
        )
    )
    assert run.samples[0].text == "Paris"
    run = wait_until_finished(
        router.submit(make_request(model, "Viết: Tiếng Việt 🙂", temperature=0, max_output_tokens=16))
    )
    pieces = [event.piece for event in run.samples[0].events()]
    assert "".join(pieces) == run.samples[0].text
    assert "\ufffd" not in run.samples[0].text


def test_a_prompt_beyond_its_context_is_explained(router, model):
    run = wait_until_finished(router.submit(make_request(model, "word " * 1500)))
    assert run.error.code == "provider_prompt_too_long"


def test_the_bound_holds_against_the_whole_vocabulary(router, model, builtin):
    """The same step, with the sampler run over all logits of the local model."""
    for config in (
        SamplerConfig(temperature=0.7, top_p=0.9),
        SamplerConfig(temperature=1.4, top_k=30, order="llama_cpp"),
        SamplerConfig(min_p=0.02, top_p=0.8),
    ):
        request = GenerationRequest(model, PromptSpec("Tell a story."), (SampleRequest(config, 1),))
        [event] = wait_until_finished(router.submit(request)).samples[0].events()
        shown = dict(zip(event.trace.candidates, event.trace.raw.logprobs, strict=True))
        with torch.inference_mode():
            ids = render(PromptSpec("Tell a story."), builtin).token_ids
            logits = builtin.model(torch.tensor([ids])).logits[0, -1:].float().log_softmax(-1)
        logits = logits.clone()
        for token, logprob in shown.items():
            logits[0, token] = logprob  # so that only the unseen ones differ
        true = next_token_probs(logits, [config])[0]
        for token, logprob in zip(event.trace.candidates, event.trace.final.logprobs, strict=True):
            assert abs(math.exp(logprob) - float(true[token])) <= event.error_bound + 2e-3
