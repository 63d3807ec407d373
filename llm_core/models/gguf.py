"""Convert a Llama-family GGUF file to a transformers checkpoint: float32 safetensors, configuration and tokenizer.

transformers reads GGUF too, but parses the file several times over, reports no progress and refuses to save the result;
a test holds the weights written here equal to the ones it reads.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from llm_core.models.progress import Progress, ReportProgress

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGUFReader

_TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def convert_gguf(gguf: Path, target: Path, report: ReportProgress) -> None:
    """Write `gguf` to the new directory `target`. The quantized blocks are expanded exactly, in float32."""
    import torch
    from gguf import GGUFReader
    from gguf.quants import dequantize
    from safetensors.torch import save_file
    from transformers import AutoTokenizer, GenerationConfig

    report(Progress("converting"))
    reader = GGUFReader(gguf)
    config = _read_config(reader)
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    weights = {}
    for done, tensor in enumerate(reader.tensors):
        report(Progress("converting", done, len(reader.tensors)))
        kind = tensor.name.split(".")[-2]
        values = dequantize(tensor.data, tensor.tensor_type)
        if kind in heads:
            values = _permute_rotary(values, heads[kind])
        weights[_parameter_name(tensor.name)] = torch.tensor(values)
    target.mkdir()
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(target)
    GenerationConfig.from_model_config(config).save_pretrained(target)
    report(Progress("converting", len(reader.tensors), len(reader.tensors)))
    AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name).save_pretrained(target)


def _read_config(reader: GGUFReader):
    from transformers import LlamaConfig

    def field(name: str):
        return reader.fields[name].contents()

    return LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=field("llama.vocab_size"),
        hidden_size=field("llama.embedding_length"),
        intermediate_size=field("llama.feed_forward_length"),
        num_hidden_layers=field("llama.block_count"),
        num_attention_heads=field("llama.attention.head_count"),
        num_key_value_heads=field("llama.attention.head_count_kv"),
        max_position_embeddings=field("llama.context_length"),
        rms_norm_eps=field("llama.attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": field("llama.rope.freq_base")},
        tie_word_embeddings=not any(tensor.name == "output.weight" for tensor in reader.tensors),
        bos_token_id=field("tokenizer.ggml.bos_token_id"),
        eos_token_id=field("tokenizer.ggml.eos_token_id"),
        pad_token_id=field("tokenizer.ggml.padding_token_id"),
        dtype="float32",
    )


def _parameter_name(name: str) -> str:
    """Return transformers' name of a parameter: `blk.3.attn_q.weight` -> `model.layers.3.self_attn.q_proj.weight`."""
    *place, kind, suffix = name.split(".")
    if place:
        return f"model.layers.{place[1]}.{_BLOCK[kind]}.{suffix}"
    return f"{_TOP[kind]}.{suffix}"


def _permute_rotary(weights: np.ndarray, heads: int) -> np.ndarray:
    """Undo GGUF's row order, which interleaves the two halves that rotary embeddings turn together."""
    rows, columns = weights.shape
    return weights.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
