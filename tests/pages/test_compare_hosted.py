"""Compare, sweeps and techniques on hosted models, in the real app against a strict local server."""

from __future__ import annotations

import threading

import pytest

from pages.ui.model.request_estimate import MAX_REQUESTS_PER_RUN
from pages.ui.shell import services
from pages.ui.shell.i18n import load_texts
from tests.pages.test_compare import rerun_until, run_comparison, set_column_value
from tests.support.app_driver import (
    HOSTED_KEY,
    caption_text,
    error_messages,
    open_hosted_playground,
    press_run,
    session,
)
from tests.support.app_driver import wait_for_run as finish_run
from tests.support.fake_openai import OpenAIServer

EN = load_texts("en")


@pytest.fixture
def server():
    with OpenAIServer("vllm", HOSTED_KEY) as server:
        yield server


def open_compare(server: OpenAIServer, language: str = "en", kind: str = "columns"):
    app = open_hosted_playground(server, language)
    app.switch_page("pages/compare.py").run()
    if kind == "sweep":
        app.button_group(key="compare.kind").set_value("sweep").run()
    assert not app.exception
    return app


def page_text(app) -> str:
    return "\n".join(each.value for each in (*app.markdown, *app.caption, *app.info, *app.warning))


def count_completions(server) -> int:
    return sum(request.path.endswith("completions") for request in server.requests)


@pytest.mark.parametrize("language", ["en", "vi"])
def test_six_columns_run_in_parallel_and_are_explained(server, language):
    app = open_compare(server, language)
    own = load_texts(language)
    assert own["hosted_views.plan.requests"].split("{count}")[0] in caption_text(app)
    app.number_input(key="compare.tokens").set_value(6)
    app.number_input(key="compare.repeats").set_value(2).run()
    run_comparison(app)
    shown = session(app).comparison
    assert count_completions(server) == 12
    assert len(shown.comparison.runs) == 1
    assert own["hosted_views.compare.seed"] in page_text(app)
    assert own["hosted_views.compare.figures"] in page_text(app)
    table = app.dataframe[-1].value
    assert not any(value == "–" for value in table[own["compare.statistic.perplexity"]])
    parted = next(place for place in range(6) if _answer_text(shown, place) != _answer_text(shown, 0))
    app.selectbox(key="compare.other").set_value(parted).run()
    assert not app.exception
    assert own["compare.distances"].split("{")[0] in page_text(app)
    assert own["hosted_views.shown"].split("{count}")[0] in page_text(app)


def test_without_log_probabilities_texts_are_compared(server):
    server.logprobs = False
    app = open_compare(server)
    app.number_input(key="compare.tokens").set_value(6).run()
    run_comparison(app)
    assert not error_messages(app)
    shown = session(app).comparison
    others = [place for place in range(6) if _answer_text(shown, place) != _answer_text(shown, 0)]
    assert others
    app.selectbox(key="compare.other").set_value(others[0]).run()
    assert not app.exception
    assert EN["hosted_views.compare.no_probabilities"] in page_text(app)
    assert EN["compare.parting"].split("{same}")[1].split("{")[0] in page_text(app)
    table = app.dataframe[-1].value
    for name in ("perplexity", "length", "distinct_1", "entropy", "kl"):
        assert set(table[EN[f"compare.statistic.{name}"]]) == {"–"}


def _answer_text(shown, place: int) -> str:
    return shown.comparison.record(place).text


def test_local_and_hosted_columns_on_one_prompt(server, builtin):
    app = open_compare(server)
    app.button(key="compare.preset.orders").click().run()
    set_column_value(app, "model_id", "builtin")
    app.number_input(key="compare.tokens").set_value(5).run()
    run_comparison(app)
    assert not error_messages(app)
    comparison = session(app).comparison.comparison
    assert [run.model is None for run in comparison.runs] == [False, True]
    assert not comparison.has_shared_ids(0, 1)
    assert comparison.has_shared_ids(1, 2)
    assert EN["hosted_views.compare.other_run"] in page_text(app)
    assert len(app.dataframe[-1].value) == 3


def test_what_a_model_refuses_is_said_and_looks_dead(server):
    server.refused_fields["min_p"] = "Unsupported parameter: 'min_p' is not supported with this model."
    app = open_compare(server)
    app.number_input(key="compare.tokens").set_value(4).run()
    run_comparison(app)
    refused = services.router().hosted.unsupported_settings(server.model, ["min_p", "temperature", "eta_cutoff"])
    assert set(refused) == {"min_p", "eta_cutoff"}
    assert any(EN["fields.min_p"] in info.value for info in app.info)
    column = app.button_group(key="compare.column")
    column.set_value(session(app).columns.drafts[5].id).run()
    app.selectbox(key="compare.field").set_value("min_p").run()
    box = next(each for each in app.number_input if each.key and each.key.endswith(".min_p"))
    assert box.disabled
    assert EN["hosted_views.dead.column"].split("{")[0] + "6" in caption_text(app)
    app.selectbox(key="compare.field").set_value("top_k").run()
    assert not next(each for each in app.number_input if each.key and each.key.endswith(".top_k")).disabled
    app.switch_page("pages/playground.py").run()
    app.pills(key="settings.strategy").set_value("combined").run()
    app.multiselect(key="settings.further_stages").set_value(["min_p", "eta_cutoff", "top_n_sigma"]).run()
    assert app.number_input(key="settings.min_p").disabled
    assert app.number_input(key="settings.eta_cutoff").disabled
    assert not app.number_input(key="settings.top_n_sigma").disabled
    assert not app.slider(key="settings.temperature").disabled
    assert EN["fields.min_p"] in caption_text(app)
    app.switch_page("pages/models.py").run()
    app.button(key="model.forget").click().run()
    assert "min_p" not in services.router().hosted.unsupported_settings(server.model, ["min_p"])
    app.switch_page("pages/playground.py").run()
    assert not app.number_input(key="settings.min_p").disabled


