"""Find the settings that a hosted model does not support, and say why: it rejects, ignores or cannot be sent them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import streamlit as st

from llm_core.errors import NucleusError
from pages.ui.shell import i18n, services
from pages.ui.shell.session import session
from samplers.config import STAGE_FIELDS

UnsupportedReasons = Mapping[str, str]
"""Reasons in the reader's language, by name of the setting."""


def explain_unsupported(
    model_id: str = "", fields: Iterable[str] = (*STAGE_FIELDS.values(), "seed", "order")
) -> dict[str, str]:
    """Return why a model does not support some of `fields`, by field; "order" is the order of the stages.

    The default model is the session's. Empty for a local model, and for a model at a URL that may not be called.
    """
    try:
        found = services.router().hosted.unsupported_settings(model_id or session().model_id, fields)
    except NucleusError:
        return {}
    return {field: i18n.explain(reason) for field, reason in found.items()}


def stage_switch(stage: str) -> str:
    """Return the setting that turns a stage on; if it is unsupported, so are all settings of the stage."""
    return STAGE_FIELDS[stage]


def show_unsupported_note(fields: Collection[str], unsupported: UnsupportedReasons) -> None:
    """Draw the reasons of the unsupported ones among `fields`, each once."""
    for reason in dict.fromkeys(unsupported[field] for field in fields if field in unsupported):
        st.caption(f":material/block: {reason}")
