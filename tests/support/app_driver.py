"""Drive the whole app without a browser, by Streamlit's AppTest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import SecretStr
from streamlit.testing.v1 import AppTest

from pages.ui.best_of_n.drafts import BestOfNState
from pages.ui.compare.session_state import CompareState
from pages.ui.gallery.session_state import GalleryState, VertexState
from pages.ui.lens.session_state import LensState
from pages.ui.model.session_state import ModelState
from pages.ui.playground.session_state import PlaygroundState
from pages.ui.prompt.session_state import PromptState
from pages.ui.recipes.session_state import RecipesState
from pages.ui.shell import services
from pages.ui.shell.session import Session
from pages.ui.studies.session_state import StudiesState
from tests.support.fake_gemini import GeminiServer
from tests.support.fake_openai import OpenAIServer

APP_PATH = str(Path(__file__).parents[2] / "app.py")


TIMEOUT_SECONDS = 120


def open_app(language: str = "en") -> AppTest:
    app = AppTest.from_file(APP_PATH, default_timeout=TIMEOUT_SECONDS)
    app.query_params["lang"] = language
    app.run()
    assert not app.exception
    return app


ROOMS = {"best": BestOfNState, "lens": LensState, "gallery": GalleryState, "vertex": VertexState}
SLICES = (Session, PlaygroundState, CompareState, StudiesState, PromptState, ModelState, RecipesState)


class SessionView:
    """What every room of the app remembers of one tab, under one roof: rooms by name, their fields as attributes."""

    def __init__(self, app: AppTest) -> None:
        self.__dict__["_app"] = app

    def __getattr__(self, name: str) -> Any:
        return self._slice(ROOMS[name]) if name in ROOMS else getattr(self._owner(name), name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._owner(name), name, value)

    def _owner(self, name: str) -> Any:
        return next(found for kind in SLICES if hasattr(found := self._slice(kind), name))

    def _slice(self, kind: type) -> Any:
        key = f"nucleus.{kind.__name__}"
        if key not in self._app.session_state:
            self._app.session_state[key] = kind()
        return self._app.session_state[key]


def session(app: AppTest) -> SessionView:
    return SessionView(app)


def press_run(app: AppTest) -> AppTest:
    app.button(key="playground.run").click().run()
    assert not app.exception
    return app


def wait_for_run(app: AppTest) -> AppTest:
    run = session(app).run
    assert run is not None
    assert run.wait(TIMEOUT_SECONDS)
    app.run()
    assert not app.exception
    return app


def wait_for_calls(app: AppTest) -> AppTest:
    """Wait for the background calls of the session and rerun, as a browser does a moment later."""
    for wait in list(session(app).pending_calls.values()):
        assert wait.call is None or wait.call.wait(30)
    app.run()
    assert not app.exception
    return app


def error_messages(app: AppTest) -> list[str]:
    return [error.value for error in app.error]


def go_to_lens(app):
    """Open the Lens by way of a page without its widgets.

    Unlike a browser, AppTest sends the widget values of the page that it leaves.
    """
    app.switch_page("pages/models.py").run()
    return app.switch_page("pages/lens.py").run()


def cached_steps(app) -> list:
    return list(session(app).lens.lenses)


def caption_text(app) -> str:
    return "\n".join(caption.value for caption in app.caption)


HOSTED_KEY = "sk-planted-0123456789"


def open_hosted_playground(server: OpenAIServer | GeminiServer, language: str = "en"):
    """Open the Playground with the server's model."""
    app = open_app(language)
    target = services.router().target(server.model)
    session(app).model_id = server.model
    session(app).keys[f"{target.scheme}:{target.place}"] = SecretStr(HOSTED_KEY)
    return app.run()
