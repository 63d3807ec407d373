"""What one browser tab remembers, typed. The only module that touches `st.session_state`.

Widgets keep their own values under the keys named here; everything else lives in one `Session`.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

import streamlit as st
from pydantic import SecretStr

from llm_core import NucleusError
from llm_core.decoding.precision import Precision
from llm_core.models import builtin
from llm_core.providers.dispatch.response_cache import ResponseCache

if TYPE_CHECKING:
    from llm_core.providers.http.background_call import BackgroundCall


T = TypeVar("T")


class Key(StrEnum):
    """Widget keys."""

    LANGUAGE = "language"
    TECHNIQUE = "technique"
    INSTRUCTION = "instruction"
    QUESTION = "question"
    SYSTEM = "system"
    ROLE = "role"
    CONTEXT = "context"
    EXAMPLES_AS = "examples_as"
    INPUT_LABEL = "input_label"
    OUTPUT_LABEL = "output_label"
    TRIGGER = "trigger"
    ANSWER_MARKER = "answer_marker"
    STEP_BACK_QUESTION = "step_back_question"
    CHAINS = "chains"
    PREFILL = "prefill"
    DOCUMENT = "document"
    PASSAGES = "passages"
    OUTPUT_KIND = "output_kind"
    CHOICES = "choices"
    SCHEMA = "schema"
    EXTRACTION_KIND = "extraction_kind"
    EXTRACTION_ARGUMENT = "extraction_argument"
    STRATEGY = "strategy"
    TEMPERATURE = "temperature"
    TOP_K = "top_k"
    TOP_P = "top_p"
    ORDER = "order"
    FURTHER_STAGES = "further_stages"
    SEED = "seed"
    MAX_OUTPUT_TOKENS = "max_output_tokens"
    STOP_SEQUENCES = "stop_sequences"
    MODEL_ID = "model_id"
    PRECISION = "precision"
    PROVIDER = "provider"
    SERVER_URL = "server_url"
    VERTEX_PLACE = "vertex_place"
    THINKING = "thinking"
    SHOW_THOUGHTS = "show_thoughts"
    SAFETY = "safety"
    SHARE_TITLE = "share_title"
    SHARE_AUTHOR = "share_author"
    SHARE_LICENCE = "share_licence"
    SHARE_NOTES = "share_notes"


@dataclass
class Wait:
    """What a part of a page asked of a service: see `pages.ui.shell.background_call`."""

    words: str
    """What is waited for, in the reader's language."""
    take: Callable[[Any], None]
    """What is done with the answer."""
    stopped: str = ""
    """What it means that it was stopped."""
    errand: BackgroundCall | None = None
    refusal: NucleusError | None = None
    """Why nothing was asked at all."""


@dataclass
class Session:
    """What every page needs of this tab, besides widgets: identity, language, model and keys."""

    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Whose turns in the engine's queue this tab uses."""
    owner_secret: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    """Who holds it owns what is saved with it; the browser keeps it."""
    owner_settled: bool = False
    """Whether the browser has been asked for it."""
    routed: bool = False
    language: str | None = None
    language_in_address: str | None = None
    model_id: str = builtin.MODEL_ID
    precision: Precision = "float32"
    """In which numbers the model computes."""
    keys: dict[str, SecretStr] = field(default_factory=dict, repr=False)
    """Keys of providers, by `scheme` or `scheme:place`; nowhere else."""
    answers: ResponseCache = field(default_factory=ResponseCache)
    """Hosted answers that may be given again in this tab, and nowhere else."""
    waits: dict[str, Wait] = field(default_factory=dict)
    """What this tab has asked of services, by the place of a page that shows it."""
    go_to: str = ""
    """The page that the reader is still to be taken to."""


def session_slice(kind: type[T]) -> T:
    """Return one room's values of this tab, made on first use. `kind` is the room's dataclass."""
    key = f"nucleus.{kind.__name__}"
    if key not in st.session_state:
        st.session_state[key] = kind()
    return st.session_state[key]


def session() -> Session:
    """Return this tab's values that every page needs."""
    return session_slice(Session)


SECRET = "api_key_"
"""Begins the keys of widgets that take a provider's key."""


def setting_key(field: str) -> str:
    """The widget key of a sampler setting that has none of its own in `Key`."""
    return f"setting_{field}"


def put(key: str, value: object) -> None:
    """Set a widget's value before it is drawn."""
    st.session_state[key] = value


def send_again() -> None:
    """Give every browser's field its value anew. To be called when labels change, as with the language: a browser names
    what is chosen by its label, and an old one would be taken for no choice at all."""
    for key, value in list(st.session_state.items()):
        if str(key).startswith(SECRET):  # what was typed there is never sent back
            continue
        if isinstance(value, str) or (
            isinstance(value, list) and value and all(isinstance(each, str) for each in value)
        ):
            st.session_state[key] = value


def has(key: str) -> bool:
    return key in st.session_state


def get(key: str):
    return st.session_state.get(key)


def get_number(key: str, field: str, low: float, high: float) -> float:
    """The value of a number field. Raises `NucleusError` naming the `field` if it is empty or out of range.

    Checked here and not by the fields themselves: those put a number back in silence, and people should read why.
    """
    value = get(key)
    if value is None:  # the field was cleared, or holds what is no number
        raise NucleusError("setting_empty", field=field)
    if not low <= value <= high:
        raise NucleusError("setting_out_of_range", field=field, value=value, low=low, high=high)
    return value
