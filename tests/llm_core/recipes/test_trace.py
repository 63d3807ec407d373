"""Recorded runs: shown again as they were, verified, and no way to crash a page."""

from __future__ import annotations

import base64
import dataclasses

import pytest
from pydantic import SecretStr, ValidationError

from llm_core import (
    Engine,
    GenerationRequest,
    ModelReference,
    ModelStore,
    NucleusError,
    PromptSpec,
    Recipe,
    dump_yaml,
    load_text,
)
from llm_core.experiments.comparison import first_divergence
from llm_core.generation.request import HostedOptions
from llm_core.prompts.extraction import Extraction
from llm_core.providers.credentials import Credentials
from llm_core.recipes.recipe import Limits
from llm_core.recipes.recorded_views import RecordedPool
from llm_core.recipes.replay import RecipeRun, ReplayVerdict, compare_with_trace, replay, replay_prompts, verify
from llm_core.recipes.trace import RowTrace, Trace, make_trace
from llm_core.router import Router
from samplers import SamplerConfig, pack_traces, unpack_traces
from tests.support.fake_openai import OpenAIServer
from tests.support.toy_model import toy_model


@pytest.fixture(scope="module")
def engine():
    model = toy_model()
    engine = Engine(ModelStore(loader=lambda model_id, report: model))
    yield engine
    engine.close()


KEY = "sk-planted-0123456789"
RECIPE = Recipe(
    title="Two answers",
    prompt=PromptSpec("Hi"),
    sampler=SamplerConfig(temperature=0.9, top_k=5),
    seeds=(3, 4),
    limits=Limits(max_output_tokens=8),
)


def wait_until_ended(recipe: Recipe, engine: Engine) -> RecipeRun:
    run = RecipeRun(recipe, engine.submit)
    while run.active:
        run.advance()
    assert run.error is None
    return run


def record_run(recipe: Recipe, engine: Engine) -> Recipe:
    return recipe.replace(
        trace=make_trace(wait_until_ended(recipe, engine).recorded_samples(), at="2026-11-25T12:00:00+00:00")
    )


def test_a_recorded_run_is_what_was_run(engine):
    run = wait_until_ended(RECIPE, engine)
    recipe = RECIPE.replace(trace=make_trace(run.recorded_samples()))
    again = load_text(dump_yaml(recipe))
    assert again == recipe
    shown = replay(again)
    assert not shown.active
    assert shown.model is None
    assert (shown.recorded.model, shown.recorded.at) == (again.trace.model, again.trace.at)
    assert shown.end_ids == frozenset(again.trace.ends)
    for old, new in zip((each.sample for each in run.recorded_samples()), shown.samples, strict=True):
        assert (new.text, new.status, new.finish_reason) == (old.text, old.status, old.finish_reason)
        assert new.request == old.request
        rounded = [dataclasses.replace(event, seconds=round(event.seconds, 6)) for event in old.events()]
        assert new.events() == rounded
        for event in old.events():
            for token in event.known_trace.candidates:
                assert shown.label(token) == toy_model().label(token)
    assert first_divergence(shown.samples[0].events(), shown.samples[1].events()) is not None


def test_a_run_itself_can_be_recorded(engine):
    request = RECIPE.request()
    run = engine.submit(request)
    assert run.wait(60)
    recipe = Recipe.from_request(request, trace=make_trace(run))
    assert verify(recipe, engine.submit).identical


def test_a_run_that_goes_on_is_not_recorded(engine):
    run = engine.submit(dataclasses.replace(RECIPE.request(), samples=RECIPE.replace(limits=Limits()).rows()))
    with pytest.raises(ValueError, match="not ended"):
        make_trace(run)
    run.cancel()
    run.wait(60)


def test_verify_says_that_nothing_changed(engine):
    verdict = verify(record_run(RECIPE, engine), engine.submit)
    assert verdict == ReplayVerdict(True, 0.0)


