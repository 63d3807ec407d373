"""Gemini and Vertex AI in the Playground, as the page sends them: the real SDK against a strict local server."""

from __future__ import annotations

import base64
import json
import threading
import time

import pytest
from pydantic import SecretStr
from streamlit.testing.v1 import AppTest

from llm_core.providers.google.client import Vertex
from llm_core.providers.pricing import load_prices
from pages.ui.shell import services
from pages.ui.shell.i18n import load_texts
from tests.support.app_driver import error_messages, open_app, press_run, session, wait_for_calls, wait_for_run
from tests.support.fake_gemini import GeminiServer, text_event, to_camel_case
from tests.support.fake_gemini import finish_event as ended
from tests.support.fake_server import Reply

KEY = "AIza-planted-77e1"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture
def server():
    with GeminiServer(KEY) as running:
        yield running


def open_gemini_playground(server: GeminiServer, language: str = "en") -> AppTest:
    app = open_app(language)
    session(app).model_id = server.model
    session(app).keys[f"gemini:{server.address}"] = SecretStr(KEY)
    return app.run()


def last_body(server: GeminiServer) -> dict:
    return server.requests[-1].body


def last_config(server: GeminiServer) -> dict:
    return last_body(server)["generationConfig"]


def run_and_wait(app: AppTest) -> AppTest:
    app.number_input(key="settings.max_output_tokens").set_value(5)
    return wait_for_run(press_run(app))


def page_text(app: AppTest) -> str:
    return "\n".join(each.value for kind in (app.caption, app.markdown, app.info) for each in kind)


@pytest.mark.parametrize("language", ["en", "vi"])
def test_system_text_thinking_safety_and_pictures_are_sent(server, language):
    server.thoughts = "Let me think."
    app = open_gemini_playground(server, language)
    app.text_area(key="prompt.system").set_value("Be brief.")
    app.selectbox(key="model.thinking").set_value("low")
    app.toggle(key="model.show_thoughts").set_value(True)
    app.selectbox(key="model.safety").set_value("BLOCK_NONE")
    app.file_uploader(key="model.images").upload("sea.png", PNG, "image/png")
    app.run()
    run_and_wait(app)
    words = load_texts(language)
    sent = last_body(server)
    assert sent["systemInstruction"]["parts"][0]["text"] == "Be brief."
    picture = {to_camel_case(name): value for name, value in sent["contents"][-1]["parts"][1]["inlineData"].items()}
    assert (base64.urlsafe_b64decode(picture["data"]), picture["mimeType"]) == (PNG, "image/png")
    assert {each["threshold"] for each in sent["safetySettings"]} == {"BLOCK_NONE"}
    assert len(sent["safetySettings"]) == 4
    assert last_config(server)["thinkingConfig"] == {"include_thoughts": True, "thinking_level": "LOW"}
    assert "Let me think." in [code.value for code in app.code]
    counted = [words[f"hosted.usage.{name}"].format(value=value) for name, value in (("prompt", 9), ("thoughts", 5))]
    assert all(each in page_text(app) for each in counted)


@pytest.mark.parametrize("kind", ["json", "choice"])
def test_structured_output_is_asked_for(server, kind):
    app = open_gemini_playground(server)
    app.segmented_control(key="prompt.output_kind").set_value(kind).run()
    if kind == "json":
        app.text_area(key="prompt.schema").set_value('{"type": "object", "properties": {"city": {"type": "string"}}}')
    else:
        app.text_area(key="prompt.choices").set_value("yes\nno")
    run_and_wait(app)
    assert not error_messages(app)
    sent = last_config(server)
    if kind == "json":
        assert sent["responseMimeType"] == "application/json"
        assert sent["responseJsonSchema"]["properties"] == {"city": {"type": "string"}}
    else:
        assert (sent["responseMimeType"], sent["responseSchema"]["enum"]) == ("text/x.enum", ["yes", "no"])


