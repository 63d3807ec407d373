"""Typed state of one browser tab. The only module that touches `st.session_state`.

Widgets keep their values under the keys of `Key`; each room has a dataclass for its other values, and `Session` holds
those that every page needs.
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
    """Keys of widgets that more than one module reads or writes."""

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
class PendingCall:
    """Call to a service that a page waits for; see `pages.ui.shell.background_call`."""

    label: str
    """Text beside the progress, in the reader's language."""
    on_result: Callable[[Any], None]
    """Function that gets the result."""
    stopped: str = ""
    """Message after the reader stopped the call; empty for the default one."""
    call: BackgroundCall | None = None
    start_error: NucleusError | None = None
    """Error that prevented the call from starting."""


@dataclass
class Session:
    """State of one tab that every page needs: identity, language, model and keys."""

    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Identity of this tab in the engine's fair queue."""
    owner_secret: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    """Secret of the owner of saved recipes and history; the browser keeps it in a cookie."""
    owner_cookie_read: bool = False
    """Whether the browser's cookie has been read."""
    routed: bool = False
    language: str | None = None
    language_in_url: str | None = None
    model_id: str = builtin.MODEL_ID
    precision: Precision = "float32"
    """Number format in which the local model computes."""
    keys: dict[str, SecretStr] = field(default_factory=dict, repr=False)
    """Provider keys, by `scheme` or `scheme:place`. They are stored nowhere else."""
    answers: ResponseCache = field(default_factory=ResponseCache)
    """Cache of hosted responses, for this tab only."""
    pending_calls: dict[str, PendingCall] = field(default_factory=dict)
    """Pending calls to services, by the place on a page that shows them."""
    next_page: str = ""
    """Name of the page to switch to in this rerun; empty for none."""


def session_slice(kind: type[T]) -> T:
    """Return one room's values of this tab, created on first use. `kind` is the room's dataclass."""
    key = f"nucleus.{kind.__name__}"
    if key not in st.session_state:
        st.session_state[key] = kind()
    return st.session_state[key]


def session() -> Session:
    """Return the values of this tab that every page needs."""
    return session_slice(Session)


SECRET = "api_key_"
"""Prefix of the keys of widgets that take a provider's key."""


def setting_key(field: str) -> str:
    """Return the widget key of a sampler setting without a key of its own in `Key`."""
    return f"setting_{field}"


def put(key: str, value: object) -> None:
    """Set a widget's value before it is drawn."""
    st.session_state[key] = value


def resend_widget_values() -> None:
    """Write every string widget's value again, so that Streamlit resends it to the browser.

    Needed after labels change, as with the language: the browser identifies options by label, and an old label would
    count as no choice. Provider keys are never sent back.
    """
    for key, value in list(st.session_state.items()):
        if str(key).startswith(SECRET):  # a key is never sent back to the browser
            continue
        if isinstance(value, str) or (
            isinstance(value, list) and value and all(isinstance(each, str) for each in value)
        ):
            st.session_state[key] = value


def has(key: str) -> bool:
    """Return whether a widget has a value."""
    return key in st.session_state


def get(key: str):
    """Return a widget's value, or None."""
    return st.session_state.get(key)


def get_number(key: str, field: str, low: float, high: float) -> float:
    """Return the value of a number field. Raises `NucleusError` naming the `field` if it is empty or outside `low` to
    `high`.

    The bounds are checked here and not by the widgets, which replace a number silently, while people should read why.
    """
    value = get(key)
    if value is None:  # the field was cleared, or does not hold a number
        raise NucleusError("setting_empty", field=field)
    if not low <= value <= high:
        raise NucleusError("setting_out_of_range", field=field, value=value, low=low, high=high)
    return value
