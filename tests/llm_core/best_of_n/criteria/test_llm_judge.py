"""Judges: a server built to be biased, with the real SDK; the engine's own probabilities; judges that say nonsense."""

from __future__ import annotations

import math
import re
from threading import Event

import pytest

from llm_core import Engine, ModelStore
from llm_core.best_of_n.criteria import PREFERENCE_PROMPT, RATING_PROMPT, PairwiseJudge, PointwiseJudge, judge_request
from llm_core.best_of_n.criteria.llm_judge import ring_pairs
from llm_core.experiments.candidate_pool import Candidate
from tests.llm_core.providers.conftest import TIMEOUT_SECONDS, make_credentials, make_request, make_router
from tests.support.fake_openai import OpenAIServer, finish_event
from tests.support.fake_server import ReceivedRequest, Reply
from tests.support.toy_model import toy_model


class Judge(OpenAIServer):
    """Likes an answer by the number in it, and whatever stands first by `bias` more, both in nats."""

    bias = 0.0
    says = ""
    """Instead of a judgement."""

    def answer(self, request: ReceivedRequest) -> Reply:
        if request.path == "/v1/models":
            return super().answer(request)
        text = request.body["messages"][-1]["content"]
        worths = [float(found) for found in re.findall(r"worth (-?\d+(?:\.\d+)?)", text)]
        if len(worths) == 2:
            odds = {"A": self.bias + worths[0], "B": worths[1]}
        else:
            odds = {grade: -abs(float(grade) - worths[0]) for grade in "12345"}
        total = math.log(math.fsum(map(math.exp, odds.values())))
        logprobs = {token: value - total for token, value in odds.items()}
        said = self.says or max(logprobs, key=logprobs.get)
        top = [{"token": token, "logprob": value, "bytes": list(token.encode())} for token, value in logprobs.items()]
        chosen = {"token": said, "logprob": logprobs.get(said, -1.0), "bytes": list(said.encode())}
        choice = {"index": 0, "finish_reason": None, "delta": {"content": said}}
        if self.logprobs:
            choice["logprobs"] = {"content": [{**chosen, "top_logprobs": top}]}
        event = {"object": "chat.completion.chunk", "model": "sea", "choices": [choice]}
        return Reply(events=[event, finish_event("stop"), "data: [DONE]"])


@pytest.fixture
def judge():
    with Judge() as server:
        yield server


def make_answers(*worths: float) -> list[Candidate]:
    return [Candidate(place, place, f"I am worth {worth}", question="Which?") for place, worth in enumerate(worths)]


def make_judge(kind, judge: Judge, prompt, **options):
    router = make_router()
    keys = make_credentials(judge)
    return kind(
        lambda each: router.submit(each, keys), judge_request(judge.model, make_request(judge.model), prompt), **options
    )


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("bias", [0.0, 4.0, -4.0])
def test_a_biased_judge_is_seen_through_and_told_on(judge, bias):
    judge.bias = bias
    given = make_answers(0.0, 1.0, 2.0, 3.0)
    scores = list(make_judge(PairwiseJudge, judge, PREFERENCE_PROMPT).score(given, Event()))
    values = [score.value for score in scores]
    assert values == sorted(values)
    assert values[0] == pytest.approx(1 - values[3], abs=1e-4)  # the bias adds to nobody
    parts = scores[0].parts
    expected = sum(sigmoid(bias + a - b) for a in range(4) for b in range(4) if a != b) / 12
    assert parts["prefers_first"] == pytest.approx(expected, abs=1e-3)
    assert parts["consistent"] == (1.0 if bias == 0 else 0.0)
    assert parts["comparisons"] == 6
    assert len(judge.requests) == 12


def test_in_one_order_the_bias_would_have_chosen_the_winner(judge):
    """So that the test above shows something: without the second order the first candidate wins by its place."""
    judge.bias = 4.0
    given = make_answers(1.0, 0.5)
    pairwise = make_judge(PairwiseJudge, judge, PREFERENCE_PROMPT)
    better, worse = (score.value for score in pairwise.score(given, Event()))
    assert better > 0.5 > worse
    judge.requests.clear()
    worse, better = (score.value for score in pairwise.score(given[::-1], Event()))
    assert better > 0.5 > worse


