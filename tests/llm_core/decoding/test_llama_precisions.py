"""The lean decoder's precisions, on models where they can be worked out and on the built-in one's real weights."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from llm_core.decoding import llama_decoder
from llm_core.decoding.fidelity import collect_logits, compare_logits
from llm_core.decoding.kv_cache import KeyValueCache
from llm_core.decoding.llama_decoder import LlamaDecoder
from llm_core.decoding.quantized_linear import quantize_int4
from llm_core.decoding.transformers_decoder import TransformersDecoder
from llm_core.models.builtin import GGUF_MEMBER
from llm_core.paths import cache_directory
from tests.llm_core.decoding.test_quantized_linear import dequantized_weights
from tests.support.tiny_models import tiny_model

IDS = [(7 * place) % 95 + 1 for place in range(60)]


@pytest.mark.parametrize("name", ["float16", "bfloat16", "int8", "int4"])
@pytest.mark.parametrize("family", ["llama with biases", "qwen3"])
def test_a_precision_is_the_model_with_the_weights_it_keeps(family, name):
    model = copy.deepcopy(tiny_model(family))
    for module_name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            kept = "float16" if module_name == "lm_head" else name
            module.weight = nn.Parameter(dequantized_weights(module.weight.detach(), kept))
    expected = collect_logits(TransformersDecoder(model, 512), IDS)
    found = collect_logits(LlamaDecoder(tiny_model(family), 512, name), IDS)
    assert compare_logits(found, expected).mean_kl < (1e-9 if name == "float16" else 0.01)


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_compiled_or_not_the_result_is_the_same(name, monkeypatch):
    compiled = LlamaDecoder(tiny_model("qwen3"), 512, name)
    assert isinstance(compiled._stack, torch.jit.ScriptModule)

    def gone(*_):
        raise RuntimeError("no TorchScript")

    monkeypatch.setattr(llama_decoder.torch.jit, "script", gone)
    plain = LlamaDecoder(tiny_model("qwen3"), 512, name)
    assert not isinstance(plain._stack, torch.jit.ScriptModule)
    assert torch.equal(collect_logits(compiled, IDS), collect_logits(plain, IDS))


@pytest.fixture(scope="module")
def text(builtin) -> list[int]:
    from llm_core.decoding.fidelity import FIDELITY_TEXT

    return builtin.tokenizer(FIDELITY_TEXT)["input_ids"][:97]


@pytest.fixture(scope="module")
def exact(builtin, text) -> torch.Tensor:
    tokens = torch.tensor([text])
    with torch.inference_mode():
        return builtin.model(tokens, attention_mask=torch.ones_like(tokens)).logits[0, 1:]


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "mean_kl"), [("float32", 1e-8), ("float16", 1e-4)])
def test_the_builtin_model_as_transformers_computes_it(builtin, text, exact, name, mean_kl):
    found = compare_logits(collect_logits(LlamaDecoder(builtin.model, 2048, name), text), exact)
    assert abs(found.mean_kl) < mean_kl
    assert found.top1 > 0.98


@pytest.mark.thorough
def test_rows_of_the_builtin_model_are_independent(builtin, text):
    """In float32, alone and in the company of longer and shorter rows: logits agree, greedy tokens are the same."""
    decoder = LlamaDecoder(builtin.model, 2048)
    together: KeyValueCache = decoder.new_cache(2**30)
    alone = []
    for length in (70, 9, 33, 20, 41):
        for cache in (together, decoder.new_cache(2**30)):
            decoder.prefill(text[:length], cache, cache.append())
        alone.append(cache)
    tokens = [text[0]] * 5
    for _ in range(4):
        logits = decoder.step(tokens, together)
        for row, cache in enumerate(alone):
            torch.testing.assert_close(decoder.step([tokens[row]], cache)[0], logits[row], atol=1e-5, rtol=0)
        tokens = logits.argmax(-1).tolist()


@pytest.mark.thorough
def test_int4_keeps_the_builtin_models_own_blocks(builtin):
    """Read from the GGUF (Q4_1: 32 weights are `d * q + m`, in 2 + 2 + 16 bytes), they are what the weights give."""
    from gguf import GGUFReader

    reader = GGUFReader(cache_directory() / "models" / GGUF_MEMBER.rpartition("/")[2])
    raw = next(np.asarray(tensor.data) for tensor in reader.tensors if tensor.name == "blk.7.ffn_down.weight")
    blocks = raw.reshape(576, 48, 20)
    scale, low = (blocks[..., at : at + 2].copy().view(np.float16).astype(np.float32)[..., 0] for at in (0, 2))
    quants = np.concatenate([blocks[..., 4:] & 15, blocks[..., 4:] >> 4], axis=-1).reshape(576, 1536)
    found = quantize_int4(builtin.model.model.layers[7].mlp.down_proj.weight.detach())
    assert np.array_equal(found.quants.numpy(), quants)
    assert np.array_equal(found.scales.numpy(), scale)
    assert np.array_equal(found.zeros.numpy(), low + 8 * scale)
    every = [module.weight.detach() for module in builtin.model.model.layers.modules() if isinstance(module, nn.Linear)]
    assert len(every) == 210
    for weight in every[::7]:
        torch.testing.assert_close(quantize_int4(weight).float32(), weight, atol=1e-6, rtol=0)
