"""Load the chosen model: show its progress, or the error if it failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from llm_core import NucleusError
from llm_core.models import builtin
from llm_core.models.language_model import LanguageModel
from llm_core.models.progress import Progress
from llm_core.models.store import ModelEntry
from llm_core.providers.model_id import is_local
from pages.ui.shell import i18n, services
from pages.ui.shell.i18n import t
from pages.ui.shell.session import session

if TYPE_CHECKING:
    from llm_core.providers.model_id import Target

_REFRESH_SECONDS = 0.5


def show_model_status() -> LanguageModel | None:
    """Load the session's model and show its progress; the page stays usable meanwhile. Returns the model, or None while
    it loads, after an error, and for a hosted model."""
    # One container in every state: if it disappeared, elements below would move up, be drawn anew and lose half-typed
    # text.
    place = st.container(key="model.status")
    if is_hosted():
        return None
    entry = services.model_store().request(session().model_id)
    with place:
        if not entry.result.done():
            st.fragment(_show_progress, run_every=_REFRESH_SECONDS)(entry)
        elif entry.error:
            st.error(i18n.explain(entry.error), icon=":material/error:")
            st.button(t("models.retry"), on_click=_retry_loading, args=(entry.id,))
    return entry.model


def is_hosted(model_id: str = "") -> bool:
    """Return whether a model runs at a provider; the default is the session's model."""
    return not is_local(model_id or session().model_id)


def loaded_revision(model_id: str) -> str:
    """Return the revision of a local model's weights: of the built-in model, or of the session's model once it is
    loaded. Empty for any other model."""
    from llm_core.models.revision import builtin_revision, find_revision

    if model_id == builtin.MODEL_ID:
        return builtin_revision()
    if is_hosted(model_id) or model_id != session().model_id:
        return ""
    return find_revision(services.model_store().request(model_id).model)


def hosted_target() -> Target | None:
    """Return the parsed id of the session's model if it is hosted. None for a local model, and for a URL that may not
    be called."""
    try:
        return services.router().target(session().model_id)
    except NucleusError:
        return None


def _retry_loading(model_id: str) -> None:
    services.model_store().request(model_id, retry=True)


def _show_progress(entry: ModelEntry) -> None:
    if entry.result.done():
        st.rerun()
    progress = entry.progress
    st.progress(progress.fraction or 0.0, text=_format_progress(progress))


def _format_progress(progress: Progress) -> str:
    amount = ""
    if progress.total and progress.stage == "downloading":
        done, total = (i18n.format_number(size / 1e6, 0) for size in (progress.done, progress.total))
        amount = t("models.megabytes", done=done, total=total)
    elif progress.total:
        amount = t("models.tensors", done=progress.done, total=progress.total)
    return " · ".join(filter(None, (t(f"models.stage.{progress.stage}"), amount)))
