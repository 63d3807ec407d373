"""Turn next-token logits into a token: pure torch, no I/O, usable on its own.

    import torch
    from samplers import SamplerConfig, next_token_probs

    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    next_token_probs(logits, [SamplerConfig(temperature=0.7, top_p=0.9)])

Every decoder in Nucleus calls the same chain, so the plots show the distribution that the token was drawn from.
Settings and traces need no torch; modules that compute are imported on first use.

`config` holds settings and stage orders, `truncation` and `penalties` the arithmetic of the stages, `stages` the stages
by name. `chain` runs them, `shortlist` drops columns once few tokens are left, `noise` draws with shared noise, and
`state` keeps a row's past between steps. `trace` and `trace_codec` record and store what a step did, `top_logprobs`
runs stages over the few tokens that a provider shows, `constraints` restricts output to choices, patterns and JSON, and
`sequence` holds the algorithms over whole sequences.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from samplers.config import ORDERS, SETTINGS, STAGE_NAMES, SamplerConfig, Setting
from samplers.state import RowState
from samplers.trace import StageSnapshot, StepTrace, VocabularySnapshot, summarize, vocabulary_snapshot
from samplers.trace_codec import pack_traces, unpack_traces

if TYPE_CHECKING:
    from samplers.chain import SamplerChain, next_token_probs
    from samplers.noise import draw, step_noise
    from samplers.sequence.beam_search import BeamSearch
    from samplers.sequence.best_of_n import best_of_n, expected_best
    from samplers.sequence.contrastive_search import contrastive_choice
    from samplers.sequence.speculative import accept_draft

_MODULES = {
    "BeamSearch": "sequence.beam_search",
    "SamplerChain": "chain",
    "accept_draft": "sequence.speculative",
    "best_of_n": "sequence.best_of_n",
    "contrastive_choice": "sequence.contrastive_search",
    "draw": "noise",
    "expected_best": "sequence.best_of_n",
    "next_token_probs": "chain",
    "step_noise": "noise",
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
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
