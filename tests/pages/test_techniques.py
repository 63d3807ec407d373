"""The composer, the Techniques page and the gallery through the real app and engine."""

from __future__ import annotations

import time

import pytest

from llm_core import Example
from llm_core.recipes.starter_prompts import load_applications
from pages.ui.shell.i18n import load_texts
from tests.support.app_driver import error_messages, open_app, press_run, session, wait_for_run

TIMEOUT_SECONDS = 120


@pytest.fixture(scope="module", autouse=True)
def model_is_there(builtin):
    """Download the built-in model, which the pages load themselves."""


def rerun_until_done(app):
    """Rerun until every request is done, as the page's fragment does."""
    until = time.monotonic() + TIMEOUT_SECONDS
    while any(technique_run.active for technique_run in session(app).technique_runs) and time.monotonic() < until:
        time.sleep(0.1)
        app.run()
    assert not app.exception
    return app


@pytest.mark.parametrize("language", ["en", "vi"])
def test_few_shot_is_composed_run_and_kept_by_another_technique(language):
    app = open_app(language)
    app.button_group(key="prompt.technique").set_value("few_shot").run()
    app.button(key="prompt.example_add").click().run()
    number = session(app).examples.drafts[0].id
    app.text_area(key=f"prompt.example.{number}.input").set_value("Hà Nội").run()
    app.text_area(key=f"prompt.example.{number}.output").set_value("Vietnam").run()
    app.text_area(key="prompt.instruction").set_value("Name the country.")
    app.text_area(key="prompt.question").set_value("Lima")
    app.number_input(key="settings.max_output_tokens").set_value(3)
    wait_for_run(press_run(app))
    rendered = session(app).run.rendered.text
    assert "Name the country.\n\nHà Nội<|im_end|>\n<|im_start|>assistant\nVietnam<|im_end|>" in rendered
    assert rendered.endswith("<|im_start|>user\nLima<|im_end|>\n<|im_start|>assistant\n")
    app.button_group(key="prompt.technique").set_value("zero_shot").run()
    app.button_group(key="prompt.technique").set_value("few_shot").run()
    assert session(app).examples.examples == (Example("Hà Nội", "Vietnam"),)
    assert app.text_area(key=f"prompt.example.{number}.output").value == "Vietnam"
    app.button(key=f"prompt.icon_example.remove.{number}").click().run()
    assert not session(app).examples.examples
    app.button(key="prompt.icon_example_undo").click().run()
    assert app.text_area(key=f"prompt.example.{number}.output").value == "Vietnam"


def test_pasted_examples_and_a_refusal_that_loses_nothing():
    app = open_app()
    app.button_group(key="prompt.technique").set_value("few_shot").run()
    app.text_area(key="prompt.example_paste").set_value("input,output\na,1\nb,2\na,1\n")
    app.button(key="prompt.example_take").click().run()
    assert session(app).examples.examples == (Example("a", "1"), Example("b", "2"))
    app.text_area(key="prompt.example_paste").set_value("input,output\nc,\n")
    app.button(key="prompt.example_take").click().run()
    assert load_texts("en")["errors.row_incomplete"].format(number=1, field="output") in [
        each.value for each in app.info
    ]
    assert len(session(app).examples) == 2


def test_self_consistency_votes():
    app = open_app()
    app.button_group(key="prompt.technique").set_value("self_consistency").run()
    app.number_input(key="prompt.chains").set_value(3)
    app.number_input(key="settings.max_output_tokens").set_value(4)
    rerun_until_done(press_run(app))
    [technique_run] = session(app).technique_runs
    assert len(technique_run.outcomes) == 3
    assert [outcome.result for outcome in technique_run.outcomes] == [
        row.text.strip() for row in technique_run.main.samples
    ]
    assert sum(count for _, count in technique_run.votes) == 3
    assert len(app.dataframe[0].value) == 3


