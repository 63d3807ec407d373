"""Runs of a hosted model on the page: with log-probabilities, and without."""

from __future__ import annotations

import dataclasses

import pytest

from llm_core import Router
from llm_core.providers.service import HostedService
from llm_core.router import PROVIDERS
from pages.ui import resources
from tests.pages.test_app import finish, open_app, press_run, session
from tests.wire_openai import OpenAIServer


class Hosted(Router):
    """Sends whatever is asked to one hosted model."""

    def __init__(self, engine, model_id: str) -> None:
        super().__init__(engine, HostedService(PROVIDERS))
        self.model_id = model_id

    def submit(self, request, *rest):
        return super().submit(dataclasses.replace(request, model_id=self.model_id), *rest)


@pytest.mark.parametrize("logprobs", [True, False])
@pytest.mark.parametrize("language", ["en", "vi"])
def test_a_hosted_run_is_drawn(builtin, monkeypatch, logprobs, language):
    with OpenAIServer("vllm") as server:
        server.logprobs = logprobs
        hosted = Hosted(resources.engine(), server.model)
        monkeypatch.setattr(resources, "engine", lambda: hosted)
        app = open_app(language)
        app.number_input(key="max_output_tokens").set_value(6)
        finish(press_run(app))
        run = session(app).run
        assert run.model is None
        assert run.rows[0].text
        app.toggle(key="as_text").set_value(True).run()
        assert not app.exception
        assert app.code[-1].value == run.rows[0].text
        assert any(toggle.key == "as_table" for toggle in app.toggle) is logprobs
        if logprobs:
            app.toggle(key="as_table").set_value(True).run()
            assert not app.exception
            assert len(app.dataframe[0].value) == 12
