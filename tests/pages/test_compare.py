"""The Compare page through the real app and engine; its charts as valid plotly."""

from __future__ import annotations

import time

import plotly.graph_objects as go
import pytest

from llm_core.analysis.text_metrics import STATISTICS
from llm_core.experiments.comparison import first_divergence
from pages.ui.compare.drafts import COLUMN_FIELDS, PRESETS, ColumnList, differing_fields, used_fields
from pages.ui.compare.figures import curve_figure, entropy_figure, heatmap_figure
from pages.ui.compare.sweep_settings import SWEEP_PRESETS
from pages.ui.shell.i18n import load_texts
from samplers import SamplerConfig
from tests.support.app_driver import TIMEOUT_SECONDS, error_messages, open_app, session

EN = load_texts("en")


@pytest.fixture(scope="module", autouse=True)
def model_is_there(builtin):
    """Download the built-in model, which the pages load themselves."""


def open_compare(language: str = "en", kind: str = "columns"):
    app = open_app(language)
    app.switch_page("pages/compare.py").run()
    if kind == "sweep":
        app.button_group(key="compare.kind").set_value("sweep").run()
    assert not app.exception
    return app


def press_run(app):
    app.button(key="compare.run").click().run()
    assert not app.exception
    return app


def rerun_until(app, done):
    until = time.monotonic() + TIMEOUT_SECONDS
    while not done() and time.monotonic() < until:
        time.sleep(0.1)
        app.run()
    assert done()
    app.run()
    assert not app.exception
    return app


def run_comparison(app):
    press_run(app)
    assert not error_messages(app)
    return rerun_until(app, lambda: not session(app).comparison.comparison.active)


def set_column_value(app, field: str, value):
    app.selectbox(key="compare.field").set_value(field).run()
    key = f"compare.value.{app.button_group(key='compare.column').value}.{field}"
    box = next(each for each in (*app.number_input, *app.text_input, *app.text_area, *app.selectbox) if each.key == key)
    box.set_value(value).run()
    assert not app.exception
    return app


@pytest.mark.parametrize("language", ["en", "vi"])
def test_six_samplers_run_at_once_and_are_explained(language):
    words = load_texts(language)
    app = open_compare(language)
    app.number_input(key="compare.tokens").set_value(8)
    app.number_input(key="compare.repeats").set_value(2).run()
    run_comparison(app)
    shown = session(app).comparison
    assert [column.sampler for column in shown.comparison.columns] == list(PRESETS["samplers"])
    assert len(shown.comparison.runs) == 1
    events = [shown.comparison.record(place).events() for place in range(6)]
    parting = first_divergence(events[0], events[2])
    assert parting is not None
    app.selectbox(key="compare.other").set_value(2).run()
    model = shown.comparison.run(0).model
    drawn = [model.label(events[place][parting].token_id).strip() for place in (0, 2)]
    told = " ".join(each.value for each in app.markdown)
    assert words["compare.why.greedy"].split(",")[1].split("{")[0].strip() in told
    assert all(token in told for token in drawn)
    figures = next(frame.value for frame in app.dataframe if words["compare.column"] in frame.value.columns)
    assert len(figures) == 6
    assert set(figures.columns[1:]) == {words[f"compare.statistic.{name}"] for name in (*STATISTICS, "kl", "jaccard")}
    assert figures[words["compare.statistic.length"]][0] == str(len(events[0]))
    assert figures[words["compare.statistic.jaccard"]][0] == "–"


