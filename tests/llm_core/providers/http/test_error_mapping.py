"""Every way in which a provider fails ends in a message, keeps what was written, and is tried again only where that
can help, a few times."""

from __future__ import annotations

import json
import socket
import threading
import time

import pytest
from pydantic import SecretStr

from llm_core import NucleusError
from llm_core.generation.request import HostedOptions
from llm_core.providers.credentials import Credentials
from llm_core.providers.dispatch.service import DispatchLimits
from llm_core.providers.http import error_mapping
from tests.llm_core.providers.conftest import (
    PLANTED_KEY,
    make_credentials,
    make_request,
    make_router,
    wait_until_finished,
)
from tests.support.fake_openai import error_reply, finish_event, text_event, usage
from tests.support.fake_server import Reply

PAGE = "<html><head><title>502 Bad Gateway</title><style>p {}</style></head><body><h1>nginx</h1></body></html>"


def google_error(status: int, message: str, *details: dict) -> Reply:
    return Reply(status, {"error": {"code": status, "message": message, "status": "X", "details": list(details)}})


def retry_info(delay: str) -> dict:
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


MATRIX = [
    (error_reply(400, "Invalid value: 'messages'."), "request_refused", 1),
    (google_error(400, "API key not valid.", {"@type": "ErrorInfo", "reason": "API_KEY_INVALID"}), "key_refused", 1),
    (error_reply(400, "This model's maximum context length is 4096 tokens."), "prompt_too_long", 1),
    (error_reply(401, "Incorrect API key provided"), "key_refused", 1),
    (error_reply(403, "Your account may not use this model"), "forbidden", 1),
    (error_reply(404, "No such model"), "model_unknown", 1),
    (error_reply(408, "Request timed out"), "busy", 4),
    (error_reply(422, "Unprocessable"), "request_refused", 1),
    (error_reply(429, "Rate limit reached"), "quota", 4),
    (google_error(429, "Quota exceeded", retry_info("0.02s")), "quota", 4),
    (google_error(429, "Quota exceeded", retry_info("17.5s")), "quota", 1),
    (error_reply(500, "Internal error"), "busy", 4),
    (error_reply(503, "Overloaded"), "busy", 4),
    (error_reply(504, "Deadline exceeded"), "busy", 4),
    (Reply(502, PAGE, headers={"Content-Type": "text/html"}), "not_api", 4),
    (Reply(200, PAGE, headers={"Content-Type": "text/html"}), "not_api", 1),
    (Reply(302, "", headers={"Location": "http://127.0.0.1:1/"}), "not_api", 1),
    (Reply(200, "[]"), "not_api", 1),
    (Reply(200, "surprise"), "not_api", 1),
    (Reply(200, {"error": {"message": "out of memory"}}), "stream_error", 1),
    (Reply(events=["data: {not json"]), "malformed", 1),
    (Reply(events=["data: []"]), "malformed", 1),
    (Reply(events=[{"choices": [{"delta": {"content": 7}}]}]), "malformed", 1),
    (Reply(events=[{"choices": 5}]), "malformed", 1),
    (Reply(events=[{"choices": []}, "data: [DONE]"]), "disconnected", 1),
    (Reply(events=[finish_event("stop")]), "empty", 1),
    (Reply(events=[finish_event("length"), {"choices": [], "usage": usage(64)}]), "only_thoughts", 1),
    (Reply(events=[finish_event("content_filter")]), "answer_blocked", 1),
    (Reply(events=[], drop_after=0), "disconnected", 4),
]


@pytest.mark.parametrize(("reply", "code", "tries"), MATRIX, ids=lambda value: value if isinstance(value, str) else "")
def test_the_matrix(router, openai, reply, code, tries):
    openai.replies.extend([reply] * 6)
    run = wait_until_finished(router.submit(make_request(openai.model), make_credentials(openai)))
    assert run.status == "failed"
    assert run.error.code == f"provider_{code}"
    assert len(openai.requests) == tries
    assert "<" not in str(run.error)


@pytest.mark.parametrize(
    ("last", "drop", "code"),
    [
        ({"error": {"message": "server out of memory", "code": 500}}, None, "stream_error"),
        ("data: {broken", None, "malformed"),
        (finish_event("content_filter"), None, "answer_blocked"),
        (finish_event("bored"), None, "finish_unknown"),
        (text_event(" lost"), 2, "disconnected"),
        (": and then the connection ends as if all were well", None, "disconnected"),
    ],
)
def test_what_was_written_is_kept_and_not_asked_for_again(router, openai, last, drop, code):
    openai.replies.append(Reply(events=[text_event("The sea"), text_event(" is"), last], drop_after=drop))
    run = wait_until_finished(router.submit(make_request(openai.model), make_credentials(openai)))
    assert run.error.code == f"provider_{code}"
    assert run.samples[0].text == "The sea is"
    assert len(openai.requests) == 1


