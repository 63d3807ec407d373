"""The OpenAI-compatible provider against servers of three dialects: what is sent, what comes back, what is learnt."""

from __future__ import annotations

import dataclasses
import math

import pytest

from llm_core.generation.request import HostedOptions, Image
from llm_core.prompts.output_format import OutputFormat
from samplers import SamplerConfig
from tests.llm_core.providers.conftest import (
    PLANTED_KEY,
    make_credentials,
    make_request,
    make_router,
    setting_notices,
    wait_until_finished,
)
from tests.support import fake_openai
from tests.support.fake_openai import OpenAIServer, finish_event, text_event, usage
from tests.support.fake_server import WORDS, Reply, sample_tokens

PIXEL = Image("image/png", b"\x89PNG\r\n\x1a\n")


def run_request(router, server, **fields):
    return wait_until_finished(router.submit(make_request(server.model, **fields), make_credentials(server)))


def test_text_tokens_usage_and_key(router, openai):
    run = run_request(router, openai, temperature=0.7, max_output_tokens=12)
    assert run.status == "finished", run.error
    [row] = run.samples
    drawn = list(sample_tokens(SamplerConfig(temperature=0.7, seed=1), 12))
    assert row.text == "".join(WORDS[each.token_id] for each in drawn)
    assert [run.label(event.token_id) for event in row.events()] == [WORDS[each.token_id] for each in drawn]
    assert [event.trace.logprob for event in row.events()] == pytest.approx(
        [each.logprobs[each.token_id] for each in drawn], abs=1e-4
    )
    assert (row.finish_reason, row.usage.prompt_tokens, row.usage.output_tokens) == ("length", 9, 12)
    assert row.cached_tokens == 4
    [request] = openai.requests
    assert request.headers["authorization"] == f"Bearer {PLANTED_KEY}"
    assert request.body["top_k"] == request.body["min_p"] == 0
    assert request.body["top_p"] == 1


@pytest.mark.parametrize("dialect", ["openai", "vllm", "llama_cpp"])
def test_each_dialect_answers_in_full(dialect):
    router = make_router()
    with OpenAIServer(dialect) as server:
        run = run_request(router, server, temperature=1.5, top_p=0.9, max_output_tokens=8)
        assert run.status == "finished", run.error
        assert len(run.samples[0].events()) == 8
        assert all(event.trace.stages[-1].name == "top_p" for event in run.samples[0].events())
        assert run.notices == []  # that top_k and min_p went unsent changes nothing that was asked for


def test_a_refused_field_is_dropped_once_told_and_remembered(router, openai):
    openai.refused_fields["temperature"] = "Unsupported parameter: 'temperature' is not supported with this model."
    run = run_request(router, openai, temperature=0.5, max_output_tokens=6)
    assert run.status == "finished", run.error
    assert setting_notices(run) == [("rejected", "temperature")]
    assert "not supported" in str(run.notices[0])
    assert run.samples[0].events()[0].trace.stages[-1].name == "raw"  # the view knows that temperature did nothing
    assert len(openai.requests) == 2
    again = run_request(router, openai, temperature=0.5, max_output_tokens=6)
    assert setting_notices(again) == [("rejected", "temperature")]
    assert len(openai.requests) == 3
    assert "temperature" not in openai.requests[-1].body
    assert router.hosted.support(openai.model)["temperature"] == "rejected"


@pytest.mark.parametrize(
    ("field", "message", "settings"),
    [
        ("logprobs", "You are not allowed to request logprobs from this model.", {}),
        ("presence_penalty", "Penalty is not enabled for this model", {"presence_penalty": 1.0}),
        ("seed", "Unknown parameter: 'seed'.", {}),
        ("stop", "Unsupported parameter: 'stop' is not supported with this model.", {"stop_sequences": (" mông",)}),
        ("continue_final_message", "Requests ending with a model turn are not supported.", {"prefill": "The"}),
        ("max_tokens", "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens'.", {}),
        ("stream_options", "Unrecognized request argument supplied: stream_options", {}),
    ],
)
def test_known_refusals_are_worked_around(router, openai, field, message, settings):
    openai.refused_fields[field] = message
    run = run_request(router, openai, max_output_tokens=4, **settings)
    assert run.status == "finished", run.error
    assert len(openai.requests) == 2
    assert field not in openai.requests[-1].body
    # a beginning that the model will not continue is shown to it, and the last word is the user's
    roles = [message["role"] for message in openai.requests[-1].body["messages"]]
    assert roles == (["user", "assistant", "user"] if "prefill" in settings else ["user"])


def test_too_many_logprobs_are_asked_for_again_as_five_and_then_as_none(router, openai):
    openai.refused_fields["top_logprobs"] = "Requested sample logprobs of 20, which is greater than max allowed: 5"
    run = run_request(router, openai, max_output_tokens=4)
    assert [request.body.get("top_logprobs") for request in openai.requests] == [20, 5, None]
    assert run.status == "finished"
    assert run.samples[0].events()[0].trace is None


