"""Prompts in Vertex AI from the Gallery: the real SDK against a local server, in both languages."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest
from streamlit.testing.v1 import AppTest

from llm_core.providers.google.prompt_store import VertexPromptStore
from pages.ui.shell import services
from pages.ui.shell.i18n import load_texts
from tests.support.app_driver import error_messages, open_app, session, wait_for_calls
from tests.support.fake_server import Reply
from tests.support.fake_vertex import PLACE, VertexServer


@pytest.fixture
def vertex(tmp_path, monkeypatch):
    from agentplatform._genai import prompts as module

    clock = SimpleNamespace(time=time.time, sleep=lambda seconds: time.sleep(seconds / 50), strftime=time.strftime)
    monkeypatch.setattr(module, "time", clock)
    with VertexServer() as server:
        monkeypatch.setenv(
            "GOOGLE_APPLICATION_CREDENTIALS", str(server.write_service_account(tmp_path / "account.json"))
        )
        kept = VertexPromptStore(base_url=server.address)
        monkeypatch.setattr(services, "vertex_prompt_store", lambda: kept)
        yield server


def open_gallery(language: str = "en", instruction: str = "") -> AppTest:
    """Open the Gallery after the Playground."""
    app = open_app(language)
    if instruction:
        app.text_area(key="prompt.instruction").set_value(instruction).run()
    app.switch_page("pages/gallery.py").run()
    app.segmented_control(key="gallery.section").set_value("vertex").run()
    app.text_input(key="model.vertex_place").set_value(PLACE).run()
    return app


def save_prompt(app: AppTest, name: str = "Sea") -> AppTest:
    app.text_input(key="gallery.vertex_name").set_value(name)
    app.text_input(key="gallery.vertex_model").set_value("gemini-x")
    app.button(key="gallery.vertex_save").click().run()
    return wait_for_calls(app)


def press_button(app: AppTest, name: str) -> AppTest:
    app.button(key=f"gallery.vertex_{name}").click().run()
    return wait_for_calls(app)


def choose_entry(app: AppTest, entry) -> AppTest:
    app.selectbox(key="gallery.vertex_id").set_value(entry.id).run()
    return wait_for_calls(app)


@pytest.mark.parametrize("language", ["en", "vi"])
def test_a_prompt_is_saved_listed_and_opened_with_the_way_back(vertex, language):
    words = load_texts(language)
    app = save_prompt(open_gallery(language, "What is {{thing}}? {x}"))
    [done] = [each.value for each in app.success]
    assert done == words["vertex_prompts.saved"].format(name="Sea", version="1")
    assert words["fields.model"] in " ".join(each.value for each in app.info)
    press_button(app, "list")
    [entry] = session(app).vertex.entries
    choose_entry(app, entry)
    assert len(app.selectbox(key="gallery.vertex_version").options) == 2
    press_button(app, "open")
    assert session(app).replaced_recipe is None  # the reader is asked
    app.button(key="playground.confirm_open").click().run()
    assert not app.exception
    assert session(app).opened.recipe.title == "Sea"
    assert session(app).opened.recipe.model.id == f"vertex:gemini-x@{PLACE}"
    assert session(app).model_id == "builtin"  # the model that it was made for is offered
    assert session(app).replaced_recipe.prompt.instruction == "What is {{thing}}? {x}"
    assert app.text_area(key="prompt.instruction").value == "What is {{thing}}? {x}"  # the Playground is shown
    assert session(app).recipe_notice is None
    assert app.session_state["settings.order"] == "gemini"  # as it runs there


def test_versions_and_what_is_lost_is_told_before(vertex):
    app = save_prompt(open_gallery(instruction="One"))
    press_button(app, "list")
    [entry] = session(app).vertex.entries
    app.selectbox(key="gallery.vertex_next").set_value(entry.id)
    save_prompt(app, "Second")
    assert len(vertex.versions[entry.id]) == 2
    schema = vertex.datasets[entry.id]["metadata"]["prompt_api_schema"]
    schema["multimodal_prompt"]["prompt_message"]["tools"] = [{"google_search": {}}]
    press_button(app, "list")
    choose_entry(app, entry)
    assert len(app.selectbox(key="gallery.vertex_version").options) == 3
    press_button(app, "open")
    assert any("tools" in each.value for each in app.markdown)
    app.button(key="gallery.vertex_no").click().run()
    assert session(app).replaced_recipe is None
    app.switch_page("pages/playground.py").run()
    assert app.text_area(key="prompt.instruction").value == "One"


def test_failures_are_said_where_the_button_is(vertex):
    app = open_gallery(instruction="One")
    app.text_input(key="model.vertex_place").set_value("nowhere").run()
    press_button(app, "list")
    [told] = error_messages(app)
    assert "nowhere" in told
    save_prompt(app)
    assert any("nowhere" in each for each in error_messages(app))
    app.text_input(key="model.vertex_place").set_value(PLACE).run()
    vertex.operation_error = "quota"
    save_prompt(app)
    assert any("Vertex AI did not finish" in each for each in error_messages(app))
    save_prompt(app, "")
    assert any("cannot be a prompt's name" in each for each in error_messages(app))


def test_a_slow_answer_blocks_nothing_and_can_be_stopped(vertex):
    app = open_gallery(instruction="One")
    gate = threading.Event()
    vertex.replies.append(Reply(body={}, gate=gate))
    app.button(key="gallery.vertex_list").click().run()
    assert session(app).pending_calls["vertex-open"].call.active
    assert app.button(key="gallery.vertex_list").disabled
    assert not app.button(key="gallery.vertex_save").disabled
    app.button(key="shell.stop.vertex-open").click().run()
    gate.set()
    assert not app.button(key="gallery.vertex_list").disabled
    assert load_texts("en")["waiting.stopped"] in [each.value for each in app.info]
    press_button(app, "list")
    assert load_texts("en")["vertex_prompts.none"] in [each.value for each in app.caption]
    assert load_texts("en")["waiting.stopped"] not in [each.value for each in app.info]
