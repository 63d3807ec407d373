"""Recipes in the Playground, through the real app without a browser."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from llm_core import Example, ModelReference, PromptSpec, Recipe, decode_link, encode_link
from llm_core.recipes.recipe import Limits
from llm_core.recipes.replay import replay_prompts
from pages.ui.shell.i18n import load_texts
from samplers import SamplerConfig
from tests.support.app_driver import (
    APP_PATH,
    TIMEOUT_SECONDS,
    error_messages,
    open_app,
    press_run,
    session,
    wait_for_run,
)

RECIPE = Recipe(
    title="Colours",
    author="Lan",
    notes="Look at the third token.",
    tags=("lesson",),
    language="vi",
    prompt=PromptSpec("Name it.", technique="few_shot", question="sky", examples=(Example("grass", "green"),)),
    sampler=SamplerConfig(temperature=0.7, top_k=20),
    seeds=(5,),
    limits=Limits(max_output_tokens=4),
)


def open_link(recipe: Recipe, **more: str) -> AppTest:
    app = AppTest.from_file(APP_PATH, default_timeout=TIMEOUT_SECONDS)
    app.query_params["lang"] = "en"
    app.query_params["r"] = encode_link(recipe)
    for name, value in more.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def share_recipe(app: AppTest) -> Recipe:
    app.button(key="playground.share").click().run()
    assert not app.exception
    [link] = [code.value for code in app.code if "/?r=" in code.value]
    return decode_link(link)


def test_a_link_fills_the_page_and_runs_nothing():
    app = open_link(RECIPE)
    assert app.text_area(key="prompt.instruction").value == "Name it."
    assert app.number_input(key="settings.top_k").value == 20
    assert app.number_input(key="settings.seed").value == 5
    assert session(app).technique_runs == []
    assert session(app).replaced_recipe is None
    again = share_recipe(app)
    assert again.model.revision.startswith("sha256:")
    assert again.replace(model=RECIPE.model) == RECIPE


def test_it_runs_as_the_command_line_does():
    app = wait_for_run(press_run(open_link(RECIPE)))
    run = session(app).run
    assert run is not None
    assert run.request.samples == RECIPE.rows()
    assert run.request.prompt == RECIPE.prompt
    app.button(key="playground.share").click().run()
    app.toggle(key="playground.share_run").set_value(True).run()
    assert not app.exception
    state = session(app)
    assert state.recorded_trace is not None
    [technique_run] = replay_prompts(RECIPE.replace(trace=state.recorded_trace[1]))
    assert technique_run.main.samples[0].text == run.samples[0].text


def test_work_is_asked_for_and_comes_back():
    app = open_app()
    app.text_area(key="prompt.instruction").set_value("Mine").run()
    app.number_input(key="settings.max_output_tokens").set_value(3)
    app = wait_for_run(press_run(app))
    mine = session(app).technique_runs
    app.query_params["r"] = encode_link(RECIPE)
    app.run()
    assert app.text_area(key="prompt.instruction").value == "Mine"
    app.button(key="playground.cancel_open").click().run()
    assert app.text_area(key="prompt.instruction").value == "Mine"
    assert "r" not in app.query_params
    app.query_params["r"] = encode_link(RECIPE.replace(title="Another"))
    app.run()
    app.button(key="playground.confirm_open").click().run()
    assert app.text_area(key="prompt.instruction").value == "Name it."
    app.button(key="playground.bring_back").click().run()
    assert not app.exception
    assert app.text_area(key="prompt.instruction").value == "Mine"
    assert app.number_input(key="settings.max_output_tokens").value == 3
    assert session(app).technique_runs == mine


@pytest.mark.parametrize("model_id", ["someone/model", "/etc", "openai:m@http://127.0.0.1:9/v1"])
def test_a_model_that_a_stranger_names_takes_a_click(model_id):
    app = open_link(RECIPE.replace(model=ModelReference(id=model_id)))
    assert session(app).model_id == "builtin"
    assert app.button(key="playground.use_recipe_model").label == load_texts("en")["desk.use_model"]


def test_what_the_page_cannot_show_is_named_and_kept():
    recipe = RECIPE.replace(
        sampler=SamplerConfig(temperature=30, logit_bias={1: 2.0}, order=("temperature", "logit_bias")),
        seeds=(2**62, 1),
        candidates=2,
    )
    app = open_link(recipe)
    words = load_texts("en")
    [note] = [info.value for info in app.info if words["fields.logit_bias"] in info.value]
    assert all(words[f"fields.{name}"] in note for name in ("temperature", "order"))
    assert share_recipe(app).replace(model=recipe.model) == recipe
    assert not error_messages(press_run(app))
    session(app).technique_runs[0].stop()


@pytest.mark.parametrize("language", ["en", "vi"])
def test_a_bad_link_is_explained(language):
    app = AppTest.from_file(APP_PATH, default_timeout=TIMEOUT_SECONDS)
    app.query_params["lang"] = language
    app.query_params["r"] = "a" + "A" * 40
    app.run()
    assert error_messages(app) == [load_texts(language)["errors.recipe_link_damaged"]]
    assert "r" not in app.query_params
    assert app.button(key="playground.run")