def test_a_setting_that_is_ignored_shows_in_the_tokens():
    router = make_router()
    with OpenAIServer("vllm") as server:
        server.applied_fields = {"seed", "temperature"}
        run = run_request(router, server, rows=3, top_k=2, temperature=2.0, max_output_tokens=24)
        support = router.hosted.support(server.model)
        assert support["top_k"] == "ignored"
        assert ("ignored", "top_k") in setting_notices(run)
        later = run_request(router, server, top_k=2, max_output_tokens=3)
        assert [stage.name for stage in later.samples[0].events()[0].trace.stages] == ["raw"]


def test_settings_that_are_honoured_show_too():
    router = make_router()
    with OpenAIServer("vllm") as server:
        run_request(router, server, rows=6, top_k=3, temperature=1.7, min_p=0.05, max_output_tokens=40)
        support = router.hosted.support(server.model)
        assert support["top_k"] == "honoured"
        assert support["logprobs"] == "honoured"
        assert support["top_p"] == "untried"


def test_rows_of_one_seed_are_evidence_once():
    router = make_router()
    with OpenAIServer("vllm") as server:
        one = make_request(server.model, top_k=1, max_output_tokens=1)
        alike = dataclasses.replace(one, samples=one.samples * 40)
        assert len({row.text for row in wait_until_finished(router.submit(alike)).samples}) == 1
        assert router.hosted.support(server.model)["top_k"] == "untried"


def test_without_logprobs_there_is_text_and_the_model_is_known_to_ignore_them():
    router = make_router()
    with OpenAIServer("vllm") as server:
        server.logprobs = False
        run = run_request(router, server, max_output_tokens=8)
        assert run.samples[0].text
        assert all(event.trace is None and event.token_id is None for event in run.samples[0].events())
        assert router.hosted.support(server.model)["logprobs"] == "ignored"
        assert ("ignored", "logprobs") in setting_notices(run)


def test_a_model_without_chat_template_gets_plain_text_and_its_logprobs_by_token_id():
    router = make_router()
    with OpenAIServer("vllm") as server:
        server.has_chat_template = False
        run = run_request(router, server, max_output_tokens=5, prefill="It")
        assert run.status == "finished", run.error
        [request] = [each for each in server.requests if each.path == "/v1/completions"]
        assert request.body["prompt"] == "Describe the sea. It"
        drawn = list(sample_tokens(SamplerConfig(seed=1), 5))
        assert [event.token_id for event in run.samples[0].events()] == [each.token_id for each in drawn]
        likeliest = {token for event in run.samples[0].events() for token in event.trace.candidates[:8]}
        likeliest |= {each.token_id for each in drawn}
        assert {token: run.label(token) for token in likeliest} == {token: WORDS[token] for token in likeliest}
        assert len(server.detokenized_ids) == len(set(server.detokenized_ids)) > 8
        assert run.samples[0].text == "".join(WORDS[each.token_id] for each in drawn)


def test_vllms_chat_names_tokens_by_id_where_texts_would_be_alike(monkeypatch):
    """A token that is a part of a letter has no text there, as many others have none."""
    monkeypatch.setattr(fake_openai, "WORDS", ("", *[""] * 10, *WORDS[11:]))
    router = make_router()
    with OpenAIServer("vllm") as server:
        run = run_request(router, server, max_output_tokens=5)
        drawn = list(sample_tokens(SamplerConfig(seed=1), 5))
        events = run.samples[0].events()
        assert [event.token_id for event in events] == [each.token_id for each in drawn]
        for event, each in zip(events, drawn, strict=True):
            assert event.trace.logprob == pytest.approx(each.logprobs[each.token_id], abs=1e-4)
            assert set(event.trace.candidates) >= set(each.top(20))


def test_what_is_sent_for_a_whole_prompt(router, openai):
    hosted = HostedOptions(thinking="low", images=(PIXEL,))
    run_request(
        router,
        openai,
        system="Be brief.",
        prefill="The",
        hosted=hosted,
        output=OutputFormat("json", schema='{"type": "object"}'),
        logit_bias={3: 1.5},
        banned_tokens=(4,),
        repetition_penalty=1.2,
        mirostat_tau=3,
        min_new_tokens=2,
        stop_sequences=("END",),
        order="llama_cpp",
    )
    body = openai.requests[0].body
    assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant"]
    assert body["messages"][1]["content"][1]["image_url"]["url"].startswith("data:image/png;base64,iVBORw0KGgo")
    assert body["messages"][2]["content"] == "The"
    assert body["continue_final_message"] is True
    assert body["add_generation_prompt"] is False
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert body["logit_bias"] == {"3": 1.5, "4": -100.0}
    assert body["repetition_penalty"] == body["repeat_penalty"] == 1.2
    assert (body["mirostat"], body["mirostat_tau"], body["min_tokens"], body["stop"]) == (2, 3, 2, ["END"])
    assert body["reasoning_effort"] == "low"
    assert body["samplers"].index("top_k") < body["samplers"].index("temperature")


