"""Make untrained transformers models of several families, a few thousand seeded weights each."""

from __future__ import annotations

import functools
from typing import Any

import torch
import transformers

VOCABULARY_SIZE = 96
_COMMON = {
    "vocab_size": VOCABULARY_SIZE,
    "initializer_range": 0.4,
    "bos_token_id": None,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
_LLAMA = _COMMON | {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}

LLAMA_MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", _LLAMA),
    "llama with biases": ("Llama", _LLAMA | {"attention_bias": True, "mlp_bias": True}),
    "llama3 rotary scaling": ("Llama", _LLAMA | {"rope_parameters": _LLAMA3}),
    "linear rotary scaling": (
        "Llama",
        _LLAMA | {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 3.0}},
    ),
    "mistral": ("Mistral", _LLAMA | {"sliding_window": None, "head_dim": 16}),
    "qwen2": ("Qwen2", _LLAMA),
    "qwen3": ("Qwen3", _LLAMA | {"head_dim": 16}),
}
"""Models that the llama decoder runs."""

TRANSFORMERS_MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2", _COMMON | {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}),
    "mistral with a window": ("Mistral", _LLAMA | {"sliding_window": 6}),
    "gemma3, windows and not": (
        "Gemma3",
        _LLAMA
        | {
            "num_hidden_layers": 3,
            "head_dim": 16,
            "sliding_window": 5,
            "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
        },
    ),
    "qwen2, windows and not": (
        "Qwen2",
        _LLAMA
        | {"use_sliding_window": True, "sliding_window": 5, "layer_types": ["full_attention", "sliding_attention"]},
    ),
    "gemma": ("Gemma", _LLAMA | {"head_dim": 16}),
    "gpt-neox": (
        "GPTNeoX",
        _COMMON
        | {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 128,
        },
    ),
}
"""Models that run through transformers' own forward pass."""

UNSUPPORTED_MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "mamba": ("Mamba", _COMMON | {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}),
    "bloom": ("Bloom", _COMMON | {"hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "gpt-neo": (
        "GPTNeo",
        _COMMON | {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]]},
    ),
    "dynamic rotary scaling": (
        "Llama",
        _LLAMA
        | {
            "rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0},
        },
    ),
}
"""Models that cannot decode several sequences in one pass."""


@functools.cache
def tiny_model(name: str) -> Any:
    family, settings = (LLAMA_MODELS | TRANSFORMERS_MODELS | UNSUPPORTED_MODELS)[name]
    config_name = f"{family}TextConfig" if family == "Gemma3" else f"{family}Config"
    config = getattr(transformers, config_name)(**settings)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
        for parameter_name, parameter in model.named_parameters():
            if parameter_name.endswith("bias") or "norm" in parameter_name:  # made as zeros and ones, which hide errors
                torch.nn.init.normal_(parameter, mean=float(parameter_name.endswith("weight")), std=0.3)
    return model
