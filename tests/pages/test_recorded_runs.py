"""Recorded runs on the pages that hold several answers, without model, key or network; recipes on Best-of-N."""

from __future__ import annotations

import pytest
from pydantic import SecretStr
from streamlit.testing.v1 import AppTest

from llm_core import Engine, Example, ModelReference, ModelStore, NucleusError, PromptSpec, Recipe
from llm_core.experiments.comparison import first_divergence
from llm_core.generation.technique_run import Submit
from llm_core.providers.credentials import Credentials
from llm_core.recipes.recipe import Limits
from llm_core.recipes.replay import RecipeRun, replay_prompts
from llm_core.recipes.trace import Trace, make_trace
from llm_core.router import Router
from pages.ui.compare.divergence import find_divergence
from pages.ui.shell import services
from pages.ui.shell.i18n import load_texts
from samplers import SamplerConfig
from tests.pages.test_best_of_n import page_text, rerun_until
from tests.pages.test_compare import EN
from tests.support.app_driver import APP_PATH, HOSTED_KEY, TIMEOUT_SECONDS, error_messages, session
from tests.support.fake_openai import OpenAIServer
from tests.support.toy_model import toy_model

WEIGHTS = {"mean_logprob": 1.0, "self_certainty": 0.5, "vote": 0.0, "autorater": 2.0, "taste": 1.0}
RECIPE = Recipe(
    title="Four beginnings",
    licence="CC-BY-4.0",
    prompt=PromptSpec("Say hello."),
    sampler=SamplerConfig(temperature=0.9, top_k=20, logit_bias={3: 0.5}),
    seeds=(5,),
    candidates=4,
    criteria=WEIGHTS,
    limits=Limits(max_output_tokens=6, deadline_seconds=77.0),
)


def record_trace(recipe: Recipe, submit: Submit | None = None) -> Trace:
    model = toy_model()
    engine = Engine(ModelStore(loader=lambda model_id, report: model))
    run = RecipeRun(recipe, submit or engine.submit)
    while run.active:
        run.advance()
    assert run.error is None
    engine.close()
    return make_trace(run.recorded_samples(), "2026-11-25")


@pytest.fixture(scope="module")
def recorded() -> Recipe:
    return RECIPE.replace(trace=record_trace(RECIPE))


@pytest.fixture
def alone(monkeypatch):
    """Make every request to a provider and every load of a model fail."""

    def nothing(*_):
        raise NucleusError("model_not_found", model="none", detail="no network")

    services.router()  # others keep the engine that knows models
    store = ModelStore(loader=nothing)
    monkeypatch.setattr(services, "model_store", lambda: store)
    monkeypatch.setattr(Router, "submit", nothing)


def open_recipe(recipe: Recipe, language: str = "en"):
    """Open the app by the recipe's short link."""
    app = AppTest.from_file(APP_PATH, default_timeout=TIMEOUT_SECONDS)
    app.query_params["lang"] = language
    app.query_params["s"] = services.recipe_store().save(recipe, "somebody else").id
    app.run()
    assert not app.exception
    return app


def all_text(app) -> str:
    return "\n".join([page_text(app), *(each.value for each in (*app.info, *app.warning, *app.success))])


@pytest.mark.parametrize("language", ["en", "vi"])
def test_recorded_answers_stand_side_by_side(recorded, alone, language):
    words = load_texts(language)
    app = open_recipe(recorded, language)
    app.button(key="playground.open_in_compare").click().run()
    assert not app.exception
    assert app.title[0].value == words["compare.title"]
    shown = session(app).comparison
    [answers] = replay_prompts(recorded)
    rows = [row.events() for row in answers.main.samples]
    assert [shown.comparison.record(place).events() for place in range(4)] == rows
    step = first_divergence(rows[0], rows[1])
    assert step is not None
    assert find_divergence(shown, rows, 1) == (step, step)
    assert words["recipes.other_seed"].split("{")[0].strip() in page_text(app)
    table = app.dataframe[-1].value
    assert [name.split("· ")[1] for name in table[words["compare.column"]]] == [
        words["compare.seed_of"].format(seed=seed) for seed in (5, 6, 7, 8)
    ]
    assert not any(value == "–" for value in table[words["compare.statistic.perplexity"]])
    assert "2026-11-25" in all_text(app)
    assert words["hosted_views.compare.seed"] not in all_text(app)


@pytest.mark.parametrize("language", ["en", "vi"])
def test_recorded_answers_are_candidates(recorded, alone, language):
    words = load_texts(language)
    app = open_recipe(recorded, language)
    app.button(key="playground.open_in_best_of_n").click().run()
    rerun_until(app)
    assert app.title[0].value == words["best.title"]
    shown = session(app).best.shown
    assert [each.seed for each in shown.pool.candidates()] == [5, 6, 7, 8]
    assert [each.id for each in shown.scorer.criteria] == ["mean_logprob", "self_certainty", "vote"]
    assert all(score.value is not None for score in shown.scorer.scores("self_certainty").values())
    reason = words["errors.criterion_asks_a_model"]
    assert f"**{words['best.criterion.autorater']}**: {reason}" in page_text(app)
    assert words["best.criterion.own"] in page_text(app)
    note = next(each.value for each in app.info if words["recipes.best_not_shown"].split("{")[0] in each.value)
    assert words["best.criterion.autorater"] in note
    assert "taste" in note
    assert words["fields.logit_bias"] in note
    assert app.button(key="best_of_n.grow").disabled
    app.button(key="best_of_n.bring_back").click().run()
    assert not app.exception
    assert session(app).best.shown is None


