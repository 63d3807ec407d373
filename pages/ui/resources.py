"""The process-wide engine and models, shared by every browser tab."""

from __future__ import annotations

import streamlit as st

from llm_core.engine import Engine
from llm_core.model_store import ModelStore

MODELS_IN_MEMORY = 2


@st.cache_resource
def models() -> ModelStore:
    return ModelStore(capacity=MODELS_IN_MEMORY)


@st.cache_resource
def engine() -> Engine:
    return Engine(models())
