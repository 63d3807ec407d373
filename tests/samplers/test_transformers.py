"""Equality with transformers' logits processors, wherever one exists: alone, in pairs and all together."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import transformers as hf
from hypothesis import given
from hypothesis import strategies as st

from samplers import RowState, SamplerChain, SamplerConfig

END = 0


def make_processors(
    config: SamplerConfig, history: list[int], prompt_length: int, vocab: int
) -> hf.LogitsProcessorList:
    """The peer's chain in the order in which its `generate` builds it."""
    chain = hf.LogitsProcessorList()
    if config.logit_bias:
        chain.append(hf.SequenceBiasLogitsProcessor([[[token], bias] for token, bias in config.logit_bias]))
    if config.repetition_penalty != 1:
        chain.append(hf.RepetitionPenaltyLogitsProcessor(float(config.repetition_penalty)))
    if config.no_repeat_ngram_size:
        chain.append(hf.NoRepeatNGramLogitsProcessor(config.no_repeat_ngram_size))
    if config.banned_tokens:
        chain.append(hf.NoBadWordsLogitsProcessor([[token] for token in config.banned_tokens]))
    if config.min_new_tokens:
        chain.append(hf.MinNewTokensLengthLogitsProcessor(prompt_length, config.min_new_tokens, END))
    if config.temperature != 1:
        chain.append(hf.TemperatureLogitsWarper(float(config.temperature)))
    if config.top_k:
        chain.append(hf.TopKLogitsWarper(config.top_k))
    if config.top_p != 1:
        chain.append(hf.TopPLogitsWarper(config.top_p))
    if config.min_p:
        chain.append(hf.MinPLogitsWarper(config.min_p))
    if config.typical_p != 1:
        chain.append(hf.TypicalLogitsWarper(config.typical_p))
    if config.epsilon_cutoff:
        chain.append(hf.EpsilonLogitsWarper(config.epsilon_cutoff))
    if config.eta_cutoff:
        chain.append(hf.EtaLogitsWarper(config.eta_cutoff))
    return chain


def assert_same_probs(logits: torch.Tensor, fields: dict, prompt: list[int], answer: list[int]) -> None:
    """Same probabilities. A token on the very edge of a stage may fall either way, since sums and exponents round apart
    there: at most two may, and without them the distributions must agree."""
    config = SamplerConfig(**fields)
    rows = [RowState(config, prompt, answer, end_ids=[END]) for _ in logits]
    ours = SamplerChain([config] * len(logits)).logits(logits, rows)
    history = [*prompt, *answer]
    ids = torch.tensor([history] * len(logits), dtype=torch.int64).reshape(len(logits), -1)
    theirs = make_processors(config, history, len(prompt), logits.shape[-1])(ids, logits.clone())
    for mine, other in zip(ours, theirs, strict=True):
        apart = (mine > -math.inf) != (other > -math.inf)
        assert int(apart.sum()) <= 2, fields
        mine, other = mine.masked_fill(apart, -math.inf), other.masked_fill(apart, -math.inf)
        assert torch.allclose(mine.softmax(-1), other.softmax(-1), atol=2e-6), fields


def random_logits(rows: int, vocab: int, seed: int, spread: float = 4.0) -> torch.Tensor:
    return torch.randn(rows, vocab, generator=torch.Generator().manual_seed(seed)) * spread


SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.floats(0.05, 5),
        "top_k": st.integers(1, 60),
        "top_p": st.floats(0.05, 0.999),
        "min_p": st.floats(0.001, 0.9),
        "typical_p": st.floats(0.05, 0.99),
        "epsilon_cutoff": st.floats(1e-5, 0.2),
        "eta_cutoff": st.floats(1e-5, 0.2),
        "repetition_penalty": st.floats(0.5, 2),
        "no_repeat_ngram_size": st.integers(1, 4),
    },
)


@given(
    vocab=st.integers(1, 3000),
    seed=st.integers(0, 10_000),
    spread=st.sampled_from([0.5, 2.0, 6.0]),
    fields=SETTINGS,
    data=st.data(),
)
def test_equal_for_any_settings(vocab, seed, spread, fields, data):
    history = data.draw(st.lists(st.integers(0, min(vocab, 8) - 1), max_size=12))
    if len(set(history)) == vocab or not history:  # the peer excludes everything, or cannot take an empty history
        fields.pop("no_repeat_ngram_size", None)
        fields.pop("repetition_penalty", None) if not history else None
    assert_same_probs(random_logits(2, vocab, seed, spread), fields, history[:5], history[5:])


PAIRABLE: dict[str, dict] = {
    "logit_bias": {"logit_bias": {1: 3.0, 4: -2.5}},
    "repetition_penalty": {"repetition_penalty": 1.4},
    "no_repeat_ngram": {"no_repeat_ngram_size": 2},
    "banned_tokens": {"banned_tokens": (2, 5)},
    "min_new_tokens": {"min_new_tokens": 9},
    "temperature": {"temperature": 0.7},
    "top_k": {"top_k": 12},
    "top_p": {"top_p": 0.83},
    "min_p": {"min_p": 0.04},
    "typical_p": {"typical_p": 0.77},
    "epsilon_cutoff": {"epsilon_cutoff": 0.011},
    "eta_cutoff": {"eta_cutoff": 0.03},
}


FIRST_SELECTION = list(PAIRABLE).index("temperature")
"""The stages before it name tokens that a tiny vocabulary lacks, or exclude all it has."""


@pytest.mark.parametrize(("first", "second"), itertools.combinations_with_replacement(PAIRABLE, 2))
def test_equal_in_every_pair(first, second):
    fields = PAIRABLE[first] | PAIRABLE[second]
    for vocab, seed in ((50, 1), (3000, 2)):
        assert_same_probs(random_logits(3, vocab, seed), fields, [1, 3, 1, 6], [3, 9, 1])


def test_equal_with_everything_at_once():
    fields = {name: value for each in PAIRABLE.values() for name, value in each.items()}
    assert_same_probs(random_logits(4, 2000, 3), fields, [1, 3, 1, 6], [3, 9, 1])


@pytest.mark.parametrize("vocab", [49_152, 262_144])
@pytest.mark.parametrize("name", PAIRABLE)
def test_equal_for_large_vocabularies(name, vocab):
    assert_same_probs(random_logits(2, vocab, 5), PAIRABLE[name], [1, 3, 1, 6, 3, 9, 1], [])


@pytest.mark.parametrize("vocab", [1, 2])
@pytest.mark.parametrize("name", ["repetition_penalty", *list(PAIRABLE)[FIRST_SELECTION:]])
def test_equal_for_tiny_vocabularies(name, vocab):
    assert_same_probs(random_logits(2, vocab, 5), PAIRABLE[name], [0], [])
