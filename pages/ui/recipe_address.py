"""A recipe in the address (`?r=` holds all of it, `?s=` the id of a saved one): opened once in a tab, never run, and
never over somebody's work without asking."""

from __future__ import annotations

import streamlit as st

from llm_core import NucleusError, decode_link
from llm_core.recipe_link import NAME
from pages.ui import i18n
from pages.ui.gallery_actions import open_saved
from pages.ui.recipe_opening import offer
from pages.ui.state import session

SAVED = "s"


def settle_recipe() -> None:
    """Once a rerun, before any page is drawn and after kept work came back. The link stays in the address until there
    is work of one's own, so that a reload opens it again."""
    for name in (NAME, SAVED):
        if asked := st.query_params.get(name):
            _settle(name, asked)


def _settle(name: str, asked: str) -> None:
    state = session()
    if f"{name}={asked}" != state.link_seen:
        state.link_seen = f"{name}={asked}"
        try:
            if name == SAVED:
                open_saved(asked)
            else:
                offer(decode_link(asked))
        except NucleusError as error:
            state.recipe_notice = i18n.explain(error)
            del st.query_params[name]
    elif state.work_id and state.offered is None:
        del st.query_params[name]
