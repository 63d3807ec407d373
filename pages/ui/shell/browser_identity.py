"""Who owns what is saved and recorded, without accounts: a browser, by a secret that it keeps in a cookie.

The secret is random, goes to this server only, and the database has its hash (`owner_of`). Whoever clears the cookie is
somebody new: saved recipes are still found by their links and may be copied, the history is out of reach.
"""

from __future__ import annotations

import re
from pathlib import Path

import streamlit as st

from pages.ui.shell.session import get, session

COOKIE = "nucleus_owner"

# The cookie of another tab, opened at the same moment, counts.

_render = st.components.v2.component(
    "nucleus_owner", html="<span hidden></span>", js=Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
)


def settle_owner() -> None:
    """Once a rerun, where nothing is seen of it: give the browser its secret, if it has none."""
    _render(key="nucleus_owner", data={"name": COOKIE, "secret": _secret()}, on_held_change=_adopt)


def owner() -> str:
    """This browser's name in the database."""
    from llm_core.storage.database import owner_of

    return owner_of(_secret())


def _secret() -> str:
    state = session()
    if not state.owner_settled:
        state.owner_settled = True
        held = str(st.context.cookies.get(COOKIE, ""))
        if re.fullmatch("[0-9a-f]{32}", held):
            state.owner_secret = held
    return state.owner_secret


def _adopt() -> None:
    held = (get("nucleus_owner") or {}).get("held")
    if isinstance(held, str) and re.fullmatch("[0-9a-f]{32}", held):
        session().owner_secret = held
