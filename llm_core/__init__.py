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
    from llm_core.recipe import ModelReference, Recipe
    from llm_core.recipe_files import dump_json, dump_yaml, load_text
    from llm_core.recipe_link import decode_link, encode_link
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
    "ModelReference": "recipe",
    "NucleusError": "errors",
    "PromptSpec": "prompts",
    "Recipe": "recipe",
    "RenderedPrompt": "rendering",
    "Router": "router",
    "RowRecord": "records",
    "RowRequest": "records",
    "Run": "records",
    "TokenEvent": "records",
    "decode_link": "recipe_link",
    "dump_json": "recipe_files",
    "dump_yaml": "recipe_files",
    "encode_link": "recipe_link",
    "load_text": "recipe_files",
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
    "ModelReference",
    "ModelStore",
    "NucleusError",
    "PromptSpec",
    "Recipe",
    "RenderedPrompt",
    "Router",
    "RowRecord",
    "RowRequest",
    "Run",
    "TokenEvent",
    "decode_link",
    "dump_json",
    "dump_yaml",
    "encode_link",
    "load_text",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
