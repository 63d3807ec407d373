"""The Best-of-N page through the real app and engine; its charts as valid plotly."""

from __future__ import annotations

import time

import plotly.graph_objects as go
import pytest
from pydantic import SecretStr

from llm_core.best_of_n.criteria import Score
from pages.ui.best_of_n.drafts import BEST_OF_N_PRESETS
from pages.ui.best_of_n.figures import ScalingCurve, agreement_figure, length_figure, scaling_figure, scaling_table
from pages.ui.best_of_n.scaling import vote_accuracies
from pages.ui.shell import services
from pages.ui.shell.i18n import load_texts
from tests.support.app_driver import TIMEOUT_SECONDS, error_messages, open_app, session
from tests.support.fake_openai import OpenAIServer

EN = load_texts("en")
KEY = "sk-planted-0123456789"


@pytest.fixture(scope="module", autouse=True)
def model_is_there(builtin):
    """Download the built-in model, which the pages load themselves."""


def open_best_of_n(language: str = "en", tokens: int = 12):
    app = open_app(language)
    app.switch_page("pages/models.py").run()  # AppTest loses widgets that two pages in a row share
    app.switch_page("pages/best_of_n.py").run()
    app.number_input(key="settings.max_output_tokens").set_value(tokens).run()
    assert not app.exception
    return app


def press_run(app):
    app.button(key="best_of_n.run").click().run()
    assert not app.exception
    return app


def rerun_until(app, done=lambda app: not session(app).best.shown.active):
    until = time.monotonic() + TIMEOUT_SECONDS
    while not done(app) and time.monotonic() < until:
        time.sleep(0.1)
        app.run()
    assert done(app)
    app.run()
    assert not app.exception
    return app


def run_and_wait(app):
    press_run(app)
    assert not error_messages(app)
    return rerun_until(app)


def page_text(app) -> str:
    return "\n".join(each.value for each in (*app.markdown, *app.caption))


@pytest.mark.parametrize("language", ["en", "vi"])
def test_the_first_example_runs_and_every_panel_shows(language):
    words = load_texts(language)
    app = open_best_of_n(language)
    assert app.text_area(key="best_of_n.prompt").value == BEST_OF_N_PRESETS["sum"].prompt
    app.number_input(key="best_of_n.n").set_value(6).run()
    run_and_wait(app)
    shown = session(app).best.shown
    assert len(shown.pool.candidates()) == 6
    assert {each.id for each in shown.scorer.criteria} == {*BEST_OF_N_PRESETS["sum"].criteria, "number"}
    assert words["best.winners"] in page_text(app)
    table = app.dataframe[0].value
    assert len(table) == len(shown.pool.duplicate_groups)
    sums = shown.scorer.scores("sum_logprob")
    numbers = table[words["best.number"]] - 1
    assert list(table[words["best.criterion.sum_logprob"]]) == [sums[index].value for index in numbers]
    for panel, heading in (("agreement", "best.length_bias"), ("theory", "best.accuracy")):
        app.button_group(key="best_of_n.panel").set_value(panel).run()
        assert not app.exception
        assert words[heading] in page_text(app)


def test_candidates_are_added_and_keep_what_they_have():
    app = open_best_of_n()
    app.number_input(key="best_of_n.n").set_value(3).run()
    run_and_wait(app)
    pool = session(app).best.shown.pool
    texts_before = [candidate.text for candidate in pool.candidates()]
    app.button(key="best_of_n.grow").click().run()
    rerun_until(app)
    assert session(app).best.shown.pool is pool
    assert pool.requested == app.number_input(key="best_of_n.n").value == 6
    assert [candidate.text for candidate in pool.candidates()][:3] == texts_before
    assert len(session(app).best.shown.scorer.scores("sum_logprob")) == 6


