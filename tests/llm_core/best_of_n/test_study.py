"""The study on the real engine and the toy: figures from its items, stop and resume, what cannot be asked."""

from __future__ import annotations

import dataclasses
import math
import time
from itertools import combinations

import pytest

from llm_core import Engine, GenerationRequest, ModelStore, NucleusError, PromptSpec, SampleRequest
from llm_core.best_of_n.criteria import FunctionCriterion, Likelihood, MajorityVote, Score
from llm_core.best_of_n.study import BestOfNStudy, ItemResult
from llm_core.prompts.extraction import Extraction
from samplers import SamplerConfig
from tests.support.toy_model import toy_model

ITEMS, N = 3, 4


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(ModelStore(loader=lambda model_id, report: toy_model()))


def make_request(item: int) -> GenerationRequest:
    prompt = PromptSpec(f"Hello {item}", extraction=Extraction("regex", "[a-z]"))
    return GenerationRequest("toy", prompt, (SampleRequest(SamplerConfig(seed=5), 12),))


def answer_early(item: int, result: str) -> float:
    return float(result < "n")


def make_study(engine, ask=make_request, criteria=lambda item: [Likelihood()]) -> BestOfNStudy:
    return BestOfNStudy(engine.submit, ITEMS, ask, answer_early, N, criteria)


def run_study(made: BestOfNStudy, until=lambda made: made.finished) -> BestOfNStudy:
    give_up = time.monotonic() + 60
    while not until(made) and time.monotonic() < give_up:
        made.advance()
        time.sleep(0.002)
    assert until(made)
    return made


def test_every_figure_follows_from_single_runs(engine):
    made = run_study(make_study(engine))
    for item, result in made.results.items():
        for index, worth in enumerate(result.worths):
            [row] = make_request(item).samples
            sampler = dataclasses.replace(row.sampler, seed=5 + index)
            single = engine.submit(
                dataclasses.replace(make_request(item), samples=(dataclasses.replace(row, sampler=sampler),))
            )
            assert single.wait(30)
            found = make_request(item).prompt.extraction.extract(single.samples[0].text)
            assert worth == (0.0 if found is None else answer_early(item, found))
            mean = sum(event.trace.logprob for event in single.samples[0].events()) / single.samples[0].length
            assert result.scores["mean_logprob"][index] == pytest.approx(mean)
    best = [max(zip(each.scores["mean_logprob"], each.worths, strict=True))[1] for each in made.results.values()]
    assert made.accuracy("mean_logprob", N).value == pytest.approx(sum(best) / ITEMS)
    single = [sum(each.worths) / N for each in made.results.values()]
    for way in ("single", "vote", "mean_logprob"):
        assert made.accuracy(way, 1).value == pytest.approx(sum(single) / ITEMS) or way == "vote"
    assert made.expected_score("mean_logprob", N) > made.expected_score("mean_logprob", 1)
    assert made.cost("single", N).tokens < made.cost("vote", N).tokens


def test_stop_keeps_what_is_done_and_resume_asks_the_rest(engine):
    made = run_study(make_study(engine), lambda made: made.results)
    made.stop()
    done = dict(made.results)
    made.advance()
    assert made.results == done
    made.resume()
    run_study(made)
    assert all(made.results[item] == result for item, result in done.items())


def test_an_item_that_cannot_be_asked_counts_nothing_and_the_others_go_on(engine):
    def ask(item: int) -> GenerationRequest:
        return make_request(item) if item else dataclasses.replace(make_request(item), prompt=PromptSpec(""))

    made = run_study(make_study(engine, ask))
    assert made.results[0].error.code == "prompt_empty"
    assert made.results[1].error is None
    assert made.accuracy("mean_logprob", N).value <= 2 / 3


def test_a_criterion_that_fails_chooses_nobody(engine):
    made = run_study(make_study(engine, criteria=lambda item: [FunctionCriterion("broken", lambda candidate: 1 / 0)]))
    assert made.results[0].scores["broken"] == (-math.inf,) * N
    assert made.expected_score("broken", 2) is None


class LengthSimilarity:
    """Alike as far as the lengths are, said of pairs."""

    id, needs, relative, by_pairs, timeout = "alike", frozenset(), True, True, None

    def unavailable_reason(self, candidates):
        return None

    def score(self, candidates, stop):
        rows = [[-abs(one.tokens - other.tokens) for other in candidates] for one in candidates]
        return [Score(sum(row) / max(1, len(row) - 1), pairs=tuple(map(float, row))) for row in rows]


def test_a_criterion_that_compares_pairs_is_followed_over_n(engine):
    made = run_study(make_study(engine, criteria=lambda item: [LengthSimilarity()]))
    for result in made.results.values():
        alike, worths = result.pairs["alike"], result.worths
        for n in (1, 2, 3, 4):
            chosen = []
            for subset in combinations(range(N), n):
                sums = {one: sum(alike[one][other] for other in subset) for one in subset}
                best = [worths[one] for one in subset if sums[one] == max(sums.values())]
                chosen.append(sum(best) / len(best))
            assert result.worth("alike", n) == pytest.approx(sum(chosen) / len(chosen))
    assert made.expected_score("alike", 2) is None


def test_refused(engine):
    with pytest.raises(NucleusError) as refused:
        make_study(engine, criteria=lambda item: [MajorityVote()])
    assert refused.value.code == "study_needs_absolute"
    with pytest.raises(NucleusError) as refused:
        BestOfNStudy(engine.submit, 1, make_request, answer_early, 65, lambda item: [])
    assert refused.value.code == "candidates_out_of_range"


def test_ways_of_one_item_worked_out_by_hand():
    item = ItemResult(
        greedy=0.0,
        worths=(1.0, 0.0, 0.0, 1.0),
        results=(0, 1, 1, 0),
        scores={"proxy": (4.0, 3.0, 2.0, 1.0), "oracle": (1.0, 0.0, 0.0, 1.0)},
        tokens=40,
        greedy_tokens=10,
        seconds=2.0,
        greedy_seconds=1.0,
        scoring_seconds={},
    )
    assert item.worth("single", 3) == 0.5
    assert item.worth("vote", 3) == 0.5
    assert item.worth("proxy", 2) == pytest.approx(3 / 6)  # 0 leads in three of six pairs; of the others none is right
    assert item.worth("oracle", 2) == pytest.approx(5 / 6)
    assert item.worth("proxy", 9) == 1.0
