"""Every page through the real app and the real engine, in both languages, without a browser."""

from __future__ import annotations

import pytest

from pages.ui.shell.i18n import load_texts
from tests.support.app_driver import error_messages, open_app, press_run, session, wait_for_run


@pytest.fixture(scope="module", autouse=True)
def model_is_there(builtin):
    """Download the built-in model, which the pages load themselves."""


@pytest.mark.parametrize("language", ["en", "vi"])
def test_run_answers_in_both_languages(language):
    words = load_texts(language)
    app = open_app(language)
    assert app.title[0].value == words["playground.title"]
    assert app.button(key="playground.run").label == words["playground.run"]
    assert app.button(key="playground.stop").disabled
    app.number_input(key="settings.max_output_tokens").set_value(6)
    wait_for_run(press_run(app))
    run = session(app).run
    assert run.status == "finished"
    assert 1 <= len(run.samples[0].events()) <= 6
    assert any(words["step.as_table"] == toggle.label for toggle in app.toggle)
    app.toggle(key="playground.as_text").set_value(True).run()
    assert app.code[-1].value == run.samples[0].text
    app.toggle(key="playground.step_table").set_value(True).run()
    assert len(app.dataframe[0].value) == 12


def test_every_strategy_reaches_the_engine():
    app = open_app()
    app.number_input(key="settings.max_output_tokens").set_value(1)
    expected = {
        "greedy": {"temperature": 0, "top_k": 0, "top_p": 1},
        "random": {"temperature": 1, "top_k": 0, "top_p": 1},
        "temperature": {"temperature": 0.5, "top_k": 0, "top_p": 1},
        "top_k": {"temperature": 0.5, "top_k": 3, "top_p": 1},
        "top_p": {"temperature": 0.5, "top_k": 0, "top_p": 0.6},
        "combined": {"temperature": 0.5, "top_k": 3, "top_p": 0.6, "order": "gemini"},
    }
    app.pills(key="settings.strategy").set_value("combined").run()
    app.slider(key="settings.temperature").set_value(0.5)
    app.number_input(key="settings.top_k").set_value(3)
    app.slider(key="settings.top_p").set_value(0.6)
    app.selectbox(key="settings.order").set_value("gemini")
    app.number_input(key="settings.seed").set_value(99).run()
    for strategy, fields in expected.items():
        app.pills(key="settings.strategy").set_value(strategy).run()
        wait_for_run(press_run(app))
        sampler = session(app).run.request.samples[0].sampler
        assert {name: getattr(sampler, name) for name in fields} == fields, strategy
        assert sampler.seed == 99


@pytest.mark.parametrize("language", ["en", "vi"])
@pytest.mark.parametrize(
    ("field", "value", "code", "details"),
    [
        ("instruction", "", "prompt_empty", {}),
        ("instruction", "bell\x07", "prompt_control_character", {"character": "U+0007", "position": 5}),
        ("instruction", "x" * 2**20, "prompt_too_large", {"size": 2**20, "limit": 200_000}),
        ("system", "tab\x0b", "prompt_control_character", {"character": "U+000B", "position": 4}),
    ],
)
def test_bad_input_is_named_and_nothing_is_lost(language, field, value, code, details):
    app = open_app(language)
    app.number_input(key="settings.max_output_tokens").set_value(2)
    wait_for_run(press_run(app))
    answer = session(app).run
    app.text_area(key=f"prompt.{field}").set_value(value)
    press_run(app)
    words = load_texts(language)
    message = words[f"errors.{code}"].format(field=words[f"fields.{field}"], **details)
    assert message in error_messages(app)
    assert session(app).run is answer
    assert app.text_area(key=f"prompt.{field}").value == value


@pytest.mark.parametrize("language", ["en", "vi"])
@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("seed", None, "errors.setting_empty"),
        ("max_output_tokens", None, "errors.setting_empty"),
        ("top_k", None, "errors.setting_empty"),
        ("top_k", -1, "errors.setting_out_of_range"),
        ("seed", -5, "errors.setting_out_of_range"),
        ("max_output_tokens", 0, "errors.setting_out_of_range"),
    ],
)
def test_number_fields_say_what_they_need(language, field, value, expected):
    words = load_texts(language)
    app = open_app(language)
    app.pills(key="settings.strategy").set_value("top_k").run()
    app.number_input(key=f"settings.{field}").set_value(value)
    press_run(app)
    assert any(words[f"fields.{field}"] in error for error in error_messages(app))
    assert any(words[expected].split("}")[-1].strip() in error for error in error_messages(app))
    assert session(app).run is None
    assert app.number_input(key=f"settings.{field}").value == value


def test_settings_only_the_model_can_refuse():
    app = open_app()
    app.pills(key="settings.strategy").set_value("top_k").run()
    app.number_input(key="settings.top_k").set_value(50_000)
    wait_for_run(press_run(app))
    assert any("Top-K is 50000" in error for error in error_messages(app))
    app.number_input(key="settings.top_k").set_value(0)
    app.slider(key="settings.temperature").set_value(0.0)
    app.number_input(key="settings.max_output_tokens").set_value(2)
    wait_for_run(press_run(app))
    assert not error_messages(app)
    assert session(app).run.request.samples[0].sampler.greedy


