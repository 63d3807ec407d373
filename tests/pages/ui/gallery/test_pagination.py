"""The buttons of a long list lead to every entry once, and stop at both ends."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest


def draw_list(total: int) -> None:
    import streamlit as st

    from pages.ui.gallery.pagination import show_page_buttons

    def turn(skip: int) -> None:
        st.session_state["skip"] = skip

    skip = st.session_state.get("skip", 0)
    st.json(list(range(total))[skip : skip + 3])
    show_page_buttons(skip, total, 3, turn, key="gallery.saved")


def shown(app: AppTest) -> str:
    assert not app.exception
    return app.json[0].value.replace(" ", "")


@pytest.mark.parametrize("total", [0, 1, 3])
def test_one_page_needs_no_buttons(total):
    app = AppTest.from_function(draw_list, kwargs={"total": total}).run()
    assert not app.exception
    assert not app.button


@pytest.mark.parametrize(("total", "pages"), [(4, ["[0,1,2]", "[3]"]), (6, ["[0,1,2]", "[3,4,5]"])])
def test_older_and_newer_lead_from_end_to_end(total, pages):
    app = AppTest.from_function(draw_list, kwargs={"total": total}).run()
    assert shown(app) == pages[0]
    assert app.button(key="gallery.saved_newer").disabled
    app.button(key="gallery.saved_older").click().run()
    assert shown(app) == pages[1]
    assert app.button(key="gallery.saved_older").disabled
    app.button(key="gallery.saved_newer").click().run()
    assert shown(app) == pages[0]
