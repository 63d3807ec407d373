"""Comparisons through the real engine on the toy, and reasons by hand."""

from __future__ import annotations

import math

import pytest
import torch

from llm_core import Engine, GenerationRequest, ModelStore, NucleusError, PromptSpec, SampleRequest
from llm_core.experiments.comparison import (
    Comparison,
    ComparisonColumn,
    DivergencePoint,
    aligned_point,
    divergence_point,
    excluding_stage,
    explain_divergence,
    first_divergence,
)
from llm_core.generation.record import TokenEvent
from llm_core.generation.request import MAX_SAMPLES_PER_REQUEST
from samplers import SamplerChain, SamplerConfig, summarize
from tests.support.toy_model import toy_model

PROMPT = PromptSpec("Hello")


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(ModelStore(loader=lambda model_id, report: toy_model()))


def make_template(tokens: int = 12) -> GenerationRequest:
    return GenerationRequest("toy", PROMPT, (SampleRequest(SamplerConfig(), tokens),))


def make_columns(*samplers: SamplerConfig, prompt: PromptSpec = PROMPT, model: str = "toy") -> list[ComparisonColumn]:
    return [ComparisonColumn(sampler, model, prompt) for sampler in samplers]


def wait_until_finished(comparison: Comparison) -> Comparison:
    for run in comparison.runs:
        assert run.wait(30)
    return comparison


def make_trace(logits: list[float], token: int, **settings):
    recording: list = []
    SamplerChain([SamplerConfig(**settings)]).probs(torch.tensor([logits]), None, recording)
    return summarize(recording, [token])[0]


def test_columns_share_one_request_and_every_seed(engine):
    samplers = (SamplerConfig(temperature=0), SamplerConfig(top_k=5, seed=99), SamplerConfig())
    comparison = wait_until_finished(Comparison(engine.submit, make_columns(*samplers), 3, make_template(), seed=40))
    assert len(comparison.runs) == 1
    for place, sampler in enumerate(samplers):
        for repeat in range(3):
            record = comparison.record(place, repeat)
            assert record.request.sampler.seed == 40 + repeat
            assert record.request.sampler.top_k == sampler.top_k
            assert record.request.sampler.temperature == sampler.temperature
            assert record.finish_reason


def test_equal_settings_never_part_and_a_column_is_what_it_would_be_alone(engine):
    both = wait_until_finished(
        Comparison(
            engine.submit, make_columns(SamplerConfig(), SamplerConfig(), SamplerConfig(top_k=2)), 1, make_template()
        )
    )
    alone = wait_until_finished(Comparison(engine.submit, make_columns(SamplerConfig(top_k=2)), 1, make_template()))
    first, second, third = (both.record(place).events() for place in range(3))
    assert first_divergence(first, second) is None
    assert [event.token_id for event in third] == [event.token_id for event in alone.record(0).events()]
    step = first_divergence(first, third)
    assert step is not None
    assert [e.token_id for e in first[:step]] == [e.token_id for e in third[:step]]
    assert first[step].token_id != third[step].token_id
    assert [reason.code for reason in explain_divergence(first[step].trace, third[step].trace)] == ["cut"]


def test_other_prompts_and_models_are_requests_of_their_own(engine):
    mixed = [
        *make_columns(SamplerConfig(temperature=0)),
        *make_columns(SamplerConfig(temperature=0), prompt=PromptSpec("Good evening")),
        *make_columns(SamplerConfig(top_k=3)),
        *make_columns(SamplerConfig(temperature=0), model="other toy"),
    ]
    comparison = wait_until_finished(Comparison(engine.submit, mixed, 2, make_template()))
    assert [len(run.samples) for run in comparison.runs] == [4, 2, 2]
    assert comparison.run(0) is comparison.run(2)
    assert comparison.run(1).rendered.text != comparison.run(0).rendered.text
    assert comparison.record(2, 1).request.sampler == SamplerConfig(top_k=3, seed=1)
    parting = first_divergence(comparison.record(0).events(), comparison.record(1).events())
    traces = [comparison.record(place).events()[parting].trace for place in (0, 1)]
    assert [reason.code for reason in explain_divergence(*traces)] == ["model"]


def test_a_refusal_leaves_nothing_running(engine):
    begun = []

    def submit(request):
        begun.append(engine.submit(request))
        return begun[-1]

    bad = [*make_columns(SamplerConfig()), *make_columns(SamplerConfig(), prompt=PromptSpec(""))]
    with pytest.raises(NucleusError) as refused:
        Comparison(submit, bad, 1, make_template(200))
    assert refused.value.code == "prompt_empty"
    assert begun[0].wait(30)
    assert begun[0].samples[0].finish_reason == "cancelled"
    with pytest.raises(NucleusError):
        Comparison(submit, make_columns(*[SamplerConfig()] * 5), MAX_SAMPLES_PER_REQUEST, make_template())


