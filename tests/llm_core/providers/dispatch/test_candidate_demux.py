"""Several candidates in one call, through the real clients: to whom what comes back goes, and what becomes of the rows
that it does not bring."""

from __future__ import annotations

import threading
import time

import pytest
from pydantic import SecretStr

from llm_core import HostedOptions, NucleusError
from llm_core.experiments.candidate_pool import CandidatePool
from llm_core.providers.credentials import Credentials
from llm_core.providers.dispatch.response_cache import ResponseCache
from llm_core.providers.dispatch.service import DispatchLimits
from llm_core.providers.http.error_mapping import refused_fields
from samplers import SamplerConfig
from tests.llm_core.providers.conftest import (
    PLANTED_KEY,
    TIMEOUT_SECONDS,
    make_request,
    make_router,
    setting_notices,
    wait_until_finished,
)
from tests.support import fake_gemini, fake_openai
from tests.support.fake_gemini import GeminiServer
from tests.support.fake_openai import OpenAIServer
from tests.support.fake_server import WORDS, Reply, sample_tokens

FIELD = {"gemini": "candidateCount", "openai": "n"}


@pytest.fixture(params=FIELD)
def server(request):
    with GeminiServer(PLANTED_KEY) if request.param == "gemini" else OpenAIServer("vllm", PLANTED_KEY) as running:
        yield running


def scheme(server) -> str:
    return server.model.partition(":")[0]


def make_keys(server) -> Credentials:
    place = server.address + ("/v1" if scheme(server) == "openai" else "")
    return Credentials(typed={f"{scheme(server)}:{place}": SecretStr(PLANTED_KEY)})


def submit(server, rows=4, router=None, answers=None, hosted=HostedOptions(candidate_count=8), **fields):  # noqa: B008
    router = router or make_router()
    request = make_request(server.model, rows=rows, hosted=hosted, **({"max_output_tokens": 5} | fields))
    return router.submit(request, make_keys(server), answers)


def candidate_counts(server) -> list[int | None]:
    """How many candidates each call asked for; None where it asked for no number."""
    bodies = [request.body for request in server.requests if request.method == "POST"]
    return [body.get("generationConfig", body).get(FIELD[scheme(server)]) for body in bodies]


def expected_text(server, seed: int, count: int = 5) -> str:
    config = SamplerConfig(seed=seed, top_p=1.0, order="gemini")
    return "".join(WORDS[each.token_id] for each in sample_tokens(config, count) if each.token_id)


def make_event(server, candidate: int, text: str = "", end: str = ""):
    wire, ends = (fake_gemini, "STOP") if scheme(server) == "gemini" else (fake_openai, "stop")
    return wire.set_candidate(candidate, wire.finish_event(ends) if end else wire.text_event(text))


def merge_events(server, *events):
    """One event with what all of them have."""
    parts = "candidates" if scheme(server) == "gemini" else "choices"
    return {parts: [part for each in events for part in each[parts]]}


def test_one_call_brings_them_all_each_to_its_row(server):
    router = make_router()
    run = wait_until_finished(submit(server, router=router))
    assert candidate_counts(server) == [4]
    assert [row.text for row in run.samples] == [expected_text(server, 1000 + place) for place in range(4)]
    assert [row.finish_reason for row in run.samples] == ["length"] * 4
    assert all(row.shares_call and row.usage is None for row in run.samples)
    for place, row in enumerate(run.samples):
        config = SamplerConfig(seed=1000 + place, top_p=1.0, order="gemini")
        drawn = [each.logprobs[each.token_id] for each in sample_tokens(config, 5)]
        assert [each.trace.logprob for each in row.events()] == pytest.approx(drawn, abs=1e-4)
    [usage] = run.usages
    assert (usage.prompt_tokens, usage.output_tokens, usage.cached_tokens) == (9, 20, 4)
    assert router.hosted.support(server.model)["candidate_count"] == "honoured"
    assert not setting_notices(run)


def test_no_call_asks_for_more_than_it_may_and_none_for_rows_that_differ(server):
    wait_until_finished(submit(server, rows=10))
    assert sorted(candidate_counts(server), key=str) == [2, 8]
    server.requests.clear()
    wait_until_finished(submit(server, rows=4, hosted=HostedOptions(candidate_count=3)))
    assert sorted(candidate_counts(server), key=str) == [3, None]
    server.requests.clear()
    wait_until_finished(submit(server, hosted=HostedOptions()))
    assert candidate_counts(server) == [None] * 4
    with pytest.raises(NucleusError, match="candidate_count"):
        submit(server, hosted=HostedOptions(candidate_count=9))


