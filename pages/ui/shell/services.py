"""Services that all browser tabs share: engine, models, providers and database.

Those that are made once per server are cached; what depends on a tab's keys is made anew.
"""

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

MAX_MODELS_IN_MEMORY = 2


@st.cache_resource
def model_store() -> ModelStore:
    """Return the store of loaded local models."""
    return ModelStore(capacity=MAX_MODELS_IN_MEMORY)


@st.cache_resource
def engine() -> Engine:
    """Return the engine that runs local models."""
    return Engine(model_store())


@st.cache_resource
def router() -> Router:
    """Return the router, which sends a request to the engine or to a provider."""
    return Router(engine())


def submit(request: GenerationRequest) -> Run:
    """Queue a request at the engine or a provider, with this tab's keys and response cache. Raises `NucleusError`."""
    return submitter()(request)


@dataclass(frozen=True)
class Submitter:
    """`submit` bound to one tab, for threads without a session. Equal for one tab as long as its keys do not change."""

    router: Router
    keys: Credentials
    answers: ResponseCache

    def __call__(self, request: GenerationRequest) -> Run:
        return self.router.submit(request, self.keys, self.answers)


def submitter() -> Submitter:
    """Return a `Submitter` with the current keys of this tab."""
    return Submitter(router(), credentials(), session().answers)


def credentials() -> Credentials:
    """Return the provider keys of this tab: those typed in it, then the secrets file, then the environment."""
    from llm_core.providers.credentials import Credentials

    secrets = st.secrets.to_dict() if st.secrets.load_if_toml_exists() else {}
    return Credentials.from_sources(session().keys, secrets, os.environ)


@st.cache_resource
def price_table() -> PriceTable:
    """Return the price table. Raises `NucleusError` if it cannot be read."""
    from llm_core.providers.pricing import load_prices

    return load_prices()


@st.cache_resource
def vertex_prompt_store() -> VertexPromptStore:
    """Return the client of Vertex AI's Prompt Management."""
    from llm_core.providers.google.prompt_store import VertexPromptStore
    from llm_core.providers.http.url_policy import UrlPolicy

    return VertexPromptStore(UrlPolicy.from_environment(os.environ))


@st.cache_resource
def technique_run_lock() -> threading.Lock:
    """Return the lock to hold while a `TechniqueRun` advances, because two tabs may follow the same one."""
    return threading.Lock()


@st.cache_resource
def _database() -> Database:
    from llm_core.storage.database import Database

    return Database()


@st.cache_resource
def recipe_store() -> RecipeStore:
    """Return the store of saved recipes. Raises `NucleusError` if the database cannot be used; a later call tries
    again."""
    from llm_core.storage.recipe_store import RecipeStore

    return RecipeStore(_database())


@st.cache_resource
def history() -> History:
    """Return the store of past runs. Raises `NucleusError` if the database cannot be used; a later call tries again."""
    from llm_core.storage.history import History

    return History(_database())