def test_a_prompt_longer_than_the_context_window():
    app = open_app()
    app.text_area(key="prompt.instruction").set_value("word " * 9000)
    wait_for_run(press_run(app))
    assert any("context window" in error for error in error_messages(app))
    assert app.text_area(key="prompt.instruction").value == "word " * 9000


def test_the_prompt_as_the_model_sees_it():
    app = open_app()
    app.text_area(key="prompt.system").set_value("Be brief.")
    app.number_input(key="settings.max_output_tokens").set_value(1)
    wait_for_run(press_run(app))  # the model is loaded now
    assert not any("context window" in each.value for each in app.caption)
    app.toggle(key="prompt.show_rendered").set_value(True).run()
    assert not app.exception
    counted = len(session(app).run.rendered.token_ids)
    assert any(each.value.startswith(f"{counted} tokens") and "context window" in each.value for each in app.caption)


def test_switching_language_keeps_everything():
    app = open_app()
    app.text_area(key="prompt.instruction").set_value("My own prompt")
    app.number_input(key="settings.max_output_tokens").set_value(2)
    wait_for_run(press_run(app))
    app.sidebar.segmented_control(key="shell.language").set_value("vi").run()
    assert app.title[0].value == load_texts("vi")["playground.title"]
    assert app.text_area(key="prompt.instruction").value == "My own prompt"
    assert app.number_input(key="settings.max_output_tokens").value == 2
    assert len(session(app).run.samples[0].events()) in (1, 2)
    assert app.query_params["lang"] in ("vi", ["vi"])


@pytest.mark.parametrize("language", ["en", "vi"])
def test_models_page_refuses_a_missing_model_and_comes_back(language):
    words = load_texts(language)
    app = open_app(language)
    app.text_area(key="prompt.instruction").set_value("Kept across pages")
    app.run()
    app.switch_page("pages/models.py").run()
    assert app.title[0].value == words["models.title"]
    app.text_input(key="model.id").set_value("/no/such/model")
    next(button for button in app.button if button.label == words["models.load"]).click().run()
    for _ in range(50):
        if error_messages(app):
            break
        app.run()
    assert any("/no/such/model" in error for error in error_messages(app))
    next(button for button in app.button if button.label == words["models.use_builtin"]).click().run()
    assert not error_messages(app)
    app.switch_page("pages/playground.py").run()
    assert app.text_area(key="prompt.instruction").value == "Kept across pages"


def test_further_stages_are_added_with_their_settings_and_shown_in_their_order():
    app = open_app()
    app.pills(key="settings.strategy").set_value("combined").run()
    app.multiselect(key="settings.further_stages").set_value(["xtc", "min_p", "dry", "mirostat"]).run()
    app.number_input(key="settings.min_p").set_value(0.125).run()
    app.number_input(key="settings.dry_allowed_length").set_value(3).run()
    app.number_input(key="settings.max_output_tokens").set_value(3)
    app.selectbox(key="settings.order").set_value("llama_cpp").run()
    captions = " ".join(caption.value for caption in app.caption)
    assert "DRY → Top-K → Top-P → Min-P → XTC → Temperature → Mirostat 2.0" in captions
    assert load_texts("en")["stages.xtc.text"] in captions
    wait_for_run(press_run(app))
    sampler = session(app).run.request.samples[0].sampler
    assert (sampler.min_p, sampler.dry_allowed_length, sampler.xtc_probability, sampler.mirostat_tau) == (
        0.125,
        3,
        0.5,
        3,
    )
    assert sampler.typical_p == 1

    app.pills(key="settings.strategy").set_value("top_p").run()
    wait_for_run(press_run(app))
    assert session(app).run.request.samples[0].sampler.min_p == 0


@pytest.mark.parametrize(("value", "words"), [(None, "is empty"), (7.0, "Use a number from 0 to 1")])
def test_a_bad_setting_of_a_further_stage_is_named(value, words):
    app = open_app()
    app.pills(key="settings.strategy").set_value("combined").run()
    app.multiselect(key="settings.further_stages").set_value(["min_p"]).run()
    app.number_input(key="settings.min_p").set_value(value).run()
    press_run(app)
    assert session(app).run is None
    assert any("“Min-P”" in error.value and words in error.value for error in app.error)


def test_precision_is_chosen_on_the_models_page_and_used_by_the_run():
    app = open_app()
    app.switch_page("pages/models.py").run()
    app.pills(key="model.precision").set_value("bfloat16").run()
    assert not app.exception
    assert any(load_texts("en")["models.precisions.bfloat16"] == caption.value for caption in app.caption)
    app.switch_page("pages/playground.py").run()
    app.number_input(key="settings.max_output_tokens").set_value(3)
    wait_for_run(press_run(app))
    run = session(app).run
    assert run.status == "finished"
    assert run.request.precision == "bfloat16"
    assert any("bfloat16" in caption.value for caption in app.caption)
    wait_for_run(press_run(app))
    known = session(app).run.samples[0].cached_tokens
    assert known == len(run.rendered.token_ids) - 1
    assert any(f"**{known}** of {known + 1} prompt tokens" in caption.value for caption in app.caption)
