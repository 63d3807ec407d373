"""Rows in a batch: alone or together, cold or warm, whole or branched, the tokens are the same."""

from __future__ import annotations

import pytest
import torch

from llm_core import NucleusError, PromptSpec, SampleRequest
from llm_core.engine import batch as batch_module
from llm_core.engine.sequence import ActiveSequence
from llm_core.generation.record import SampleRecord
from llm_core.prompts.rendering import render
from samplers import SamplerConfig
from tests.support.batch_generation import generate, generate_all, make_batch, token_ids

TEXTS = ["Hi", "Hello there, how are you?", "Xin chào các bạn", "Hello there, how old are you?", "x" * 90]


def make_requests(model, rows: int = 10) -> list[tuple[tuple[int, ...], SampleRequest]]:
    """Rows that differ in prompt, settings and length, some with the same prompt."""
    configs = [
        SamplerConfig(seed=3),
        SamplerConfig(seed=4, temperature=0.7, top_k=20),
        SamplerConfig(temperature=0),
        SamplerConfig(seed=5, top_p=0.8, repetition_penalty=1.3),
        SamplerConfig(seed=6, mirostat_tau=3.0),
    ]
    prompts = [render(PromptSpec(text), model).token_ids for text in TEXTS]
    return [
        (prompts[row % len(prompts)], SampleRequest(configs[(row * 3) % len(configs)], 5 + 3 * (row % 7)))
        for row in range(rows)
    ]


def test_the_same_tokens_alone_together_shuffled_and_again(toy):
    rows = make_requests(toy)
    alone = [token_ids(generate(toy, ids, r.sampler, max_output_tokens=r.max_output_tokens)) for ids, r in rows]
    batch = make_batch(toy)
    cold = generate_all(batch, toy, rows)
    assert [token_ids(record) for record in cold] == alone
    warm = generate_all(batch, toy, rows[::-1])
    assert [token_ids(record) for record in warm[::-1]] == alone
    assert all(record.cached_tokens == len(ids) - 1 for (ids, _), record in zip(rows, warm[::-1], strict=True))


def test_rows_that_join_and_leave_midway_disturb_nobody(toy):
    rows = make_requests(toy)
    alone = [token_ids(generate(toy, ids, r.sampler, max_output_tokens=r.max_output_tokens)) for ids, r in rows]
    batch = make_batch(toy)
    records = []
    for step, (ids, request) in enumerate(rows):
        record = SampleRecord(request)
        batch.join(ActiveSequence(toy, ids, record))
        records.append(record)
        for _ in range(step % 3):
            batch.advance()
    while batch.sequences:
        batch.advance()
    assert [token_ids(record) for record in records] == alone


def test_a_long_prompt_is_read_in_parts_while_others_write(toy, monkeypatch):
    monkeypatch.setattr(batch_module, "PREFILL_CHUNK_TOKENS", 16)
    long_ids = render(PromptSpec("x" * 150), toy).token_ids
    alone = token_ids(generate(toy, long_ids, SamplerConfig(seed=2), max_output_tokens=6))
    batch = make_batch(toy)
    writer, reader = (
        SampleRecord(SampleRequest(SamplerConfig(seed=1), 40)),
        SampleRecord(SampleRequest(SamplerConfig(seed=2), 6)),
    )
    batch.join(ActiveSequence(toy, render(PromptSpec("Hi"), toy).token_ids, writer))
    batch.advance()
    batch.join(ActiveSequence(toy, long_ids, reader))
    meanwhile = 0
    while not reader.events():
        before = len(writer.events())
        batch.advance()
        meanwhile += len(writer.events()) - before
    assert meanwhile >= len(long_ids) // 16
    while batch.sequences:
        batch.advance()
    assert token_ids(reader) == alone