def test_a_sweep_says_beforehand_what_it_sends_and_has_a_limit(server):
    app = open_compare(server, kind="sweep")
    app.text_input(key="compare.sweep_values").set_value("0.5 1 1.5")
    app.number_input(key="compare.sweep_seeds").set_value(2)
    app.number_input(key="compare.sweep_tokens").set_value(5).run()
    said = EN["hosted_views.plan.requests"].format(count=6, model="sea", limit=8)
    assert said in caption_text(app)
    app.button(key="compare.run").click().run()
    rerun_until(app, lambda: session(app).swept.sweep.finished)
    assert count_completions(server) == 6
    assert len(session(app).swept.sweep.texts) == 6
    before = session(app).swept
    app.number_input(key="compare.sweep_seeds").set_value(64)
    app.text_input(key="compare.sweep_values").set_value(" ".join(f"0.{digit}" for digit in range(1, 10))).run()
    assert EN["hosted_views.plan.most"].format(limit=MAX_REQUESTS_PER_RUN) in caption_text(app)
    app.button(key="compare.run").click().run()
    assert any(str(MAX_REQUESTS_PER_RUN) in error for error in error_messages(app))
    assert session(app).swept is before
    assert count_completions(server) == 6


def test_techniques_on_a_hosted_model(server):
    app = open_hosted_playground(server)
    app.switch_page("pages/techniques.py").run()
    app.number_input(key="techniques.count").set_value(2).run()
    request = next(caption.value for caption in app.caption if "cloud_upload" in caption.value)
    app.button(key="techniques.run").click().run()
    study = session(app).studies["techniques"].study
    rerun_until(app, lambda: study.finished)
    assert not [cell.error for cell in study.cells.values() if cell.error]
    assert EN["hosted_views.plan.requests"].format(count=count_completions(server), model="sea", limit=8) in request
    app.button(key="techniques.run").click().run()
    again = session(app).studies["techniques"].study
    assert again is not study
    before = count_completions(server)
    rerun_until(app, lambda: again.finished)
    assert count_completions(server) == before, "greedy with the same seed: all from memory"
    assert EN["hosted_views.cache.study"].format(count=again.total) in caption_text(app)


def test_the_queue_is_seen_and_stop_empties_it(server):
    gate = threading.Event()
    answer = server.answer
    server.answer = lambda request: _hold_reply(answer(request), gate)
    app = open_compare(server)
    app.number_input(key="compare.tokens").set_value(4)
    app.number_input(key="compare.repeats").set_value(3).run()
    app.button(key="compare.run").click().run()
    hosted_service = services.router().hosted
    runs = session(app).comparison.comparison.runs
    assert hosted_service.queue_state(runs).own == 18 - hosted_service.parallel
    app.run()
    assert EN["hosted_views.queue.waiting"].format(count=10, limit=8) in caption_text(app)
    app.button(key="compare.stop").click().run()
    assert all(run.wait(2) for run in runs)
    assert hosted_service.queue_state(runs).own == 0
    gate.set()
    app.run()
    assert not app.exception
    assert EN["hosted_views.queue.waiting"].split("{limit}")[1] not in caption_text(app)


def _hold_reply(reply, gate):
    reply.gate = gate
    return reply


def test_the_cache_is_seen_cleared_and_switched_off(server):
    app = open_hosted_playground(server)
    app.number_input(key="settings.max_output_tokens").set_value(4)
    finish_run(press_run(app))
    finish_run(press_run(app))
    assert count_completions(server) == 1
    assert session(app).run.samples[0].from_cache
    assert EN["hosted_views.cache.answer"] in caption_text(app)
    app.switch_page("pages/models.py").run()
    kept = EN["hosted_views.cache.kept"].split("(")[0]
    assert kept.format(count=1) in caption_text(app)
    app.button(key="model.answers_clear").click().run()
    assert len(session(app).answers) == 0
    assert kept.format(count=1) not in caption_text(app)
    app.toggle(key="model.answers_on").set_value(False).run()
    assert not session(app).answers.enabled
    app.switch_page("pages/playground.py").run()
    for _ in range(2):
        finish_run(press_run(app))
    assert count_completions(server) == 3
    assert EN["hosted_views.cache.answer"] not in caption_text(app)
