"""Candidates from one shared prefill, on the real engine and the toy model."""

from __future__ import annotations

import dataclasses

import pytest

from llm_core import Engine, GenerationRequest, ModelStore, NucleusError, PromptSpec, RowRequest
from llm_core.candidate_pool import CandidatePool
from llm_core.criteria import Likelihood, SelfCertainty
from llm_core.judging import Judging
from samplers import SamplerConfig
from tests.toy import save_toy


@pytest.fixture(scope="module")
def engine():
    engine = Engine(ModelStore())
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return str(save_toy(tmp_path_factory.mktemp("toy")))


def request(model: str, tokens: int = 6, **sampler) -> GenerationRequest:
    row = RowRequest(SamplerConfig(seed=5, **sampler), max_output_tokens=tokens)
    return GenerationRequest(model, PromptSpec("Say something."), (row,))


def finished(engine: Engine, like: GenerationRequest, n: int) -> CandidatePool:
    pool = CandidatePool(engine.submit, like, n)
    assert pool.wait(30)
    return pool


def test_candidates_are_what_single_runs_with_their_seeds_write(engine, toy):
    pool = finished(engine, request(toy), 4)
    assert len(pool.runs) == 1
    for candidate in pool.candidates():
        single = engine.submit(_with_seed(request(toy), candidate.seed))
        single.wait(30)
        assert single.rows[0].text == candidate.text
    assert [candidate.seed for candidate in pool.candidates()] == [5, 6, 7, 8]


def _with_seed(like: GenerationRequest, seed: int) -> GenerationRequest:
    [row] = like.rows
    return dataclasses.replace(
        like, rows=(dataclasses.replace(row, sampler=dataclasses.replace(row.sampler, seed=seed)),)
    )


def test_growing_submits_only_the_new_ones(engine, toy):
    pool = finished(engine, request(toy), 2)
    first = pool.candidates()
    pool.grow(5)
    assert [len(run.rows) for run in pool.runs] == [2, 3]
    assert pool.wait(30)
    assert pool.candidates()[:2] == first
    assert [c.text for c in pool.candidates()] == [c.text for c in finished(engine, request(toy), 5).candidates()]
    assert pool.run_of(1) is pool.runs[0]
    assert pool.run_of(2) is pool.runs[1]
    pool.grow(3)
    assert len(pool.runs) == 2


@pytest.mark.parametrize("n", [0, 65])
def test_out_of_range(engine, toy, n):
    with pytest.raises(NucleusError) as caught:
        CandidatePool(engine.submit, request(toy), n)
    assert caught.value.code == "candidates_out_of_range"


def test_identical_candidates_are_folded(engine, toy):
    pool = finished(engine, request(toy, temperature=0), 6)
    [group] = pool.folded
    assert (group.count, group.members) == (6, (0, 1, 2, 3, 4, 5))


def test_judged(engine, toy):
    pool = CandidatePool(engine.submit, request(toy), 6)
    judging = Judging(pool, [Likelihood("sum"), Likelihood("mean"), SelfCertainty()])
    assert judging.wait(30)
    scores = judging.scores("sum_logprob")
    best = max(scores, key=lambda index: scores[index].value)
    assert judging.ranking("sum_logprob").winners[0] == best
    assert all(score.value > 0 for score in judging.scores("self_certainty").values())
