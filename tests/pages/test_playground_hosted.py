"""Hosted models in the app: chosen on the Models page, run in the Playground, with log-probabilities and without."""

from __future__ import annotations

import json
import threading

import pytest

from pages.ui.shell import services
from pages.ui.shell.i18n import load_texts
from tests.support.app_driver import (
    HOSTED_KEY,
    error_messages,
    open_app,
    open_hosted_playground,
    press_run,
    session,
    wait_for_calls,
    wait_for_run,
)
from tests.support.fake_openai import OpenAIServer
from tests.support.fake_server import Reply

EN = load_texts("en")


@pytest.mark.parametrize("logprobs", [True, False])
@pytest.mark.parametrize("language", ["en", "vi"])
def test_a_hosted_run_is_drawn(logprobs, language):
    with OpenAIServer("vllm", HOSTED_KEY) as server:
        server.logprobs = logprobs
        app = open_hosted_playground(server, language)
        app.number_input(key="settings.max_output_tokens").set_value(6)
        wait_for_run(press_run(app))
        run = session(app).run
        assert not app.exception
        assert run.model is None
        assert run.samples[0].text
        app.toggle(key="playground.as_text").set_value(True).run()
        assert not app.exception
        assert run.samples[0].text in [code.value for code in app.code]
        assert any(toggle.key == "playground.step_table" for toggle in app.toggle) is logprobs
        if logprobs:
            app.toggle(key="playground.step_table").set_value(True).run()
            assert not app.exception
            assert len(app.dataframe[0].value) == 12
        app.toggle(key="playground.strip_table").set_value(True).run()
        assert not app.exception


def test_the_request_is_shown_without_the_key():
    with OpenAIServer("vllm", HOSTED_KEY) as server:
        app = open_hosted_playground(server)
        app.text_area(key="prompt.instruction").set_value("Name a colour.").run()
        app.toggle(key="playground.show_request").set_value(True).run()
        [shown] = [code.value for code in app.code if code.language == "json"]
        body = json.loads(shown)
        assert body["messages"][-1]["content"] == "Name a colour."
        assert HOSTED_KEY not in shown


def test_a_server_is_asked_for_its_models_and_one_is_used():
    with OpenAIServer("vllm", HOSTED_KEY) as server:
        app = open_app().switch_page("pages/models.py").run()
        app.button_group(key="model.provider").set_value("server").run()
        target = services.router().target(server.model)
        app.text_input(key="model.server_url").set_value(target.place).run()
        app.text_input(key="model.api_key.server").set_value(HOSTED_KEY).run()
        wait_for_calls(app.button(key="model.list").click().run())
        assert not error_messages(app)
        assert target.name in app.selectbox(key="model.name.server").options
        app.selectbox(key="model.name.server").set_value(target.name).run()
        app.button(key="model.use").click().run()
        assert not app.exception
        assert session(app).model_id == server.model
        [table] = [frame.value for frame in app.dataframe]
        assert EN["fields.temperature"] in list(table[EN["hosted.setting"]])


def test_what_a_provider_refuses_is_said_on_the_page():
    with OpenAIServer("vllm", HOSTED_KEY) as server:
        app = open_app().switch_page("pages/models.py").run()
        app.button_group(key="model.provider").set_value("server").run()
        app.text_input(key="model.server_url").set_value(services.router().target(server.model).place).run()
        app.text_input(key="model.api_key.server").set_value("wrong-key-0123456789").run()
        wait_for_calls(app.button(key="model.list").click().run())
        assert error_messages(app) == [EN["errors.provider_key_refused"]]
        app.text_input(key="model.server_url").set_value("no address").run()
        wait_for_calls(app.button(key="model.list").click().run())
        assert any("no address" in error for error in error_messages(app))


def test_a_slow_listing_blocks_nothing_and_another_provider_ends_it():
    gate = threading.Event()
    with OpenAIServer("vllm", HOSTED_KEY) as server:
        app = open_app().switch_page("pages/models.py").run()
        app.button_group(key="model.provider").set_value("server").run()
        app.text_input(key="model.server_url").set_value(services.router().target(server.model).place).run()
        app.text_input(key="model.api_key.server").set_value(HOSTED_KEY).run()
        server.replies.append(Reply(body={"data": []}, gate=gate))
        app.button(key="model.list").click().run()
        assert app.button(key="model.list").disabled
        errand = session(app).pending_calls["hosted-models"].call
        app.button_group(key="model.provider").set_value("gemini").run()
        gate.set()
        assert errand.stopped
        assert not app.button(key="model.list").disabled
        assert not error_messages(app)
