"""History stages against tables worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samplers import RowState, SamplerChain, SamplerConfig, next_token_probs
from samplers.penalties import _match_lengths, dry

LOGITS = torch.tensor([[2.0, 1.0, 0.0, -1.0, -2.0]])


def processed_logits(prompt=(), answer=(), end_ids=(), logits=LOGITS, **fields) -> list[float]:
    """Logits after the stages."""
    row = RowState(SamplerConfig(**fields), prompt, answer, end_ids)
    return SamplerChain([row.config]).logits(logits, [row])[0].tolist()


def test_repetition_penalty_divides_positive_and_multiplies_negative_logits_of_prompt_and_answer():
    assert processed_logits([0, 3], [4, 4, 2], repetition_penalty=2.0) == [1.0, 1.0, 0.0, -2.0, -4.0]
    assert processed_logits([0, 3], [4], repetition_penalty=0.5) == [4.0, 1.0, 0.0, -0.5, -1.0]


def test_presence_counts_the_answers_tokens_once_and_frequency_every_time():
    assert processed_logits([1], [0, 0, 3], presence_penalty=0.5) == [1.5, 1.0, 0.0, -1.5, -2.0]
    assert processed_logits([1], [0, 0, 3], frequency_penalty=0.5) == [1.0, 1.0, 0.0, -1.5, -2.0]
    assert processed_logits([1], [0, 0, 3], frequency_penalty=-1) == [4.0, 1.0, 0.0, 0.0, -2.0]
    both = processed_logits([1], [0, 0, 3], presence_penalty=0.5, frequency_penalty=0.5)
    assert both == [0.5, 1.0, 0.0, -2.0, -2.0]


def test_bias_is_added_and_banned_tokens_are_excluded():
    assert processed_logits(logit_bias={4: 3, 0: -0.5}) == [1.5, 1.0, 0.0, -1.0, 1.0]
    assert processed_logits(banned_tokens=(0, 2)) == [-math.inf, 1.0, -math.inf, -1.0, -2.0]


def test_answers_may_not_end_early():
    ends = {1, 4}
    assert processed_logits([3, 3, 3], [0], ends, min_new_tokens=2) == [2.0, -math.inf, 0.0, -1.0, -math.inf]
    assert processed_logits([3, 3, 3], [0, 0], ends, min_new_tokens=2) == LOGITS[0].tolist()


@pytest.mark.parametrize(
    ("tokens", "size", "excluded"),
    [
        ([0, 1, 2, 0, 1], 3, {2}),
        ([0, 1, 2, 0, 1, 3, 0, 1], 3, {2, 3}),
        ([0, 1, 2, 0, 1], 2, {2}),
        ([0, 1, 2, 0], 1, {0, 1, 2}),
        ([0, 1, 2, 0, 1], 4, set()),
        ([0, 1], 3, set()),
        ([0, 0], 2, {0}),
        ([], 1, set()),
        ([3], 1, {3}),
    ],
)
def test_no_sequence_twice(tokens, size, excluded):
    for split in range(len(tokens) + 1):  # it does not matter where the prompt ends
        out = processed_logits(tokens[:split], tokens[split:], no_repeat_ngram_size=size)
        assert {token for token, logit in enumerate(out) if logit == -math.inf} == excluded


@pytest.mark.parametrize(
    ("tokens", "fields", "expected"),
    [
        # ... 1 2 3 | 1 2: token 3 would continue a repetition of 2
        ([1, 2, 3, 1, 2], {}, {3: 1.0}),
        # 0 1 2 3 | 0 1 2: a repetition of 3 costs one power of the base
        ([0, 1, 2, 3, 0, 1, 2], {}, {3: 1.75}),
        ([0, 1, 2, 3, 0, 1, 2], {"dry_base": 3, "dry_multiplier": 0.5}, {3: 1.5}),
        ([0, 1, 2, 3, 0, 1, 2], {"dry_allowed_length": 3}, {3: 1.0}),
        ([0, 1, 2, 3, 0, 1, 2], {"dry_allowed_length": 4}, {}),
        ([0, 1, 2, 3, 0, 1, 2], {"dry_allowed_length": 1}, {3: 1.75**2}),
        # two places to continue from: each token pays for its own, the longest where it has several
        ([0, 1, 2, 4, 1, 2, 3, 0, 1, 2], {}, {4: 1.75, 3: 1.0}),
        ([3, 1, 2, 4, 0, 1, 2, 4, 0, 1, 2], {}, {4: 1.75**4}),
        # a breaker ends the repetition that may be counted
        ([0, 1, 2, 3, 0, 1, 2], {"dry_sequence_breakers": (0,)}, {3: 1.0}),
        ([0, 1, 2, 3, 0, 1, 2], {"dry_sequence_breakers": (1,)}, {}),
        ([0, 1, 2, 3, 0, 1, 2], {"dry_sequence_breakers": (2,)}, {}),
        # overlapping repetitions
        ([4, 4, 4, 4], {}, {4: 1.75}),
        ([], {}, {}),
        ([4], {}, {}),
    ],
)
def test_dry(tokens, fields, expected):
    config = SamplerConfig(**({"dry_multiplier": 1.0} | fields))
    assert dry(RowState(config, tokens)) == pytest.approx(expected)
    before = LOGITS[0].tolist()
    wanted = [logit - expected.get(token, 0) for token, logit in enumerate(before)]
    assert processed_logits(tokens, **({"dry_multiplier": 1.0} | fields)) == pytest.approx(wanted)


def test_dry_stays_finite_in_an_endless_repetition():
    out = processed_logits([0] * 5000, dry_multiplier=100, dry_base=10)
    assert out[0] < -1e29
    assert math.isfinite(out[0])


@settings(deadline=None)
@given(st.lists(st.integers(0, 2), max_size=30))
def test_repetitions_are_those_that_comparing_everything_finds(tokens):
    found = []
    for end in range(len(tokens) - 1):  # an earlier place that could match the last token
        length = 0
        while length <= end and tokens[end - length] == tokens[len(tokens) - 1 - length]:
            length += 1
        if length:
            found.append((tokens[end + 1], length))
    assert sorted(_match_lengths(tokens)) == sorted(found)


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({"banned_tokens": (0, 1, 2, 3, 4)}, []),
        ({"no_repeat_ngram_size": 1}, [0, 1, 2, 3, 4]),
        ({"min_new_tokens": 1}, []),
    ],
)
def test_a_row_that_would_lose_every_token_stays_as_it_was_beside_one_that_does_not(fields, tokens):
    dying = RowState(SamplerConfig(**fields), tokens, end_ids=range(5))
    living = RowState(SamplerConfig(**fields), [0], end_ids=[0])
    out = SamplerChain([dying.config, living.config]).logits(LOGITS.repeat(2, 1), [dying, living])
    assert torch.equal(out[0], LOGITS[0])
    if "banned_tokens" not in fields:
        assert out[1].tolist() == [-math.inf, 1.0, 0.0, -1.0, -2.0]


@pytest.mark.parametrize("field", ["logit_bias", "banned_tokens"])
def test_tokens_outside_the_vocabulary_are_refused_by_name(field):
    value = {5: 1.0} if field == "logit_bias" else (5,)
    with pytest.raises(ValueError, match=rf"{field}: token 5 is outside .* below 5"):
        next_token_probs(LOGITS, [SamplerConfig(**{field: value})])
    with pytest.raises(ValueError, match="repetition_penalty: token 9"):
        processed_logits([9], repetition_penalty=1.1)
    with pytest.raises(ValueError, match="history contains -3"):
        RowState(SamplerConfig(), [1, -3])


def test_a_plain_history_is_the_answer():
    config = SamplerConfig(presence_penalty=1)
    assert torch.equal(
        next_token_probs(LOGITS, [config], [[0, 1]]),
        next_token_probs(LOGITS, [config], [RowState(config, answer=[0, 1])]),
    )
    with pytest.raises(ValueError, match="history has 2 rows: expected 1"):
        next_token_probs(LOGITS, [config], [[0], [1]])