def test_stop_keeps_what_was_written(engine):
    comparison = Comparison(engine.submit, make_columns(SamplerConfig(), SamplerConfig(top_k=4)), 1, make_template(200))
    comparison.stop()
    wait_until_finished(comparison)
    assert not comparison.active


def test_a_cut_names_the_stage_and_the_side():
    logits = [2.0, 1.5, 1.0, -3.0]
    found = explain_divergence(make_trace(logits, 0, top_k=1), make_trace(logits, 2, temperature=2, top_p=0.99))
    assert [(reason.code, reason.side, reason.stage) for reason in found] == [("cut", 0, "top_k")]
    both = explain_divergence(
        make_trace(logits, 0, temperature=0), make_trace(logits, 1, xtc_probability=1, xtc_threshold=0.2)
    )
    assert [(reason.side, reason.stage) for reason in both] == [(0, "temperature"), (1, "xtc")]


def test_reweighting_gives_the_odds_before_and_after():
    logits = [math.log(0.6), math.log(0.3), math.log(0.1)]
    [reason] = explain_divergence(make_trace(logits, 0, temperature=0.5), make_trace(logits, 1, temperature=2))
    assert reason.code == "reweighted"
    assert reason.odds == pytest.approx((2, 4, math.sqrt(2)))
    [icy] = explain_divergence(make_trace(logits, 0, temperature=0.0005), make_trace(logits, 1))
    assert icy.odds[1:] == (math.inf, pytest.approx(2))


def test_a_token_that_the_trace_does_not_show():
    logits = torch.linspace(5, 0, 200).tolist()
    assert excluding_stage(make_trace(logits, 0, temperature=0.9, top_k=20), 150) == "top_k"
    assert excluding_stage(make_trace(logits, 0, temperature=0.9), 150) is None
    [reason] = explain_divergence(make_trace(logits, 0, temperature=0.9), make_trace(logits, 150, temperature=1.5))
    assert (reason.code, reason.side) == ("unseen", 0)


def answer_text(*pieces: str, ids: bool = False) -> list[TokenEvent]:
    return [TokenEvent(len(piece) if ids else None, piece, piece, None, 0.0) for piece in pieces]


@pytest.mark.parametrize(
    ("one", "two", "place"),
    [
        (("The", " sea", " is"), ("The", " sky"), DivergencePoint(1, 1)),
        (("The", " sea"), ("The sky", " is"), DivergencePoint(1, 0)),  # other tokens, or pieces of any length
        (("Th", "e", " sea"), ("The", " sky"), DivergencePoint(2, 1)),
        (("The", "", " sea"), ("The", " sky"), DivergencePoint(2, 1)),  # a letter that was still coming
        (("The", " sea"), ("The s",), None),
        (("The",), ("The",), None),
        ((), ("The",), None),
    ],
)
def test_answers_of_two_vocabularies_part_where_their_texts_do(one, two, place):
    for share_ids in (True, False):  # there are none to share
        assert divergence_point(answer_text(*one), answer_text(*two), share_ids) == place


def test_tokens_are_compared_where_they_can_be():
    one, two = answer_text("The", " sea", ids=True), answer_text("The", " seas", ids=True)
    assert divergence_point(one, two, share_ids=True) == DivergencePoint(1, 1)
    assert divergence_point(one, two, share_ids=False) is None, "one says what the other begins with"


def test_the_place_of_a_pinned_step():
    one, two = answer_text("Th", "e", " sea", " is"), answer_text("The", " sea is wide")
    assert [aligned_point(one, two, step, share_ids=False) for step in (0, 1)] == [
        DivergencePoint(0, 0),
        DivergencePoint(2, 1),
    ]
    assert aligned_point(answer_text("The"), two, 1, share_ids=False) == DivergencePoint(1, 1), "beyond its end"
    assert aligned_point(
        answer_text("a", "b", ids=True), answer_text("c", "d", ids=True), 1, share_ids=True
    ) == DivergencePoint(1, 1)


def test_ids_are_shared_within_a_run_and_a_local_model(engine):
    samplers = [SamplerConfig(), SamplerConfig(top_k=2)]
    other = make_columns(SamplerConfig(), prompt=PromptSpec("Bye"))
    comparison = wait_until_finished(Comparison(engine.submit, make_columns(*samplers) + other, 1, make_template(2)))
    assert comparison.has_shared_ids(0, 1)
    assert comparison.has_shared_ids(0, 2)
