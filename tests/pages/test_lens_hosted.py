"""The Lens on hosted answers: the twenty tokens that a provider shows, with what that leaves open."""

from __future__ import annotations

import pytest

from pages.ui.shell.i18n import load_texts
from tests.support.app_driver import (
    HOSTED_KEY,
    cached_steps,
    caption_text,
    error_messages,
    go_to_lens,
    open_hosted_playground,
    press_run,
    session,
    wait_for_run,
)
from tests.support.fake_gemini import GeminiServer
from tests.support.fake_openai import OpenAIServer

EN = load_texts("en")


@pytest.fixture
def server():
    with OpenAIServer("vllm", HOSTED_KEY) as server:
        yield server


@pytest.fixture(
    params=[lambda: OpenAIServer("vllm", HOSTED_KEY), lambda: GeminiServer(HOSTED_KEY)], ids=["openai", "gemini"]
)
def any_server(request):
    with request.param() as server:
        yield server


def open_lens_after_run(server: OpenAIServer | GeminiServer, language: str = "en"):
    """Open the Lens after a hosted run."""
    app = open_hosted_playground(server, language)
    app.pills(key="settings.strategy").set_value("combined").run()
    app.number_input(key="settings.max_output_tokens").set_value(6).run()
    wait_for_run(press_run(app))
    return go_to_lens(app)


@pytest.mark.parametrize("language", ["en", "vi"])
def test_every_view_of_a_hosted_step_and_no_further_request(any_server, language):
    server = any_server
    app = open_lens_after_run(server, language)
    words, count = load_texts(language), len(server.requests)
    assert len(cached_steps(app)) == 1
    assert words["hosted_views.shown"].split("{count}")[0] in caption_text(app)
    for view in ("orders", "curves", "ranks", "token", "draws", "stages"):
        app.button_group(key="lens.view").set_value(view).run()
        assert not app.exception, view
        assert not error_messages(app)
        app.slider(key="settings.temperature").set_value(1.3 if view == "draws" else 0.7).run()
        assert not app.exception, view
    assert len(server.requests) == count


def test_the_table_has_all_shown_tokens_and_one_line_for_the_others(server):
    app = open_lens_after_run(server)
    app.slider(key="settings.temperature").set_value(1.8)
    app.slider(key="settings.top_p").set_value(1.0)
    app.number_input(key="settings.top_k").set_value(0).run()
    app.toggle(key="lens.stages_table").set_value(True).run()
    [table] = [frame.value for frame in app.dataframe]
    assert len(table) == 21
    assert table[EN["step.token"]].iloc[-1] == EN["hosted_views.rest"]
    for column in list(table)[1:]:
        assert sum(float(value) for value in table[column]) == pytest.approx(1, abs=0.01)
        assert float(table[column].iloc[-1]) > 0


def test_a_shown_token_is_followed_and_another_has_a_limit(server):
    app = open_lens_after_run(server)
    run, step = session(app).run, session(app).lens.step
    shown = run.label(run.samples[0].events()[step].token_id).strip()
    app.button_group(key="lens.view").set_value("token").run()
    app.text_input(key="lens.question").set_value(shown).run()
    assert any(frame.value[EN["lens.rank"]][0].isdigit() for frame in app.dataframe)
    app.text_input(key="lens.question").set_value("xylophone").run()
    assert EN["hosted_views.not_shown"].format(count=20) in caption_text(app)
    tables = [frame.value for frame in app.dataframe]
    limit = EN["hosted_views.at_most"].split("{")[0]
    assert all(table[EN["step.probability"]][0].startswith(limit) for table in tables)
    ranks = [EN["hosted_views.at_least"].format(value=rank) for rank in (20, 21)]  # 20 if the run drew the last one
    assert all(table[EN["lens.rank"]][0] in ranks for table in tables)


def test_a_stage_without_a_bound_is_named(server):
    app = open_lens_after_run(server)
    app.multiselect(key="settings.further_stages").set_value(["typical_p"]).run()
    assert not app.exception
    assert EN["stages.typical_p.name"] in caption_text(app)
    assert EN["hosted_views.unbounded"].split("{stages}")[1] in caption_text(app)


def test_a_guess_that_was_not_shown_counts_as_at_most(server):
    app = open_lens_after_run(server)
    app.toggle(key="lens.guess_first").set_value(True).run()
    step = session(app).lens.step
    app.text_input(key=f"lens.guess.{step}").set_value("xylophone")
    next(button for button in app.button if button.label == EN["lens.guess.reveal"]).click().run()
    assert not app.exception
    guess = session(app).lens.guesses[step]
    assert guess.token is None
    assert 0 < guess.probability < 0.05
    said = "\n".join(markdown.value for markdown in app.markdown)
    assert EN["hosted_views.guess_unseen"].split("{")[0] in said


def test_without_log_probabilities_it_says_so(server):
    server.logprobs = False
    app = open_lens_after_run(server)
    assert not app.exception
    assert error_messages(app) == [EN["errors.lens_without_logprobs"]]
