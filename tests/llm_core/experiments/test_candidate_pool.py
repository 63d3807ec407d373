"""Candidates from one shared prefill, on the real engine and the toy model."""

from __future__ import annotations

import dataclasses
import math
import time

import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from llm_core import Engine, GenerationRequest, LanguageModel, ModelStore, NucleusError, PromptSpec, SampleRequest
from llm_core.best_of_n.criteria import Likelihood, SelfCertainty
from llm_core.best_of_n.scoring import CandidateScorer
from llm_core.engine.engine import CACHE_BYTES
from llm_core.experiments.candidate_pool import CandidatePool
from samplers import SamplerConfig
from tests.llm_core.providers.conftest import make_credentials, make_router
from tests.support.fake_openai import OpenAIServer
from tests.support.toy_model import save_toy_model, toy_model


@pytest.fixture(scope="module")
def engine():
    engine = Engine(ModelStore())
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return str(save_toy_model(tmp_path_factory.mktemp("toy")))


def make_request(model: str, tokens: int = 6, **sampler) -> GenerationRequest:
    row = SampleRequest(SamplerConfig(seed=5, **sampler), max_output_tokens=tokens)
    return GenerationRequest(model, PromptSpec("Say something."), (row,))


def wait_until_finished(engine: Engine, like: GenerationRequest, n: int) -> CandidatePool:
    pool = CandidatePool(engine.submit, like, n)
    assert pool.wait(30)
    return pool


def test_candidates_are_what_single_runs_with_their_seeds_write(engine, toy):
    pool = wait_until_finished(engine, make_request(toy), 4)
    assert len(pool.runs) == 1
    for candidate in pool.candidates():
        single = engine.submit(_set_seed(make_request(toy), candidate.seed))
        single.wait(30)
        assert single.samples[0].text == candidate.text
    assert [candidate.seed for candidate in pool.candidates()] == [5, 6, 7, 8]


def _set_seed(like: GenerationRequest, seed: int) -> GenerationRequest:
    [row] = like.samples
    return dataclasses.replace(
        like, samples=(dataclasses.replace(row, sampler=dataclasses.replace(row.sampler, seed=seed)),)
    )


def test_growing_submits_only_the_new_ones(engine, toy):
    pool = wait_until_finished(engine, make_request(toy), 2)
    first = pool.candidates()
    pool.grow(5)
    assert [len(run.samples) for run in pool.runs] == [2, 3]
    assert pool.wait(30)
    assert pool.candidates()[:2] == first
    assert [c.text for c in pool.candidates()] == [
        c.text for c in wait_until_finished(engine, make_request(toy), 5).candidates()
    ]
    assert pool.find_run(1) is pool.runs[0]
    assert pool.find_run(2) is pool.runs[1]
    pool.grow(3)
    assert len(pool.runs) == 2


@pytest.mark.parametrize("n", [0, 65])
def test_out_of_range(engine, toy, n):
    with pytest.raises(NucleusError) as caught:
        CandidatePool(engine.submit, make_request(toy), n)
    assert caught.value.code == "candidates_out_of_range"


def test_identical_candidates_are_folded(engine, toy):
    pool = wait_until_finished(engine, make_request(toy, temperature=0), 6)
    [group] = pool.duplicate_groups
    assert (group.count, group.members) == (6, (0, 1, 2, 3, 4, 5))


def test_judged(engine, toy):
    pool = CandidatePool(engine.submit, make_request(toy), 6)
    scoring = CandidateScorer(pool, [Likelihood("sum"), Likelihood("mean"), SelfCertainty()])
    assert scoring.wait(30)
    scores = scoring.scores("sum_logprob")
    best = max(scores, key=lambda index: scores[index].value)
    assert scoring.ranking("sum_logprob").winners[0] == best
    assert all(score.value > 0 for score in scoring.scores("self_certainty").values())


