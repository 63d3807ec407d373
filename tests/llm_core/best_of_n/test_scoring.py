"""Criteria at work in the background: one that raises, hangs or stops spoils nothing; ranks, ties, disagreement."""

from __future__ import annotations

import dataclasses
import math
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from llm_core import Engine, GenerationRequest, ModelStore, PromptSpec, SampleRequest
from llm_core.best_of_n.criteria import FunctionCriterion, Likelihood, MajorityVote, Score, SelfCertainty
from llm_core.best_of_n.scoring import CandidateScorer, combine_scores, kendall_tau, rank_candidates, rank_correlation
from llm_core.experiments.candidate_pool import CandidatePool
from samplers import SamplerConfig
from tests.support.toy_model import toy_model

REQUEST = GenerationRequest("toy", PromptSpec("Hello"), (SampleRequest(SamplerConfig(seed=5), 6),))


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(ModelStore(loader=lambda model_id, report: toy_model()))


def make_scores(*values: float | None) -> dict[int, Score]:
    return {index: Score(value) for index, value in enumerate(values)}


def raise_error(candidate):
    if candidate.index == 1:
        raise OSError("somebody else's trouble")
    return 1.0


class HangingCriterion(FunctionCriterion):
    """Scores two candidates, then never another."""

    def score(self, candidates, stop):
        yield Score(1.0)
        yield Score(2.0)
        stop.wait(60)
        self.function(None)


def test_one_that_raises_and_one_that_hangs_spoil_nothing(engine):
    ended = threading.Event()
    hangs = HangingCriterion("hangs", lambda _: ended.set(), timeout=0.3)
    broken = FunctionCriterion("broken", raise_error)
    whole = FunctionCriterion("whole", None)
    scoring = CandidateScorer(
        CandidatePool(engine.submit, REQUEST, 4), [Likelihood(), broken, hangs, whole, SelfCertainty()]
    )
    assert scoring.wait(30)
    for good in ("mean_logprob", "self_certainty"):
        assert all(score.value is not None for score in scoring.scores(good).values())
        assert len(scoring.scores(good)) == 4
    assert [score.value for score in scoring.scores("broken").values()] == [1, None, 1, 1]
    assert scoring.scores("broken")[1].error.details["detail"] == "OSError"
    assert [score.value for score in scoring.scores("hangs").values()] == [1, 2, None, None]
    assert scoring.scores("hangs")[3].error.code == "criterion_timed_out"
    assert scoring.ranking("hangs").winners == (1,)
    assert {score.error.code for score in scoring.scores("whole").values()} == {"criterion_failed"}
    assert ended.wait(5)  # it was told to stop


def test_a_whole_criterion_that_raises_fails_its_scores_only(engine):
    class Raises(FunctionCriterion):
        def score(self, candidates, stop):
            raise MemoryError

    scoring = CandidateScorer(CandidatePool(engine.submit, REQUEST, 2), [Raises("raises", None), Likelihood()])
    assert scoring.wait(30)
    assert [score.error.code for score in scoring.scores("raises").values()] == ["criterion_failed"] * 2
    assert scoring.ranking("mean_logprob").winners


def test_new_candidates_are_scored_and_old_scores_kept(engine):
    seen = []

    def once(candidate):
        seen.append(candidate.index)
        return float(candidate.index)

    pool = CandidatePool(engine.submit, REQUEST, 2)
    scoring = CandidateScorer(pool, [FunctionCriterion("once", once), MajorityVote()])
    assert scoring.wait(30)
    pool.grow(5)
    assert scoring.wait(30)
    assert seen == [0, 1, 2, 3, 4]
    assert len(scoring.scores("vote")) == 5
    assert scoring.scores("vote")[0].parts["voters"] == 5
    assert scoring.progress("once") == (5, 5)


def test_stop_keeps_what_has_come_and_resume_scores_the_rest(engine):
    gate = threading.Event()

    def slow(candidate):
        if candidate.index == 2:
            gate.wait(30)
        return 1.0

    pool = CandidatePool(engine.submit, REQUEST, 4)
    scoring = CandidateScorer(pool, [FunctionCriterion("slow", slow)])
    until = time.monotonic() + 20
    while scoring.progress("slow")[0] < 2 and time.monotonic() < until:
        scoring.advance()
        time.sleep(0.01)
    scoring.stop()
    assert not scoring.active
    assert scoring.status("slow") == "stopped"
    assert len(scoring.scores("slow")) == 2
    gate.set()
    scoring.resume()
    assert scoring.wait(30)
    assert len(scoring.scores("slow")) == 4


