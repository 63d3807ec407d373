"""Inspect one decoding step: its distribution after every stage, for any settings, without the model.

A `StepInspector` is one step, whoever ran it, and a `StepView` what settings make of it. `FullStepInspector` holds the
logits of a local model: `inspect` runs the real chain on them, so it shows what a run with those settings would have
drawn from. `partial_inspector.PartialStepInspector` has only the tokens that a provider showed; its views are right
within their `error_bound`, and what is not known of the other tokens stands beside them. Probabilities are in [0, 1],
entropies in bits.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from llm_core.analysis.significance import ChiSquareTest, goodness_of_fit
from llm_core.decoding.thread_tuning import use_one_thread
from llm_core.errors import NucleusError
from llm_core.generation.request import GenerationRequest, SampleRequest
from samplers import ORDERS, RowState, SamplerChain, SamplerConfig, vocabulary_snapshot
from samplers.noise import draw

if TYPE_CHECKING:
    from llm_core.generation.record import Run
    from llm_core.models.language_model import LanguageModel
    from samplers.chain import StageRecording

MAX_DRAWS = 100_000
MAX_COUNTED_TOKENS = 255
"""Tokens whose draws are counted one by one; all others are counted together."""
_MAX_NOISE_VALUES = 2_000_000
"""Random numbers held at the same time while drawing."""


@dataclass(frozen=True, slots=True)
class UnseenTokens:
    """Bounds on the tokens of a distribution that a provider did not show."""

    mass: float
    """Probability of all unseen tokens together."""
    mass_bound: float
    """Largest distance of `mass` from the truth."""
    ceiling: float
    """Largest probability that one unseen token can have; 0 where the stages have excluded them all."""
    vocabulary: int | None
    """Size of the vocabulary, shown tokens included; None where it is not known."""
    max_entropy_bits: float
    """Entropy in bits with the mass spread over as many tokens as possible; the stage's own entropy has it on as few as
    possible."""

    @property
    def possible(self) -> bool:
        """Whether an unseen token may still be drawn."""
        return self.ceiling > 0


@dataclass(frozen=True, slots=True)
class StageView:
    """Distribution after one stage."""

    name: str
    probs: Tensor
    """Probabilities, float32, by token id or by position in `ids`; excluded tokens are exactly 0."""
    kept: int
    """Number of tokens of `probs` that are still possible."""
    removed: int
    """Number of tokens of `probs` that this stage excluded."""
    removed_mass: float
    """Probability that the removed tokens had together before this stage."""
    entropy_bits: float
    ids: tuple[int, ...] | None = None
    """Tokens that a provider showed, most likely first; None where `probs` has the whole vocabulary."""
    error_bound: float = 0.0
    """Largest distance of a probability from the truth, in [0, 1]; 1 promises nothing."""
    unseen: UnseenTokens | None = None
    """Bounds on the tokens that were not shown; None where all tokens are known."""

    def probability(self, token_id: int) -> float:
        """Return the probability of a token. Raises `ValueError` for one that was not shown."""
        return float(self.probs[self._place(token_id)])

    def probabilities(self, token_ids: Sequence[int]) -> list[float]:
        return self.probs[[self._place(token) for token in token_ids]].tolist()

    def rank(self, token_id: int) -> int:
        """Return the rank of a token, 1 for the most likely; equal tokens share the best rank."""
        return 1 + int((self.probs > self.probs[self._place(token_id)]).count_nonzero())

    @property
    def best(self) -> int:
        """Most likely token."""
        return self._token(int(self.probs.argmax()))

    @property
    def possible(self) -> frozenset[int]:
        """Known tokens that may still be drawn."""
        return frozenset(map(self._token, self.probs.nonzero().flatten().tolist()))

    @property
    def descending(self) -> Tensor:
        """Probabilities, the largest first."""
        return self.probs.sort(descending=True).values

    def likeliest(self, count: int) -> list[int]:
        return list(map(self._token, self.probs.topk(min(count, len(self.probs))).indices.tolist()))

    def _place(self, token_id: int) -> int:
        return token_id if self.ids is None else self.ids.index(token_id)

    def _token(self, place: int) -> int:
        return place if self.ids is None else self.ids[place]


class TokenAtStage(NamedTuple):
    """Probability and rank of one token after one stage."""

    stage: str
    probability: float
    """Probability of the token; for one that was not shown, the largest it can have."""
    rank: int | None
    """Rank of the token, None once it is excluded; for one that was not shown, the best it can have."""
    error_bound: float = 0.0


class TextSpelling(NamedTuple):
    """One way to spell a text as the next tokens."""

    text: str
    token_id: int | None
    """First token, the only one that could come next; None for a text that begins with none of the shown tokens."""
    pieces: tuple[int, ...] = ()
    """All tokens of the text, where the model's tokenizer is known."""
    begins: bool = False
    """Whether the token is only the text's beginning, and the split of the rest is not known."""


