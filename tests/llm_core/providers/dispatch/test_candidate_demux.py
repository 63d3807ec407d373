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
from llm_core.providers.dispatch.response_cache import AnswerCache
from llm_core.providers.dispatch.service import Limits
from llm_core.providers.http.error_mapping import refused_fields
from samplers import SamplerConfig
from tests.llm_core.providers.conftest import PATIENCE, PLANTED, finished, make_router, notices, request
from tests.support import fake_gemini, fake_openai
from tests.support.fake_gemini import GeminiServer
from tests.support.fake_openai import OpenAIServer
from tests.support.fake_server import WORDS, Reply, tokens

FIELD = {"gemini": "candidateCount", "openai": "n"}


@pytest.fixture(params=FIELD)
def server(request):
    with GeminiServer(PLANTED) if request.param == "gemini" else OpenAIServer("vllm", PLANTED) as running:
        yield running


def scheme(server) -> str:
    return server.model.partition(":")[0]


def keys(server) -> Credentials:
    place = server.address + ("/v1" if scheme(server) == "openai" else "")
    return Credentials(typed={f"{scheme(server)}:{place}": SecretStr(PLANTED)})


def submit(server, rows=4, router=None, answers=None, hosted=HostedOptions(candidate_count=8), **fields):  # noqa: B008
    router = router or make_router()
    asked = request(server.model, rows=rows, hosted=hosted, **({"max_output_tokens": 5} | fields))
    return router.submit(asked, keys(server), answers)


def counts(server) -> list[int | None]:
    """How many candidates each call asked for; None where it asked for no number."""
    bodies = [asked.body for asked in server.asked if asked.method == "POST"]
    return [body.get("generationConfig", body).get(FIELD[scheme(server)]) for body in bodies]


def written(server, seed: int, count: int = 5) -> str:
    config = SamplerConfig(seed=seed, top_p=1.0, order="gemini")
    return "".join(WORDS[each.token_id] for each in tokens(config, count) if each.token_id)


def event(server, candidate: int, text: str = "", end: str = ""):
    wire, ends = (fake_gemini, "STOP") if scheme(server) == "gemini" else (fake_openai, "stop")
    return wire.at(candidate, wire.finish(ends) if end else wire.said(text))


def at_once(server, *events):
    """One event with what all of them have."""
    parts = "candidates" if scheme(server) == "gemini" else "choices"
    return {parts: [part for each in events for part in each[parts]]}


def test_one_call_brings_them_all_each_to_its_row(server):
    router = make_router()
    run = finished(submit(server, router=router))
    assert counts(server) == [4]
    assert [row.text for row in run.rows] == [written(server, 1000 + place) for place in range(4)]
    assert [row.finish_reason for row in run.rows] == ["length"] * 4
    assert all(row.shared and row.usage is None for row in run.rows)
    for place, row in enumerate(run.rows):
        config = SamplerConfig(seed=1000 + place, top_p=1.0, order="gemini")
        drawn = [each.logprobs[each.token_id] for each in tokens(config, 5)]
        assert [each.trace.logprob for each in row.events()] == pytest.approx(drawn, abs=1e-4)
    [usage] = run.usages
    assert (usage.prompt_tokens, usage.output_tokens, usage.cached_tokens) == (9, 20, 4)
    assert router.hosted.support(server.model)["candidate_count"] == "honoured"
    assert not notices(run)


def test_no_call_asks_for_more_than_it_may_and_none_for_rows_that_differ(server):
    finished(submit(server, rows=10))
    assert sorted(counts(server), key=str) == [2, 8]
    server.asked.clear()
    finished(submit(server, rows=4, hosted=HostedOptions(candidate_count=3)))
    assert sorted(counts(server), key=str) == [3, None]
    server.asked.clear()
    finished(submit(server, hosted=HostedOptions()))
    assert counts(server) == [None] * 4
    with pytest.raises(NucleusError, match="candidate_count"):
        submit(server, hosted=HostedOptions(candidate_count=9))


def test_the_answer_cache_has_no_part_in_it(server):
    answers, router = AnswerCache(), make_router()
    for _ in range(2):
        run = finished(submit(server, router=router, answers=answers))
        assert not any(row.from_cache for row in run.rows)
    assert counts(server) == [4, 4]
    assert len(answers) == 0


def test_a_refusal_is_remembered_and_told_and_every_row_sent_by_itself(server):
    refused = {"gemini": "Multiple candidates is not enabled for this model", "openai": "'n' is not supported"}
    server.refuses[FIELD[scheme(server)]] = refused[scheme(server)]
    router = make_router()
    run = finished(submit(server, rows=12, router=router))
    assert counts(server).count(None) == 12
    assert [row.text for row in run.rows] == [written(server, 1 + place) for place in range(12)], "seeds are sent again"
    assert all(row.usage and not row.shared for row in run.rows)
    assert run.usages == []
    assert notices(run) == [("rejected", "candidate_count")]
    server.asked.clear()
    again = submit(server, router=router)
    assert notices(again) == [("rejected", "candidate_count")]
    finished(again)
    assert counts(server) == [None] * 4
    assert router.hosted.dead(server.model, ["candidate_count"])