def test_the_answer_cache_has_no_part_in_it(server):
    answers, router = ResponseCache(), make_router()
    for _ in range(2):
        run = wait_until_finished(submit(server, router=router, answers=answers))
        assert not any(row.from_cache for row in run.samples)
    assert candidate_counts(server) == [4, 4]
    assert len(answers) == 0


def test_a_refusal_is_remembered_and_told_and_every_row_sent_by_itself(server):
    refused = {"gemini": "Multiple candidates is not enabled for this model", "openai": "'n' is not supported"}
    server.refused_fields[FIELD[scheme(server)]] = refused[scheme(server)]
    router = make_router()
    run = wait_until_finished(submit(server, rows=12, router=router))
    assert candidate_counts(server).count(None) == 12
    assert [row.text for row in run.samples] == [expected_text(server, 1 + place) for place in range(12)], (
        "seeds are sent again"
    )
    assert all(row.usage and not row.shares_call for row in run.samples)
    assert run.usages == []
    assert setting_notices(run) == [("rejected", "candidate_count")]
    server.requests.clear()
    again = submit(server, router=router)
    assert setting_notices(again) == [("rejected", "candidate_count")]
    wait_until_finished(again)
    assert candidate_counts(server) == [None] * 4
    assert router.hosted.unsupported_settings(server.model, ["candidate_count"])


def test_a_model_that_gives_one_at_a_time_is_found_out(server):
    server.candidates = 1
    router = make_router()
    run = wait_until_finished(submit(server, router=router))
    assert candidate_counts(server) == [4, None, None, None]
    assert [row.text for row in run.samples] == [expected_text(server, seed) for seed in (1000, 2, 3, 4)]
    assert [row.shares_call for row in run.samples] == [True, False, False, False]
    assert [row.usage.prompt_tokens for row in run.samples] == [9] * 4
    assert [notice.code for notice in run.notices] == ["provider_candidates_ignored"]
    assert router.hosted.support(server.model)["candidate_count"] == "ignored"
    server.requests.clear()
    wait_until_finished(submit(server, router=router))
    assert candidate_counts(server) == [None] * 4


def test_fewer_than_asked_for_are_told_row_by_row(server):
    server.candidates = 3
    router = make_router()
    pool = CandidatePool(
        lambda request: router.submit(request, make_keys(server)),
        make_request(server.model, hosted=HostedOptions(candidate_count=8), max_output_tokens=5),
        4,
    )
    assert pool.wait(TIMEOUT_SECONDS)
    assert len(pool.candidates()) == 3
    assert pool.missing == [3]
    assert (pool.error.code, pool.error.details) == ("provider_candidates_fewer", {"came": 3, "asked": 4})
    assert candidate_counts(server) == [4]
    assert (pool.prompt_tokens, pool.tokens) == (9, 15)
    assert [candidate.seed for candidate in pool.candidates()] == [None] * 3
    server.candidates = 1  # one that has given several before gives fewer now, and is asked no less
    run = wait_until_finished(submit(server, router=router))
    assert [row.error.details["came"] for row in run.samples if row.error] == [1, 1, 1]
    assert router.hosted.support(server.model)["candidate_count"] == "honoured"


def test_stop_in_the_middle_ends_one_row_or_all_and_keeps_what_is_there(server):
    gate = threading.Event()
    begins = merge_events(server, *(make_event(server, place, word) for place, word in enumerate("abc")))
    ends = [make_event(server, 0, end="end"), make_event(server, 2, " more"), make_event(server, 2, end="end")]
    server.replies.append(Reply(events=[begins, *ends], gate=gate))
    run = submit(server, rows=3)
    until = time.monotonic() + TIMEOUT_SECONDS
    while not all(row.length for row in run.samples) and time.monotonic() < until:
        time.sleep(0.01)
    run.samples[1].cancel()
    while run.samples[1].active and time.monotonic() < until:
        time.sleep(0.01)
    assert [row.status for row in run.samples] == ["running", "finished", "running"]
    gate.set()
    wait_until_finished(run)
    assert [row.text for row in run.samples] == ["a", "b", "c more"]
    assert [row.finish_reason for row in run.samples] == ["end", "cancelled", "end"]
    server.replies.append(Reply(events=[begins, *ends], gate=threading.Event()))
    run = submit(server, rows=3)
    while not all(row.length for row in run.samples) and time.monotonic() < until:
        time.sleep(0.01)
    began = time.monotonic()
    run.cancel()
    wait_until_finished(run)
    assert time.monotonic() - began < 2
    assert [(row.text, row.finish_reason) for row in run.samples] == [(word, "cancelled") for word in "abc"]