def test_criteria_and_the_right_answer_change_without_writing_again():
    app = open_best_of_n()
    app.number_input(key="best_of_n.n").set_value(4).run()
    run_and_wait(app)
    shown = session(app).best.shown
    kept = shown.scorer.scores("sum_logprob")
    app.button_group(key="best_of_n.criteria").set_value(["sum_logprob", "sentiment"]).run()
    rerun_until(app)
    assert session(app).best.shown is shown
    assert shown.scorer.scores("sum_logprob") == kept
    assert len(shown.scorer.scores("sentiment")) == 4
    app.selectbox(key="best_of_n.check").set_value("pattern").run()
    app.text_input(key="best_of_n.pattern").set_value(r"\d").run()
    rerun_until(app)
    assert shown.ground_truth == "pattern"
    assert [score.value for score in shown.scorer.scores("pattern").values()] == [
        float(any(character.isdigit() for character in candidate.text)) for candidate in shown.pool.candidates()
    ]


def test_weights_make_a_criterion_of_ones_own():
    app = open_best_of_n()
    app.number_input(key="best_of_n.n").set_value(4).run()
    run_and_wait(app)
    app.number_input(key="best_of_n.weight.sum_logprob").set_value(-1.0).run()
    shown = session(app).best.shown
    sums = {index: score.value for index, score in shown.scorer.scores("sum_logprob").items()}
    worst = min(sums, key=lambda index: (sums[index], index))
    line = f"**{EN['best.criterion.own']}**: {EN['best.winner'].format(number=worst + 1)}"
    assert line in page_text(app)


def test_what_cannot_judge_says_why():
    app = open_best_of_n()
    reason = f"**{EN['best.criterion.reward_model']}**: {EN['errors.criterion_needs_judge']}"
    assert reason in page_text(app)
    assert EN["best.criterion.reward_model"] not in app.button_group(key="best_of_n.criteria").options
    app.selectbox(key="best_of_n.check").set_value("schema").run()
    app.text_area(key="best_of_n.schema").set_value("no schema").run()
    assert EN["best.criterion.schema"] in page_text(app)
    assert "JSON Schema cannot be used" in page_text(app)


def test_a_refused_run_says_why_and_leaves_the_last_one():
    app = open_best_of_n()
    app.number_input(key="best_of_n.n").set_value(2).run()
    run_and_wait(app)
    before = session(app).best.shown
    app.number_input(key="best_of_n.n").set_value(65).run()
    press_run(app)
    assert error_messages(app) == [EN["errors.candidates_out_of_range"].format(value=65, limit=64)]
    app.number_input(key="best_of_n.n").set_value(2).run()
    app.text_area(key="best_of_n.prompt").set_value(" ").run()
    press_run(app)
    assert error_messages(app) == [EN["errors.prompt_empty"]]
    assert session(app).best.shown is before


def test_judges_score_and_their_position_bias_is_told():
    app = open_best_of_n(tokens=8)
    app.number_input(key="best_of_n.n").set_value(3).run()
    app.button_group(key="best_of_n.criteria").set_value(["autorater", "pairwise"]).run()
    run_and_wait(app)
    shown = session(app).best.shown
    graded = [score.value for score in shown.scorer.scores("autorater").values()]
    assert all(1 <= value <= 5 for value in graded)
    assert EN["best.position_bias"].split(":")[0].strip("*") in page_text(app)
    app.toggle(key="best_of_n.parts").set_value(True).run()
    assert not app.exception
    assert "P(5)" in str(app.dataframe[-1].value[EN["best.criterion.autorater"]][0])


@pytest.mark.parametrize("check", ["exact", "task"])
def test_other_checkers_know_what_is_right(check):
    app = open_best_of_n()
    app.number_input(key="best_of_n.n").set_value(2).run()
    app.selectbox(key="best_of_n.check").set_value(check).run()
    if check == "exact":
        app.text_input(key="best_of_n.answer").set_value("43|44").run()
    run_and_wait(app)
    shown = session(app).best.shown
    assert shown.ground_truth == ("verifier" if check == "task" else "exact")
    assert len(shown.scorer.scores(shown.ground_truth)) == 2
    if check == "task":
        app.number_input(key="best_of_n.item").set_value(5).run()
        assert session(app).best.shown.ground_truth is None