def make_thin_model() -> LanguageModel:
    """As large a cache as the built-in model's, 46 KB a token, and next to nothing to compute."""
    toy = toy_model()
    config = LlamaConfig(
        vocab_size=toy.vocab_size,
        hidden_size=18,
        intermediate_size=8,
        num_hidden_layers=5,
        num_attention_heads=18,
        num_key_value_heads=18,
        head_dim=64,
        max_position_embeddings=1024,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    return dataclasses.replace(toy, model=LlamaForCausalLM(config).eval())


def test_sixty_four_of_256_tokens_stay_inside_the_engines_memory():
    """All but the last eight tokens of each are given: what the cache has to hold is the same, and it takes seconds."""
    engine = Engine(ModelStore(loader=lambda model_id, report: make_thin_model()))
    like = make_request("thin", 8, banned_tokens=tuple(toy_model().end_ids))
    like = dataclasses.replace(like, samples=(dataclasses.replace(like.samples[0], prefix_ids=(7,) * 248),))
    pool = CandidatePool(engine.submit, like, 64)
    most, until = 0, time.monotonic() + 100
    while pool.active and time.monotonic() < until:
        pool.touch()
        most = max(most, engine.active_bytes)
        time.sleep(0.01)
    engine.close()
    assert {candidate.tokens for candidate in pool.candidates()} == {8}
    assert len(pool.candidates()) == 64
    assert 64 * 256 * 46_080 <= most <= CACHE_BYTES


def test_a_candidate_that_failed_is_missing_and_the_others_count(engine, toy):
    """One row whose sampler names a token that the model does not have."""

    def submit(request: GenerationRequest):
        spoiled = dataclasses.replace(request.samples[1].sampler, banned_tokens=(10**6,))
        rows = (request.samples[0], dataclasses.replace(request.samples[1], sampler=spoiled), *request.samples[2:])
        return engine.submit(dataclasses.replace(request, samples=rows))

    pool = CandidatePool(submit, make_request(toy), 3)
    assert pool.wait(30)
    assert pool.missing == [1]
    assert pool.error.code == "token_outside_vocabulary"
    assert [candidate.index for candidate in pool.candidates()] == [0, 2]
    scoring = CandidateScorer(pool, [Likelihood()])
    assert scoring.wait(30)
    assert set(scoring.scores("mean_logprob")) == {0, 2}


def test_stop_keeps_what_was_written(engine, toy):
    pool = CandidatePool(engine.submit, make_request(toy, 200), 3)
    while not pool.tokens:
        time.sleep(0.002)
    pool.stop()
    assert pool.wait(30)
    assert all(candidate.truncated for candidate in pool.candidates() if candidate.finish_reason != "end")


def test_what_the_model_was_made_to_begin_with_belongs_to_the_answer(engine, toy):
    like = make_request(toy)
    like = dataclasses.replace(like, prompt=dataclasses.replace(like.prompt, prefill="So: "))
    [candidate] = wait_until_finished(engine, like, 1).candidates()
    assert candidate.text.startswith("So: ")


def test_self_certainty_is_the_divergence_from_uniform(engine, toy):
    """By its definition, from the logits that were kept of the first step."""
    [row] = make_request(toy).samples
    run = engine.submit(
        dataclasses.replace(
            make_request(toy), samples=(dataclasses.replace(row, keep_logits=True, keep_self_certainty=True),)
        )
    )
    assert run.wait(30)
    logprobs = run.samples[0].first_step.logits.double().log_softmax(-1)
    definition = -(logprobs + math.log(len(logprobs))).mean()
    assert run.samples[0].events()[0].trace.self_certainty == pytest.approx(float(definition), rel=1e-5)
    plain = engine.submit(make_request(toy))
    assert plain.wait(30)
    assert plain.samples[0].events()[0].trace.self_certainty is None


def test_a_hosted_model_has_no_self_certainty_and_says_why():
    router = make_router()
    with OpenAIServer() as server:
        keys = make_credentials(server)
        pool = CandidatePool(lambda each: router.submit(each, keys), make_request(server.model), 4)
        scoring = CandidateScorer(pool, [SelfCertainty(), Likelihood("sum")])
        assert scoring.wait(30)
        assert len(server.requests) == 4
        assert scoring.unavailable_reason("self_certainty").code == "criterion_needs_vocabulary"
        assert scoring.status("self_certainty") == "unavailable"
        assert len(scoring.ranking("sum_logprob").places) == 4
        server.logprobs = False
        blind = CandidatePool(lambda each: router.submit(each, keys), make_request(server.model), 2)
        scoring = CandidateScorer(blind, [Likelihood("sum")])
        assert scoring.wait(30)
        assert scoring.unavailable_reason("sum_logprob").code == "criterion_needs_probabilities"