def test_held_back_text_is_kept_too(router, openai):
    openai.replies.append(Reply(events=[text_event("one E"), "data: {broken"]))
    run = wait_until_finished(
        router.submit(make_request(openai.model, stop_sequences=("END",)), make_credentials(openai))
    )
    assert run.samples[0].text == "one E"


def test_failures_that_pass_are_survived(router, openai):
    openai.replies.extend(
        [error_reply(503, "Overloaded"), google_error(429, "Quota", retry_info("0.02s")), error_reply(500, "Oops")]
    )
    run = wait_until_finished(router.submit(make_request(openai.model, max_output_tokens=3), make_credentials(openai)))
    assert run.status == "finished", run.error
    assert len(openai.requests) == 4
    assert [notice.code for notice in run.notices] == ["provider_tried_again"]


def test_a_wait_that_was_asked_for_is_obeyed(router, openai):
    openai.replies.append(google_error(429, "Quota", retry_info("0.25s")))
    began = time.monotonic()
    wait_until_finished(router.submit(make_request(openai.model, max_output_tokens=3), make_credentials(openai)))
    assert time.monotonic() - began >= 0.25


def test_refusals_end_too(openai):
    router = make_router(DispatchLimits(max_refusals=2, first_wait=0.01))
    openai.refused_fields = {name: f"Unknown parameter: '{name}'." for name in ("top_k", "min_p", "samplers", "seed")}
    run = wait_until_finished(router.submit(make_request(openai.model), make_credentials(openai)))
    assert run.error.code == "provider_request_refused"
    assert len(openai.requests) == 3


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85", "\x0b"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_line_separators_in_a_chunk_are_text(router, openai, character, line_end):
    openai.replies.append(Reply(events=[text_event(f"one{character}two"), finish_event("stop")], line_end=line_end))
    run = wait_until_finished(router.submit(make_request(openai.model), make_credentials(openai)))
    assert run.samples[0].text == f"one{character}two"


def test_a_server_that_says_nothing_times_out(openai):
    router = make_router(DispatchLimits(read_timeout=0.2, max_attempts=2, first_wait=0.01))
    never = threading.Event()
    openai.replies.extend([Reply(body={}, gate=never)] * 3)
    run = wait_until_finished(router.submit(make_request(openai.model), make_credentials(openai)))
    assert run.error.code == "provider_timeout"
    assert len(openai.requests) == 2
    never.set()


def test_a_name_that_does_not_exist_and_a_port_that_nobody_listens_on(router):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        free = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
    for address in ("http://no-such-host.invalid/v1", free):
        run = wait_until_finished(router.submit(make_request(f"openai:sea@{address}")))
        assert run.error.code == "provider_unreachable"


@pytest.mark.parametrize("when", ["before the answer", "in the answer", "between attempts"])
def test_stop_at_any_moment(openai, when):
    router = make_router(DispatchLimits(first_wait=20, max_wait=30))
    gate = threading.Event()
    openai.replies.append(
        {
            "before the answer": Reply(body={}, gate=gate),
            "in the answer": Reply(events=[text_event("The"), text_event(" sea"), finish_event("stop")], gate=gate),
            "between attempts": error_reply(503, "Overloaded"),
        }[when]
    )
    run = router.submit(make_request(openai.model), make_credentials(openai))
    while not openai.requests or (when == "in the answer" and not run.samples[0].events()):
        time.sleep(0.01)
    time.sleep(0.05)
    run.cancel()
    assert run.wait(5)
    assert (run.status, run.samples[0].finish_reason) == ("finished", "cancelled")
    assert run.samples[0].text == ("The" if when == "in the answer" else "")
    until = time.monotonic() + 5
    while router.hosted.active_samples and time.monotonic() < until:
        time.sleep(0.01)
    assert router.hosted.active_samples == 0  # the thread that waited for the server was woken
    gate.set()


def test_deadlines_end_a_slow_answer(openai, router):
    gate = threading.Event()
    openai.replies.append(Reply(events=[text_event("The"), text_event(" sea"), finish_event("stop")], gate=gate))
    run = wait_until_finished(router.submit(make_request(openai.model, deadline_seconds=0.4), make_credentials(openai)))
    assert run.samples[0].finish_reason == "deadline"
    assert run.samples[0].text == "The"
    gate.set()


