"""Prompts, models, generation and the engine that serves them; no web framework.

Names are loaded on first use, so importing this package does not import torch or transformers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llm_core.candidate_pool import CandidatePool
    from llm_core.engine import Engine
    from llm_core.errors import NucleusError
    from llm_core.judging import Judging
    from llm_core.language_model import LanguageModel
    from llm_core.model_store import ModelStore
    from llm_core.prompts import Example, PromptSpec
    from llm_core.providers.credentials import Credentials
    from llm_core.records import GenerationRequest, HostedOptions, RowRecord, RowRequest, Run, TokenEvent
    from llm_core.rendering import RenderedPrompt
    from llm_core.router import Router

_HOME = {
    "CandidatePool": "candidate_pool",
    "Credentials": "providers.credentials",
    "Engine": "engine",
    "Example": "prompts",
    "GenerationRequest": "records",
    "HostedOptions": "records",
    "Judging": "judging",
    "LanguageModel": "language_model",
    "ModelStore": "model_store",
    "NucleusError": "errors",
    "PromptSpec": "prompts",
    "RenderedPrompt": "rendering",
    "Router": "router",
    "RowRecord": "records",
    "RowRequest": "records",
    "Run": "records",
    "TokenEvent": "records",
}

__all__ = [
    "CandidatePool",
    "Credentials",
    "Engine",
    "Example",
    "GenerationRequest",
    "HostedOptions",
    "Judging",
    "LanguageModel",
    "ModelStore",
    "NucleusError",
    "PromptSpec",
    "RenderedPrompt",
    "Router",
    "RowRecord",
    "RowRequest",
    "Run",
    "TokenEvent",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