def test_a_model_that_gives_one_at_a_time_is_found_out(server):
    server.candidates = 1
    router = make_router()
    run = finished(submit(server, router=router))
    assert counts(server) == [4, None, None, None]
    assert [row.text for row in run.rows] == [written(server, seed) for seed in (1000, 2, 3, 4)]
    assert [row.shared for row in run.rows] == [True, False, False, False]
    assert [row.usage.prompt_tokens for row in run.rows] == [9] * 4
    assert [notice.code for notice in run.notices] == ["provider_candidates_ignored"]
    assert router.hosted.support(server.model)["candidate_count"] == "ignored"
    server.asked.clear()
    finished(submit(server, router=router))
    assert counts(server) == [None] * 4


def test_fewer_than_asked_for_are_told_row_by_row(server):
    server.candidates = 3
    router = make_router()
    pool = CandidatePool(
        lambda asked: router.submit(asked, keys(server)),
        request(server.model, hosted=HostedOptions(candidate_count=8), max_output_tokens=5),
        4,
    )
    assert pool.wait(PATIENCE)
    assert len(pool.candidates()) == 3
    assert pool.missing == [3]
    assert (pool.error.code, pool.error.details) == ("provider_candidates_fewer", {"came": 3, "asked": 4})
    assert counts(server) == [4]
    assert (pool.prompt_tokens, pool.tokens) == (9, 15)
    assert [candidate.seed for candidate in pool.candidates()] == [None] * 3
    server.candidates = 1  # one that has given several before gives fewer now, and is asked no less
    run = finished(submit(server, router=router))
    assert [row.error.details["came"] for row in run.rows if row.error] == [1, 1, 1]
    assert router.hosted.support(server.model)["candidate_count"] == "honoured"


def test_stop_in_the_middle_ends_one_row_or_all_and_keeps_what_is_there(server):
    gate = threading.Event()
    begins = at_once(server, *(event(server, place, word) for place, word in enumerate("abc")))
    ends = [event(server, 0, end="end"), event(server, 2, " more"), event(server, 2, end="end")]
    server.replies.append(Reply(events=[begins, *ends], gate=gate))
    run = submit(server, rows=3)
    until = time.monotonic() + PATIENCE
    while not all(row.length for row in run.rows) and time.monotonic() < until:
        time.sleep(0.01)
    run.rows[1].cancel()
    while run.rows[1].active and time.monotonic() < until:
        time.sleep(0.01)
    assert [row.status for row in run.rows] == ["running", "finished", "running"]
    gate.set()
    finished(run)
    assert [row.text for row in run.rows] == ["a", "b", "c more"]
    assert [row.finish_reason for row in run.rows] == ["end", "cancelled", "end"]
    server.replies.append(Reply(events=[begins, *ends], gate=threading.Event()))
    run = submit(server, rows=3)
    while not all(row.length for row in run.rows) and time.monotonic() < until:
        time.sleep(0.01)
    began = time.monotonic()
    run.cancel()
    finished(run)
    assert time.monotonic() - began < 2
    assert [(row.text, row.finish_reason) for row in run.rows] == [(word, "cancelled") for word in "abc"]


def test_a_broken_call_keeps_the_candidates_that_were_whole(server):
    events = [event(server, 0, "whole"), event(server, 1, "half"), event(server, 0, end="end"), event(server, 1, "x")]
    server.replies.append(Reply(events=events, drop_after=3))
    run = finished(submit(server, rows=3))
    assert [(row.text, row.finish_reason) for row in run.rows] == [("whole", "end"), ("half", None), ("", None)]
    assert [row.error and row.error.code for row in run.rows[1:]] == ["provider_disconnected"] * 2
    assert len(counts(server)) == 1


def test_a_call_that_fails_before_it_begins_is_tried_again_as_a_whole(server):
    wire = fake_gemini if scheme(server) == "gemini" else fake_openai
    server.replies.append(wire.error(503, "Overloaded"))
    run = finished(submit(server))
    assert counts(server) == [4, 4]
    assert not run.error


def test_a_blocked_prompt_ends_every_row():
    with GeminiServer(PLANTED) as server:
        server.replies.append(Reply(events=[{"promptFeedback": {"blockReason": "SAFETY"}}]))
        run = finished(submit(server))
    assert [row.error.code for row in run.rows] == ["provider_prompt_blocked"] * 4
    assert counts(server) == [4]


def test_greedy_candidates_that_vllm_refuses_are_sent_by_themselves_and_nothing_is_remembered():
    router = make_router()
    with OpenAIServer("vllm", PLANTED) as server:
        run = finished(submit(server, router=router, temperature=0))
    assert not run.error
    assert counts(server) == [4, None, None, None, None]
    assert router.hosted.support(server.model)["candidate_count"] == "untried"


def test_rows_that_wait_are_counted_whatever_their_calls():
    gate = threading.Event()
    router = make_router(Limits(parallel=1))
    with OpenAIServer("vllm", PLANTED) as server:
        server.replies.append(Reply(events=[fake_openai.said("a"), fake_openai.finish("stop")], gate=gate))
        first = submit(server, rows=1, router=router)
        second = submit(server, rows=6, router=router)
        until = time.monotonic() + PATIENCE
        while first.status == "waiting" and time.monotonic() < until:
            time.sleep(0.01)
        assert router.hosted.waiting([second]) == (6, 0)
        second.rows[2].cancel()
        while second.rows[2].active and time.monotonic() < until:
            time.sleep(0.01)
        assert router.hosted.waiting([second]) == (5, 0)
        gate.set()
        finished(second)
    assert counts(server) == [None, 5]
    assert [row.finish_reason for row in second.rows].count("cancelled") == 1


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
