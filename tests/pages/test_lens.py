"""The Lens on steps of real runs, in the real app."""

from __future__ import annotations

import pytest

from pages.ui.lens import figures
from pages.ui.lens.step import MAX_CACHED_STEPS
from pages.ui.shell.i18n import load_texts
from samplers import SamplerConfig
from tests.support.app_driver import (
    cached_steps,
    caption_text,
    error_messages,
    go_to_lens,
    open_app,
    press_run,
    session,
    wait_for_run,
)

EN = load_texts("en")


@pytest.fixture(scope="module", autouse=True)
def model_is_there(builtin):
    """Download the built-in model, which the pages load themselves."""


def open_lens_after_run(tokens: int = 6, language: str = "en"):
    """Open the Lens after a run in the Playground."""
    app = open_app(language)
    app.pills(key="settings.strategy").set_value("combined").run()
    app.number_input(key="settings.max_output_tokens").set_value(tokens).run()
    wait_for_run(press_run(app))
    return go_to_lens(app)


@pytest.mark.parametrize("language", ["en", "vi"])
def test_without_a_run_it_says_where_to_begin(language):
    app = open_app(language).switch_page("pages/lens.py").run()
    assert not app.exception
    assert load_texts(language)["lens.empty"] in [markdown.value for markdown in app.markdown]


@pytest.mark.parametrize("language", ["en", "vi"])
def test_every_view_of_the_newest_step(language):
    app = open_lens_after_run(language=language)
    assert not app.exception
    run = session(app).run
    events = run.samples[0].events()
    assert cached_steps(app) == [(run.id, 0, len(events) - 1)]
    drawn = load_texts(language)["lens.draws_same"].split("{")[0]
    assert drawn in caption_text(app)
    for view in ("orders", "curves", "ranks", "token", "draws", "stages"):
        app.button_group(key="lens.view").set_value(view).run()
        assert not app.exception, view
        assert not error_messages(app)


def test_settings_recompute_the_step_without_the_model():
    app = open_lens_after_run()
    run = session(app).run
    app.slider(key="settings.temperature").set_value(2.0)
    app.slider(key="settings.top_p").set_value(0.5).run()
    assert len(cached_steps(app)) == 1, "no other forward pass"
    assert not session(app).lens.runs
    app.toggle(key="lens.stages_table").set_value(True).run()
    [table] = [frame.value for frame in app.dataframe]
    assert [EN["lens.raw"], *(EN[f"stages.{name}.name"] for name in ("temperature", "top_k", "top_p"))] == list(table)[
        1:
    ]
    assert len(table) == figures.MAX_TOKENS_SHOWN + 1
    app.button(key="lens.reset").click().run()
    assert session(app).run is run
    assert app.slider(key="settings.temperature").value == run.samples[0].request.sampler.temperature
    assert app.slider(key="settings.top_p").value == run.samples[0].request.sampler.top_p


def test_steps_are_walked_and_remembered():
    app = open_lens_after_run()
    count = len(session(app).run.samples[0].events())
    for _ in range(count - 1):
        app.button(key="lens.icon_chevron_left").click().run()
    assert session(app).lens.step == 0
    assert app.button(key="lens.icon_chevron_left").disabled
    assert [step for *_, step in cached_steps(app)] == list(reversed(range(count)))
    app.button(key="lens.icon_chevron_right").click().run()
    assert len(cached_steps(app)) == count <= MAX_CACHED_STEPS


def test_a_token_outside_the_list_is_found_with_its_rank_at_every_stage():
    app = open_lens_after_run()
    app.button_group(key="lens.view").set_value("token").run()
    app.text_input(key="lens.question").set_value("xylophone").run()
    tables = [frame.value for frame in app.dataframe]
    assert len(tables) == 2, "as it is, and after a space"
    for table in tables:
        assert int(table[EN["lens.rank"]][0].replace(",", "")) > 40
        assert table[EN["lens.rank"]].iloc[-1] == EN["step.cut"]
    assert "xylophone" in "".join(markdown.value for markdown in app.markdown)


def test_draws_are_made_anew_only_for_another_distribution():
    app = open_lens_after_run()
    app.button_group(key="lens.view").set_value("draws").run()
    first = session(app).lens.draws[1]
    app.toggle(key="lens.draw_table").set_value(True).run()
    assert session(app).lens.draws[1] is first
    app.slider(key="settings.temperature").set_value(1.5).run()
    assert session(app).lens.draws[1] is not first


def test_a_guess_comes_before_the_distribution():
    app = open_lens_after_run()
    app.toggle(key="lens.guess_first").set_value(True).run()
    step = session(app).lens.step
    assert "lens.view" not in [group.key for group in app.button_group]
    app.text_input(key=f"lens.guess.{step}").set_value("the")
    next(button for button in app.button if button.label == EN["lens.guess.reveal"]).click().run()
    token, probability, _ = session(app).lens.guesses[step]
    assert token is not None
    assert 0 < probability < 1
    said = "\n".join(markdown.value for markdown in app.markdown)
    assert EN["lens.guess.yours"].split("{")[0] in said
    assert "lens.view" in [group.key for group in app.button_group]
    app.button(key="lens.icon_chevron_left").click().run()
    assert "lens.view" not in [group.key for group in app.button_group], "the next one is hidden again"


def test_the_panel_shows_every_setting_of_a_run():
    app = open_app()
    sampler = SamplerConfig(temperature=0.5, min_p=0.2, mirostat_tau=4.0, order="llama_cpp", seed=5)
    app.pills(key="settings.strategy").set_value("combined").run()
    app.multiselect(key="settings.further_stages").set_value(["min_p", "mirostat"]).run()
    app.number_input(key="settings.min_p").set_value(sampler.min_p)
    app.number_input(key="settings.mirostat_tau").set_value(sampler.mirostat_tau)
    app.slider(key="settings.temperature").set_value(sampler.temperature)
    app.selectbox(key="settings.order").set_value("llama_cpp")
    app.number_input(key="settings.max_output_tokens").set_value(3).run()
    wait_for_run(press_run(app))
    request = session(app).run.samples[0].request.sampler
    go_to_lens(app)
    app.pills(key="settings.strategy").set_value("greedy").run()
    app.button(key="lens.reset").click().run()
    assert app.pills(key="settings.strategy").value == "combined"
    assert set(app.multiselect(key="settings.further_stages").value) == {"min_p", "mirostat"}
    assert app.number_input(key="settings.min_p").value == request.min_p == 0.2
    assert app.selectbox(key="settings.order").value == "llama_cpp"
