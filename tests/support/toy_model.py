"""Make a real transformer with a real tokenizer in milliseconds: seeded, byte-level, four thousand weights.

Tests run the real sampler chain, decoding loop and engine on it, instead of mocks of them.
"""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from llm_core.models.language_model import LanguageModel

CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL_TOKENS = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
CONTEXT_WINDOW = 256


def toy_tokenizer(chat: bool = True) -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token for each byte, and four special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: place for place, piece in enumerate([*SPECIAL_TOKENS, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>")
    wrapped.add_special_tokens({"additional_special_tokens": SPECIAL_TOKENS[1:]})
    if chat:
        wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


@functools.lru_cache
def toy_model(chat: bool = True) -> LanguageModel:
    """Return a model with random weights, the same in every call."""
    tokenizer = toy_tokenizer(chat)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=CONTEXT_WINDOW,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        initializer_range=0.6,
    )
    with torch.random.fork_rng():
        torch.manual_seed(20)
        model = LlamaForCausalLM(config).eval()
    return LanguageModel(id="toy", name="Toy", model=model, tokenizer=tokenizer)


def save_toy_model(directory: Path) -> Path:
    """Save the toy model as a local model directory and return the directory."""
    toy = toy_model()
    toy.model.save_pretrained(directory)
    toy.tokenizer.save_pretrained(directory)
    return directory
