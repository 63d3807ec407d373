"""One step under the microscope: what the stages did, the same as in the run, and draws that fit."""

from __future__ import annotations

import math

import pytest
import torch

from llm_core import Engine, GenerationRequest, ModelStore, NucleusError, PromptSpec, SampleRequest
from llm_core.analysis.step_inspector import (
    MAX_DRAWS,
    FullStepInspector,
    draw_many,
    make_step_inspector,
    make_step_request,
    tokenize_spellings,
)
from llm_core.prompts.output_format import OutputFormat
from samplers import SamplerConfig, next_token_probs
from tests.support.toy_model import toy_model

TABLE = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
SETTINGS = [
    SamplerConfig(temperature=0),
    SamplerConfig(temperature=0.7, top_k=5, top_p=0.8),
    SamplerConfig(repetition_penalty=1.4, min_p=0.1, seed=3),
    SamplerConfig(temperature=1.3, top_k=9, top_p=0.6, min_p=0.05, order="llama_cpp"),
]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(ModelStore(loader=lambda model_id, report: toy_model()))


def wait_until_ended(engine: Engine, request: GenerationRequest):
    run = engine.submit(request)
    assert run.wait(30)
    return run


def test_stages_by_hand():
    view = FullStepInspector(TABLE).inspect(SamplerConfig(temperature=0.5, top_k=3, top_p=0.6))
    assert [stage.name for stage in view.stages] == ["raw", "temperature", "top_k", "top_p"]
    assert [stage.kept for stage in view.stages] == [4, 4, 3, 2]
    assert [stage.removed for stage in view.stages] == [0, 0, 1, 1]
    squares = [0.16, 0.09, 0.04, 0.01]  # temperature 0.5 squares the probabilities
    assert view.stages[1].probs.tolist() == pytest.approx([square / 0.3 for square in squares])
    assert view.stages[2].removed_mass == pytest.approx(0.01 / 0.3)
    assert view.stages[3].removed_mass == pytest.approx(0.04 / 0.29)
    assert view.final.probs.tolist() == pytest.approx([0.64, 0.36, 0, 0])
    assert view.raw.entropy_bits == pytest.approx(-sum(p * math.log2(p) for p in (0.4, 0.3, 0.2, 0.1)))
    assert view.final.entropy_bits == pytest.approx(-(0.64 * math.log2(0.64) + 0.36 * math.log2(0.36)))


def test_a_token_is_followed_to_where_it_is_cut():
    seen = FullStepInspector(TABLE).inspect(SamplerConfig(top_k=2)).trace_token(2)
    assert [(each.stage, each.rank) for each in seen] == [("raw", 3), ("top_k", None)]
    assert [each.probability for each in seen] == pytest.approx([0.2, 0])


def test_the_likeliest_and_those_asked_for():
    view = FullStepInspector(TABLE).inspect(SamplerConfig())
    assert view.likeliest(2) == [0, 1]
    assert view.likeliest(2, also=[3]) == [0, 3]
    assert view.likeliest(3, also=[1, 1]) == [0, 1, 2]


@pytest.mark.parametrize("config", SETTINGS, ids=str)
def test_the_last_stage_is_what_a_run_draws_from(config):
    logits = torch.randn(50, generator=torch.Generator().manual_seed(1)) * 3
    lens = FullStepInspector(logits, prompt=(1, 2), answer=(3, 4, 3))
    expected = next_token_probs(logits[None], [config], [[1, 2, 3, 4, 3]])[0]
    assert torch.equal(lens.inspect(config).final.probs, expected)


@pytest.mark.parametrize("config", SETTINGS, ids=str)
def test_the_lens_sees_the_step_of_the_run(engine, config):
    request = GenerationRequest("toy", PromptSpec("Hello there"), (SampleRequest(config, 6),))
    run = wait_until_ended(engine, request)
    events = run.samples[0].events()
    for step in (0, 3):
        answer = [event.token_id for event in events[:step]]
        lens = make_step_inspector(wait_until_ended(engine, make_step_request(request, request.samples[0], answer)))
        view, trace = lens.inspect(config), events[step].trace
        assert lens.draw_token(view, config.seed) == trace.token_id
        assert [stage.name for stage in view.stages] == [stage.name for stage in trace.stages]
        for stage, recorded in zip(view.stages, trace.stages, strict=True):
            assert stage.kept == recorded.kept
            assert float(stage.probs[trace.token_id].log()) == pytest.approx(
                recorded.logprobs[trace.candidates.index(trace.token_id)], abs=1e-4
            )


