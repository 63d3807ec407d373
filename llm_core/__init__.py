"""Provide prompts, models, generation and the engine that serves them, without a web framework.

Names are loaded on first use, so importing this package does not import torch or transformers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llm_core.best_of_n.scoring import CandidateScorer
    from llm_core.engine.engine import Engine
    from llm_core.errors import NucleusError
    from llm_core.experiments.candidate_pool import CandidatePool
    from llm_core.generation.record import Run, SampleRecord, TokenEvent
    from llm_core.generation.request import GenerationRequest, HostedOptions, SampleRequest
    from llm_core.models.language_model import LanguageModel
    from llm_core.models.store import ModelStore
    from llm_core.prompts.rendering import RenderedPrompt
    from llm_core.prompts.spec import Example, PromptSpec
    from llm_core.providers.credentials import Credentials
    from llm_core.recipes.link import decode_link, encode_link
    from llm_core.recipes.recipe import ModelReference, Recipe
    from llm_core.recipes.yaml_json import dump_json, dump_yaml, load_text
    from llm_core.router import Router

_MODULES = {
    "CandidatePool": "experiments.candidate_pool",
    "Credentials": "providers.credentials",
    "Engine": "engine.engine",
    "Example": "prompts.spec",
    "GenerationRequest": "generation.request",
    "HostedOptions": "generation.request",
    "CandidateScorer": "best_of_n.scoring",
    "LanguageModel": "models.language_model",
    "ModelStore": "models.store",
    "ModelReference": "recipes.recipe",
    "NucleusError": "errors",
    "PromptSpec": "prompts.spec",
    "Recipe": "recipes.recipe",
    "RenderedPrompt": "prompts.rendering",
    "Router": "router",
    "SampleRecord": "generation.record",
    "SampleRequest": "generation.request",
    "Run": "generation.record",
    "TokenEvent": "generation.record",
    "decode_link": "recipes.link",
    "dump_json": "recipes.yaml_json",
    "dump_yaml": "recipes.yaml_json",
    "encode_link": "recipes.link",
    "load_text": "recipes.yaml_json",
}

__all__ = [
    "CandidatePool",
    "CandidateScorer",
    "Credentials",
    "Engine",
    "Example",
    "GenerationRequest",
    "HostedOptions",
    "LanguageModel",
    "ModelReference",
    "ModelStore",
    "NucleusError",
    "PromptSpec",
    "Recipe",
    "RenderedPrompt",
    "Router",
    "Run",
    "SampleRecord",
    "SampleRequest",
    "TokenEvent",
    "decode_link",
    "dump_json",
    "dump_yaml",
    "encode_link",
    "load_text",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
