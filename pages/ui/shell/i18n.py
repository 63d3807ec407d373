"""Texts and numbers in the reader's language. Every visible string is a key of `locales/en.json` and `vi.json`."""

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
DEFAULT = "en"


def settle_language() -> None:
    """Choose the language of this rerun: what the reader chose, else `?lang=`, else what the browser prefers.

    The address always carries it, so a reload or a shared link keeps it.
    """
    asked = st.query_params.get("lang")
    state = session()
    if asked in LANGUAGES and asked != state.language_in_address:
        state.language = asked
    elif state.language is None:
        preferred = (st.context.locale or DEFAULT).split("-")[0]
        state.language = preferred if preferred in LANGUAGES else DEFAULT
    if asked != state.language:
        st.query_params["lang"] = state.language
    state.language_in_address = state.language


def language() -> str:
    return session().language or DEFAULT


def t(key: str, **values: object) -> str:
    """The text of `key`. A missing key is a defect that a test catches, so it raises `KeyError`."""
    text = texts(language())[key]
    return text.format(**values) if values else text


def explain(error: NucleusError) -> str:
    """What went wrong, why, and what to do next, as Markdown in which the details are plain text.

    Details quote what people typed, what files say and what servers answer.
    """
    details = {name: plain(str(value)) for name, value in error.details.items()}
    if "url" in details:  # as code: Streamlit makes a link of every other one, with the quotation mark behind it
        details["url"] = f"`{str(error.details['url']).replace('`', '')}`"
    for kind in ("field", "setting"):
        if kind in details:
            details[kind] = t(f"fields.{error.details[kind]}")
    if error.code == "provider_order_own":
        names = str(error.details["stages"]).split(" → ")
        details["stages"] = " → ".join(t(f"stages.{name}.name") for name in names)
    return t(f"errors.{error.code}", **details)


def number(value: float, digits: int = 2) -> str:
    """A number with the language's own separators: 1,234.50 in English, 1.234,50 in Vietnamese."""
    text = f"{value:,.{digits}f}".replace("-", "−")
    return text.translate(str.maketrans(",.", ".,")) if language() == "vi" else text


def moment(seconds: float) -> str:
    """Date and time where the reader is, of seconds since 1970."""
    try:
        zone: tzinfo = ZoneInfo(st.context.timezone or "UTC")
    except (ValueError, ZoneInfoNotFoundError):
        zone = UTC
    return datetime.fromtimestamp(seconds, zone).strftime("%d/%m/%Y %H:%M" if language() == "vi" else "%Y-%m-%d %H:%M")


def compact(value: float) -> str:
    """A number with as many digits as it needs, four at most."""
    text = f"{value:.4g}".replace("-", "−").replace("inf", "∞")
    return text.replace(".", ",") if language() == "vi" else text


def share(value: float) -> str:
    """A probability with two digits; one too small for them shows as below 0.01, not as zero."""
    return f"<{number(0.01)}" if 0 < value < 0.005 else number(value)


def plain(text: str) -> str:
    """Text that somebody else wrote, as Markdown that shows it as it is."""
    return re.sub(r"([\\`*_\[\]<>#$~|:])", r"\\\1", text)


@functools.lru_cache
def texts(code: str) -> dict[str, str]:
    """All texts of one language, keys joined with dots."""
    file = Path(__file__).parents[2] / "locales" / f"{code}.json"
    return dict(_flat(json.loads(file.read_text(encoding="utf-8"))))


def _flat(tree: dict, prefix: str = ""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
