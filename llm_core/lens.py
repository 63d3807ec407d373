"""One decoding step under the microscope: its distribution after every stage, for any settings, without the model.

A `Lens` holds the logits that the model gave at one step, and what the stages look back on. Everything else is
computed from these: `look` runs the real chain on them, so it shows what a run with those settings would have drawn
from. Probabilities are in [0, 1], entropies in bits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from llm_core.errors import NucleusError
from llm_core.records import GenerationRequest, RowRequest
from llm_core.statistics import Fit, goodness_of_fit
from llm_core.thread_choice import one_thread
from samplers import ORDERS, RowState, SamplerChain, SamplerConfig, vocabulary_snapshot
from samplers.drawing import draw

if TYPE_CHECKING:
    from llm_core.language_model import LanguageModel
    from llm_core.records import Run
    from samplers.chain import Recording

MAX_DRAWS = 100_000
DRAWN_TOKENS = 255
"""Tokens that draws are counted for one by one; all others are counted together."""
_CELLS = 2_000_000
"""Random numbers held at the same time while drawing."""


@dataclass(frozen=True, slots=True)
class StageView:
    """The whole distribution after one stage."""

    name: str
    probs: Tensor
    """float32 `[V]`; excluded tokens are exactly 0."""
    kept: int
    removed: int
    """Tokens that this stage excluded."""
    removed_mass: float
    """What the stage before gave to them together."""
    entropy_bits: float

    def rank(self, token_id: int) -> int:
        """Its place, 1 for the most likely; equal tokens share the best place."""
        return 1 + int((self.probs > self.probs[token_id]).count_nonzero())


class Sighting(NamedTuple):
    """One token after one stage."""

    stage: str
    probability: float
    rank: int | None
    """None once it is excluded."""


@dataclass(frozen=True, slots=True)
class View:
    """One step under one setting: `raw` first, then every stage that does something, in their order."""

    stages: tuple[StageView, ...]

    @property
    def raw(self) -> StageView:
        return self.stages[0]

    @property
    def final(self) -> StageView:
        return self.stages[-1]

    def likeliest(self, count: int, also: Sequence[int] = ()) -> list[int]:
        """Token ids by raw probability, most likely first; those in `also` take the last places if they are not among
        them."""
        ids = self.raw.probs.topk(min(count, len(self.raw.probs))).indices.tolist()
        missing = [token for token in dict.fromkeys(also) if token not in ids]
        return ids[: max(0, len(ids) - len(missing))] + missing

    def follow(self, token_id: int) -> list[Sighting]:
        """One token through every stage."""
        return [
            Sighting(stage.name, probability, stage.rank(token_id) if probability > 0 else None)
            for stage in self.stages
            for probability in (float(stage.probs[token_id]),)
        ]


class Allowed:
    """What an output format left possible at one step: a constraint that does not move."""

    def __init__(self, mask: Tensor) -> None:
        self._mask = mask

    def allowed(self) -> Tensor:
        return self._mask

    def accept(self, token_id: int) -> None:
        pass


class Lens:
    """One step. Thread-safe: nothing in it changes."""

    def __init__(
        self,
        logits: Tensor,
        *,
        prompt: Sequence[int] = (),
        answer: Sequence[int] = (),
        end_ids: Sequence[int] | frozenset[int] = (),
        allowed: Tensor | None = None,
    ) -> None:
        """`logits [V]` of the step, the token ids before it, and a bool mask `[V]` of what an output format allows."""
        self.logits = logits.float()
        self.prompt, self.answer = tuple(prompt), tuple(answer)
        self._end_ids = frozenset(end_ids)
        self._constraint = None if allowed is None else Allowed(allowed)

    @torch.inference_mode()
    @one_thread()
    def look(self, config: SamplerConfig) -> View:
        """The step under these settings. Mirostat's limit is that of its first step: it depends on the whole run.

        Raises `NucleusError` for settings that only this vocabulary shows to be wrong.
        """
        state = RowState(config, self.prompt, self.answer, self._end_ids, self._constraint)
        recording: Recording = []
        try:
            SamplerChain([config]).logits(self.logits[None], [state], recording)
        except ValueError as error:
            raise NucleusError("sampler_failed", detail=str(error)) from error
        stages: list[StageView] = []
        for name, logits in vocabulary_snapshot(recording, 0).stages:
            probs = torch.frombuffer(logits, dtype=torch.float32).softmax(-1)
            stages.append(_stage_view(name, probs, stages[-1] if stages else None))
        return View(tuple(stages))

    def drawn(self, view: View, seed: int) -> int:
        """The token that a run draws here from what `look` showed, with the noise of its seed."""
        return int(draw(view.final.probs[None], [seed], [len(self.answer)]))

    def orders(self, config: SamplerConfig, own: tuple[str, ...] = ()) -> dict[str, View]:
        """The same settings under each preset's order, and under one's own as `own` if given."""
        orders: dict[str, str | tuple[str, ...]] = {name: name for name in ORDERS}
        if own:
            orders["own"] = own
        return {name: self.look(dataclasses.replace(config, order=order)) for name, order in orders.items()}


def _stage_view(name: str, probs: Tensor, before: StageView | None) -> StageView:
    possible = probs > 0
    kept = int(possible.count_nonzero())
    entropy = float(torch.special.entr(probs).sum()) / torch.log(torch.tensor(2.0)).item()
    if before is None:
        return StageView(name, probs, kept, 0, 0.0, entropy)
    removed_mass = float(before.probs[~possible].sum())
    return StageView(name, probs, kept, before.kept - kept, removed_mass, entropy)


@dataclass(frozen=True, slots=True)
class Draws:
    """Tokens drawn many times from one distribution, counted."""

    token_ids: tuple[int, ...]
    """Those counted one by one, most likely first."""
    expected: tuple[float, ...]
    """Of each of them, and of all others together at the end."""
    observed: tuple[int, ...]
    fit: Fit


@torch.inference_mode()
@one_thread()
def draw_many(probs: Tensor, count: int, seed: int) -> Draws:
    """Draw `count` tokens from `probs [V]` as a run does, with the noise of `seed` at steps 0, 1, 2, ...

    The tokens beyond the most likely ones race as one: the smallest of exponential times with rates `p_i` is itself
    exponential with rate `sum p_i`, so the counts are distributed as if they had raced one by one.
    """
    if not 1 <= count <= MAX_DRAWS:
        raise NucleusError("setting_out_of_range", field="draws", value=count, low=1, high=MAX_DRAWS)
    kept = int((probs > 0).count_nonzero())
    top = probs.topk(min(DRAWN_TOKENS, kept))
    shares = torch.cat([top.values.double(), (1 - top.values.double().sum()).clamp(min=0)[None]])
    counts = torch.zeros(len(shares), dtype=torch.int64)
    chunk = max(1, _CELLS // len(shares))
    for start in range(0, count, chunk):
        steps = range(start, min(count, start + chunk))
        drawn = draw(shares.expand(len(steps), -1), [seed] * len(steps), steps)
        counts += torch.bincount(drawn, minlength=len(shares))
    expected = (shares * count).tolist()
    return Draws(
        tuple(top.indices.tolist()), tuple(expected), tuple(counts.tolist()), goodness_of_fit(counts.tolist(), expected)
    )


def spellings(model: LanguageModel, text: str) -> dict[str, tuple[int, ...]]:
    """How a text could be spelled as the next tokens: as it is, and after a space. Texts of several tokens give them
    all; only the first could come next. Empty for an empty text."""
    texts = dict.fromkeys([text, f" {text.lstrip()}"] if text.strip() else [text] if text else [])
    found: dict[str, tuple[int, ...]] = {}
    for spelled in texts:
        ids = tuple(model.tokenizer(spelled, add_special_tokens=False)["input_ids"])
        if ids and ids not in found.values():
            found[spelled] = ids
    return found


def request_for(request: GenerationRequest, row: RowRequest, answer: Sequence[int]) -> GenerationRequest:
    """What to submit for the logits of the step after the tokens `answer`, counted from the beginning of the answer:
    one token of that row, whose logits are kept."""
    asked = dataclasses.replace(
        row, begin=tuple(answer), forced=(), max_output_tokens=1, stop_sequences=(), keep_logits=True
    )
    return dataclasses.replace(request, rows=(asked,))


def lens_of(run: Run) -> Lens:
    """The lens of an ended run of `request_for`. Raises the error that the run failed with."""
    [record] = run.rows
    if record.error:
        raise record.error
    if record.kept is None or run.rendered is None or run.model is None:
        raise NucleusError("lens_without_logits")
    return Lens(
        record.kept.logits,
        prompt=run.rendered.token_ids,
        answer=record.request.begin,
        end_ids=run.model.end_ids,
        allowed=record.kept.allowed,
    )
