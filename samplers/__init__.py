"""From next-token logits to a token: pure torch, no I/O, usable on its own.

    import torch
    from samplers import SamplerConfig, next_token_probs

    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    next_token_probs(logits, [SamplerConfig(temperature=0.7, top_p=0.9)])

Every decoder in Nucleus calls the same chain, so what the plots show is what was drawn from.
"""

from samplers.chain import SamplerChain, next_token_probs
from samplers.config import ORDERS, SamplerConfig
from samplers.draw import draw, step_noise
from samplers.trace import StageSnapshot, StepTrace, summarize

__all__ = [
    "ORDERS",
    "SamplerChain",
    "SamplerConfig",
    "StageSnapshot",
    "StepTrace",
    "draw",
    "next_token_probs",
    "step_noise",
    "summarize",
]
