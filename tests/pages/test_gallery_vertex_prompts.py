"""Prompts in Vertex AI from the Gallery: the real SDK against a local server, in both languages."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest
from streamlit.testing.v1 import AppTest

from llm_core.providers.google.prompt_store import VertexPrompts
from pages.ui.shell import services
from pages.ui.shell.i18n import texts
from tests.pages.test_playground import errors, open_app, session, settled
from tests.support.fake_server import Reply
from tests.support.fake_vertex import PLACE, VertexServer


@pytest.fixture
def vertex(tmp_path, monkeypatch):
    from agentplatform._genai import prompts as module

    clock = SimpleNamespace(time=time.time, sleep=lambda seconds: time.sleep(seconds / 50), strftime=time.strftime)
    monkeypatch.setattr(module, "time", clock)
    with VertexServer() as server:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(server.service_account(tmp_path / "account.json")))
        kept = VertexPrompts(base_url=server.address)
        monkeypatch.setattr(services, "vertex_prompts", lambda: kept)
        yield server


def gallery(language: str = "en", instruction: str = "") -> AppTest:
    """Open the Gallery after the Playground."""
    app = open_app(language)
    if instruction:
        app.text_area(key="instruction").set_value(instruction).run()
    app.switch_page("pages/gallery.py").run()
    app.segmented_control(key="gallery_section").set_value("vertex").run()
    app.text_input(key="vertex_place").set_value(PLACE).run()
    return app


def save(app: AppTest, name: str = "Sea") -> AppTest:
    app.text_input(key="vertex_prompt_name").set_value(name)
    app.text_input(key="vertex_prompt_model").set_value("gemini-x")
    app.button(key="vertex_prompt_save").click().run()
    return settled(app)


def press(app: AppTest, name: str) -> AppTest:
    app.button(key=f"vertex_prompt_{name}").click().run()
    return settled(app)


def choose(app: AppTest, entry) -> AppTest:
    app.selectbox(key="vertex_prompt_id").set_value(entry.id).run()
    return settled(app)


@pytest.mark.parametrize("language", ["en", "vi"])
def test_a_prompt_is_saved_listed_and_opened_with_the_way_back(vertex, language):
    words = texts(language)
    app = save(gallery(language, "What is {{thing}}? {x}"))
    [done] = [each.value for each in app.success]
    assert done == words["vertex_prompts.saved"].format(name="Sea", version="1")
    assert words["fields.model"] in " ".join(each.value for each in app.info)
    press(app, "list")
    [entry] = session(app).vertex.entries
    choose(app, entry)
    assert len(app.selectbox(key="vertex_prompt_version").options) == 2
    press(app, "open")
    assert session(app).replaced is None  # the reader is asked
    app.button(key="desk_open").click().run()
    assert not app.exception
    assert session(app).opened.recipe.title == "Sea"
    assert session(app).opened.recipe.model.id == f"vertex:gemini-x@{PLACE}"
    assert session(app).model_id == "builtin"  # the model that it was made for is offered
    assert session(app).replaced.prompt.instruction == "What is {{thing}}? {x}"
    assert app.text_area(key="instruction").value == "What is {{thing}}? {x}"  # the Playground is shown
    assert session(app).desk_notice is None
    assert app.session_state["order"] == "gemini"  # as it runs there


def test_versions_and_what_is_lost_is_told_before(vertex):
    app = save(gallery(instruction="One"))
    press(app, "list")
    [entry] = session(app).vertex.entries
    app.selectbox(key="vertex_prompt_next").set_value(entry.id)
    save(app, "Second")
    assert len(vertex.versions[entry.id]) == 2
    schema = vertex.datasets[entry.id]["metadata"]["prompt_api_schema"]
    schema["multimodal_prompt"]["prompt_message"]["tools"] = [{"google_search": {}}]
    press(app, "list")
    choose(app, entry)
    assert len(app.selectbox(key="vertex_prompt_version").options) == 3
    press(app, "open")
    assert any("tools" in each.value for each in app.markdown)
    app.button(key="vertex_prompt_no").click().run()
    assert session(app).replaced is None
    app.switch_page("pages/playground.py").run()
    assert app.text_area(key="instruction").value == "One"


def test_failures_are_said_where_the_button_is(vertex):
    app = gallery(instruction="One")
    app.text_input(key="vertex_place").set_value("nowhere").run()
    press(app, "list")
    [told] = errors(app)
    assert "nowhere" in told
    save(app)
    assert any("nowhere" in each for each in errors(app))
    app.text_input(key="vertex_place").set_value(PLACE).run()
    vertex.fails = "quota"
    save(app)
    assert any("Vertex AI did not finish" in each for each in errors(app))
    save(app, "")
    assert any("cannot be a prompt's name" in each for each in errors(app))


def test_a_slow_answer_blocks_nothing_and_can_be_stopped(vertex):
    app = gallery(instruction="One")
    gate = threading.Event()
    vertex.replies.append(Reply(body={}, gate=gate))
    app.button(key="vertex_prompt_list").click().run()
    assert session(app).waits["vertex-open"].errand.active
    assert app.button(key="vertex_prompt_list").disabled
    assert not app.button(key="vertex_prompt_save").disabled
    app.button(key="stop-vertex-open").click().run()
    gate.set()
    assert not app.button(key="vertex_prompt_list").disabled
    assert texts("en")["waiting.stopped"] in [each.value for each in app.info]
    press(app, "list")
    assert texts("en")["vertex_prompts.none"] in [each.value for each in app.caption]
    assert texts("en")["waiting.stopped"] not in [each.value for each in app.info]
