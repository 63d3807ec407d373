"""Frame of every page: title, sidebar, language switch, and error messages instead of tracebacks."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import streamlit as st

from llm_core.errors import NucleusError
from pages.ui.shell import i18n, navigation
from pages.ui.shell.browser_identity import sync_owner_cookie
from pages.ui.shell.i18n import t
from pages.ui.shell.session import Key, get, has, put, resend_widget_values, session

log = logging.getLogger(__name__)

_ASSETS = Path(__file__).parents[1] / "assets"
ICON_PATH = str(_ASSETS / "mark.svg")

_STYLE = f"<style>{Path(__file__).with_suffix('.css').read_text(encoding='utf-8')}</style>"


@contextmanager
def page(title: str) -> Iterator[None]:
    """Draw the frame around one page, whose title is the text of the key `title`. Errors become messages; no traceback
    reaches the browser."""
    navigation.ensure_routed()
    st.html(_STYLE)
    st.title(t(title), anchor=False)
    try:
        yield
    except NucleusError as error:
        st.error(i18n.explain(error), icon=":material/error:")
    except Exception:  # Streamlit's rerun is a BaseException, and passes
        log.exception("page %s failed", title)
        st.error(t("errors.unexpected"), icon=":material/error:")


def show_sidebar() -> None:
    """Draw the logo and the language switch, and keep the owner cookie."""
    st.logo(str(_ASSETS / "logo.svg"), icon_image=ICON_PATH, size="large")
    with st.sidebar:
        if not has(Key.LANGUAGE) or get(Key.LANGUAGE) is None:
            put(Key.LANGUAGE, i18n.language())
        st.segmented_control(
            t("nav.language"),
            list(i18n.LANGUAGES),
            format_func=i18n.LANGUAGES.__getitem__,
            key=Key.LANGUAGE,
            on_change=_switch_language,
            required=True,
        )
        st.caption(t("nav.tagline"))
        sync_owner_cookie()


def _switch_language() -> None:
    session().language = get(Key.LANGUAGE)
    resend_widget_values()
