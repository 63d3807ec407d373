"""The Best-of-N page through the real app and engine; its charts as valid plotly."""

from __future__ import annotations

import time

import pytest

from pages.ui.best_drafts import READY
from pages.ui.i18n import texts
from tests.pages.test_app import PATIENCE, errors, open_app, session

EN = texts("en")


@pytest.fixture(scope="module", autouse=True)
def model_is_there(builtin):
    """The pages load the built-in model themselves; this makes sure that it has been fetched."""


def open_best(language: str = "en", tokens: int = 12):
    app = open_app(language)
    app.switch_page("pages/models.py").run()  # AppTest loses widgets that two pages in a row share
    app.switch_page("pages/best_of_n.py").run()
    app.number_input(key="max_output_tokens").set_value(tokens).run()
    assert not app.exception
    return app


def press_run(app):
    app.button(key="best_run").click().run()
    assert not app.exception
    return app


def finish(app, done=lambda app: not session(app).best.shown.active):
    until = time.monotonic() + PATIENCE
    while not done(app) and time.monotonic() < until:
        time.sleep(0.1)
        app.run()
    assert done(app)
    app.run()
    assert not app.exception
    return app


def write(app):
    press_run(app)
    assert not errors(app)
    return finish(app)


def told(app) -> str:
    return "\n".join(each.value for each in (*app.markdown, *app.caption))


@pytest.mark.parametrize("language", ["en", "vi"])
def test_the_first_example_runs_and_every_panel_shows(language):
    words = texts(language)
    app = open_best(language)
    assert app.text_area(key="best_prompt").value == READY["sum"].prompt
    app.number_input(key="best_n").set_value(6).run()
    write(app)
    shown = session(app).best.shown
    assert len(shown.pool.candidates()) == 6
    assert {each.id for each in shown.judging.criteria} == set(READY["sum"].criteria)
    assert words["best.winners"] in told(app)
    table = app.dataframe[0].value
    assert len(table) == len(shown.pool.folded)
    sums = shown.judging.scores("sum_logprob")
    numbers = table[words["best.number"]] - 1
    assert list(table[words["best.criterion.sum_logprob"]]) == [sums[index].value for index in numbers]
    for panel, heading in (("agreement", "best.length_bias"), ("theory", "best.accuracy")):
        app.button_group(key="best_panel").set_value(panel).run()
        assert not app.exception
        assert words[heading] in told(app)
