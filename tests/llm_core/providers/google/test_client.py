"""Gemini and Vertex AI through the real SDK, against a server that speaks their wire format."""

from __future__ import annotations

import threading
import time

import pytest
from pydantic import SecretStr

from llm_core import Engine, ModelStore, NucleusError
from llm_core.generation.request import HostedOptions, Image
from llm_core.prompts.output_format import OutputFormat
from llm_core.providers.credentials import Credentials
from llm_core.providers.dispatch.service import DispatchLimits, HostedService
from llm_core.providers.google.client import SeparatorEscapingStream, Vertex
from llm_core.router import PROVIDERS, Router
from samplers import SamplerConfig
from tests.llm_core.providers.conftest import (
    PLANTED_KEY,
    QUICK_LIMITS,
    make_request,
    setting_notices,
    wait_until_finished,
)
from tests.support.fake_gemini import ACCESS_TOKEN, GeminiServer, error_reply, finish_event, text_event
from tests.support.fake_server import WORDS, Reply, sample_tokens

KINDS = ("", "express", "my-project/us-central1")


def make_vertex_router(server: GeminiServer, limits: DispatchLimits = QUICK_LIMITS) -> Router:
    providers = PROVIDERS | {"vertex": lambda: Vertex(server.address)}
    return Router(Engine(ModelStore()), HostedService(providers, limits=limits))


def make_keys(server: GeminiServer) -> Credentials:
    return Credentials(typed={f"gemini:{server.address}": SecretStr(PLANTED_KEY), "vertex": SecretStr(PLANTED_KEY)})


def run_request(server: GeminiServer, limits: DispatchLimits = QUICK_LIMITS, router: Router | None = None, **fields):
    router = router or make_vertex_router(server, limits)
    return wait_until_finished(router.submit(make_request(server.model, **fields), make_keys(server)))


@pytest.fixture
def gemini():
    with GeminiServer(PLANTED_KEY) as server:
        yield server


@pytest.fixture(params=KINDS, ids=lambda kind: kind or "developer")
def server(request, tmp_path, monkeypatch):
    with GeminiServer(PLANTED_KEY, request.param) as running:
        account = running.write_service_account(tmp_path / "account.json")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account))
        yield running


def test_all_three_ways_in_answer_in_full(server):
    server.thoughts = "Let me think."
    hosted = HostedOptions(show_thoughts=True, thinking="low")
    run = run_request(server, temperature=0.7, top_k=6, max_output_tokens=10, hosted=hosted, order="gemini")
    assert run.status == "finished", run.error
    [row] = run.samples
    drawn = list(sample_tokens(SamplerConfig(temperature=0.7, top_k=6, seed=1, order="gemini"), 10))
    assert row.text == "".join(WORDS[each.token_id] for each in drawn)
    assert [event.token_id - 100 for event in row.events()] == [each.token_id for each in drawn]
    assert [event.trace.logprob for event in row.events()] == pytest.approx(
        [each.logprobs[each.token_id] for each in drawn], abs=1e-4
    )
    assert row.thoughts == "Let me think."
    assert (row.usage.prompt_tokens, row.usage.output_tokens, row.usage.thought_tokens) == (9, 10, 5)
    assert row.finish_reason == "length"
    assert run.label(row.events()[0].token_id) == WORDS[drawn[0].token_id]


def test_tokens_are_counted_and_models_listed(server):
    router = make_vertex_router(server)
    target = router.target(server.model)
    assert router.hosted.count_tokens(make_request(server.model, system="Brief."), target, make_keys(server)) == 7
    [model] = router.hosted.models(target.scheme, target.place, make_keys(server))
    assert model.id == server.model
    if not server.vertex:
        assert (model.context_window, model.output_limit) == (1000, 500)


def test_default_credentials_get_one_token_for_many_runs(tmp_path, monkeypatch):
    with GeminiServer(PLANTED_KEY, "p/l") as server:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(server.write_service_account(tmp_path / "a.json")))
        router = make_vertex_router(server)
        for _ in range(2):
            assert run_request(server, router=router, max_output_tokens=2).status == "finished"
        assert [request.path for request in server.requests].count("/token") == 1
        assert server.requests[-1].headers["authorization"] == f"Bearer {ACCESS_TOKEN}"