def test_a_grade_is_the_expectation_over_the_scale(judge):
    given = make_answers(4.0, 1.5, 4.0)
    scores = list(make_judge(PointwiseJudge, judge, RATING_PROMPT).score(given, Event()))
    for score, worth in zip(scores, (4.0, 1.5, 4.0), strict=True):
        weights = {grade: math.exp(-abs(grade - worth)) for grade in range(1, 6)}
        mean = sum(grade * weight for grade, weight in weights.items()) / sum(weights.values())
        assert score.value == pytest.approx(mean, abs=1e-4)
    assert scores[0].parts["likeliest"] == "4"
    assert len(judge.requests) == 2  # the same text is not judged twice


def test_without_probabilities_the_grade_is_what_was_said(judge):
    judge.logprobs = False
    scores = list(make_judge(PointwiseJudge, judge, RATING_PROMPT).score(make_answers(2.0, 5.0), Event()))
    assert [score.value for score in scores] == [2.0, 5.0]
    assert scores[0].parts["shown"] == 0.0


def test_a_judge_that_says_nonsense_has_given_no_score(judge):
    judge.logprobs, judge.says = False, "I cannot say."
    [score] = make_judge(PointwiseJudge, judge, RATING_PROMPT).score(make_answers(2.0), Event())
    assert score.value is None
    assert score.error.code == "judge_unclear"


def test_candidates_are_text_to_the_judge_whatever_they_hold(judge):
    text = "worth 3 {{question}} \\{{ {{first}} \x00 </s>"
    [score] = make_judge(PointwiseJudge, judge, RATING_PROMPT).score(
        [Candidate(0, 0, text, question="{{answer}}?")], Event()
    )
    assert score.value == pytest.approx(3.0, abs=1e-4)
    shown = judge.requests[0].body["messages"][-1]["content"]
    assert "{{first}}" in shown
    assert "{{answer}}?" in shown
    assert "\x00" not in shown


def test_a_failing_judge_fails_its_scores(judge):
    judge.refused_fields["messages"] = "No."
    scores = list(make_judge(PointwiseJudge, judge, RATING_PROMPT).score(make_answers(2.0, 3.0), Event()))
    assert [score.error.code for score in scores] == ["provider_request_refused"] * 2


def test_stop_ends_what_the_judge_was_asked(judge):
    stop = Event()
    stop.set()
    router_runs = []
    router = make_router()

    def submit(each):
        router_runs.append(router.submit(each, make_credentials(judge)))
        return router_runs[-1]

    gate = Event()
    judge.replies.append(Reply(body={}, gate=gate))
    rater = PointwiseJudge(submit, judge_request(judge.model, make_request(judge.model), RATING_PROMPT))
    assert len(list(rater.score(make_answers(*range(6)), stop))) < 6
    for run in router_runs:
        assert run.wait(TIMEOUT_SECONDS)
    gate.set()


def test_a_local_judge_is_read_from_its_logits():
    engine = Engine(ModelStore(loader=lambda model_id, report: toy_model()))
    rater = PointwiseJudge(engine.submit, judge_request("toy", make_request("toy"), RATING_PROMPT))
    [score] = rater.score(make_answers(2.0), Event())
    request = engine.submit(
        judge_request(
            "toy", make_request("toy"), RATING_PROMPT.expand({"question": "Which?", "answer": "I am worth 2.0"})
        )
    )
    assert request.wait(TIMEOUT_SECONDS)
    [row] = request.samples
    tokens = [toy_model().tokenizer.encode(grade)[-1] for grade in "12345"]
    chances = row.first_step.logits[tokens].softmax(-1).tolist()
    assert score.value == pytest.approx(sum(grade * chance for grade, chance in enumerate(chances, 1)))
    assert 0 < score.parts["shown"] < 0.5
    assert (
        PointwiseJudge(engine.submit, judge_request(" ", make_request("toy"), RATING_PROMPT))
        .unavailable_reason([])
        .code
        == "criterion_needs_judge"
    )


def test_the_ring_compares_each_with_as_many_and_no_pair_twice():
    for count, opponents in ((2, 3), (4, 3), (7, 2), (16, 3)):
        pairs = ring_pairs(count, opponents)
        assert len(set(pairs)) == len(pairs)
        assert all(one < other for one, other in pairs)
        counts = [sum(place in pair for pair in pairs) for place in range(count)]
        assert set(counts) == {min(count - 1, 2 * opponents)}
