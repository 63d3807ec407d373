"""Models page: choose the model that runs, follow its loading, and load another one."""

from __future__ import annotations

import streamlit as st

from llm_core.decoding.precision import PRECISIONS
from llm_core.models import builtin
from pages.ui.components.fields import show_field
from pages.ui.model.provider_form import show_capabilities, show_provider_form
from pages.ui.model.response_cache_panel import show_response_cache
from pages.ui.model.status import is_hosted, show_model_status
from pages.ui.shell.frame import page
from pages.ui.shell.i18n import format_number, t
from pages.ui.shell.session import Key, get, has, put, session


def show_models_page() -> None:
    """Draw the page: the current model, the form for hosted models, and the field for local ones."""
    model, model_id = show_model_status(), session().model_id
    with st.container(border=True):
        st.markdown(f"**{t('models.current')}**")
        st.code(builtin.NAME if model_id == builtin.MODEL_ID else model_id, language=None)
        if model:
            st.markdown(
                t(
                    "models.facts",
                    vocabulary=format_number(model.vocab_size, 0),
                    window=format_number(model.context_window, 0),
                )
            )
        if is_hosted():
            with st.expander(t("hosted.capabilities")):
                show_capabilities(model_id)
        else:
            _select_precision()
        if model_id != builtin.MODEL_ID:
            st.button(t("models.use_builtin"), on_click=_use_model, args=(builtin.MODEL_ID,))
    with st.container(border=True):
        st.markdown(f"**{t('hosted.title')}**")
        show_provider_form()
        show_response_cache()
    with st.container(border=True):
        st.markdown(f"**{t('models.local')}**")
        if not has(Key.MODEL_ID):
            put(Key.MODEL_ID, "")
        show_field(st.text_input, "models.other", Key.MODEL_ID, max_chars=500)
        st.button(t("models.load"), type="primary", on_click=_use_typed_model)
        st.caption(t("models.rules"))


def _select_precision() -> None:
    if not has(Key.PRECISION):
        put(Key.PRECISION, session().precision)
    chosen = st.pills(
        t("models.precision"), PRECISIONS, key=Key.PRECISION, required=True, help=t("models.precision_help")
    )
    session().precision = chosen or "float32"
    st.caption(t(f"models.precisions.{chosen}"))


def _use_typed_model() -> None:
    if model_id := (get(Key.MODEL_ID) or "").strip():
        _use_model(model_id)


def _use_model(model_id: str) -> None:
    session().model_id = model_id


with page("models.title"):
    show_models_page()