def test_without_credentials_there_is_a_message(tmp_path, monkeypatch):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with GeminiServer(PLANTED_KEY, "p/l") as server:
        run = run_request(server)
        assert run.error.code == "provider_credentials_missing"
        assert server.requests == []


def test_a_place_that_is_no_project_and_location(gemini):
    run = wait_until_finished(make_vertex_router(gemini).submit(make_request("vertex:sea@../us"), make_keys(gemini)))
    assert run.error.code == "provider_place_invalid"


@pytest.mark.parametrize("name", ["../../v1/x", "a?b", "a#b", "a%2fb", "a b"])
def test_names_cannot_lead_elsewhere(gemini, name):
    run = wait_until_finished(
        make_vertex_router(gemini).submit(make_request(f"gemini:{name}@{gemini.address}"), make_keys(gemini))
    )
    assert run.error.code == "provider_model_unnamed"
    assert gemini.requests == []


def test_what_is_sent_for_a_whole_prompt(gemini):
    run = run_request(
        gemini,
        system="Be brief.",
        prefill="The",
        output=OutputFormat("json", schema='{"type": "object"}'),
        hosted=HostedOptions(
            thinking=128, safety=(("HARASSMENT", "BLOCK_NONE"),), images=(Image("image/png", b"\x89PNG"),)
        ),
        stop_sequences=("A", "B", "C", "D", "E", "F"),
        presence_penalty=0.5,
        temperature=0,
        seed=2**40,
    )
    assert run.status == "finished", run.error
    body = gemini.requests[0].body
    assert [turn["role"] for turn in body["contents"]] == ["user", "model"]
    assert body["contents"][0]["parts"][1]["inlineData"]["data"] == "iVBORw=="
    assert body["systemInstruction"]["parts"][0]["text"] == "Be brief."
    assert body["safetySettings"] == [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]
    config = body["generationConfig"]
    assert (config["temperature"], config["topP"], "topK" in config) == (0, 1.0, False)
    assert config["responseJsonSchema"] == {"type": "object"}
    assert config["stopSequences"] == ["A", "B", "C", "D", "E"]
    assert config["presencePenalty"] == 0.5
    assert config["thinkingConfig"]["thinking_budget"] == 128
    assert (config["responseLogprobs"], config["logprobs"]) == (True, 20)


def test_choices(gemini):
    run_request(gemini, output=OutputFormat("choice", ("yes", "no")))
    config = gemini.requests[0].body["generationConfig"]
    assert config["responseMimeType"] == "text/x.enum"
    assert config["responseSchema"]["enum"] == ["yes", "no"]


@pytest.mark.parametrize(
    ("field", "message", "settings", "told"),
    [
        ("temperature", "temperature is not supported for this model.", {"temperature": 0.3}, ["temperature"]),
        ("topP", "top_p is no longer supported.", {}, []),
        ("responseLogprobs", "Logprobs is not supported for this model.", {}, ["logprobs"]),
        ("presencePenalty", "Penalty is not enabled for this model", {"presence_penalty": 1.0}, ["presence_penalty"]),
        ("prefill", "Requests ending with a model turn are not supported.", {"prefill": "The"}, []),
        ("thinkingConfig", "Thinking level is not supported.", {"hosted": HostedOptions("high")}, ["thinking"]),
    ],
)
def test_known_refusals_are_worked_around_told_and_remembered(gemini, field, message, settings, told):
    gemini.refused_fields[field] = message
    router = make_vertex_router(gemini)
    run = run_request(gemini, router=router, max_output_tokens=3, **settings)
    assert run.status == "finished", run.error
    assert len(gemini.requests) == 2
    assert setting_notices(run) == [("rejected", name) for name in told]
    again = run_request(gemini, router=router, max_output_tokens=3, **settings)
    assert len(gemini.requests) == 3
    assert list(map(str, again.notices)) == list(map(str, run.notices))
    if field == "prefill":
        assert [notice.code for notice in run.notices] == ["provider_prefill_refused"]
        assert [turn["role"] for turn in gemini.requests[-1].body["contents"]] == ["user", "model", "user"]


