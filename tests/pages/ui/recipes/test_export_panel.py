"""The export panel in both languages: every form, what it loses in words, and no form of a run without one."""

from __future__ import annotations

import re

import pytest
from streamlit.testing.v1 import AppTest

from llm_core.formats.registry import DROP_REASONS, FORMATS
from pages.ui.shell import i18n
from pages.ui.shell.i18n import load_texts


def _run_panel() -> None:
    """Runs in the test's app: everything it needs is imported here."""
    import streamlit as st

    from llm_core import Engine, ModelStore, PromptSpec, Recipe
    from pages.ui.recipes.export_panel import show_export_panel
    from pages.ui.shell.i18n import sync_language
    from samplers import SamplerConfig
    from tests.support.toy_model import toy_model

    sync_language()
    recipe = Recipe(
        title="Biển *đẹp* <b>",
        model={"id": "toy"},
        prompt=PromptSpec("Describe the sea.", role="a sailor"),
        sampler=SamplerConfig(temperature=0.9, xtc_probability=0.5),
        limits={"max_output_tokens": 5},
    )
    runs = []
    if st.query_params.get("run"):
        run = Engine(ModelStore(loader=lambda model_id, report: toy_model())).submit(recipe.request())
        run.wait(60)
        runs = [run]
    show_export_panel(recipe, runs, key="x", without=("yaml",))


def open_panel(language: str, run: bool = False) -> AppTest:
    app = AppTest.from_function(_run_panel, default_timeout=60)
    app.query_params["lang"] = language
    if run:
        app.query_params["run"] = "1"
    app.run()
    assert not app.exception
    return app


@pytest.mark.parametrize("language", ["en", "vi"])
def test_every_form_has_a_preview_and_says_what_it_loses(language, monkeypatch):
    monkeypatch.setattr(
        i18n, "DEFAULT_LANGUAGE", language
    )  # the test's own side of a select box formats outside of the app
    words = load_texts(language)
    app = open_panel(language, run=True)
    assert [*app.selectbox(key="x_form").options] == [
        words[f"conversions.forms.{form}"] for form in FORMATS if form != "yaml"
    ]
    assert not app.get("download_button")
    for form in FORMATS:
        if form == "yaml":
            continue
        app.selectbox(key="x_form").set_value(form).run()
        assert not app.exception, form
        [button] = app.get("download_button")
        assert re.search(r"bien-dep-b(-\w+)?\.", button.proto.label), button.proto.label
        assert bool(app.code) == (form != "report")
        dropped = [each.value for each in app.markdown]
        if form == "python_transformers":
            assert any(words["conversions.reasons.needs_repository"] in each for each in dropped)
            assert any("`sampler.xtc_probability`" in each for each in dropped)
        if form == "dotprompt":
            assert any(words["conversions.reasons.as_chat"] in each for each in dropped)


def test_without_a_run_only_recipes_are_offered():
    app = open_panel("en")
    offered = app.selectbox(key="x_form").options
    assert len(offered) == len([form for form, each in FORMATS.items() if not each.needs_run]) - 1
    assert load_texts("en")["conversions.forms.report"] not in offered


@pytest.mark.parametrize("language", ["en", "vi"])
def test_every_reason_and_form_has_words(language):
    words = load_texts(language)
    assert {key for key in words if key.startswith("conversions.reasons.")} == {
        f"conversions.reasons.{reason}" for reason in DROP_REASONS
    }
    for form in FORMATS:
        assert words[f"conversions.forms.{form}"]
        assert words[f"conversions.about.{form}"]
