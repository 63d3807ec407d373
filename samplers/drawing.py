"""Drawing tokens with shared noise.

`argmax(probs / e)` with independent `e ~ Exponential(1)` draws token i with probability `probs[i]` (the exponential
race; the same as the Gumbel-max trick). The noise depends on the seed and the step only, so a row's token does not
depend on its neighbours in a batch, and two rows with one seed see one noise: where they part, the sampler did it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_MASK = 2**64 - 1


def step_noise(seed: int, step: int, vocab: int) -> Tensor:
    """Exponential(1) noise, float32 `[vocab]` on the CPU, always above 0. Leaves global random state alone."""
    generator = torch.Generator().manual_seed(_mix(seed, step))
    return torch.empty(vocab).exponential_(generator=generator).clamp_(min=torch.finfo(torch.float32).tiny)


def draw(probs: Tensor, seeds: Sequence[int], steps: Sequence[int]) -> Tensor:
    """Token ids `[B]` int64 drawn from `probs [B, V]`, with the noise of each row's own seed and step."""
    if not len(seeds) == len(steps) == len(probs):
        raise ValueError(f"probs has {len(probs)} rows, seeds {len(seeds)}, steps {len(steps)}: expected equal counts")
    noise = {pair: step_noise(*pair, probs.shape[-1]) for pair in set(zip(seeds, steps, strict=True))}
    stacked = torch.stack([noise[pair] for pair in zip(seeds, steps, strict=True)]).to(probs.device)
    return (probs / stacked).argmax(-1)


def _mix(seed: int, step: int) -> int:
    """SplitMix64 (Steele, Lea and Flood 2014): neighbouring seeds and steps give unrelated generator states."""
    state = seed & _MASK
    for word in (step + 1, 0x9E3779B97F4A7C15):
        state = (state + word * 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state & (2**63 - 1)
