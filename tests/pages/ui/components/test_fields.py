"""A field has its label and help in the reader's language, and keeps its value while it is not drawn."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from pages.ui.shell.i18n import load_texts


def draw_fields() -> None:
    import streamlit as st

    from pages.ui.components.fields import show_field
    from pages.ui.shell.i18n import sync_language

    sync_language()
    if st.checkbox("shown", True, key="shown"):
        seen = [
            show_field(st.number_input, "settings.top_k", "settings.top_k", 0, 9, 4),
            show_field(st.text_input, "hosted.url", "model.server_url", max_chars=5),
            show_field(st.toggle, "sweep.full", "compare.sweep_full", help="Other."),
            show_field(st.columns(1)[0].text_input, "sweep.seeds", "compare.sweep_seeds", help=None),
        ]
        st.json(seen)


def find_fields(app: AppTest) -> list:
    return [*app.number_input, app.text_input(key="model.server_url"), *app.toggle, app.text_input[1]]


@pytest.mark.parametrize("language", ["en", "vi"])
def test_label_and_help_are_texts_in_the_readers_language(language):
    words = load_texts(language)
    app = AppTest.from_function(draw_fields)
    app.query_params["lang"] = language
    app.run()
    assert not app.exception
    assert [field.label for field in find_fields(app)] == [
        words[text] for text in ("settings.top_k", "hosted.url", "sweep.full", "sweep.seeds")
    ]
    assert [field.help for field in find_fields(app)] == [words["settings.top_k_help"], "", "Other.", ""]


def test_value_is_returned_and_outlives_a_rerun_without_the_field():
    app = AppTest.from_function(draw_fields).run()
    app.number_input(key="settings.top_k").set_value(7).run()
    assert app.json[0].value == '[7, "", false, ""]'
    app.checkbox(key="shown").set_value(False).run()
    assert not app.number_input
    app.checkbox(key="shown").set_value(True).run()
    assert app.number_input(key="settings.top_k").value == 7