def test_a_broken_call_keeps_the_candidates_that_were_whole(server):
    events = [
        make_event(server, 0, "whole"),
        make_event(server, 1, "half"),
        make_event(server, 0, end="end"),
        make_event(server, 1, "x"),
    ]
    server.replies.append(Reply(events=events, drop_after=3))
    run = wait_until_finished(submit(server, rows=3))
    assert [(row.text, row.finish_reason) for row in run.samples] == [("whole", "end"), ("half", None), ("", None)]
    assert [row.error and row.error.code for row in run.samples[1:]] == ["provider_disconnected"] * 2
    assert len(candidate_counts(server)) == 1


def test_a_call_that_fails_before_it_begins_is_tried_again_as_a_whole(server):
    wire = fake_gemini if scheme(server) == "gemini" else fake_openai
    server.replies.append(wire.error_reply(503, "Overloaded"))
    run = wait_until_finished(submit(server))
    assert candidate_counts(server) == [4, 4]
    assert not run.error


def test_a_blocked_prompt_ends_every_row():
    with GeminiServer(PLANTED_KEY) as server:
        server.replies.append(Reply(events=[{"promptFeedback": {"blockReason": "SAFETY"}}]))
        run = wait_until_finished(submit(server))
    assert [row.error.code for row in run.samples] == ["provider_prompt_blocked"] * 4
    assert candidate_counts(server) == [4]


def test_greedy_candidates_that_vllm_refuses_are_sent_by_themselves_and_nothing_is_remembered():
    router = make_router()
    with OpenAIServer("vllm", PLANTED_KEY) as server:
        run = wait_until_finished(submit(server, router=router, temperature=0))
    assert not run.error
    assert candidate_counts(server) == [4, None, None, None, None]
    assert router.hosted.support(server.model)["candidate_count"] == "untried"


def test_rows_that_wait_are_counted_whatever_their_calls():
    gate = threading.Event()
    router = make_router(DispatchLimits(parallel=1))
    with OpenAIServer("vllm", PLANTED_KEY) as server:
        server.replies.append(Reply(events=[fake_openai.text_event("a"), fake_openai.finish_event("stop")], gate=gate))
        first = submit(server, rows=1, router=router)
        second = submit(server, rows=6, router=router)
        until = time.monotonic() + TIMEOUT_SECONDS
        while first.status == "waiting" and time.monotonic() < until:
            time.sleep(0.01)
        assert router.hosted.queue_state([second]) == (6, 0)
        second.samples[2].cancel()
        while second.samples[2].active and time.monotonic() < until:
            time.sleep(0.01)
        assert router.hosted.queue_state([second]) == (5, 0)
        gate.set()
        wait_until_finished(second)
    assert candidate_counts(server) == [None, 5]
    assert [row.finish_reason for row in second.samples].count("cancelled") == 1


@pytest.mark.parametrize(
    ("said", "about"),
    [
        ("Multiple candidates is not enabled for this model", {"candidate_count", "n"}),
        ('Invalid JSON payload received. Unknown name "candidateCount": Cannot find field.', {"candidate_count", "n"}),
        ("Only one completion choice is allowed", {"candidate_count", "n"}),
        ("n_cmpl cannot be greater than the number of slots, please increase -np", {"candidate_count", "n"}),
        ("'n' : number must be at most 1", {"candidate_count", "n"}),
        ("Unsupported parameter: 'seed'.", {"seed"}),
        ("max_tokens isn't what it should be: no more than 8", set()),
    ],
)
def test_refusals_of_several_candidates_as_services_word_them(said, about):
    assert set(refused_fields(said, {}, ("model", "candidate_count", "n", "seed", "max_tokens"))) == about