def test_verify_finds_the_first_token_that_differs(engine):
    trace = record_run(RECIPE, engine).trace
    other = RECIPE.replace(sampler=SamplerConfig(temperature=2, top_k=0), trace=trace)
    verdict = verify(other, engine.submit)
    assert not verdict.identical
    old = replay(other).samples[verdict.answer - 1].events()
    new = list(wait_until_ended(other, engine).recorded_samples())[verdict.answer - 1].sample.events()
    assert verdict.step - 1 == first_divergence(old, new)
    assert verdict.expected != verdict.found
    assert verdict.nats is not None
    assert verdict.nats < 1e-4, "the same model gave the same log-probabilities; the settings made the difference"


def test_verify_measures_how_far_the_model_moved(engine):
    recipe = record_run(RECIPE, engine)
    other = toy_model()
    with __import__("torch").no_grad():
        other.model.get_output_embeddings().weight.mul_(3)
    changed = Engine(ModelStore(loader=lambda model_id, report: other))
    verdict = verify(recipe, changed.submit)
    changed.close()
    assert not verdict.identical
    assert verdict.nats is not None
    assert verdict.nats > 0.1


def test_verify_needs_a_trace_and_a_run_that_ends_well(engine):
    with pytest.raises(NucleusError) as caught:
        verify(RECIPE, engine.submit)
    assert caught.value.code == "recipe_without_trace"
    long = record_run(RECIPE, engine).replace(sampler=SamplerConfig(top_k=10**6))
    with pytest.raises(NucleusError) as caught:
        verify(long, engine.submit)
    assert caught.value.code == "top_k_above_vocabulary"


def test_votes_and_variables_are_recorded(engine):
    spec = PromptSpec(
        "Count {{what}}",
        technique="self_consistency",
        chains=3,
        extraction=Extraction("number"),
        values=({"what": "cats"}, {"what": "dogs"}),
    )
    recipe = record_run(RECIPE.replace(prompt=spec, seeds=(1,)), engine)
    assert recipe.trace is not None
    assert [(row.prompt, row.seed) for row in recipe.trace.rows] == [(p, s) for p in (0, 1) for s in (1, 2, 3)]
    askings = replay_prompts(recipe)
    assert [technique_run.chains for technique_run in askings] == [3, 3]
    assert [technique_run.request.prompt.instruction for technique_run in askings] == ["Count cats", "Count dogs"]
    for part, shown in zip(wait_until_ended(recipe, engine).parts, askings, strict=True):
        assert (shown.outcomes, shown.votes, shown.active) == (part[1].outcomes, part[1].votes, False)
    assert compare_with_trace(recipe, wait_until_ended(recipe, engine)).identical


def test_failures_are_recorded_as_words(engine):
    run = engine.submit(
        dataclasses.replace(RECIPE.request(), samples=RECIPE.replace(sampler=SamplerConfig(top_k=10**6)).rows())
    )
    run.wait(60)
    shown = replay(RECIPE.replace(trace=make_trace(run)))
    assert shown.status == "failed"
    assert shown.error is not None
    assert "top_k=1000000" in str(shown.error)


def test_tokens_that_hosted_runs_number_for_themselves_keep_their_texts():
    """Each answer is a run of its own, and a server without ids has its tokens numbered as they come."""
    with OpenAIServer("openai", KEY) as server:
        router = Router(Engine(ModelStore()))

        def submit(request):
            return router.submit(request, Credentials(typed={f"openai:{server.address}/v1": SecretStr(KEY)}))

        few = HostedOptions(top_logprobs=1)  # so that the drawn tokens decide which number comes first
        recipe = RECIPE.replace(model=ModelReference(id=server.model), sampler=SamplerConfig(), seeds=(3, 4, 5))
        recipe = recipe.replace(hosted=few)
        run = RecipeRun(recipe, submit)
        while run.active:
            run.advance()
        assert run.error is None
        recipe = recipe.replace(trace=make_trace(run.recorded_samples()))
        assert verify(recipe, submit).identical
    [shown] = replay_prompts(recipe)
    for old, new in zip((each for each in run.recorded_samples()), shown.main.samples, strict=True):
        for one, other in zip(old.sample.events(), new.events(), strict=True):
            texts = [
                [run.label(token) for token in event.known_trace.candidates]
                for run, event in ((old.run, one), (shown.main, other))
            ]
            assert texts[0] == texts[1]
            assert shown.main.label(other.known_id) == old.run.label(one.known_id)
    first, second = (row.events() for row in shown.main.samples[:2])
    pieces = [one.piece == other.piece for one, other in zip(first, second, strict=False)]
    assert first_divergence(first, second) == pieces.index(False)