@dataclass(frozen=True, slots=True)
class StepView:
    """One step under one setting: `raw` first, then every active stage, in their order."""

    stages: tuple[StageView, ...]

    @property
    def raw(self) -> StageView:
        return self.stages[0]

    @property
    def final(self) -> StageView:
        return self.stages[-1]

    def likeliest(self, count: int, also: Sequence[int] = ()) -> list[int]:
        """Return token ids by raw probability, most likely first; those of `also` that are missing take the last
        places."""
        ids = self.raw.likeliest(count)
        missing = [token for token in dict.fromkeys(also) if token not in ids]
        return ids[: max(0, len(ids) - len(missing))] + missing

    def trace_token(self, token_id: int | None) -> list[TokenAtStage]:
        """Return the probability and rank of one token after every stage; None stands for one that was not shown."""
        if token_id is None:
            unseen = [(stage, stage.unseen.ceiling if stage.unseen else 0.0) for stage in self.stages]
            return [TokenAtStage(stage.name, most, _best_rank(stage, most) if most else None) for stage, most in unseen]
        return [
            TokenAtStage(stage.name, probability, stage.rank(token_id) if probability > 0 else None, stage.error_bound)
            for stage in self.stages
            for probability in (stage.probability(token_id),)
        ]


class FixedConstraint:
    """Constraint that stays in one state: the tokens that an output format allowed at one step."""

    def __init__(self, mask: Tensor) -> None:
        self._mask = mask

    def allowed(self) -> Tensor:
        return self._mask

    def accept(self, token_id: int) -> None:
        pass


def _best_rank(stage: StageView, most: float) -> int:
    """Return the best rank that a token with at most this probability can have: behind those that have as much."""
    return 1 + int((stage.probs >= most * (1 - 1e-3)).count_nonzero())


class StepInspector(ABC):
    """One inspected step. Thread-safe, since it never changes."""

    @abstractmethod
    def inspect(self, config: SamplerConfig) -> StepView:
        """Return the step under these settings. Mirostat's limit is that of its first step, since it depends on the
        whole run.

        Raises `NucleusError` for settings that only this vocabulary shows to be wrong.
        """

    @abstractmethod
    def draw_token(self, view: StepView, seed: int) -> int | None:
        """Return the token that a run draws from `view` with the noise of its seed; None where a provider's noise is
        not known."""

    @abstractmethod
    def find(self, text: str) -> list[TextSpelling]:
        """Return the ways to spell a text, as it is and after a space. Empty for an empty text."""

    def unbounded_stages(self, config: SamplerConfig) -> tuple[str, ...]:
        """Return the stages of these settings without an error bound here."""
        return ()

    def inspect_orders(self, config: SamplerConfig, own: tuple[str, ...] = ()) -> dict[str, StepView]:
        """Return the step under each preset's order of stages, and under `own` as "own" if given."""
        orders: dict[str, str | tuple[str, ...]] = {name: name for name in ORDERS}
        if own:
            orders["own"] = own
        return {name: self.inspect(dataclasses.replace(config, order=order)) for name, order in orders.items()}


class FullStepInspector(StepInspector):
    """Inspector of a step of which the whole vocabulary is known."""

    def __init__(
        self,
        logits: Tensor,
        *,
        prompt: Sequence[int] = (),
        answer: Sequence[int] = (),
        end_ids: Sequence[int] | frozenset[int] = (),
        allowed: Tensor | None = None,
        spell: Callable[[str], Mapping[str, tuple[int, ...]]] = lambda text: {},
    ) -> None:
        """Create an inspector of the step's `logits [V]`.

        `prompt` and `answer` are the token ids before the step, `allowed` a bool mask `[V]` of what an output format
        allows, and `spell` returns the model's ways to spell a text.
        """
        self.logits = logits.float()
        self.prompt, self.answer = tuple(prompt), tuple(answer)
        self._end_ids = frozenset(end_ids)
        self._constraint = None if allowed is None else FixedConstraint(allowed)
        self._spell = spell

    @torch.inference_mode()
    @use_one_thread()
    def inspect(self, config: SamplerConfig) -> StepView:
        state = RowState(config, self.prompt, self.answer, self._end_ids, self._constraint)
        recording: StageRecording = []
        try:
            SamplerChain([config]).logits(self.logits[None], [state], recording)
        except ValueError as error:
            raise NucleusError("sampler_failed", detail=str(error)) from error
        stages: list[StageView] = []
        for name, logits in vocabulary_snapshot(recording, 0).stages:
            probs = torch.frombuffer(logits, dtype=torch.float32).softmax(-1)
            stages.append(_make_stage_view(name, probs, stages[-1] if stages else None))
        return StepView(tuple(stages))

    def draw_token(self, view: StepView, seed: int) -> int | None:
        return int(draw(view.final.probs[None], [seed], [len(self.answer)]))

    def find(self, text: str) -> list[TextSpelling]:
        return [TextSpelling(spelled, ids[0], ids) for spelled, ids in self._spell(text).items()]


