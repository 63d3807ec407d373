"""From next-token logits to a token: pure torch, no I/O, usable on its own.

    import torch
    from samplers import SamplerConfig, next_token_probs

    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    next_token_probs(logits, [SamplerConfig(temperature=0.7, top_p=0.9)])

Every decoder in Nucleus calls the same chain, so what the plots show is what was drawn from. Settings and traces need
no torch; what computes is imported on first use.

`config` settings and orders · `selection`, `history` the stages' arithmetic · `stages` the stages by name · `chain`
runs them · `shortlist` fewer columns once few tokens are left · `drawing` shared noise · `state` a row between steps ·
`trace`, `trace_file` what a step did · `constraints` lists, patterns and JSON · `beam`, `contrastive`, `candidates`,
`speculative` whole sequences.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from samplers.config import ORDERS, SETTINGS, STAGE_NAMES, SamplerConfig, Setting
from samplers.state import RowState
from samplers.trace import StageSnapshot, StepTrace, VocabularySnapshot, summarize, vocabulary_snapshot
from samplers.trace_file import pack_traces, unpack_traces

if TYPE_CHECKING:
    from samplers.beam import BeamSearch
    from samplers.candidates import best_of_n, expected_best
    from samplers.chain import SamplerChain, next_token_probs
    from samplers.contrastive import contrastive_choice
    from samplers.drawing import draw, step_noise
    from samplers.speculative import accept_draft

_HOME = {
    "BeamSearch": "beam",
    "SamplerChain": "chain",
    "accept_draft": "speculative",
    "best_of_n": "candidates",
    "contrastive_choice": "contrastive",
    "draw": "drawing",
    "expected_best": "candidates",
    "next_token_probs": "chain",
    "step_noise": "drawing",
}

__all__ = [
    "ORDERS",
    "SETTINGS",
    "STAGE_NAMES",
    "BeamSearch",
    "RowState",
    "SamplerChain",
    "SamplerConfig",
    "Setting",
    "StageSnapshot",
    "StepTrace",
    "VocabularySnapshot",
    "accept_draft",
    "best_of_n",
    "contrastive_choice",
    "draw",
    "expected_best",
    "next_token_probs",
    "pack_traces",
    "step_noise",
    "summarize",
    "unpack_traces",
    "vocabulary_snapshot",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