def test_the_lens_on_a_branch_begins_where_the_branch_does(engine):
    row = SampleRequest(SamplerConfig(), 4, prefix_ids=(5, 6), forced_ids=(7, 8))
    run = wait_until_ended(engine, GenerationRequest("toy", PromptSpec("Hi"), (row,)))
    request = make_step_request(run.request, row, [5, 6, 7])
    assert request.samples[0].prefix_ids == (5, 6, 7)
    assert make_step_inspector(wait_until_ended(engine, request)).answer == (5, 6, 7)


def test_an_output_format_is_the_first_stage(builtin):
    engine = Engine(ModelStore(loader=lambda model_id, report: builtin))
    spec = PromptSpec("Yes or no?", output=OutputFormat("choice", ("yes", "no")))
    request = GenerationRequest("builtin", spec, (SampleRequest(SamplerConfig(), 3),))
    view = make_step_inspector(wait_until_ended(engine, make_step_request(request, request.samples[0], []))).inspect(
        SamplerConfig(temperature=0.5)
    )
    assert [stage.name for stage in view.stages] == ["raw", "constraint", "temperature"]
    assert 0 < view.stages[1].kept < 20
    assert view.stages[1].removed_mass > 0.5


def test_only_the_first_step_is_kept_and_only_when_asked(engine):
    request = GenerationRequest("toy", PromptSpec("Hi"), (SampleRequest(SamplerConfig(), 3),))
    run = wait_until_ended(engine, request)
    assert run.samples[0].first_step is None
    with pytest.raises(NucleusError) as caught:
        make_step_inspector(run)
    assert caught.value.code == "lens_without_logits"


def test_a_failed_run_says_why(engine):
    row = SampleRequest(SamplerConfig(top_k=10**6), 3)
    with pytest.raises(NucleusError) as caught:
        make_step_inspector(
            wait_until_ended(engine, make_step_request(GenerationRequest("toy", PromptSpec("Hi"), (row,)), row, []))
        )
    assert caught.value.code == "top_k_above_vocabulary"


def test_orders_keep_different_tokens():
    # Temperature 3 first flattens the distribution, so that top-P has to keep more.
    views = FullStepInspector(TABLE).inspect_orders(
        SamplerConfig(temperature=3, top_p=0.65), own=("top_p", "temperature")
    )
    assert {name: view.final.kept for name, view in views.items()} == {
        "huggingface": 3,
        "llama_cpp": 2,
        "gemini": 2,
        "own": 2,
    }


def test_draws_fit_what_they_come_from():
    probs = (
        FullStepInspector(torch.randn(2000, generator=torch.Generator().manual_seed(5)).mul(2))
        .inspect(SamplerConfig())
        .raw
    )
    drawn = draw_many(probs, 20_000, seed=1)
    assert sum(drawn.observed) == 20_000
    assert len(drawn.observed) == len(drawn.token_ids) + 1
    assert drawn.expected[0] == pytest.approx(20_000 * float(probs.probs.max()))
    assert drawn.fit.p > 0.001
    assert draw_many(probs, 20_000, seed=1) == drawn
    assert draw_many(probs, 20_000, seed=2).observed != drawn.observed


def test_excluded_tokens_are_never_drawn():
    drawn = draw_many(
        FullStepInspector(torch.tensor([0.5, 0.0, 0.5, 0.0]).log()).inspect(SamplerConfig()).raw, 500, seed=4
    )
    assert set(drawn.token_ids) == {0, 2}
    assert drawn.observed[-1] == 0
    assert drawn.fit.degrees == 1


@pytest.mark.parametrize("count", [0, MAX_DRAWS + 1])
def test_draws_have_limits(count):
    with pytest.raises(NucleusError):
        draw_many(FullStepInspector(TABLE).inspect(SamplerConfig()).raw, count, seed=0)


def test_spellings_with_and_without_a_space(builtin):
    found = tokenize_spellings(builtin, "Paris")
    assert list(found) == ["Paris", " Paris"]
    assert all(builtin.decode(ids) == text for text, ids in found.items())
    assert len(set(found.values())) == 2
    assert tokenize_spellings(builtin, "") == {}
    assert len(next(iter(tokenize_spellings(builtin, "xylophonist").values()))) > 1