def _make_stage_view(name: str, probs: Tensor, before: StageView | None) -> StageView:
    possible = probs > 0
    kept = int(possible.count_nonzero())
    entropy = float(torch.special.entr(probs).sum()) / torch.log(torch.tensor(2.0)).item()
    if before is None:
        return StageView(name, probs, kept, 0, 0.0, entropy)
    removed_mass = float(before.probs[~possible].sum())
    return StageView(name, probs, kept, before.kept - kept, removed_mass, entropy)


@dataclass(frozen=True, slots=True)
class DrawCounts:
    """Counts of tokens drawn many times from one distribution."""

    token_ids: tuple[int, ...]
    """Tokens counted one by one, most likely first."""
    expected: tuple[float, ...]
    """Expected counts of each of these tokens, then of all others together."""
    observed: tuple[int, ...]
    fit: ChiSquareTest


@torch.inference_mode()
@use_one_thread()
def draw_many(stage: StageView, count: int, seed: int) -> DrawCounts:
    """Draw `count` tokens from a stage's distribution as a run does, with the noise of `seed` at steps 0, 1, 2, ...

    The tokens beyond the most likely ones race as one: the smallest of exponential times with rates `p_i` is itself
    exponential with rate `sum p_i`, so the counts are distributed as if they had raced one by one. Tokens that a
    provider did not show are among them. Raises `NucleusError` for a count outside `1 .. MAX_DRAWS`.
    """
    probs = stage.probs
    if not 1 <= count <= MAX_DRAWS:
        raise NucleusError("setting_out_of_range", field="draws", value=count, low=1, high=MAX_DRAWS)
    kept = int((probs > 0).count_nonzero())
    top = probs.topk(min(MAX_COUNTED_TOKENS, kept))
    shares = torch.cat([top.values.double(), (1 - top.values.double().sum()).clamp(min=0)[None]])
    counts = torch.zeros(len(shares), dtype=torch.int64)
    chunk = max(1, _MAX_NOISE_VALUES // len(shares))
    for start in range(0, count, chunk):
        steps = range(start, min(count, start + chunk))
        drawn = draw(shares.expand(len(steps), -1), [seed] * len(steps), steps)
        counts += torch.bincount(drawn, minlength=len(shares))
    expected = (shares * count).tolist()
    return DrawCounts(
        tuple(stage.likeliest(len(top.indices))),
        tuple(expected),
        tuple(counts.tolist()),
        goodness_of_fit(counts.tolist(), expected),
    )


def leading_space_variants(text: str) -> list[str]:
    """Return a text as it is, and after a space. Empty for an empty text."""
    return list(dict.fromkeys([text, f" {text.lstrip()}"] if text.strip() else [text] if text else []))


def tokenize_spellings(model: LanguageModel, text: str) -> dict[str, tuple[int, ...]]:
    """Return the token ids of a text as it is, and after a space. Empty for an empty text.

    Texts of several tokens give them all; only the first could come next.
    """
    found: dict[str, tuple[int, ...]] = {}
    for spelled in leading_space_variants(text):
        ids = tuple(model.tokenizer(spelled, add_special_tokens=False)["input_ids"])
        if ids and ids not in found.values():
            found[spelled] = ids
    return found


def make_step_request(request: GenerationRequest, row: SampleRequest, answer: Sequence[int]) -> GenerationRequest:
    """Return the request for the logits of the step after the tokens `answer`, counted from the beginning of the
    answer: one token of that sample, with its logits kept."""
    sample = dataclasses.replace(
        row, prefix_ids=tuple(answer), forced_ids=(), max_output_tokens=1, stop_sequences=(), keep_logits=True
    )
    return dataclasses.replace(request, samples=(sample,))


def make_step_inspector(run: Run) -> StepInspector:
    """Return the inspector of an ended run of `make_step_request`. Raises the error that the run failed with."""
    [record] = run.samples
    if record.error:
        raise record.error
    if record.first_step is None or run.rendered is None or run.model is None:
        raise NucleusError("lens_without_logits")
    return FullStepInspector(
        record.first_step.logits,
        prompt=run.rendered.token_ids,
        answer=record.request.prefix_ids,
        end_ids=run.model.end_ids,
        allowed=record.first_step.allowed,
        spell=partial(tokenize_spellings, run.model),
    )