def test_a_document_is_looked_up_shown_and_cited():
    document = "The library opens at eight.\n\nCards are free for students.\n\nA late book costs a fine."
    app = open_app()
    app.text_area(key="prompt.instruction").set_value("What do cards cost students?")
    app.text_area(key="prompt.document").set_value(document)
    app.text_input(key="prompt.prefill").set_value("It is free [2] [3].")
    app.number_input(key="settings.max_output_tokens").set_value(2)
    app.number_input(key="prompt.passages").set_value(1).run()
    found = load_texts("en")["document.found"].format(count=1)
    assert found in [caption.value for caption in app.caption]
    assert "Cards are free for students." in [code.value for code in app.code]
    rerun_until_done(press_run(app))
    captions = [caption.value for caption in app.caption]
    assert any(load_texts("en")["document.cited"] in caption for caption in captions)
    assert load_texts("en")["document.invented"].format(numbers="[3]") in captions
    assert "[2] Cards are free" in session(app).technique_runs[0].main.rendered.text
    app.text_area(key="prompt.instruction").set_value("Weather?").run()
    press_run(app)
    assert error_messages(app) == [load_texts("en")["errors.passage_not_found"]]
    assert session(app).technique_runs, "the run before is still there"


def test_variables_make_several_prompts_and_missing_values_are_named():
    app = open_app()
    app.text_area(key="prompt.instruction").set_value("The capital of {{country}} is").run()
    press_run(app)
    assert error_messages(app) == [load_texts("en")["errors.variable_without_value"].format(variable="country")]
    session(app).value_table.set([{"country": "Peru"}, {"country": "Kenya"}])
    app.number_input(key="settings.max_output_tokens").set_value(2)
    app.run()
    rerun_until_done(press_run(app))
    request = [technique_run.main.rendered.text for technique_run in session(app).technique_runs]
    assert ["Peru" in request[0], "Kenya" in request[1], len(request)] == [True, True, 2]


def test_a_study_runs_to_its_end_and_says_what_it_found():
    app = open_app()
    app.switch_page("pages/techniques.py").run()
    app.selectbox(key="techniques.task").set_value("sentiment").run()
    app.number_input(key="techniques.count").set_value(3).run()
    app.button_group(key="techniques.compared").set_value(["zero_shot", "few_shot"]).run()
    app.button(key="techniques.run").click().run()
    assert not app.exception
    study = session(app).studies["techniques"].study
    until = time.monotonic() + TIMEOUT_SECONDS
    while not study.finished and time.monotonic() < until:
        time.sleep(0.2)
        app.run()
    assert study.finished
    assert not app.exception
    table = app.dataframe[1].value
    assert list(table[load_texts("en")["study.items"]]) == ["3", "3"]
    for (_, item), cell in study.cells.items():
        expected = session(app).studies["techniques"].task.items[item].answers[0]
        assert cell.score == float(cell.answer == expected)


def test_every_gallery_prompt_opens_in_the_playground():
    app = open_app()
    app.text_area(key="prompt.instruction").set_value("Mine").run()
    app.switch_page("pages/gallery.py").run()
    for application in load_applications():
        app.selectbox(key="gallery.application").set_value(application.id).run()
        assert not app.exception
        entry = application.entries[0]
        app.button(key=f"gallery.open.{application.id}.{entry.id}").click().run()
        assert not app.exception
        if application in load_applications()[:2]:  # "Mine" is there, which nobody has saved
            assert session(app).pending_recipe is not None
            app.button(key="playground.confirm_open").click().run()
        assert session(app).pending_recipe is None
        app.switch_page("pages/playground.py").run()
        assert not app.exception
        assert not error_messages(app)
        assert app.text_area(key="prompt.instruction").value == entry.prompts["en"].instruction
        assert session(app).examples.examples == entry.prompts["en"].examples
        if application is load_applications()[0]:
            app.button(key="playground.bring_back").click().run()
            assert app.text_area(key="prompt.instruction").value == "Mine"
        app.switch_page("pages/gallery.py").run()