def test_choices_are_sent_as_both_kinds_of_server_take_them(router, openai):
    run_request(router, openai, output=OutputFormat("choice", ('say "yes"', "no\nway")))
    body = openai.requests[0].body
    assert body["structured_outputs"] == {"choice": ['say "yes"', "no\nway"]}
    assert body["grammar"] == 'root ::= "say \\"yes\\"" | "no\\nway"'


def test_stages_that_the_protocol_cannot_carry_are_told(router, openai):
    run = run_request(router, openai, eta_cutoff=0.1, no_repeat_ngram_size=3, max_output_tokens=3)
    assert setting_notices(run) == [("unknown", "eta_cutoff"), ("unknown", "no_repeat_ngram_size")]


def test_stop_sequences_hold_where_the_server_does_not_know_them(router, openai):
    openai.replies.append(
        Reply(events=[text_event("one tw"), text_event("o END three"), text_event(" four"), finish_event("length")])
    )
    run = run_request(router, openai, stop_sequences=("END",))
    assert (run.samples[0].text, run.samples[0].finish_reason) == ("one two ", "stop")


def test_thoughts_are_kept_apart_from_the_answer(router, openai):
    thought = {"choices": [{"index": 0, "delta": {"reasoning_content": "Hmm. "}, "finish_reason": None}]}
    counted = usage(9) | {"completion_tokens_details": {"reasoning_tokens": 4}}
    openai.replies.append(
        Reply(events=[thought, text_event("Yes."), finish_event("stop"), {"choices": [], "usage": counted}])
    )
    [row] = run_request(router, openai).samples
    assert (row.thoughts, row.text, row.finish_reason) == ("Hmm. ", "Yes.", "end")
    assert (row.usage.output_tokens, row.usage.thought_tokens) == (5, 4)


def test_a_server_that_does_not_stream(router, openai):
    whole = {"choices": [{"index": 0, "message": {"content": "All at once."}, "finish_reason": "stop"}]}
    openai.replies.append(Reply(body=whole))
    [row] = run_request(router, openai).samples
    assert (row.text, row.finish_reason) == ("All at once.", "end")


def test_half_letters_are_shown_once_whole(router, openai):
    def part(text: str, data: bytes, content: str) -> dict:
        entry = {"token": text, "logprob": -0.5, "bytes": list(data), "top_logprobs": []}
        choice = {"index": 0, "delta": {"content": content}, "finish_reason": None, "logprobs": {"content": [entry]}}
        return {"choices": [choice]}

    whole = "ế".encode()
    events = [part("�", whole[:2], ""), part("�", whole[2:], "ế"), part("!", b"!", "!"), finish_event("stop")]
    openai.replies.append(Reply(events=events))
    run = run_request(router, openai)
    assert [event.piece for event in run.samples[0].events()] == ["", "ế", "!"]
    assert [run.label(event.token_id) for event in run.samples[0].events()][:2] == ["<E1 BA>", "<BF>"]


def test_models_are_listed_with_what_the_server_tells(router):
    with OpenAIServer("llama_cpp", key=PLANTED_KEY) as server:
        [model] = router.hosted.models("openai", server.address, make_credentials(server, ""))
        assert (model.id, model.vocabulary) == (f"openai:sea@{server.address}", len(WORDS))
        run = wait_until_finished(
            router.submit(make_request(model.id, max_output_tokens=3), make_credentials(server, ""))
        )
        assert run.samples[0].events()[0].trace.raw.kept == len(WORDS)


def test_error_bounds_are_given_with_the_steps(router, openai):
    run = run_request(router, openai, temperature=0.6, max_output_tokens=6, hosted=HostedOptions(top_logprobs=5))
    for event in run.samples[0].events():
        assert 0 < event.error_bound < 0.5
        assert math.isclose(sum(map(math.exp, event.trace.raw.logprobs)) + event.trace.residual, 1, abs_tol=1e-5)


def test_a_server_that_cannot_spell_its_tokens_is_asked_once():
    router = make_router()
    with OpenAIServer("vllm") as server:
        server.has_chat_template = server.has_detokenizer = False
        for _ in range(2):
            run = run_request(router, server, max_output_tokens=4)
            token = run.samples[0].events()[0].token_id
            assert run.label(token) == f"<{token}>"
        assert len(server.detokenized_ids) == 1


def test_a_choice_without_an_index_belongs_to_the_first_sample(router, openai):
    events = [{"choices": [{"delta": {"content": text}}]} for text in ("The ", "sea.")]
    events.append({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    openai.replies.append(Reply(events=events))
    [row] = run_request(router, openai).samples
    assert (row.text, row.finish_reason) == ("The sea.", "end")


def test_what_was_refused_is_tried_again_once_forgotten(router, openai):
    openai.refused_fields["seed"] = "Unsupported parameter: 'seed'"
    run_request(router, openai)
    openai.refused_fields.clear()
    run_request(router, openai)
    assert "seed" not in openai.requests[-1].body
    router.hosted.forget("builtin")  # nothing is known of a local model
    router.hosted.forget(openai.model)
    run_request(router, openai)
    assert openai.requests[-1].body["seed"] == 1
