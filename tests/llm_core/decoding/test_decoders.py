"""Both decoders against transformers' own forward pass: whole prompts, chunks, rows of any lengths, rows that move."""

from __future__ import annotations

import copy
import random

import pytest
import torch

from llm_core.decoding.decoder import Decoder, UnsupportedModel
from llm_core.decoding.factory import make_decoder
from llm_core.decoding.kv_cache import BLOCK_TOKENS, CacheFull
from llm_core.decoding.llama_decoder import LlamaDecoder
from llm_core.decoding.transformers_decoder import TransformersDecoder
from llm_core.models.language_model import LanguageModel
from tests.support.tiny_models import LLAMA_MODELS, TRANSFORMERS_MODELS, UNSUPPORTED_MODELS, VOCABULARY_SIZE, tiny_model
from tests.support.toy_model import toy_tokenizer

BUDGET = 2**28
CLOSE = 1e-4


def make_language_model(name: str) -> LanguageModel:
    return LanguageModel(id=name, name=name, model=tiny_model(name), tokenizer=toy_tokenizer())


def reference_logits(model, ids: list[int]) -> torch.Tensor:
    """Logits `[len(ids), V]` of one pass over everything, without a cache."""
    tokens = torch.tensor([ids])
    with torch.inference_mode():
        return model(tokens, attention_mask=torch.ones_like(tokens), use_cache=False).logits[0].float()


def random_ids(length: int, seed: int) -> list[int]:
    chance = random.Random(seed)
    return [chance.randrange(1, VOCABULARY_SIZE) for _ in range(length)]


def decode_in_chunks(decoder: Decoder, cache, row: int, ids: list[int], size: int) -> torch.Tensor:
    for start in range(0, len(ids), size):
        logits = decoder.prefill(ids[start : start + size], cache, row)
    return logits


DECODERS = [
    (kind, name)
    for kind, names in ((LlamaDecoder, LLAMA_MODELS), (TransformersDecoder, LLAMA_MODELS | TRANSFORMERS_MODELS))
    for name in names
]


