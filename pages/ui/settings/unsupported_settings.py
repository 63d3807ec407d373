"""Which controls do nothing with a hosted model, and why: what it refuses, ignores or cannot be sent."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import streamlit as st

from llm_core.errors import NucleusError
from pages.ui.shell import i18n, services
from pages.ui.shell.session import session
from samplers.config import STAGE_FIELDS

Dead = Mapping[str, str]
"""Reasons in the reader's language, by the name of the setting."""


def dead_settings(
    model_id: str = "", fields: Iterable[str] = (*STAGE_FIELDS.values(), "seed", "order")
) -> dict[str, str]:
    """Of these settings, the order of the stages among them, which do nothing with a model, or else with the session's;
    none for a local one, nor for one whose address may not be called."""
    try:
        found = services.router().hosted.unsupported_settings(model_id or session().model_id, fields)
    except NucleusError:
        return {}
    return {field: i18n.explain(reason) for field, reason in found.items()}


def switch_of(stage: str) -> str:
    """The setting that turns a stage on: where it is dead, all of the stage's settings are."""
    return STAGE_FIELDS[stage]


def dead_note(fields: Collection[str], dead: Dead) -> None:
    """Why those of the fields that do nothing do nothing."""
    for reason in dict.fromkeys(dead[field] for field in fields if field in dead):
        st.caption(f":material/block: {reason}")
