"""Beam search on the Playground, through the real app, engine and model."""

from __future__ import annotations

import pytest

from pages.ui.shell.i18n import load_texts
from tests.support.app_driver import error_messages, open_app, session

EN = load_texts("en")


@pytest.fixture(scope="module", autouse=True)
def model_is_there(builtin):
    """Download the built-in model, which the page loads itself."""


@pytest.mark.parametrize("language", ["en", "vi"])
def test_a_search_shows_its_finished_answers_and_every_hypothesis(language):
    words = load_texts(language)
    app = open_app(language)
    app.number_input(key="playground.beam_count").set_value(2)
    app.number_input(key="playground.beam_length").set_value(4).run()
    app.button(key="playground.beam_start").click().run()
    assert not app.exception
    run = session(app).beam
    assert run.wait(120)
    app.run()
    app.toggle(key="playground.beam_table").set_value(True).run()
    assert not app.exception
    answers, table = (frame.value for frame in app.dataframe[:2])
    assert list(answers[words["beam.score"]]) == [round(each.score, 3) for each in run.finished]
    assert answers[words["run.answer"]][0] == run.model.decode(run.finished[0].tokens)
    assert len(table) == len(run.nodes)
    assert list(table[words["beam.rank"]][:4]) == [1, 2, 3, 4]
    assert set(table[words["beam.status"]]) == {words[f"beam.{status}"] for status in ("kept", "pruned", "finished")}
    after = dict(zip(table[words["beam.after"]], table[words["beam.step"]], strict=True))
    assert after[""] == 1


def test_a_refused_prompt_is_explained_and_the_last_search_stays():
    app = open_app()
    app.number_input(key="playground.beam_length").set_value(1).run()
    app.button(key="playground.beam_start").click().run()
    run = session(app).beam
    assert run.wait(120)
    app.text_area(key="prompt.instruction").set_value("").run()
    app.button(key="playground.beam_start").click().run()
    assert EN["errors.prompt_empty"] in error_messages(app)
    assert session(app).beam is run