@pytest.mark.parametrize(("kind", "name"), DECODERS)
def test_float32_equals_transformers(kind, name):
    """Chunked prompts, then ragged steps while rows leave and join."""
    model = tiny_model(name)
    decoder = kind(model, 512)
    cache = decoder.new_cache(BUDGET)
    texts = {seed: random_ids(length, seed) for seed, length in enumerate((5, 90, 33, 1, 64))}
    rows: list[int] = []
    for seed, chunk in ((0, 5), (1, 16), (2, 31)):
        rows.append(seed)
        logits = decode_in_chunks(decoder, cache, cache.append(), texts[seed], chunk)
        torch.testing.assert_close(logits, reference_logits(model, texts[seed])[-1], atol=CLOSE, rtol=0)
    for step in range(9):
        if step == 3:
            cache.remove(0)
            rows = [rows[2], rows[1]]
        if step in (4, 6):
            rows.append(step // 2 + 1)
            decode_in_chunks(decoder, cache, cache.append(), texts[rows[-1]], 128)
        new = random_ids(len(rows), 100 + step)
        logits = decoder.step(new, cache)
        for row, seed in enumerate(rows):
            texts[seed] = [*texts[seed], new[row]]
            torch.testing.assert_close(logits[row], reference_logits(model, texts[seed])[-1], atol=CLOSE, rtol=0)
    assert logits.shape == (len(rows), VOCABULARY_SIZE)
    assert logits.dtype == torch.float32


@pytest.mark.parametrize(
    ("kind", "name"), [(LlamaDecoder, "llama"), (TransformersDecoder, "gpt2"), (TransformersDecoder, "llama")]
)
def test_a_row_is_the_same_alone_and_in_company(kind, name):
    decoder = kind(tiny_model(name), 128)
    texts = [random_ids(length, length) for length in (3, 70, 20, 41, 8)]
    together = decoder.new_cache(BUDGET)
    for ids in texts:
        decoder.prefill(ids, together, together.append())
    alone = []
    for ids in texts:
        cache = decoder.new_cache(BUDGET)
        decoder.prefill(ids, cache, cache.append())
        alone.append(cache)
    tokens = [7] * len(texts)
    for _ in range(12):
        logits = decoder.step(tokens, together)
        for row, cache in enumerate(alone):
            solo = decoder.step([tokens[row]], cache)[0]
            torch.testing.assert_close(logits[row], solo, atol=5e-5, rtol=0)
            assert int(logits[row].argmax()) == int(solo.argmax())
        tokens = logits.argmax(-1).tolist()


@pytest.mark.parametrize(("kind", "name"), [(LlamaDecoder, "qwen3"), (TransformersDecoder, "gemma3, windows and not")])
def test_a_branch_from_a_prefix_equals_a_cold_start(kind, name):
    model = tiny_model(name)
    decoder = kind(model, 512)
    cache = decoder.new_cache(BUDGET)
    ids = random_ids(80, 1)
    decoder.prefill(ids, cache, cache.append())
    prefix = cache.copy_out(0, 70).first(37)
    endings = [random_ids(9, 2), random_ids(4, 3)]
    for ending in endings:
        row = cache.append()
        cache.put(row, prefix)
        logits = decoder.prefill(ending, cache, row)
        torch.testing.assert_close(logits, reference_logits(model, ids[:37] + ending)[-1], atol=CLOSE, rtol=0)
    decoder.prefill(ids, cache, 2)  # grows the storage
    cache.truncate(0, 50)
    logits = decoder.step([1, 2, 3], cache)
    torch.testing.assert_close(logits[0], reference_logits(model, [*ids[:50], 1])[-1], atol=CLOSE, rtol=0)
    assert cache.remove(1) == 2


@pytest.mark.parametrize(("kind", "name"), [(LlamaDecoder, "llama"), (TransformersDecoder, "gpt2")])
def test_one_poisoned_row_leaves_its_neighbours_alone(kind, name):
    """Not a number in one row's cache stays in that row, and in nobody's who comes after it."""
    model = tiny_model(name)
    decoder = kind(model, 128)
    cache = decoder.new_cache(BUDGET)
    texts = [random_ids(length, length) for length in (6, 40, 9)]
    for ids in texts:
        decoder.prefill(ids, cache, cache.append())
    for layer in cache.layers:
        layer[:, 1, :, :40] = torch.nan
    logits = decoder.step([5, 5, 5], cache)
    assert logits[1].isnan().all()
    cache.remove(1)
    late = random_ids(12, 12)
    decoder.prefill(late, cache, cache.append())
    logits = decoder.step([6, 6, 6], cache)
    for row, ids in enumerate([[*texts[0], 5, 6], [*texts[2], 5, 6], [*late, 6]]):
        torch.testing.assert_close(logits[row], reference_logits(model, ids)[-1], atol=CLOSE, rtol=0)


@pytest.mark.parametrize(("kind", "name"), [(LlamaDecoder, "llama"), (TransformersDecoder, "gpt2")])
def test_a_full_cache_refuses_and_stays_usable(kind, name):
    decoder = kind(tiny_model(name), 512)
    cache = decoder.new_cache(BLOCK_TOKENS * decoder.new_cache(0).bytes_per_token)
    ids = random_ids(BLOCK_TOKENS, 1)
    decoder.prefill(ids[:-1], cache, cache.append())
    decoder.step(ids[-1:], cache)
    with pytest.raises(CacheFull):
        decoder.step([1], cache)
    with pytest.raises(CacheFull):
        decoder.prefill([1, 2], cache, 0)
    assert cache.lengths == [BLOCK_TOKENS]
    cache.truncate(0, BLOCK_TOKENS - 1)
    expected = reference_logits(tiny_model(name), ids)[-1]
    torch.testing.assert_close(decoder.step(ids[-1:], cache)[0], expected, atol=CLOSE, rtol=0)
    with pytest.raises(ValueError, match="2 tokens for 1 rows"):
        decoder.step([1, 2], cache)


@pytest.mark.parametrize("name", LLAMA_MODELS | TRANSFORMERS_MODELS)
def test_make_decoder_picks_the_lean_one_for_its_family(name):
    decoder = make_decoder(make_language_model(name), "float32")
    assert isinstance(decoder, LlamaDecoder if name in LLAMA_MODELS else TransformersDecoder)
    assert (decoder.precision, decoder.vocab_size) == ("float32", VOCABULARY_SIZE)
    assert decoder.context_window == make_language_model(name).context_window


def test_the_probe_notices_other_logits():
    """A model whose logits depend on something that a cache does not hold: here, on how many tokens it is given."""
    model = copy.deepcopy(tiny_model("gpt2"))
    forward = model.forward

    def with_a_memory(ids, *rest, **options):
        output = forward(ids, *rest, **options)
        output.logits = output.logits + ids.shape[1] * output.logits.flip(-1)
        return output

    model.forward = with_a_memory
    with pytest.raises(UnsupportedModel, match="other logits"):
        make_decoder(LanguageModel(id="x", name="x", model=model, tokenizer=toy_tokenizer()), "float32")


@pytest.mark.parametrize("name", UNSUPPORTED_MODELS)
def test_make_decoder_refuses_what_cannot_share_a_pass(name):
    with pytest.raises(UnsupportedModel, match=r"linear_attention|dynamic|Bloom|local"):
        make_decoder(make_language_model(name), "float32")