def test_an_answer_that_now_comes_without_log_probabilities_is_verified_by_its_text():
    with OpenAIServer("openai", KEY) as server:
        keys = Credentials(typed={f"openai:{server.address}/v1": SecretStr(KEY)})
        router = Router(Engine(ModelStore()))
        recipe = RECIPE.replace(model=ModelReference(id=server.model), sampler=SamplerConfig(), seeds=(3,))
        run = router.submit(recipe.request(), keys)
        assert run.wait(30)
        assert all(event.trace for event in run.samples[0].events())
        recipe = recipe.replace(trace=make_trace(run), hosted=HostedOptions(top_logprobs=0))
        assert verify(recipe, lambda request: router.submit(request, keys)) == ReplayVerdict(True, 0.0)


def test_answers_of_one_call_are_recorded_without_a_seed_of_their_own():
    with OpenAIServer("vllm", KEY) as server:
        keys = Credentials(typed={f"openai:{server.address}/v1": SecretStr(KEY)})
        recipe = RECIPE.replace(
            model=ModelReference(id=server.model), seeds=(3,), candidates=2, hosted=HostedOptions(candidate_count=2)
        )
        run = Router(Engine(ModelStore())).submit(recipe.request(), keys)
        assert run.wait(30)
    assert [row.seed for row in run.samples] == [None, None]
    kept = Recipe.read(recipe.replace(trace=make_trace(run)).data())
    assert [row.seed for row in replay(kept).samples] == [None, None]
    [shown] = replay_prompts(kept)
    assert [candidate.seed for candidate in RecordedPool(shown).candidates()] == [None, None]


@pytest.mark.parametrize(
    ("stage", "change", "message"),
    [
        (0, {"entropy_bits": 64.0}, None),
        (0, {"entropy_bits": 64.5}, "out of range"),
        (0, {"entropy_bits": -0.1}, "out of range"),
        (0, {"kept_mass": 1.5}, "out of range"),
        (0, {"kept": 2**31}, "out of range"),
        (0, {"name": "top_k"}, "an unknown stage, or none before"),
        (-1, {"name": "alchemy"}, "an unknown stage, or none before"),
    ],
)
def test_a_step_that_no_page_could_show_is_refused(engine, stage, change, message):
    data = record_run(RECIPE, engine).trace.model_dump()
    steps = unpack_traces(base64.b64decode(data["rows"][0]["stages"]))
    stages = list(steps[0].stages)
    stages[stage] = dataclasses.replace(stages[stage], **change)
    steps[0] = dataclasses.replace(steps[0], stages=tuple(stages))
    data["rows"][0]["stages"] = base64.b64encode(pack_traces(steps)).decode()
    if message is None:
        assert Trace(**data).rows[0].all_events()[0].known_trace.raw.entropy_bits == 64
    else:
        with pytest.raises(ValidationError, match=message):
            Trace(**data)


@pytest.mark.parametrize(("field", "value"), [("seed", "3"), ("seconds", "1.5"), ("shared", "yes")])
def test_what_is_written_as_text_is_no_number(engine, field, value):
    with pytest.raises(ValidationError, match=field):
        RowTrace(finish_reason="end", **{field: value})
    data = record_run(RECIPE, engine).data()
    data["trace"]["rows"][0][field] = value
    with pytest.raises(NucleusError) as caught:
        Recipe.read(data)
    assert field in caught.value.details["place"]


def test_what_the_answer_says_itself_is_not_recorded_twice(engine):
    spec = PromptSpec("Hi", prefill="A", extraction=Extraction("number"))
    trace = record_run(RECIPE.replace(prompt=spec), engine).trace
    assert [(row.whole, row.result) for row in trace.rows] == [(None, None)] * 2


def test_a_request_alone_says_nothing_of_a_trace():
    assert Recipe.from_request(GenerationRequest("builtin", PromptSpec("Hi"), RECIPE.rows())).trace is None
    assert Trace.model_fields["rows"].is_required()
