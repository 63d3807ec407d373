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
    """Keys of widgets that more than one module reads or writes: the room or page that draws it, and the field."""

    LANGUAGE = "shell.language"
    TECHNIQUE = "prompt.technique"
    INSTRUCTION = "prompt.instruction"
    QUESTION = "prompt.question"
    SYSTEM = "prompt.system"
    ROLE = "prompt.role"
    CONTEXT = "prompt.context"
    EXAMPLES_AS = "prompt.examples_as"
    INPUT_LABEL = "prompt.input_label"
    OUTPUT_LABEL = "prompt.output_label"
    TRIGGER = "prompt.trigger"
    ANSWER_MARKER = "prompt.answer_marker"
    STEP_BACK_QUESTION = "prompt.step_back_question"
    CHAINS = "prompt.chains"
    PREFILL = "prompt.prefill"
    DOCUMENT = "prompt.document"
    PASSAGES = "prompt.passages"
    OUTPUT_KIND = "prompt.output_kind"
    CHOICES = "prompt.choices"
    SCHEMA = "prompt.schema"
    EXTRACTION_KIND = "prompt.extraction_kind"
    EXTRACTION_ARGUMENT = "prompt.extraction_argument"
    STRATEGY = "settings.strategy"
    TEMPERATURE = "settings.temperature"
    TOP_K = "settings.top_k"
    TOP_P = "settings.top_p"
    ORDER = "settings.order"
    FURTHER_STAGES = "settings.further_stages"
    SEED = "settings.seed"
    MAX_OUTPUT_TOKENS = "settings.max_output_tokens"
    STOP_SEQUENCES = "settings.stop_sequences"
    MODEL_ID = "model.id"
    PRECISION = "model.precision"
    PROVIDER = "model.provider"
    SERVER_URL = "model.server_url"
    VERTEX_PLACE = "model.vertex_place"
    THINKING = "model.thinking"
    SHOW_THOUGHTS = "model.show_thoughts"
    SAFETY = "model.safety"
    SHARE_TITLE = "playground.share_title"
    SHARE_AUTHOR = "playground.share_author"
    SHARE_LICENCE = "playground.share_licence"
    SHARE_NOTES = "playground.share_notes"

    @property
    def field(self) -> str:
        """Name of the field without its room, as prompts, settings and error messages spell it."""
        return self.partition(".")[2]


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
    name = f"nucleus.{kind.__name__}"
    if name not in st.session_state:
        st.session_state[name] = kind()
    return st.session_state[name]


def session() -> Session:
    """Return the values of this tab that every page needs."""
    return session_slice(Session)


_SECRET = "model.api_key."
"""Prefix of the keys of widgets that take a provider's key."""


def secret_key(provider: str) -> str:
    """Return the key of the widget that takes a provider's key, whose value is never sent back to the browser."""
    return f"{_SECRET}{provider}"


def setting_key(field: str) -> str:
    """Return the widget key of a sampler setting without a key of its own in `Key`."""
    return f"settings.{field}"


def put(key: str, value: object) -> None:
    """Set a widget's value before it is drawn."""
    st.session_state[key] = value


def resend_widget_values() -> None:
    """Write every string widget's value again, so that Streamlit resends it to the browser.

    Needed after labels change, as with the language: the browser identifies options by label, and an old label would
    count as no choice. Provider keys are never sent back.
    """
    for key, value in list(st.session_state.items()):
        if str(key).startswith(_SECRET):  # a key is never sent back to the browser
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
