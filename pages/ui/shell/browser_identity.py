"""Identify a browser by a secret in a cookie, which owns saved recipes and history without an account.

The secret is random and goes to this server only; the database holds its hash (`owner_of`). A reader who clears the
cookie becomes a new owner: links to saved recipes still work and the recipes may be copied, but the history is lost.
"""

from __future__ import annotations

import re
from pathlib import Path

import streamlit as st

from pages.ui.shell.session import get, session

COOKIE = "nucleus_owner"

# If another tab set the cookie at the same moment, the component reports that one, and `_adopt_secret` takes it.

_render = st.components.v2.component(
    "nucleus_owner", html="<span hidden></span>", js=Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
)


def sync_owner_cookie() -> None:
    """Draw the invisible component that stores the secret in the browser's cookie if it has none. Call it once per
    rerun."""
    _render(key="shell.owner", data={"name": COOKIE, "secret": _owner_secret()}, on_held_change=_adopt_secret)


def current_owner() -> str:
    """Return the id of this browser's owner in the database."""
    from llm_core.storage.database import hash_owner_secret

    return hash_owner_secret(_owner_secret())


def _owner_secret() -> str:
    state = session()
    if not state.owner_cookie_read:
        state.owner_cookie_read = True
        held = str(st.context.cookies.get(COOKIE, ""))
        if re.fullmatch("[0-9a-f]{32}", held):
            state.owner_secret = held
    return state.owner_secret


def _adopt_secret() -> None:
    held = (get("shell.owner") or {}).get("held")
    if isinstance(held, str) and re.fullmatch("[0-9a-f]{32}", held):
        session().owner_secret = held