@pytest.mark.parametrize("language", ["en", "vi"])
def test_a_study_over_items_runs_stops_and_goes_on(language):
    words = load_texts(language)
    app = open_best_of_n(language, tokens=6)
    app.button_group(key="best_of_n.kind").set_value("items").run()
    app.number_input(key="best_of_n.items_count").set_value(3).run()
    app.number_input(key="best_of_n.items_n").set_value(4).run()
    press_run(app)
    assert not error_messages(app)
    study = session(app).best.items.study
    app.button(key="best_of_n.items_stop").click().run()
    assert not study.running
    app.button(key="best_of_n.items_resume").click().run()
    rerun_until(app, lambda app: study.finished)
    ways = [words[f"best.ways.{way}"] for way in ("greedy", "single", "vote")]
    table = app.dataframe[0].value
    assert list(table[words["study.way"]])[:3] == ways
    assert len(study.results) == 3


def test_charts_are_valid_plotly():
    lines = [
        ScalingCurve("<b>a</b>", [1, 2, 4], [0.1, 0.2, 0.3], [0, 0.1, 0.2], [0.2, 0.3, 0.4]),
        ScalingCurve("b", [1], [0.5]),
    ]
    figure = go.Figure(scaling_figure(lines, ("n", "y"), "band"))
    assert [trace.name for trace in figure.data] == ["band", "&lt;b&gt;a&lt;/b&gt;", "b"]
    assert figure.layout.xaxis.title.text == "n"
    assert scaling_table(lines, "n", {"low": "low", "high": "high"})[0] == {
        "n": 1,
        "<b>a</b>": 0.1,
        "<b>a</b> (low)": 0,
        "<b>a</b> (high)": 0.2,
        "b": 0.5,
    }
    agreement = go.Figure(agreement_figure(["a", "b"], [[1, None], [None, 1]], "tau", "criterion"))
    assert agreement.data[0].text[0] == ["1.00", "–"]
    length = go.Figure(length_figure([3, 4], ([-3, -2], [-1, -0.5]), [7, 9], ("x", "sum", "mean")))
    assert list(length.data[0].customdata) == [7, 9]
    assert list(length.data[0].marker.symbol) == ["circle", "star"]


@pytest.mark.parametrize("language", ["en", "vi"])
def test_a_hosted_model_writes_candidates_and_what_needs_probabilities_says_so(language):
    words = load_texts(language)
    with OpenAIServer("vllm", KEY) as server:
        server.logprobs = False
        app = open_best_of_n(language, tokens=6)
        target = services.router().target(server.model)
        session(app).model_id = server.model
        session(app).keys[f"{target.scheme}:{target.place}"] = SecretStr(KEY)
        app.run()
        assert words["errors.criterion_needs_vocabulary"] in page_text(app)
        app.number_input(key="best_of_n.n").set_value(3).run()
        run_and_wait(app)
        shown = session(app).best.shown
        assert len(shown.pool.candidates()) == 3
        reason = f"**{words['best.criterion.sum_logprob']}**: {words['errors.criterion_needs_probabilities']}"
        assert reason in page_text(app)
        assert len(shown.scorer.scores("number")) == 3
        assert words["best.criterion.vote"] in app.button_group(key="best_of_n.criteria").options


def test_fewer_candidates_than_asked_for_are_told():
    with OpenAIServer("vllm", KEY) as server:
        app = open_best_of_n(tokens=6)
        session(app).model_id = server.model
        app.number_input(key="best_of_n.n").set_value(2).run()
        run_and_wait(app)  # without a key every request is refused
        assert len(session(app).best.shown.pool.missing) == 2
        assert [warning.value for warning in app.warning] == [
            EN["best.missing"].format(came=0, asked=2, reason=EN["errors.provider_key_refused"])
        ]


def test_votes_over_n_count_as_the_criterion_does():
    def vote(first):
        return Score(None) if first is None else Score(0.5, {"first_same": first})

    votes = {index: vote(first) for index, first in enumerate((0, 0, 2, None))}
    truth = {0: 1.0, 1: 1.0, 2: 0.0, 3: 0.0}
    alone, pairs, all_four = vote_accuracies(votes, truth, [1, 2, 4])
    assert alone == 0.5
    # of six pairs: {0,1} right; {0,2} and {1,2} half; {0,3} and {1,3} right; {2,3} wrong
    assert pairs == pytest.approx(4 / 6)
    assert all_four == 1