def test_a_column_is_duplicated_and_changed_one_setting_at_a_time():
    app = open_compare()
    app.button_group(key="compare.column").set_value(session(app).columns.drafts[4].id).run()
    app.button(key="compare.duplicate").click().run()
    drafts = session(app).columns.drafts
    assert [draft.sampler for draft in drafts[4:6]] == [SamplerConfig(top_p=0.9)] * 2
    assert app.button_group(key="compare.column").value == drafts[5].id
    set_column_value(app, "repetition_penalty", 1.3)
    set_column_value(app, "order", "gemini")
    set_column_value(app, "prompt", "Name a colour.")
    assert drafts[5].sampler == SamplerConfig(top_p=0.9, repetition_penalty=1.3, order="gemini")
    assert drafts[4].sampler == SamplerConfig(top_p=0.9)
    app.button_group(key="compare.column").set_value(drafts[0].id).run()
    app.button(key="compare.remove").click().run()
    assert session(app).columns.drafts[0].sampler == SamplerConfig(temperature=0.7)
    app.number_input(key="compare.tokens").set_value(3)
    run_comparison(app)
    shown = session(app).comparison.comparison
    assert len(shown.columns) == 6
    assert shown.columns[4].prompt.instruction == "Name a colour."
    assert "Name a colour." in shown.run(4).rendered.text
    assert shown.run(0).rendered.text == shown.run(3).rendered.text != shown.run(4).rendered.text


def test_what_cannot_be_set_is_said_and_changes_nothing():
    app = open_compare()
    before = [draft.sampler for draft in session(app).columns.drafts]
    set_column_value(app, "top_p", 1.5)
    assert error_messages(app) == [EN["errors.setting_out_of_range"].format(field="Top-P", value=1.5, low=0, high=1)]
    set_column_value(app, "top_k", None)
    assert error_messages(app) == [EN["errors.setting_empty"].format(field="Top-K")]
    assert [draft.sampler for draft in session(app).columns.drafts] == before
    app.number_input(key="compare.repeats").set_value(11).run()
    press_run(app)
    assert error_messages(app) == [EN["errors.rows_out_of_range"].format(value=66, limit=64)]
    app.number_input(key="compare.repeats").set_value(1).run()
    app.text_area(key="compare.prompt").set_value(" ").run()
    press_run(app)
    assert error_messages(app) == [EN["errors.prompt_empty"]]
    assert session(app).comparison is None


def test_more_models_than_the_memory_holds_are_refused():
    app = open_compare()
    for draft, model in zip(session(app).columns.drafts, ("one/a", "two/b"), strict=False):
        draft.model_id = model
    press_run(app)
    assert error_messages(app) == [EN["compare.too_many_models"].format(count=3, limit=2)]
    assert session(app).comparison is None


def test_the_playgrounds_whole_prompt_can_be_compared():
    app = open_app()
    app.text_area(key="prompt.instruction").set_value("Answer with a colour.").run()
    app.text_area(key="prompt.role").set_value("You are a painter.").run()
    app.switch_page("pages/compare.py").run()
    assert app.text_area(key="compare.prompt").value == "Answer with a colour."
    app.toggle(key="compare.whole_prompt").set_value(True).run()
    app.number_input(key="compare.tokens").set_value(2)
    run_comparison(app)
    assert "You are a painter." in session(app).comparison.comparison.runs[0].rendered.text


@pytest.mark.parametrize("name", SWEEP_PRESETS)
def test_every_ready_sweep_can_be_run_and_stopped(name):
    app = open_compare(kind="sweep")
    app.button(key=f"compare.sweep_preset.{name}").click().run()
    app.number_input(key="compare.sweep_tokens").set_value(2).run()
    press_run(app)
    assert not error_messages(app)
    sweep = session(app).swept.sweep
    assert sweep.items == SWEEP_PRESETS[name].seeds
    app.button(key="compare.sweep_stop").click().run()
    assert not sweep.running
    assert not app.exception


@pytest.mark.parametrize("language", ["en", "vi"])
def test_a_map_fills_and_its_texts_can_be_read(language):
    app = open_compare(language, "sweep")
    app.selectbox(key="compare.sweep_second").set_value("top_k").run()
    app.text_input(key="compare.sweep_values").set_value("0.5 1,5; 1.5")
    app.text_input(key="compare.sweep_second_values").set_value("1, 20")
    app.number_input(key="compare.sweep_seeds").set_value(2)
    app.number_input(key="compare.sweep_tokens").set_value(5).run()
    press_run(app)
    sweep = session(app).swept.sweep
    rerun_until(app, lambda: sweep.finished)
    assert list(sweep.points) == [(0.5, 1), (0.5, 20), (1.5, 1), (1.5, 20)]
    assert all(len(text.tokens) == 5 for text in sweep.texts.values())
    app.selectbox(key="compare.sweep_place").set_value(3).run()
    assert [each.value for each in app.code] == [text.text for text in sweep.texts_at((1.5, 20))]
    app.toggle(key="compare.sweep_table").set_value(True).run()
    assert len(app.dataframe[0].value) == 4
    assert not app.exception