def test_the_sums_love_of_short_answers_shows(engine):
    """Rows that are drawn towards their end, so that lengths differ."""
    [end] = toy_model().end_ids
    like = dataclasses.replace(REQUEST, samples=(SampleRequest(SamplerConfig(seed=5, logit_bias={end: 3.0}), 120),))
    scoring = CandidateScorer(CandidatePool(engine.submit, like, 16), [Likelihood("sum"), Likelihood("mean")])
    assert scoring.wait(60)
    assert len({candidate.tokens for candidate in scoring.pool.candidates()}) > 5
    assert scoring.length_correlation("sum_logprob") < -0.8
    assert abs(scoring.length_correlation("mean_logprob")) < 0.6


def test_ids_are_unique(engine):
    with pytest.raises(ValueError, match="id of its own"):
        CandidateScorer(CandidatePool(engine.submit, REQUEST, 1), [Likelihood(), Likelihood()])


def test_places_and_winners_with_ties_and_failures():
    ranked = rank_candidates(make_scores(1.0, 3.0, None, 3.0, 2.0))
    assert ranked.places == {1: 1, 3: 1, 4: 3, 0: 4}
    assert ranked.winners == (1, 3)
    assert rank_candidates({}).winners == ()


def test_weights_count_alike_whatever_the_units():
    given = {
        "one": make_scores(1.0, 2.0, 3.0),
        "large": make_scores(3000.0, 1000.0, 2000.0),
        "same": make_scores(5.0, 5.0, 5.0),
    }
    mixed = combine_scores(given, {"one": 1.0, "large": 1.0, "same": 4.0})
    spread = math.sqrt(1.5)
    assert [mixed[index].value for index in range(3)] == pytest.approx([0.0, -spread, spread])
    assert mixed[1].parts == pytest.approx({"one": 0.0, "large": -spread, "same": 0.0})
    assert combine_scores(given, {"one": 0.0, "large": -1.0})[1].value == pytest.approx(spread)


def test_a_candidate_without_one_of_the_scores_has_no_sum():
    mixed = combine_scores({"one": make_scores(1.0, None), "other": make_scores(1.0, 2.0)}, {"one": 1.0, "other": 1.0})
    assert mixed[1].value is None
    assert mixed[1].error.details["criterion"] == "one"
    assert mixed[0].value is not None


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=12))
def test_kendalls_tau_is_scipys(pairs):
    one, other = zip(*pairs, strict=True)
    found = kendall_tau(one, other)
    if len(set(one)) == 1 or len(set(other)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(kendalltau(one, other).statistic)


def test_disagreement_leaves_out_what_one_could_not_score():
    assert rank_correlation(make_scores(1.0, 2.0, None, 9.0), make_scores(2.0, 1.0, 5.0, 0.0)) == -1
    assert rank_correlation(make_scores(1.0), {}) is None


def test_other_criteria_are_chosen_and_those_that_stay_keep_their_scores(engine):
    request = []
    counted = FunctionCriterion("counted", lambda candidate: request.append(candidate.index) or 1.0)
    other = FunctionCriterion("mean_logprob", lambda candidate: 0.5)
    scoring = CandidateScorer(CandidatePool(engine.submit, REQUEST, 3), [counted, Likelihood()])
    assert scoring.wait(30)
    scoring.set_criteria([counted, other, MajorityVote()])  # one stays, one changes under its name, one is new
    assert scoring.active
    assert scoring.wait(30)
    assert request == [0, 1, 2]
    assert [score.value for score in scoring.scores("mean_logprob").values()] == [0.5, 0.5, 0.5]
    assert len(scoring.scores("vote")) == 3
    scoring.set_criteria([MajorityVote()])
    assert [each.id for each in scoring.criteria] == ["vote"]
    with pytest.raises(ValueError, match="an id of its own"):
        scoring.set_criteria([counted, counted])
