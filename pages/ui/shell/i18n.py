"""Translate texts and format numbers for the reader's language.

Every visible string is a key of `locales/en.json` and `locales/vi.json`.
"""

from __future__ import annotations

import functools
import json
import re
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from llm_core.errors import NucleusError
from pages.ui.shell.session import session

LANGUAGES = {"en": "English", "vi": "Tiếng Việt"}
DEFAULT_LANGUAGE = "en"


def sync_language() -> None:
    """Choose the language of this rerun: a new `?lang=`, else the reader's choice, else the browser's preference.

    The URL always carries the language, so that a reload or a shared link keeps it.
    """
    asked = st.query_params.get("lang")
    state = session()
    if asked in LANGUAGES and asked != state.language_in_url:
        state.language = asked
    elif state.language is None:
        preferred = (st.context.locale or DEFAULT_LANGUAGE).split("-")[0]
        state.language = preferred if preferred in LANGUAGES else DEFAULT_LANGUAGE
    if asked != state.language:
        st.query_params["lang"] = state.language
    state.language_in_url = state.language


def language() -> str:
    """Return the code of the reader's language, a key of `LANGUAGES`."""
    return session().language or DEFAULT_LANGUAGE


def t(key: str, **values: object) -> str:
    """Return the text of `key` in the reader's language, with `values` filled in.

    Raises `KeyError` for a missing key, which is a defect that a test catches.
    """
    text = load_texts(language())[key]
    return text.format(**values) if values else text


def explain(error: NucleusError) -> str:
    """Return an error as Markdown: what went wrong, why, and what to do next.

    Its details are escaped to plain text, since they quote what people typed, files contain and servers answer.
    """
    details = {name: escape_markdown(str(value)) for name, value in error.details.items()}
    if "url" in details:  # as code: Streamlit would turn it into a link that includes the quotation mark after it
        details["url"] = f"`{str(error.details['url']).replace('`', '')}`"
    for kind in ("field", "setting"):
        if kind in details:
            details[kind] = t(f"fields.{error.details[kind]}")
    if error.code == "provider_order_own":
        names = str(error.details["stages"]).split(" → ")
        details["stages"] = " → ".join(t(f"stages.{name}.name") for name in names)
    return t(f"errors.{error.code}", **details)


def format_number(value: float, digits: int = 2) -> str:
    """Format a number with the language's separators: 1,234.50 in English, 1.234,50 in Vietnamese."""
    text = f"{value:,.{digits}f}".replace("-", "−")
    return text.translate(str.maketrans(",.", ".,")) if language() == "vi" else text


def format_time(seconds: float) -> str:
    """Format a time, in seconds since 1970, as date and time in the reader's time zone."""
    try:
        zone: tzinfo = ZoneInfo(st.context.timezone or "UTC")
    except (ValueError, ZoneInfoNotFoundError):
        zone = UTC
    return datetime.fromtimestamp(seconds, zone).strftime("%d/%m/%Y %H:%M" if language() == "vi" else "%Y-%m-%d %H:%M")


def format_compact(value: float) -> str:
    """Format a number with as many digits as it needs, at most four."""
    text = f"{value:.4g}".replace("-", "−").replace("inf", "∞")
    return text.replace(".", ",") if language() == "vi" else text


def format_share(value: float) -> str:
    """Format a probability with two digits; one between 0 and 0.005 becomes `<0.01` instead of zero."""
    return f"<{format_number(0.01)}" if 0 < value < 0.005 else format_number(value)


def escape_markdown(text: str) -> str:
    """Escape text from others, so that Markdown shows it literally."""
    return re.sub(r"([\\`*_\[\]<>#$~|:])", r"\\\1", text)


@functools.lru_cache
def load_texts(code: str) -> dict[str, str]:
    """Return all texts of one language, with nested keys joined by dots."""
    file = Path(__file__).parents[2] / "locales" / f"{code}.json"
    return dict(_flatten(json.loads(file.read_text(encoding="utf-8"))))


def _flatten(tree: dict, prefix: str = ""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
