"""What holds for every stage: rows are alone with their settings, inputs stay, bad logits are refused."""

from __future__ import annotations

import math

import pytest
import torch

from samplers import ORDERS, STAGE_NAMES, RowState, SamplerChain, SamplerConfig, draw, next_token_probs
from samplers.stages import STAGES

ACTIVE: dict[str, dict] = {
    "logit_bias": {"logit_bias": {3: 2.0, 5: -2.0}},
    "repetition_penalty": {"repetition_penalty": 1.3},
    "presence_penalty": {"presence_penalty": 0.7},
    "frequency_penalty": {"frequency_penalty": 0.7},
    "no_repeat_ngram": {"no_repeat_ngram_size": 2},
    "dry": {"dry_multiplier": 1.0},
    "banned_tokens": {"banned_tokens": (1, 2)},
    "min_new_tokens": {"min_new_tokens": 9},
    "temperature": {"temperature": 0.6},
    "top_k": {"top_k": 9},
    "top_p": {"top_p": 0.8},
    "min_p": {"min_p": 0.1},
    "typical_p": {"typical_p": 0.8},
    "epsilon_cutoff": {"epsilon_cutoff": 0.01},
    "eta_cutoff": {"eta_cutoff": 0.01},
    "top_n_sigma": {"top_n_sigma": 1.5},
    "xtc": {"xtc_probability": 0.9, "xtc_threshold": 0.05},
    "mirostat": {"mirostat_tau": 2.0},
}
VOCAB = 200
PROMPT, ANSWER = [1, 7, 3, 9, 1, 7, 3], [4, 9, 1, 7]


def make_states(rows: int) -> list[RowState]:
    """Rows that use every stage alone, in pairs and all together."""
    names = list(ACTIVE)
    configs = []
    for row in range(rows):
        fields: dict = {"seed": row, "order": list(ORDERS)[row % 3]}
        chosen = names if row % 7 == 6 else [names[row % len(names)], names[(row * 5) % len(names)]]
        for name in chosen if row % 11 != 10 else []:
            fields |= ACTIVE[name]
        configs.append(SamplerConfig(**fields))
    return [RowState(config, PROMPT, ANSWER[: row % 5], end_ids=[2, 8]) for row, config in enumerate(configs)]


def sample_tokens(logits: torch.Tensor, rows: list[RowState]) -> list[int]:
    return SamplerChain([row.config for row in rows]).sample(logits, rows).tokens


def random_logits(rows: int, vocab: int = VOCAB) -> torch.Tensor:
    return torch.randn(rows, vocab, generator=torch.Generator().manual_seed(2)) * 3


def test_every_stage_is_covered_here_and_does_something():
    assert list(ACTIVE) == list(STAGE_NAMES)
    logits = random_logits(1)
    for name, fields in ACTIVE.items():
        row = RowState(SamplerConfig(**fields), PROMPT, ANSWER, end_ids=[2, 8])
        assert row.config.stages == (name,)
        recording: list = []
        out = SamplerChain([row.config]).logits(logits, [row], recording)
        assert not torch.equal(out, logits), name
        assert [recorded.name for recorded in recording] == ["raw", name]


def test_a_row_alone_in_a_batch_and_shuffled_gives_the_same_bits_and_tokens():
    rows = make_states(60)
    logits = random_logits(60)
    configs = [row.config for row in rows]
    together = next_token_probs(logits, configs, rows)
    tokens = sample_tokens(logits, rows)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(9)).tolist()
    shuffled = [rows[row] for row in order]
    assert torch.equal(next_token_probs(logits[order], [row.config for row in shuffled], shuffled), together[order])
    assert sample_tokens(logits[order], shuffled) == [tokens[row] for row in order]
    for row in range(60):
        alone = next_token_probs(logits[row : row + 1], [configs[row]], [rows[row]])
        assert torch.equal(alone[0], together[row]), configs[row]
        assert sample_tokens(logits[row : row + 1], [rows[row]]) == [tokens[row]]


@pytest.mark.parametrize("vocab", [VOCAB, 5000])
def test_inputs_rows_and_global_random_state_stay_as_they_were(vocab):
    rows = make_states(36)
    logits = random_logits(36, vocab)
    before, random = logits.clone(), torch.get_rng_state()
    past = [(row.prompt, list(row.answer), row.surprise_limit) for row in rows]
    recording: list = []
    chain = SamplerChain([row.config for row in rows])
    probs = chain.probs(logits, rows, recording)
    kept = [recorded.scores.logits.clone() for recorded in recording]
    sample_tokens(logits, rows)
    assert torch.equal(logits, before)
    assert torch.equal(torch.get_rng_state(), random)
    assert [(row.prompt, row.answer, row.surprise_limit) for row in rows] == past
    assert all(torch.equal(recorded.scores.logits, copy) for recorded, copy in zip(recording, kept, strict=True))
    assert torch.equal(chain.probs(logits, rows), probs), "recording changes no result"
    assert probs.sum(-1).tolist() == pytest.approx([1.0] * 36, abs=1e-5)


