"""Read a model's token table for `samplers.constraints`: the exact bytes of every token, and which tokens end an
answer.

llguidance reads fast tokenizers whose tokens stand for bytes: byte-level BPE (GPT-2, Llama 3, Qwen, SmolLM2) and
SentencePiece with byte fallback (Llama 2, Gemma, Mistral).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llguidance import LLTokenizer


def read_vocabulary(tokenizer: Any, vocab_size: int, end_ids: Collection[int]) -> LLTokenizer:
    """Return the tokenizer's vocabulary for llguidance. Takes half a second for 49,152 tokens, so keep it with the
    model; it never changes afterwards.

    `vocab_size` is the model's, where logits end: ids beyond the tokenizer's are never allowed. `end_ids` are all of
    the model's end tokens. Raises `ValueError` for a tokenizer or numbers that do not fit.
    """
    if not end_ids:
        raise ValueError("end_ids is empty: expected the ids of the tokens that end an answer")
    from llguidance.hf import from_tokenizer

    try:
        return from_tokenizer(tokenizer, n_vocab=vocab_size, eos_token=sorted(end_ids))
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        # a panic of the Rust code is a BaseException: uncaught, it would end the engine's thread
        raise ValueError(f"tokenizer: {error}; expected a byte-level or byte-fallback fast tokenizer") from error