@pytest.mark.parametrize(("values", "shown"), [("0.5 warm", "warm"), ("0.5 300", "300.0")])
def test_a_bad_axis_is_named(values, shown):
    app = open_compare(kind="sweep")
    app.text_input(key="compare.sweep_values").set_value(values).run()
    press_run(app)
    assert error_messages(app) == [
        EN["errors.setting_out_of_range"].format(field="Temperature", value=shown, low=0, high=100)
    ]
    assert session(app).swept is None


def test_columns_stay_between_two_and_sixteen():
    columns = ColumnList()
    for _ in range(20):
        columns.duplicate(columns.drafts[0])
    assert len(columns.drafts) == 16
    assert len({draft.id for draft in columns.drafts}) == 16
    for _ in range(20):
        columns.remove(columns.drafts[0])
    assert len(columns.drafts) == 2


@pytest.mark.parametrize("name", PRESETS)
def test_presets_differ_in_what_they_are_named_for(name):
    columns = ColumnList()
    columns.start(PRESETS[name])
    assert differing_fields(columns.drafts) <= set(used_fields(columns.drafts)) <= set(COLUMN_FIELDS)
    assert len({draft.sampler for draft in columns.drafts}) == len(columns.drafts)


def test_a_curve_shows_places_seeds_and_what_people_wrote():
    figure = go.Figure(
        curve_figure([0.5, 1, 2], [1.0, None, 900.0], [[0.9, 1.1], [], [900.0]], {"a <b>": 20.0}, ("T", "P (x)"), 2)
    )
    dots, line = figure.data
    assert list(dots.customdata) == [0, 0, 2]
    assert (list(line.x), list(line.y), list(line.customdata)) == ([0.5, 2], [1.0, 900.0], [0, 2])
    assert figure.layout.yaxis.type == "log"
    assert figure.layout.annotations[0].y == pytest.approx(1.30103)
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("T", "P (x)")


def test_lines_that_lie_together_share_a_name():
    figure = curve_figure([0, 1], [0.0, 0.8], [[], []], {"one": 0.0, "two": 0.01, "three": 0.5}, ("x", "y"), None)
    assert [note["text"] for note in figure["layout"]["annotations"]] == ["one · two", "three"]
    assert len(figure["layout"]["shapes"]) == 3


def test_names_in_charts_bring_no_markup():
    curve = curve_figure(["<b>x</b>"], [1.0], [[]], {}, ("x", "y"), None)
    lines = entropy_figure({"<a href='x'>y</a>": [1.0, 2.0]}, "token", "bits")
    assert "<" not in str(curve["data"][1]["x"]) + lines["data"][0]["name"]


def test_cells_of_a_map_carry_their_place_and_empty_ones_stay_empty():
    spec = heatmap_figure(((0.5, 1.0), (0.8, 0.9, 1.0)), [[1.0, 2.0], [None, 3.0], [4.0, 5.0]], ("a", "b", "c"), (1, 2))
    [cells] = go.Figure(spec).data
    assert [list(row) for row in cells.customdata] == [[0, 3], [1, 4], [2, 5]]
    assert spec["data"][0]["z"][1] == [None, 3.0]
    assert spec["data"][0]["text"][1] == ["", "3"]
    wide = heatmap_figure(((1.0, 2.0), (1.0,)), [[1.0, 1000.0]], ("a", "b", "c"), None)["data"][0]
    assert wide["z"] == [[0.0, 3.0]]
    assert wide["colorbar"]["ticktext"] == ["1", "10", "100", "1000"]


def test_sixteen_lines_are_told_apart():
    figure = go.Figure(entropy_figure({str(place): [1.0] for place in range(16)}, "token", "bits"))
    assert len({(line.line.color, line.line.dash) for line in figure.data}) == 16
