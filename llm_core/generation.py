"""One prompt, one sampler, one token after another.

`generate` yields a `TokenEvent` for every token, with the trace of the step that chose it, then one `FinishEvent`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from llm_core.errors import NucleusError
from llm_core.language_model import LanguageModel
from llm_core.text_stream import CharacterJoiner, StopWatcher
from samplers import RowState, SamplerConfig, StepTrace, summarize
from samplers.chain import Recording, SamplerChain

FinishReason = Literal["end", "length", "stop", "context", "cancelled"]
"""The model ended it, the token limit, a stop sequence, the context window is full, or somebody pressed Stop."""


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """One chosen token."""

    token_id: int
    piece: str
    """The whole characters that this token completes: `""` while a character's bytes are still coming."""
    text: str
    """The piece as far as it belongs to the answer: without stop sequences, and late while one may be beginning."""
    trace: StepTrace
    seconds: float
    """Since generation began, the prompt's own forward pass included."""


@dataclass(frozen=True, slots=True)
class FinishEvent:
    """The last event: why it ended, and the text that was still held back."""

    reason: FinishReason
    text: str
    seconds: float


def generate(
    model: LanguageModel,
    prompt_ids: Sequence[int],
    sampler: SamplerConfig,
    *,
    max_output_tokens: int,
    stop_sequences: Sequence[str] = (),
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[TokenEvent | FinishEvent]:
    """Decode until the model ends its answer or a limit is met. `cancelled` is asked before every forward pass.

    Raises `NucleusError` for a setting that does not suit this model.
    """
    import torch
    from transformers import DynamicCache

    check_settings(model, sampler, stop_sequences)
    chain = SamplerChain([sampler])
    row = RowState(sampler, prompt_ids, end_ids=model.end_ids)
    characters = CharacterJoiner(model.decode)
    watcher = StopWatcher(stop_sequences)
    room = model.context_window - len(prompt_ids)
    cache = DynamicCache(config=model.model.config)
    ids = torch.tensor([list(prompt_ids)])
    reason: FinishReason = "length" if max_output_tokens <= room else "context"
    began = time.perf_counter()
    for _ in range(min(max_output_tokens, room)):
        if cancelled():
            reason = "cancelled"
            break
        recording: Recording = []
        with torch.inference_mode():
            logits = model.model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
            [token_id], [probability] = chain.sample(logits, [row], recording)
            [trace] = summarize(recording, [token_id])
            row.accept(token_id, probability)
        ended = token_id in model.end_ids
        completed = characters.finish() if ended else characters.push(token_id)
        text = watcher.push(completed)
        piece = completed + model.label(token_id) if ended else completed
        yield TokenEvent(token_id, piece, text, trace, time.perf_counter() - began)
        if ended or watcher.stopped:
            reason = "end" if ended else "stop"
            break
        ids = torch.tensor([[token_id]])
    rest = "" if watcher.stopped else watcher.push(characters.finish()) + watcher.finish()
    yield FinishEvent(reason, rest, time.perf_counter() - began)


def check_settings(model: LanguageModel, sampler: SamplerConfig, stop_sequences: Sequence[str]) -> None:
    """Refuse what only shows once the model is known."""
    if sampler.top_k > model.vocab_size:
        raise NucleusError("top_k_above_vocabulary", value=sampler.top_k, limit=model.vocab_size)
    if not all(stop_sequences):
        raise NucleusError("stop_sequence_empty")