def test_too_many_logprobs_are_asked_for_again_as_five_and_then_as_none(gemini):
    gemini.refused_fields["logprobs"] = "logprobs must be between 1 and 3."
    run = run_request(gemini, max_output_tokens=3)
    assert run.status == "finished", run.error
    assert [request.body["generationConfig"].get("logprobs") for request in gemini.requests] == [20, 5, None]


QUOTA = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7.5s"}
PAGE = Reply(502, "<html><title>502</title></html>", headers={"Content-Type": "text/html"})
MATRIX = [
    (error_reply(400, "Bad request", "INVALID_ARGUMENT"), "request_refused", 1),
    (error_reply(401, "Unauthenticated", "UNAUTHENTICATED"), "key_refused", 1),
    (error_reply(403, "Permission denied", "PERMISSION_DENIED"), "forbidden", 1),
    (error_reply(404, "Not found", "NOT_FOUND"), "model_unknown", 1),
    (error_reply(408, "Timeout", "CANCELLED"), "busy", 4),
    (error_reply(429, "Quota", "RESOURCE_EXHAUSTED", QUOTA), "quota", 1),
    (error_reply(429, "Quota", "RESOURCE_EXHAUSTED"), "quota", 4),
    (error_reply(500, "Internal", "INTERNAL"), "busy", 4),
    (error_reply(503, "Overloaded", "UNAVAILABLE"), "busy", 4),
    (error_reply(504, "Deadline", "DEADLINE_EXCEEDED"), "busy", 4),
    (PAGE, "not_api", 4),
    (Reply(200, "<html>Login</html>", headers={"Content-Type": "text/html"}), "malformed", 1),
    (Reply(events=["data: {not json"]), "malformed", 1),
    (Reply(200, [finish_event("STOP")]), "disconnected", 1),  # no stream: the SDK reads nothing in it
    (Reply(events=[{"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}]), "prompt_blocked", 1),
    (Reply(events=[{"usageMetadata": {"promptTokenCount": 3}}]), "disconnected", 1),
    (Reply(events=[finish_event("MAX_TOKENS")]), "only_thoughts", 1),
    (Reply(events=[text_event("Hmm", thought=True), finish_event("STOP")]), "only_thoughts", 1),
    (Reply(events=[finish_event("STOP")]), "empty", 1),
    (Reply(events=[finish_event("SAFETY", content=None)]), "answer_blocked", 1),
    (Reply(events=[finish_event("OTHER")]), "finish_unknown", 1),
    (Reply(events=[], drop_after=0), "disconnected", 4),
]


@pytest.mark.parametrize(("reply", "code", "tries"), MATRIX, ids=lambda value: value if isinstance(value, str) else "")
def test_the_matrix(gemini, reply, code, tries):
    gemini.replies.extend([reply] * 6)
    run = run_request(gemini)
    assert run.status == "failed"
    assert run.error.code == f"provider_{code}"
    assert len(gemini.requests) == tries


@pytest.mark.parametrize("kind", ["", "express"])
def test_a_wrong_key_is_a_400_here(kind):
    with GeminiServer("another", kind) as server:
        run = run_request(server)
        assert run.error.code == "provider_key_refused"
        assert len(server.requests) == 1


def test_a_wait_that_was_asked_for_is_obeyed(gemini):
    gemini.replies.append(
        error_reply(429, "Quota", "RESOURCE_EXHAUSTED", {"@type": "x/google.rpc.RetryInfo", "retryDelay": "0.25s"})
    )
    began = time.monotonic()
    run = run_request(gemini, max_output_tokens=2)
    assert run.status == "finished", run.error
    assert time.monotonic() - began >= 0.25
    assert [notice.code for notice in run.notices] == ["provider_tried_again"]


def test_a_host_that_does_not_exist():
    target = "gemini:sea@http://no-such-host.invalid"
    credentials = Credentials(typed={"gemini:http://no-such-host.invalid": SecretStr(PLANTED_KEY)})
    router = Router(Engine(ModelStore()), HostedService(PROVIDERS, limits=QUICK_LIMITS))
    assert wait_until_finished(router.submit(make_request(target), credentials)).error.code == "provider_unreachable"


@pytest.mark.parametrize(
    ("last", "drop", "code"),
    [
        ({"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}, None, "stream_error"),
        ("data: {broken", None, "malformed"),
        (finish_event("SAFETY"), None, "answer_blocked"),
        (finish_event("RECITATION"), None, "answer_blocked"),
        (text_event(" lost"), 2, "disconnected"),
    ],
)
def test_what_was_written_is_kept_and_not_asked_for_again(gemini, last, drop, code):
    gemini.replies.append(Reply(events=[text_event("The sea"), text_event(" is"), last], drop_after=drop))
    run = run_request(gemini)
    assert run.error.code == f"provider_{code}"
    assert run.samples[0].text == "The sea is"
    assert len(gemini.requests) == 1


@pytest.mark.filterwarnings("ignore:BORED is not a valid")
def test_a_finish_reason_that_nobody_knew(gemini):
    gemini.replies.append(Reply(events=[text_event("The sea"), finish_event("BORED")]))
    run = run_request(gemini)
    assert run.error.code == "provider_finish_unknown"
    assert run.samples[0].text == "The sea"


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85"])
def test_line_separators_in_a_chunk_are_text(gemini, character):
    gemini.replies.append(Reply(events=[text_event(f"one{character}two"), finish_event("STOP")]))
    run = run_request(gemini)
    assert run.samples[0].text == f"one{character}two", run.error


def test_separators_are_escaped_wherever_a_body_is_cut():
    text = "a\u2028b\u2029\u2028c\x85d â é\u2026"
    data = text.encode()
    for cut in range(len(data) + 1):
        for second in range(cut, len(data) + 1):
            pieces = [data[:cut], data[cut:second], data[second:]]
            escaped = b"".join(SeparatorEscapingStream(pieces)).decode()
            assert escaped == text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").replace("\x85", "\\u0085")


def test_only_the_first_candidate_is_read(gemini):
    other = text_event(" lost")
    other["candidates"][0]["index"] = 1
    gemini.replies.append(Reply(events=[other, text_event("kept"), finish_event("STOP")]))
    assert run_request(gemini).samples[0].text == "kept"


def test_a_continuation_is_never_bought(gemini):
    """The SDK would silently send a second request."""
    gemini.replies.append(
        Reply(events=[text_event("The sea"), finish_event("CONTINUATION", continuationToken="bW9yZQ==")])
    )
    run = run_request(gemini)
    assert len(gemini.requests) == 1
    assert run.error.code == "provider_finish_unknown"


def test_stop_wakes_a_thread_that_waits_for_the_sdk(gemini):
    gate = threading.Event()
    gemini.replies.append(Reply(events=[text_event("The"), text_event(" sea"), finish_event("STOP")], gate=gate))
    router = make_vertex_router(gemini, DispatchLimits())
    run = router.submit(make_request(gemini.model), make_keys(gemini))
    while not run.samples[0].events():
        time.sleep(0.01)
    run.cancel()
    assert run.wait(5)
    assert (run.samples[0].text, run.samples[0].finish_reason) == ("The", "cancelled")
    until = time.monotonic() + 5
    while router.hosted.active_samples and time.monotonic() < until:
        time.sleep(0.01)
    assert router.hosted.active_samples == 0
    gate.set()


def test_a_silent_server_times_out(gemini):
    gate = threading.Event()
    gemini.replies.extend([Reply(body={}, gate=gate)] * 2)
    run = run_request(gemini, DispatchLimits(read_timeout=0.3, max_attempts=2, first_wait=0.01))
    assert run.error.code == "provider_timeout"
    gate.set()


def test_the_environment_cannot_redirect_it(gemini, monkeypatch):
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert run_request(gemini, max_output_tokens=2).status == "finished"


def test_no_key_is_told_before_anything_is_sent(gemini):
    with pytest.raises(NucleusError) as caught:
        make_vertex_router(gemini).submit(make_request("gemini:sea"), Credentials())
    assert caught.value.code == "provider_key_missing"
