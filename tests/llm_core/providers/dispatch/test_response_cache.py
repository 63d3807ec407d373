"""Answers given again: only to the same asker, only for the same request, only for a while, and never a key in them."""

from __future__ import annotations

import pickle
import zlib

import pytest
from pydantic import SecretStr

from llm_core.generation.request import HostedOptions
from llm_core.prompts.spec import PromptSpec
from llm_core.providers.credentials import Credentials
from llm_core.providers.dispatch.response_cache import ResponseCache
from llm_core.providers.http.connection import Connection
from llm_core.providers.http.url_policy import UrlPolicy
from llm_core.providers.model_id import Target
from llm_core.providers.provider import Call, StreamDelta, TokenLogprob, TokenLogprobs
from tests.llm_core.providers.conftest import PLANTED_KEY, make_credentials, make_request, wait_until_finished

OTHER = "sk-of-somebody-else-91d2"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def count_completions(server) -> int:
    return sum(request.path.endswith("completions") for request in server.requests)


def comparable_events(run):
    return [(event.token_id, event.text, event.trace, event.error_bound) for event in run.samples[0].events()]


def make_call(key: str = PLANTED_KEY) -> Call:
    row = make_request("openai:sea").samples[0]
    target, line = Target("openai", "sea", "http://127.0.0.1:1"), Connection(UrlPolicy(), 1.0)
    return Call(target, PromptSpec("Hi"), row, HostedOptions(), SecretStr(key), line)


def test_an_identical_request_is_answered_without_the_provider(router, openai):
    answers = ResponseCache()
    request = make_request(openai.model, top_p=0.9, seed=4)
    first = wait_until_finished(router.submit(request, make_credentials(openai), answers))
    again = wait_until_finished(router.submit(request, make_credentials(openai), answers))
    assert count_completions(openai) == 1
    assert (first.samples[0].from_cache, again.samples[0].from_cache) == (False, True)
    assert comparable_events(again) == comparable_events(first)
    assert again.samples[0].usage == first.samples[0].usage
    assert [again.label(event.token_id) for event in again.samples[0].events()] == [
        first.label(event.token_id) for event in first.samples[0].events()
    ]
    assert again.samples[0].tokens_per_second == 0
    assert (len(answers), answers.hits) == (1, 1)


@pytest.mark.parametrize(
    "changed", [{"seed": 5}, {"top_p": 0.8}, {"text": "Describe the sky."}, {"max_output_tokens": 3}], ids=str
)
def test_any_other_request_is_sent(router, openai, changed):
    answers = ResponseCache()
    wait_until_finished(
        router.submit(make_request(openai.model, **{"seed": 4, "top_p": 0.9}), make_credentials(openai), answers)
    )
    run = wait_until_finished(
        router.submit(
            make_request(openai.model, **{"seed": 4, "top_p": 0.9} | changed), make_credentials(openai), answers
        )
    )
    assert count_completions(openai) == 2
    assert not run.samples[0].from_cache


def test_another_key_another_cache_and_none_are_sent(router, openai):
    answers, request = ResponseCache(), make_request(openai.model)
    wait_until_finished(router.submit(request, make_credentials(openai), answers))
    openai.key = OTHER
    others = Credentials(typed={f"openai:{openai.address}/v1": SecretStr(OTHER)})
    wait_until_finished(router.submit(request, others, answers))
    assert count_completions(openai) == 2, "the same tab, with another person's key"
    wait_until_finished(router.submit(request, others, ResponseCache()))
    wait_until_finished(router.submit(request, others))
    assert count_completions(openai) == 4
    wait_until_finished(router.submit(request, others, answers))
    assert count_completions(openai) == 4


def test_an_evidence_counts_once(router, openai):
    answers = ResponseCache()
    request = make_request(openai.model, temperature=0, top_k=1, max_output_tokens=2)
    wait_until_finished(router.submit(request, make_credentials(openai), answers))
    known = router.hosted.table.get(router.target(openai.model))
    before = dict(known._evidence)
    assert before
    wait_until_finished(router.submit(request, make_credentials(openai), answers))
    assert known._evidence == before


def test_what_is_not_whole_or_has_no_seed_is_not_kept(router, openai):
    answers = ResponseCache()
    openai.refused_fields["seed"] = "Unsupported parameter: 'seed'"
    for _ in range(2):
        wait_until_finished(router.submit(make_request(openai.model), make_credentials(openai), answers))
    assert len(answers) == 0
    openai.refused_fields.clear()
    router.hosted.table.get(router.target(openai.model)).forget()
    answer = openai.answer
    openai.answer = lambda request: answer(request).__class__(events=answer(request).events, drop_after=3)
    run = wait_until_finished(router.submit(make_request(openai.model), make_credentials(openai), answers))
    assert run.error
    assert len(answers) == 0


def test_switched_off_it_neither_gives_nor_takes(router, openai):
    answers, request = ResponseCache(), make_request(openai.model)
    wait_until_finished(router.submit(request, make_credentials(openai), answers))
    answers.enabled = False
    wait_until_finished(router.submit(request, make_credentials(openai), answers))
    wait_until_finished(router.submit(make_request(openai.model, seed=99), make_credentials(openai), answers))
    assert (count_completions(openai), len(answers), answers.hits) == (3, 1, 0)
    answers.enabled = True
    wait_until_finished(router.submit(request, make_credentials(openai), answers))
    assert count_completions(openai) == 3
    answers.clear()
    assert (len(answers), answers.size, answers.hits) == (0, 0, 0)
    wait_until_finished(router.submit(request, make_credentials(openai), answers))
    assert count_completions(openai) == 4


def test_no_key_is_in_it(router, openai):
    answers = ResponseCache()
    wait_until_finished(router.submit(make_request(openai.model), make_credentials(openai), answers))
    [(key, kept)] = answers._entries.items()
    held = key + zlib.decompress(kept.data) + pickle.dumps({name: repr(value) for name, value in vars(answers).items()})
    assert PLANTED_KEY.encode() not in held
    assert ResponseCache().key(make_call(), {}) != ResponseCache().key(make_call(), {}), (
        "nothing to compare with outside"
    )
    assert answers.key(make_call(), {}) == answers.key(make_call(), {}) != answers.key(make_call(OTHER), {})


def test_it_is_bounded_in_number_bytes_and_age():
    clock = Clock()
    answers = ResponseCache(max_responses=3, max_bytes=20_000, max_age=60, clock=clock)
    for number in range(5):
        clock.now = float(number)
        answers.put(bytes([number]), [StreamDelta(text=f"answer {number}")])
    assert len(answers) == 3
    assert answers.get(b"\x01") is None
    assert answers.get(b"\x04") == (StreamDelta(text="answer 4"),)
    clock.now = 63.5
    assert len(answers) == 1
    clock.now = 65
    assert (len(answers), answers.size) == (0, 0)
    noise = [
        StreamDelta(
            steps=tuple(TokenLogprobs(TokenLogprob(f"{place * 7919 % 10007}", -place / 7)) for place in range(9000))
        )
    ]
    answers.put(b"large", noise)
    assert len(answers) == 0, "one that would fill it alone"
    answers = ResponseCache(max_responses=100, max_bytes=20_000)
    for number in range(60):
        chunk = StreamDelta(
            steps=tuple(
                TokenLogprobs(TokenLogprob(f"{place * 7919 % 10007}", -place / 7)) for place in range(number, 150)
            )
        )
        answers.put(bytes([number]), [chunk])
    assert 1 < len(answers) < 60
    assert answers.size <= 20_000
