"""What is shared by every browser tab: the engine, the models, and the work that outlives a reload."""

from __future__ import annotations

import threading

import streamlit as st

from llm_core.engine import Engine
from llm_core.model_store import ModelStore
from pages.ui.branch_store import WorkStore


@st.cache_resource
def models() -> ModelStore:
    return ModelStore(capacity=2)


@st.cache_resource
def engine() -> Engine:
    return Engine(models())


@st.cache_resource
def works() -> WorkStore:
    return WorkStore()


@st.cache_resource
def asking_lock() -> threading.Lock:
    """Held while an `Asking` advances: two tabs may follow the same one."""
    return threading.Lock()
