"""The OpenAI-compatible provider against a real vLLM server with the built-in model. Not run by default: `vllm` is
another environment's package, and its server takes minutes to start. CONTRIBUTING.md says how."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator

import httpx
import pytest
import torch

from llm_core import PromptSpec
from llm_core.paths import cache_directory
from llm_core.prompts.output_format import OutputFormat
from llm_core.prompts.rendering import render
from llm_core.providers.credentials import Credentials
from llm_core.providers.dispatch.service import DispatchLimits
from llm_core.router import PROVIDERS
from tests.llm_core.providers.conftest import make_request, make_router, wait_until_finished
from tests.llm_core.providers.test_contract import (  # noqa: F401 -- run here unchanged
    Subject,
    make_subject,
    test_a_deadline_ends_it,
    test_a_model_that_is_not_there_fails_with_a_message,
    test_a_seed_gives_the_same_answer_again,
    test_askings_of_several_steps_run_through,
    test_greedy_takes_the_likeliest,
    test_rows_end_with_the_text_of_their_events,
    test_steps_can_be_drawn_labelled_and_kept,
    test_stop_ends_it_and_keeps_what_is_there,
    test_stop_sequences_end_an_answer_before_them,
)
from tests.support.browser import find_free_port

pytestmark = pytest.mark.vllm

START_SECONDS = 900
QUESTIONS = ("What is the capital of France?", "Name a colour.", "Thủ đô của Việt Nam là gì?")


@pytest.fixture(scope="module")
def address(builtin) -> Iterator[str]:
    """Of a server that runs (`NUCLEUS_VLLM_URL`), or of one that is started (`NUCLEUS_VLLM_PYTHON`)."""
    if running := os.environ.get("NUCLEUS_VLLM_URL"):
        yield running
        return
    port = find_free_port()
    command = [os.environ["NUCLEUS_VLLM_PYTHON"], "-m", "vllm.entrypoints.openai.api_server"]
    command += [
        "--model",
        str(cache_directory() / "models" / "smollm2-135m-instruct"),
        "--served-model-name",
        "builtin",
    ]
    command += ["--host", "127.0.0.1", "--port", str(port), "--enforce-eager", "--dtype", "bfloat16"]
    command += ["--max-model-len", "2048"]
    quiet = {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    process = subprocess.Popen(command, env=os.environ | quiet)
    try:
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            assert process.poll() is None, f"vLLM ended with {process.returncode}"
            try:
                if httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).is_success:
                    break
            except httpx.HTTPError:
                time.sleep(1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="module")
def router():
    return make_router(DispatchLimits())


@pytest.fixture(scope="module")
def model(address, router) -> str:
    [model] = router.hosted.models("openai", address, Credentials())
    return model.id


@pytest.fixture
def provider(model) -> Subject:
    return make_subject(model, model.replace("builtin", "none"), PROVIDERS)


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_likeliest_tokens_are_those_of_the_local_model(router, model, builtin, question):
    """By their ids, which vLLM gives in place of texts."""
    [row] = wait_until_finished(
        router.submit(make_request(model, question, temperature=0, max_output_tokens=1))
    ).samples
    [event] = row.events()
    with torch.inference_mode():
        ids = render(PromptSpec(question), builtin).token_ids
        local = builtin.model(torch.tensor([ids])).logits[0, -1].float().log_softmax(-1)
    assert row.usage.prompt_tokens == len(ids)
    top = local.topk(3)
    shown = dict(zip(event.trace.candidates, event.trace.raw.logprobs, strict=True))
    ours = dict(zip(top.indices.tolist(), top.values.tolist(), strict=True))
    apart = max(abs(shown[token] - logprob) for token, logprob in ours.items())
    print(f"\n{question}: at most {apart:.4f} nats apart; here {ours}")
    assert apart < 0.15


def test_ids_are_those_of_the_local_tokenizer(router, model, builtin):
    """Those of parts of letters too, which have no text of their own."""
    run = wait_until_finished(
        router.submit(make_request(model, "Viết: Tiếng Việt 🙂", temperature=0, max_output_tokens=24))
    )
    events, text = run.samples[0].events(), run.samples[0].text
    assert builtin.tokenizer.decode([event.token_id for event in events], skip_special_tokens=True) == text
    whole = [event.token_id for event in events if "\ufffd" not in run.label(event.token_id)]
    assert [run.label(token) for token in whole] == [builtin.tokenizer.decode([token]) for token in whole]
    assert len(whole) > 2
    print(f"\n{text!r}: {len(events)} tokens, {len(whole)} of them with whole letters")
    assert "".join(event.piece for event in events) == text


def test_settings_are_found_to_be_honoured(router, model):
    wait_until_finished(
        router.submit(make_request(model, "Tell a story.", rows=3, max_output_tokens=30, temperature=1.6, top_k=4))
    )
    wait_until_finished(router.submit(make_request(model, "Tell a story.", temperature=0, max_output_tokens=30)))
    support = router.hosted.support(model)
    assert (support["top_k"], support["temperature"], support["logprobs"]) == ("honoured", "honoured", "honoured")


def test_output_formats_are_kept(router, model):
    request = make_request(model, QUESTIONS[0], output=OutputFormat("choice", ("Rome", "Paris")), temperature=0)
    assert wait_until_finished(router.submit(request)).samples[0].text == "Paris"


def test_a_prompt_beyond_its_context_is_explained(router, model):
    assert (
        wait_until_finished(router.submit(make_request(model, "word " * 3000))).error.code == "provider_prompt_too_long"
    )