@pytest.mark.parametrize("language", ["en", "vi"])
def test_tokens_are_counted_before_a_run_and_the_count_is_of_the_prompt_as_it_stands(server, language):
    app = open_gemini_playground(server, language)
    app.text_area(key="prompt.system").set_value("Be brief.").run()
    wait_for_calls(app.button(key="playground.count_tokens").click().run())
    told = load_texts(language)["hosted.usage.prompt"].format(value=7)
    assert server.requests[-1].path.endswith(":countTokens")
    assert last_body(server)["contents"][0]["parts"][0]["text"] == "Be brief."
    assert told in page_text(app)
    app.text_area(key="prompt.instruction").set_value("Something else.").run()
    assert told not in page_text(app)
    session(app).keys.clear()
    wait_for_calls(app.button(key="playground.count_tokens").click().run())
    assert not app.exception


def test_a_provider_of_its_own_order_makes_that_control_look_dead(server):
    app = open_gemini_playground(server)
    app.pills(key="settings.strategy").set_value("combined").run()
    assert app.selectbox(key="settings.order").disabled
    words = load_texts("en")
    stages = ("presence_penalty", "frequency_penalty", "top_k", "top_p", "temperature")
    order = " → ".join(words[f"stages.{stage}.name"] for stage in stages)
    assert words["errors.provider_order_own"].format(stages=order) in page_text(app)
    app.switch_page("pages/compare.py").run()
    app.selectbox(key="compare.field").set_value("order").run()
    assert next(
        each
        for each in app.selectbox
        if each.key and each.key.endswith(".order") and each.key.startswith("compare.value.")
    ).disabled


def test_a_count_that_takes_long_can_be_stopped(server):
    app = open_gemini_playground(server)
    gate = threading.Event()
    server.replies.append(Reply(body={}, gate=gate))
    app.button(key="playground.count_tokens").click().run()
    while not server.requests:
        time.sleep(0.05)
    assert app.button(key="playground.count_tokens").disabled
    app.button(key="shell.stop.count").click().run()
    gate.set()
    assert not app.button(key="playground.count_tokens").disabled
    wait_for_calls(app.button(key="playground.count_tokens").click().run())
    assert load_texts("en")["hosted.usage.prompt"].format(value=7) in page_text(app)


def test_a_continuation_is_not_bought(server):
    server.replies.append(Reply(events=[text_event("The sea"), ended("CONTINUATION", continuationToken="bW9yZQ==")]))
    app = run_and_wait(open_gemini_playground(server))
    assert len(server.requests) == 1
    assert error_messages(app)
    assert session(app).run.samples[0].text == "The sea"


@pytest.mark.parametrize("language", ["en", "vi"])
def test_a_prompt_that_is_blocked_is_explained(server, language):
    server.replies.append(Reply(events=[{"promptFeedback": {"blockReason": "SAFETY"}}]))
    app = run_and_wait(open_gemini_playground(server, language))
    assert error_messages(app) == [load_texts(language)["errors.provider_prompt_blocked"].format(reason="SAFETY")]


def test_vertex_ai_goes_the_same_way_and_thoughts_cost_as_output(monkeypatch, tmp_path):
    file = tmp_path / "prices.json"
    entry = {"scheme": "vertex", "name": "sea", "input": 1000, "output": 100_000}
    file.write_text(json.dumps({"as_of": "2026-11-25", "currency": "USD", "source": "", "per_million_tokens": [entry]}))
    monkeypatch.setattr(services, "price_table", lambda: load_prices({"NUCLEUS_PRICES": str(file)}))
    with GeminiServer(KEY, "my-project/us-central1") as vertex:
        monkeypatch.setenv(
            "GOOGLE_APPLICATION_CREDENTIALS", str(vertex.write_service_account(tmp_path / "account.json"))
        )
        monkeypatch.setitem(services.router().hosted._providers, "vertex", Vertex(vertex.address))
        vertex.thoughts = "Hm."
        app = open_app()
        session(app).model_id = vertex.model
        run_and_wait(app.run())
        assert not error_messages(app)
        written = session(app).run.samples[0].usage.output_tokens
        cost = (9 * 1000 + (written + 5) * 100_000) / 1e6
        estimate = load_texts("en")["hosted.cost"]
        assert estimate.format(value=f"{cost:.5f}", currency="USD", date="2026-11-25") in page_text(app)
        wait_for_calls(app.button(key="playground.count_tokens").click().run())
        assert "7 prompt tokens" in page_text(app)
        assert estimate.format(value="0.00700", currency="USD", date="2026-11-25") in page_text(app)