def test_rows_queue_under_the_limit_and_see_their_place(openai):
    router = make_router(DispatchLimits(parallel=2))
    gate = threading.Event()
    openai.replies.extend([Reply(events=[text_event("The"), text_event(" sea"), finish_event("stop")], gate=gate)] * 2)
    first = router.submit(make_request(openai.model, rows=2, session="a"), make_credentials(openai))
    while not all(row.events() for row in first.samples):  # before another session may take the second place
        time.sleep(0.01)
    second = router.submit(make_request(openai.model, max_output_tokens=2, session="b"), make_credentials(openai))
    third = router.submit(make_request(openai.model, max_output_tokens=2, session="c"), make_credentials(openai))
    assert len(openai.requests) == 2
    assert [router.position(run) for run in (first, second, third)] == [0, 0, 1]
    assert (second.status, third.status) == ("waiting", "waiting")
    assert [router.hosted.queue_state([run]) for run in (first, second, third)] == [(0, 0), (1, 0), (1, 1)]
    assert router.hosted.queue_state([second, third]) == (2, 0)
    assert [router.hosted.samples_ahead(run.samples[0]) for run in (first, second, third)] == [0, 0, 1]
    third.cancel()
    assert third.wait(0.5), "one that waits is freed at once"
    assert router.hosted.queue_state([second, third]) == (1, 0)
    gate.set()
    assert wait_until_finished(first).samples[1].text == "The sea"
    assert wait_until_finished(second).status == "finished"
    assert third.samples[0].finish_reason == "cancelled"


def test_a_missing_key_is_told_before_anything_is_sent(router):
    with pytest.raises(NucleusError) as caught:
        router.submit(make_request("openai:gpt-9"), Credentials())
    assert caught.value.code == "provider_key_missing"


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "chữ"])
def test_a_malformed_key_is_refused_and_not_quoted(router, openai, key):
    with pytest.raises(NucleusError) as caught:
        router.submit(make_request(openai.model), Credentials(typed={f"openai:{openai.address}/v1": SecretStr(key)}))
    assert caught.value.code == "provider_key_malformed"
    assert key not in str(caught.value)


def test_a_long_message_is_cut_to_300_characters():
    assert error_mapping.error_message_from_body("x" * 300) == "x" * 300
    assert error_mapping.error_message_from_body("x" * 301) == "x" * 299 + "…"


def test_echoed_keys_are_hidden(router, openai):
    openai.replies.append(error_reply(400, f"Bad request with Bearer {PLANTED_KEY}"))
    run = wait_until_finished(router.submit(make_request(openai.model), make_credentials(openai)))
    assert PLANTED_KEY not in str(run.error)


@pytest.mark.parametrize(
    ("message", "param", "sent", "refused"),
    [
        ("Unrecognized request argument supplied: top_k", None, ["top_k", "min_p"], ("top_k",)),
        ("Unrecognized request arguments supplied: min_p, top_k", None, ["top_k", "min_p"], ("top_k", "min_p")),
        ("Unsupported value: 'temperature' does not support 0.2", "temperature", ["temperature"], ("temperature",)),
        ("Logprobs is not supported for this model.", None, ["logprobs"], ("logprobs",)),
        ("logprobs must be between 0 and 5.", None, ["logprobs", "response_logprobs"], ("logprobs",)),
        ("logprobs must be between 0 and 5.", None, ["response_logprobs"], ("response_logprobs",)),
        ("Penalty is not enabled for this model", None, ["presence_penalty"], ("presence_penalty",)),
        ("Requests ending with a model turn are not supported.", None, ["prefill"], ("prefill",)),
        ("temperature is deprecated and not supported", None, ["temperature", "top_p"], ("temperature",)),
        ("Invalid 'messages': too short", None, ["messages", "top_k"], ()),
        ("The prompt mentions top_k", None, ["top_k"], ()),
    ],
)
def test_messages_that_name_a_field(message, param, sent, refused):
    body = json.dumps({"error": {"message": message, "param": param}})
    assert error_mapping.failure_from_response(400, body, sent).refused == refused


@pytest.mark.parametrize(
    "message",
    [
        "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 instead.",
        "temperature must be in the range [0, 2], got 3",
        "temperature is out of range",
    ],
)
def test_a_value_out_of_range_is_told_and_not_dropped(router, openai, message):
    openai.replies.append(error_reply(400, message, param="temperature"))
    run = wait_until_finished(router.submit(make_request(openai.model, temperature=3), make_credentials(openai)))
    assert run.error.code == "provider_request_refused"
    assert router.hosted.support(openai.model)["temperature"] == "untried"


def test_a_refused_value_is_dropped_once_and_not_remembered(router, openai):
    message = "Unsupported value: 'none' is not supported with this model. Supported values are: 'low' and 'high'."
    openai.replies.append(error_reply(400, message, param="reasoning_effort"))
    request = make_request(openai.model, max_output_tokens=3, hosted=HostedOptions("off"))
    run = wait_until_finished(router.submit(request, make_credentials(openai)))
    assert run.status == "finished", run.error
    assert "reasoning_effort" not in openai.requests[1].body
    assert [notice.details["setting"] for notice in run.notices] == ["thinking"]
    assert router.hosted.support(openai.model)["thinking"] == "untried"
    wait_until_finished(
        router.submit(
            make_request(openai.model, max_output_tokens=3, hosted=HostedOptions("low")), make_credentials(openai)
        )
    )
    assert openai.requests[-1].body["reasoning_effort"] == "low"


def test_exceptions_of_others_are_not_hidden():
    with pytest.raises(ZeroDivisionError):
        error_mapping.failure_from_exception(ZeroDivisionError(), "host")
