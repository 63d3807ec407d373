"""Responses of other people's servers that are read wrongly today; each test states what the right reading is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from llm_core import NucleusError, Run
from llm_core.providers.credentials import Credentials
from llm_core.providers.dispatch.service import DispatchLimits
from llm_core.recipes.trace import make_trace
from tests.llm_core.providers.conftest import make_request, make_router, wait_until_finished
from tests.support.raw_server import RawServer

DATA = Path(__file__).parent / "data"
SENTENCE = "The sea is wide."
LIMITS = DispatchLimits(first_wait=0.01, max_wait=0.3, read_timeout=1.0)


@pytest.fixture(scope="module")
def server() -> Iterator[RawServer]:
    with RawServer() as server:
        yield server


def ask(server: RawServer, file: str, hang: bool = False) -> Run:
    """Return the finished run of one question whose response is `file`."""
    server.response, server.hang = (DATA / file).read_bytes(), hang
    name = f"gemini:sea@{server.address}" if file.startswith("gemini_") else f"openai:sea@{server.address}/v1"
    request = make_request(name, max_output_tokens=64)
    return wait_until_finished(make_router(LIMITS).submit(request, Credentials()))


def outcome(run: Run) -> tuple[str, str | None, str]:
    """Return text, reason of the end and error of the only answer."""
    [row] = run.samples
    return row.text, row.finish_reason, str(row.error or "")


def fails(name: str, *values: Any, reason: str, raises: Any = AssertionError) -> Any:
    """Return a parameter set that is expected to fail, and only by `raises`."""
    return pytest.param(name, *values, id=name, marks=pytest.mark.xfail(strict=True, reason=reason, raises=raises))


@pytest.mark.parametrize("file", ["control.http", "gemini_control.http"])
def test_well_formed_streams_are_read(server, file):
    """Without this, a fault of the server of these tests would look like the faults below."""
    run = ask(server, file)
    assert outcome(run) == (SENTENCE, "end", "")
    assert make_trace(run).rows[0].text == SENTENCE


@pytest.mark.parametrize(
    ("name", "text", "reason_of_end"),
    [
        fails("surrogate_halves", "The sea 🌊 is wide.", "end", reason="halves in neighbouring deltas are not joined"),
        fails("surrogate_alone", "The sea \ufffd is wide.", "end", reason="a lone half stays in the text"),
        fails("finish_empty_text", SENTENCE, "end", reason='finish_reason "" counts as an end'),
        fails("finish_tgi", SENTENCE, "end", reason="eos_token is unknown"),
        fails("finish_mistral_length", "The sea is", "length", reason="model_length is unknown"),
        fails("finished_then_cut", SENTENCE, "end", reason="an ended answer fails for what follows it"),
        fails("content_list", SENTENCE, "end", reason="content as a list of parts is not read"),
        fails("bom", SENTENCE, "end", reason="the first event is lost behind a byte order mark"),
        fails("content_type_capitals", SENTENCE, "end", reason="media types are compared with their case"),
        fails("content_type_plain", SENTENCE, "end", reason="a stream named text/plain is refused"),
        fails("data_empty", SENTENCE, "end", reason="an empty data line ends the answer"),
        fails("logprob_null", "The sea", "end", reason="a token without log-probability ends the answer"),
        fails("gemini_no_space", SENTENCE, "end", reason="only `data: ` with a space is read"),
        fails("gemini_comment", SENTENCE, "end", reason="comment lines are not passed over"),
        fails("gemini_done", SENTENCE, "end", reason="[DONE] is read as JSON"),
    ],
)
def test_answer_is_whole(server, name, text, reason_of_end):
    assert outcome(ask(server, f"{name}.http")) == (text, reason_of_end, "")


@pytest.mark.xfail(strict=True, reason="an ended answer waits for its server", raises=AssertionError)
def test_ended_answer_does_not_wait_for_its_server(server):
    assert outcome(ask(server, "finished_then_silent.http", hang=True)) == (SENTENCE, "end", "")


@pytest.mark.xfail(strict=True, reason="a server that gives no reason counts as disconnected", raises=AssertionError)
def test_missing_finish_reason_is_a_notice(server):
    run = ask(server, "finish_missing_done.http")
    [row] = run.samples
    assert (row.status, row.text, row.error) == ("finished", SENTENCE, None)
    assert run.notices


@pytest.mark.xfail(strict=True, reason="thinking parts of a list are not read", raises=AssertionError)
def test_thinking_parts_are_thoughts(server):
    [row] = ask(server, "content_list.http").samples
    assert row.thoughts == "Hm."


@pytest.mark.xfail(strict=True, reason="half an emoji stays in a label", raises=AssertionError)
def test_labels_are_valid_text(server):
    run = ask(server, "surrogate_in_likeliest.http")
    assert sorted(run.labels.values()) == ["a", "\ufffd"]


@pytest.mark.xfail(strict=True, reason="a missing log-probability ends the answer", raises=AssertionError)
def test_token_without_logprob_has_no_trace(server):
    [row] = ask(server, "logprob_null.http").samples
    assert [(event.piece, event.trace) for event in row.events()] == [("The sea", None)]


def _token_counts(run: Run) -> tuple[int, int, int] | None:
    usage = run.samples[0].usage
    return usage and (usage.prompt_tokens, usage.output_tokens, usage.thought_tokens)


def _recorded_text(run: Run) -> str:
    return make_trace(run).rows[0].text


@pytest.mark.parametrize(
    ("name", "read", "expected"),
    [
        fails("usage_reasoning_apart", _token_counts, (12, 2, 317), reason="thoughts are taken from the output tokens"),
        fails("usage_minus_one", _token_counts, None, reason="-1, which means unknown, is taken as a count"),
        fails("usage_reasoning_apart", _recorded_text, SENTENCE, reason="no record", raises=ValidationError),
        fails("usage_minus_one", _recorded_text, SENTENCE, reason="no record", raises=ValidationError),
        fails("usage_floats", _recorded_text, SENTENCE, reason="no record", raises=ValidationError),
    ],
)
def test_usage(server, name: str, read: Callable[[Run], object], expected: object):
    run = ask(server, f"{name}.http")
    assert run.samples[0].text == SENTENCE
    assert read(run) == expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        fails("error_top_level", "The KV cache ran full", reason="an error object without `error` is passed over"),
        fails("error_in_choice", "The upstream model is overloaded", reason="an error in a choice is passed over"),
        fails("error_event_text", "The upstream model is overloaded", reason="an error event in words is not read"),
    ],
)
def test_message_of_the_server_is_shown(server, name, message):
    text, _, error = outcome(ask(server, f"{name}.http"))
    assert text == "The sea"
    assert message in error


@pytest.mark.xfail(strict=True, reason="a bare list of models is refused", raises=NucleusError)
def test_bare_list_of_models(server):
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
    server.response, server.hang = head + (DATA / "models_list.json").read_bytes(), False
    found = make_router(LIMITS).hosted.models("openai", f"{server.address}/v1", Credentials())
    assert [model.id.removeprefix("openai:").partition("@")[0] for model in found] == ["a", "b"]
