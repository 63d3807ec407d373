"""A model's token table as `samplers.constraints` reads it: the exact bytes of every token, and which of them end.

llguidance reads fast tokenizers whose tokens stand for bytes: byte-level BPE (GPT-2, Llama 3, Qwen, SmolLM2) and
SentencePiece with byte fallback (Llama 2, Gemma, Mistral).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llguidance import LLTokenizer


def read_vocabulary(tokenizer: Any, vocab_size: int, end_ids: Collection[int]) -> LLTokenizer:
    """Half a second for 49,152 tokens, so keep it with the model; nothing in it changes afterwards.

    `vocab_size` is the model's, where logits end: ids beyond the tokenizer's are never allowed. `end_ids` are the
    model's, all of them. A tokenizer or numbers that do not fit raise `ValueError`.
    """
    if not end_ids:
        raise ValueError("end_ids is empty: expected the ids of the tokens that end an answer")
    from llguidance.hf import from_tokenizer

    try:
        return from_tokenizer(tokenizer, n_vocab=vocab_size, eos_token=sorted(end_ids))
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        # a panic of the Rust code is no Exception: as it is, it would end the thread that serves everybody
        raise ValueError(f"tokenizer: {error}; expected a byte-level or byte-fallback fast tokenizer") from error