def test_what_rows_share_is_read_once_and_a_branch_reads_one_token(toy):
    ids = render(PromptSpec("y" * 60), toy).token_ids
    batch = make_batch(toy)
    read: list[int] = []
    prefill = batch.decoder.prefill
    batch.decoder.prefill = lambda chunk, cache, row: (read.append(len(chunk)), prefill(chunk, cache, row))[1]
    rows = [(ids, SampleRequest(SamplerConfig(seed=seed), 12)) for seed in range(8)]
    first = generate_all(batch, toy, rows)
    assert sum(read) == len(ids) - 1
    assert [record.cached_tokens for record in first] == [0] + [len(ids) - 1] * 7
    read.clear()
    begin = (*token_ids(first[2])[:7], 50)
    [branch] = generate_all(batch, toy, [(ids, SampleRequest(SamplerConfig(seed=2), 4, prefix_ids=begin))])
    assert branch.cached_tokens == len(ids) + 7  # everything but the token that is new
    assert read == []
    fresh = generate(toy, ids, SamplerConfig(seed=2), max_output_tokens=4, prefix_ids=begin)
    assert token_ids(branch) == token_ids(fresh)


def test_rows_whose_prompt_is_known_all_write_in_the_next_step(toy):
    ids = render(PromptSpec("Hello"), toy).token_ids
    batch = make_batch(toy)
    generate_all(batch, toy, [(ids, SampleRequest(SamplerConfig(), 1))])
    records = [SampleRecord(SampleRequest(SamplerConfig(seed=seed), 9)) for seed in range(4)]
    for record in records:
        batch.join(ActiveSequence(toy, ids, record))
    batch.advance()
    assert [len(record.events()) for record in records] == [1] * 4


def test_nothing_is_left_when_everybody_has_gone(toy):
    batch = make_batch(toy, prefix_bytes=0)
    generate_all(batch, toy, make_requests(toy))
    assert batch.sequences == []
    assert batch._cache.rows == batch._prefill_cache.rows == 0
    assert batch.active_bytes == 0
    assert batch.prefixes.nbytes == 0


def test_the_prefix_cache_forgets_what_was_used_longest_ago(toy):
    batch = make_batch(toy)
    prompts = [render(PromptSpec(letter * 40), toy).token_ids for letter in "abcdef"]
    generate_all(batch, toy, [(prompts[0], SampleRequest(SamplerConfig(), 2))])
    one = batch.prefixes.nbytes
    batch.prefixes.budget_bytes = 3 * one + one // 2
    for ids in (*prompts[1:3], prompts[0], *prompts[3:5]):
        generate_all(batch, toy, [(ids, SampleRequest(SamplerConfig(), 2))])
        assert batch.prefixes.nbytes <= batch.prefixes.budget_bytes
    known = {letter: batch.prefixes.longest(ids[:-1]) for letter, ids in zip("abcde", prompts, strict=False)}
    lengths = {letter: prefix.length if prefix else 0 for letter, prefix in known.items()}
    assert {letter for letter, length in lengths.items() if length == len(prompts[0]) - 1} == {"a", "d", "e"}


class RefusingConstraint:
    """A constraint that nothing can meet any more after two tokens."""

    def __init__(self, vocab: int) -> None:
        self._left = 2
        self._vocab = vocab

    def allowed(self) -> torch.Tensor:
        return torch.full((self._vocab,), self._left > 0)

    def accept(self, token_id: int) -> None:
        self._left -= 1


class FailingConstraint(RefusingConstraint):
    def accept(self, token_id: int) -> None:
        raise RuntimeError("bang")


@pytest.mark.parametrize(
    ("constraint", "code", "written"),
    [(RefusingConstraint, "sampler_failed", 2), (FailingConstraint, "engine_failed", 0)],
)
def test_a_row_that_fails_ends_alone(toy, constraint, code, written, caplog):
    ids = render(PromptSpec("Hi"), toy).token_ids
    alone = token_ids(generate(toy, ids, SamplerConfig(seed=1), max_output_tokens=9))
    batch = make_batch(toy)
    bad = SampleRecord(SampleRequest(SamplerConfig(seed=1), 9))
    bad.constraint = constraint(toy.vocab_size)
    good = SampleRecord(SampleRequest(SamplerConfig(seed=1), 9))
    for record in (good, bad):
        batch.join(ActiveSequence(toy, ids, record))
    while batch.sequences:
        batch.advance()
    assert isinstance(bad.error, NucleusError)
    assert bad.error.code == code
    assert len(bad.events()) == written
    assert token_ids(good) == alone