@pytest.mark.parametrize("vocab", [VOCAB, 5000])
def test_sampling_draws_from_the_probabilities_it_reports(vocab):
    rows = make_states(60)
    logits = random_logits(60, vocab)
    configs = [row.config for row in rows]
    probs = next_token_probs(logits, configs, rows)
    drawn = SamplerChain(configs).sample(logits, rows)
    assert drawn.tokens == draw(probs, [config.seed for config in configs], [row.step for row in rows]).tolist()
    wanted = probs[range(60), drawn.tokens].tolist()
    assert drawn.probabilities == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 0},
        {"top_k": 9},
        {"top_k": 64, "top_p": 0.7, "temperature": 0.5},
        {"temperature": 0, "top_k": 50},
    ],
)
def test_short_rows_keep_what_whole_rows_keep(fields):
    """With ties across the shortlist's edge, most of a row impossible, and vocabularies around its width."""
    for vocab in (1, 2, 8, 9, 10, 16, 17, 63, 64, 65, 66, 127, 128, 129, 3000):
        logits = random_logits(4, vocab)
        logits[0] = logits[0].bfloat16().float()
        logits[1] = logits[1].round()
        logits[2] = 0.0
        logits[3, vocab // 3 + 1 :] = -math.inf
        config = SamplerConfig(**fields)
        stepwise = logits
        for name in config.stages:
            stepwise = STAGES[name](stepwise, [RowState(config)] * 4)
        out = SamplerChain([config] * 4).logits(logits)
        assert torch.equal(out, stepwise)


def test_neutral_rows_come_back_bit_for_bit():
    logits = random_logits(3)
    mixed = SamplerChain([SamplerConfig(top_k=5, top_p=0.7), SamplerConfig(), SamplerConfig(temperature=0)])
    assert torch.equal(mixed.logits(logits)[1], logits[1])
    assert torch.equal(next_token_probs(logits, [SamplerConfig()] * 3), logits.softmax(-1))


@pytest.mark.parametrize("name", ACTIVE)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_come_out_as_float32(name, dtype):
    logits = random_logits(1).to(dtype)
    row = RowState(SamplerConfig(**ACTIVE[name]), PROMPT, ANSWER, end_ids=[2, 8])
    out = next_token_probs(logits, [row.config], [row])
    assert out.dtype == torch.float32
    assert torch.equal(out, next_token_probs(logits.float(), [row.config], [row]))


@pytest.mark.parametrize("name", ACTIVE)
def test_level_rows_and_rows_with_one_possible_token_keep_something(name):
    only = torch.full((VOCAB,), -math.inf)
    only[7] = -3.0
    logits = torch.stack([torch.zeros(VOCAB), torch.full((VOCAB,), -1e30), only])
    rows = [RowState(SamplerConfig(**ACTIVE[name]), PROMPT, ANSWER, end_ids=[2, 8]) for _ in range(3)]
    probs = next_token_probs(logits, [row.config for row in rows], rows)
    assert probs.isfinite().all()
    assert probs.sum(-1).tolist() == pytest.approx([1, 1, 1], abs=1e-4)
    assert probs[2, 7] == 1


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (torch.tensor([[0.0, math.nan]]), "row 0 has a NaN"),
        (torch.tensor([[0.0, math.inf]]), r"row 0 has \+inf"),
        (torch.tensor([[-math.inf, -math.inf]]), "no token above -inf"),
        (torch.zeros(2, 2), "shape"),
        (torch.zeros(1, 0), "shape"),
        (torch.zeros(2), "shape"),
        (torch.zeros(1, 2, dtype=torch.int64), "floating"),
    ],
)
def test_unusable_logits_are_refused(bad, words):
    with pytest.raises(ValueError, match=words):
        next_token_probs(bad, [SamplerConfig()])


def test_rows_must_belong_to_the_chain():
    with pytest.raises(ValueError, match="expected one a config"):
        SamplerChain([SamplerConfig()]).logits(torch.zeros(1, 3), [RowState(SamplerConfig(top_k=1))])
    with pytest.raises(ValueError, match="expected one SamplerConfig a row"):
        SamplerChain([])


class OnlyTokens:
    """A constraint to some tokens."""

    def __init__(self, *tokens: int, vocab: int = 4) -> None:
        self.mask = torch.zeros(vocab, dtype=torch.bool)
        self.mask[list(tokens)] = True
        self.taken: list[int] = []

    def allowed(self) -> torch.Tensor:
        return self.mask

    def accept(self, token_id: int) -> None:
        self.taken.append(token_id)


def test_a_constraint_runs_before_every_order_and_only_on_its_rows():
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0]] * 3)
    config = SamplerConfig(top_k=2, logit_bias={0: 50}, order=("top_k", "logit_bias"))
    free, held = RowState(config), RowState(config, constraint=OnlyTokens(1, 2, 3))
    greedy = RowState(SamplerConfig(temperature=0), constraint=OnlyTokens(3))
    recording: list = []
    out = SamplerChain([config, config, greedy.config]).logits(logits, [free, held, greedy], recording)
    possible = [{token for token in range(4) if row[token] > -math.inf} for row in out]
    assert possible == [{0, 1}, {1, 2}, {3}]
    assert [(r.name, r.rows) for r in recording] == [
        ("raw", (0, 1, 2)),
        ("constraint", (1, 2)),
        ("top_k", (0, 1)),
        ("logit_bias", (0, 1)),
        ("temperature", (2,)),
    ]
    held.accept(2, 0.5)
    assert held.constraint.taken == [2]
    for broken, words in ((OnlyTokens(), "leaves no possible token"), (OnlyTokens(1, vocab=5), "expected a mask of")):
        with pytest.raises(ValueError, match=f"constraint of row 0.*{words}"):
            SamplerChain([config]).logits(logits[:1], [RowState(config, constraint=broken)])