def test_a_record_without_certainties_says_so(recorded, alone):
    bare = recorded.replace(criteria={"mean_logprob": 1.0})
    app = open_recipe(bare.replace(trace=record_trace(bare)))
    app.button(key="playground.open_in_best_of_n").click().run()
    assert f"**{EN['best.criterion.self_certainty']}**: {EN['errors.criterion_needs_vocabulary']}" in page_text(app)


def test_a_recipe_goes_through_the_page_unchanged(recorded):
    """What the page does not show stays with it; what is changed there is carried."""
    app = open_recipe(recorded.replace(trace=None))
    app.button(key="playground.open_in_best_of_n").click().run()
    assert app.number_input(key="best_of_n.n").value == 4
    assert app.text_area(key="best_of_n.prompt").value == "Say hello."
    app.number_input(key="best_of_n.n").set_value(2).run()
    app.number_input(key="best_of_n.weight.vote").set_value(3.0).run()
    app.button(key="best_of_n.run").click().run()
    assert not error_messages(app)
    rerun_until(app)
    shown = session(app).best.shown
    assert shown.pool.template.deadline_seconds == 77
    app.button(key="recipes.save").click().run()
    app.button(key="recipes.save_new").click().run()
    assert not app.exception
    opened = session(app).best.opened
    assert opened.id
    expected = RECIPE.replace(candidates=2, criteria=WEIGHTS | {"vote": 3.0}, language="en")
    assert opened.recipe == expected
    app.button(key="recipes.save").click().run()
    app.toggle(key="recipes.with_run").set_value(True).run()
    app.button(key="recipes.save_version").click().run()
    assert not app.exception
    opened = session(app).best.opened
    assert opened.version == 2
    assert opened.recipe.trace is not None
    assert opened.recipe.model.revision.startswith("sha256:")
    assert [row.text for row in opened.recipe.trace.rows] == [row.text for row in shown.pool.records]


def test_more_answers_than_columns_and_other_prompts_are_told():
    spec = PromptSpec("Say {{what}}.", values=({"what": "hello"}, {"what": "goodbye"}))
    recipe = Recipe(prompt=spec, seeds=tuple(range(10)), limits=Limits(max_output_tokens=2))
    app = open_recipe(recipe.replace(trace=record_trace(recipe)))
    app.button(key="playground.open_in_compare").click().run()
    assert not app.exception
    assert EN["recipes.first_columns"].format(count=20, limit=16) in page_text(app)
    names = list(app.dataframe[-1].value[EN["compare.column"]])
    assert (names[0], names[15]) == ("1 · prompt 1, seed 0", "16 · prompt 2, seed 5")
    app.selectbox(key="compare.other").set_value(10).run()
    assert not app.exception
    assert EN["compare.why.model"] in page_text(app)
    assert session(app).comparison.recorded


def test_hosted_answers_without_probabilities_are_compared_by_their_texts():
    with OpenAIServer("vllm", HOSTED_KEY) as server:
        server.logprobs = False
        keys = Credentials(typed={f"openai:{server.address}/v1": SecretStr(HOSTED_KEY)})
        recipe = RECIPE.replace(model=ModelReference(id=server.model), criteria={}, candidates=2)
        recipe = recipe.replace(trace=record_trace(recipe, lambda request: services.router().submit(request, keys)))
    app = open_recipe(recipe)
    app.button(key="playground.open_in_compare").click().run()
    assert not app.exception
    assert EN["recipes.without_probabilities"] in page_text(app)
    assert EN["hosted_views.compare.no_probabilities"] in page_text(app)
    app.switch_page("pages/playground.py").run()
    app.button(key="playground.open_in_best_of_n").click().run()
    assert not app.exception
    for name in ("sum_logprob", "self_certainty"):
        assert f"block: **{EN[f'best.criterion.{name}']}**" in page_text(app)


def test_a_prompt_of_several_parts_runs_as_the_playground_has_it():
    parts = PromptSpec("Name it.", technique="few_shot", question="sky", examples=(Example("grass", "green"),))
    app = open_recipe(Recipe(prompt=parts, candidates=3, limits=Limits(max_output_tokens=2)))
    app.button(key="playground.open_in_best_of_n").click().run()
    app.button(key="best_of_n.run").click().run()
    assert not error_messages(app)
    rerun_until(app)
    pool = session(app).best.shown.pool
    assert (pool.template.prompt, pool.requested) == (parts, 3)


@pytest.mark.parametrize("language", ["en", "vi"])
def test_other_weights_are_told_before_and_after_a_run(language):
    words = load_texts(language)
    other = Recipe(
        prompt=PromptSpec("Hi"),
        model=ModelReference(revision="sha256:0000000000000000"),
        sampler=SamplerConfig(temperature=0),
        candidates=2,
        limits=Limits(max_output_tokens=2),
    )
    app = open_recipe(other, language)
    before, after = (words[f"recipes.{name}"].split("{")[0] for name in ("other_weights", "written_with_others"))
    assert before in all_text(app)
    assert after not in all_text(app)
    app.button(key="playground.run").click().run()
    run = session(app).run
    assert run is not None
    assert run.wait(60)
    app.run()
    assert after in all_text(app)
    app.button(key="playground.open_in_best_of_n").click().run()
    assert before in all_text(app)
    app.button(key="best_of_n.run").click().run()
    rerun_until(app)
    assert after in all_text(app)
