"""Inspect one step of a hosted model: what its most likely tokens tell about any settings, and what they leave open.

The provider gave raw log-probabilities of some tokens; changing a setting sends no further request. Every stage is
computed by `TopLogprobsChain`, with the unseen tokens between their two extremes; each number comes with its error
bound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from llm_core.analysis.step_inspector import (
    StageView,
    StepInspector,
    StepView,
    TextSpelling,
    UnseenTokens,
    leading_space_variants,
)
from llm_core.decoding.thread_tuning import use_one_thread
from llm_core.errors import NucleusError
from samplers import SamplerConfig
from samplers.top_logprobs import BOUNDED_STAGES, BoundedDistribution, TopLogprobsChain

if TYPE_CHECKING:
    from llm_core.generation.record import Run, TokenEvent


class PartialStepInspector(StepInspector):
    """Inspector of a step of which a provider showed some tokens."""

    def __init__(
        self,
        known: Mapping[int, float],
        likeliest: int,
        *,
        answer: Sequence[int] = (),
        vocabulary: int | None = None,
        constrained: bool = False,
        label: Callable[[int], str] = str,
    ) -> None:
        """Create an inspector of the raw log-probabilities `known`, by token id.

        The first `likeliest` of them in descending order are the most likely of the whole vocabulary. `answer` holds
        the tokens before, as far as they have ids; `constrained` says that an output format takes part in the
        provider's draw; `label` returns a token's text.
        """
        self._known, self._likeliest = dict(known), likeliest
        self._ids = tuple(sorted(known, key=lambda token: (-known[token], token)))
        self._answer, self._vocabulary = tuple(answer), vocabulary
        self._constrained, self._label = constrained, label

    @torch.inference_mode()
    @use_one_thread()
    def inspect(self, config: SamplerConfig) -> StepView:
        view = TopLogprobsChain(config, self._vocabulary, self._constrained, self._answer)
        try:
            seen = view.distributions(self._known, self._likeliest)
        except ValueError as error:
            raise NucleusError("sampler_failed", detail=str(error)) from error
        stages: list[StageView] = []
        for name, glimpse in seen:
            stages.append(self._stage(name, glimpse, stages[-1] if stages else None))
        return StepView(tuple(stages))

    def draw_token(self, view: StepView, seed: int) -> int | None:
        return None

    def find(self, text: str) -> list[TextSpelling]:
        """Find the longest shown token that begins the text, since the provider's tokenizer is not known."""
        found = []
        for spelled in leading_space_variants(text):
            labels = {self._label(token): token for token in reversed(self._ids)}
            begins = [label for label in labels if label == spelled or (label.strip() and spelled.startswith(label))]
            best = max(begins, key=len, default=None)
            token = None if best is None else labels[best]
            found.append(TextSpelling(spelled, token, begins=best is not None and best != spelled))
        return found

    def unbounded_stages(self, config: SamplerConfig) -> tuple[str, ...]:
        rewards = {name for name in ("presence_penalty", "frequency_penalty") if getattr(config, name) < 0}
        return tuple(name for name in config.stages if name not in BOUNDED_STAGES or name in rewards)

    def _stage(self, name: str, seen: BoundedDistribution, before: StageView | None) -> StageView:
        probs = torch.tensor(seen.probs, dtype=torch.float32)
        possible = probs > 0
        kept = int(possible.count_nonzero())
        mass = max(0.0, 1.0 - float(probs.double().sum()))
        unseen = UnseenTokens(mass, seen.mass_bound, seen.ceiling, self._vocabulary, seen.entropy_bits[1])
        removed, removed_mass = 0, 0.0
        if before is not None and before.unseen is not None:
            removed = before.kept - kept
            gone = 0.0 if seen.unseen_possible else before.unseen.mass
            removed_mass = float(before.probs[~possible].sum()) + gone
        bits = seen.entropy_bits[0]
        return StageView(name, probs, kept, removed, removed_mass, bits, self._ids, seen.bound, unseen)


def make_partial_inspector(
    run: Run, events: Sequence[TokenEvent], step: int, vocabulary: int | None = None
) -> PartialStepInspector:
    """Return the inspector of one step of a hosted answer.

    Raises `NucleusError` for a step without log-probabilities.
    """
    trace = events[step].trace
    if trace is None:
        raise NucleusError("lens_without_logprobs")
    known = dict(zip(trace.candidates, trace.raw.logprobs, strict=True))
    # The drawn token may have come beside the likeliest ones; if it is the last, nothing tells, so less is assumed.
    likeliest = len(known) - (trace.candidates[-1] == trace.token_id)
    return PartialStepInspector(
        known,
        likeliest,
        answer=[event.token_id for event in events[:step] if event.token_id is not None],
        vocabulary=vocabulary,
        constrained=run.request.prompt.output.kind != "text",
        label=run.label,
    )
