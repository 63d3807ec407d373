"""What is shared by every browser tab: the engine, the models, the providers, and the work that outlives a reload."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from llm_core.engine.engine import Engine
from llm_core.models.store import ModelStore
from llm_core.router import Router
from pages.ui.shell.session import session

if TYPE_CHECKING:
    from llm_core.generation.record import Run
    from llm_core.generation.request import GenerationRequest
    from llm_core.providers.credentials import Credentials
    from llm_core.providers.dispatch.response_cache import ResponseCache
    from llm_core.providers.google.prompt_store import VertexPromptStore
    from llm_core.providers.pricing import PriceTable
    from llm_core.storage.database import Database
    from llm_core.storage.history import History
    from llm_core.storage.recipe_store import RecipeStore

MODELS_IN_MEMORY = 2


@st.cache_resource
def models() -> ModelStore:
    return ModelStore(capacity=MODELS_IN_MEMORY)


@st.cache_resource
def engine() -> Engine:
    return Engine(models())


@st.cache_resource
def router() -> Router:
    return Router(engine())


def submit(request: GenerationRequest) -> Run:
    """Queue a request at the engine or a provider, with this tab's keys and answers. Raises `NucleusError`."""
    return submitter()(request)


@dataclass(frozen=True)
class Submitter:
    """`submit` for threads of their own, which have no tab. Equal for one tab as long as its keys stay."""

    router: Router
    keys: Credentials
    answers: ResponseCache

    def __call__(self, request: GenerationRequest) -> Run:
        return self.router.submit(request, self.keys, self.answers)


def submitter() -> Submitter:
    """With the keys that this tab has now."""
    return Submitter(router(), credentials(), session().answers)


def credentials() -> Credentials:
    """What this tab may use: the keys typed in it, the secrets file, the environment."""
    from llm_core.providers.credentials import Credentials

    secrets = st.secrets.to_dict() if st.secrets.load_if_toml_exists() else {}
    return Credentials.from_sources(session().keys, secrets, os.environ)


@st.cache_resource
def prices() -> PriceTable:
    """Raises `NucleusError` for a table that cannot be read."""
    from llm_core.providers.pricing import load_prices

    return load_prices()


@st.cache_resource
def vertex_prompts() -> VertexPromptStore:
    from llm_core.providers.google.prompt_store import VertexPromptStore
    from llm_core.providers.http.url_policy import UrlPolicy

    return VertexPromptStore(UrlPolicy.from_environment(os.environ))


@st.cache_resource
def asking_lock() -> threading.Lock:
    """Held while an `Asking` advances: two tabs may follow the same one."""
    return threading.Lock()


@st.cache_resource
def _database() -> Database:
    from llm_core.storage.database import Database

    return Database()


@st.cache_resource
def recipes() -> RecipeStore:
    """Raises `NucleusError` where the database cannot be used, and tries again when asked again."""
    from llm_core.storage.recipe_store import RecipeStore

    return RecipeStore(_database())


@st.cache_resource
def history() -> History:
    """Raises `NucleusError` as `recipes` does."""
    from llm_core.storage.history import History

    return History(_database())
