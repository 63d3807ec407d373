"""The trace says what happened: checked by hand and against the full distributions; it keeps, packs and unpacks."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import torch

from samplers import (
    RowState,
    SamplerChain,
    SamplerConfig,
    StepTrace,
    pack_traces,
    summarize,
    trace_codec,
    unpack_traces,
    vocabulary_snapshot,
)
from samplers.shortlist import scatter_to_vocabulary
from tests.samplers.test_chain import make_states, random_logits

LOGITS = torch.tensor([[0.5, 0.25, 0.15, 0.1]]).log()


def make_trace(config: SamplerConfig, token_id: int, logits: torch.Tensor = LOGITS, also=(), **options) -> StepTrace:
    recording: list = []
    SamplerChain([config]).probs(logits, None, recording)
    return summarize(recording, [token_id], also=[also], **options)[0]


def test_each_stage_by_hand():
    step = make_trace(SamplerConfig(temperature=0.5, top_k=3, top_p=0.8), token_id=1)
    assert [stage.name for stage in step.stages] == ["raw", "temperature", "top_k", "top_p"]
    assert [stage.kept for stage in step.stages] == [4, 4, 3, 2]
    assert [stage.kept_mass for stage in step.stages] == pytest.approx([1, 1, 0.9, 0.75])
    assert step.raw.entropy_bits == pytest.approx(-sum(p * math.log2(p) for p in (0.5, 0.25, 0.15, 0.1)), abs=1e-5)
    assert step.final.entropy_bits == pytest.approx(-0.8 * math.log2(0.8) - 0.2 * math.log2(0.2), abs=1e-5)
    assert [math.exp(x) for x in step.final.logprobs] == pytest.approx([0.8, 0.2, 0, 0], abs=1e-6)
    assert (step.rank, step.surprisal_bits) == (2, pytest.approx(2))
    assert step.residual == pytest.approx(0, abs=1e-6)


def test_self_certainty_is_kl_from_uniform_for_the_rows_that_want_it():
    probs = torch.tensor([[0.5, 0.25, 0.15, 0.1], [0.25] * 4, [0.5, 0.25, 0.15, 0.1], [0.5, 0.5, 0.0, 0.0]])
    recording: list = []
    SamplerChain([SamplerConfig(top_k=1)] * 4).probs(probs.log() + 3, None, recording)
    first, uniform, unasked, impossible = summarize(recording, [1, 0, 0, 0], n=2, certain=[True, True, False, True])
    kl = sum(0.25 * math.log(0.25 / p) for p in (0.5, 0.25, 0.15, 0.1))
    assert first.self_certainty == pytest.approx(kl, abs=1e-6)
    assert uniform.self_certainty == pytest.approx(0, abs=1e-6)
    assert unasked.self_certainty is impossible.self_certainty is None
    assert unpack_traces(pack_traces([first, unasked])) == [first, unasked]


@pytest.mark.parametrize("vocab", [200, 3000])
def test_every_number_of_a_mixed_batch_against_the_full_distributions(vocab):
    rows = make_states(40)
    logits = random_logits(40, vocab)
    recording: list = []
    SamplerChain([row.config for row in rows]).probs(logits, rows, recording)
    tokens = [(row * 13) % vocab for row in range(40)]
    traces = summarize(recording, tokens, n=7, also=[[row, 5] for row in range(40)])
    for row, (step, token) in enumerate(zip(traces, tokens, strict=True)):
        own = [
            (r.name, scatter_to_vocabulary(r.scores, vocab, -math.inf)[r.rows.index(row)])
            for r in recording
            if row in r.rows
        ]
        assert [stage.name for stage in step.stages] == ["raw", *rows[row].config.stages]
        raw = logits[row].softmax(-1)
        assert {token, row, 5, *torch.topk(raw, 7).indices.tolist()} == set(step.candidates)
        assert sorted(step.candidates, key=lambda i: -logits[row, i]) == list(step.candidates)
        assert step.rank == 1 + sum(logits[row] > logits[row, token])
        assert step.residual == pytest.approx(1 - float(raw[list(step.candidates)].sum()), abs=1e-5)
        for stage, (name, scores) in zip(step.stages, own, strict=True):
            full = torch.distributions.Categorical(logits=scores)
            assert stage.name == name
            assert stage.kept == int((scores > -math.inf).sum())
            assert stage.kept_mass == pytest.approx(float(raw[scores > -math.inf].sum()), abs=1e-5)
            assert stage.entropy_bits == pytest.approx(float(full.entropy()) / math.log(2), abs=1e-4)
            wanted = scores.log_softmax(-1)[list(step.candidates)].tolist()
            assert list(stage.logprobs) == pytest.approx(wanted, abs=1e-4)


def test_neutral_stages_leave_no_snapshot_even_beside_rows_that_use_them():
    recording: list = []
    chain = SamplerChain([SamplerConfig(), SamplerConfig(top_k=2), SamplerConfig(order="gemini", top_p=0.5)])
    chain.probs(LOGITS.repeat(3, 1), None, recording)
    steps = summarize(recording, [0, 0, 0])
    assert [[stage.name for stage in step.stages] for step in steps] == [["raw"], ["raw", "top_k"], ["raw", "top_p"]]


def test_candidates_are_the_likeliest_and_always_hold_the_chosen_and_the_asked_for():
    logits = torch.arange(100.0)[None] / 20
    step = make_trace(SamplerConfig(), token_id=3, logits=logits, n=5, also=[50, 99])
    assert list(step.candidates) == [99, 98, 97, 96, 95, 50, 3]
    assert step.rank == 97
    full = logits[0].log_softmax(-1)
    assert step.logprob == pytest.approx(float(full[3]), abs=1e-5)
    assert step.residual == pytest.approx(1 - float(full[list(step.candidates)].exp().sum()), abs=1e-5)


def test_the_whole_vocabulary_of_one_row_on_request():
    rows = [RowState(SamplerConfig()), RowState(SamplerConfig(temperature=0.5, top_k=3))]
    logits = random_logits(2, 3000)
    recording: list = []
    out = SamplerChain([row.config for row in rows]).logits(logits, rows, recording)
    snapshot = vocabulary_snapshot(recording, 1)
    assert [name for name, _ in snapshot.stages] == ["raw", "temperature", "top_k"]
    assert list(snapshot.stages[0][1]) == logits[1].tolist()
    assert list(snapshot.stages[2][1]) == out[1].tolist()
    assert len(vocabulary_snapshot(recording, 0).stages) == 1


def make_example_traces() -> list[StepTrace]:
    rows = make_states(20)
    recording: list = []
    SamplerChain([row.config for row in rows]).probs(random_logits(20, 3000), rows, recording)
    return summarize(recording, list(range(20)))


def test_packing_keeps_every_bit_in_a_few_hundred_bytes_a_step():
    traces = make_example_traces()
    packed = pack_traces(traces)
    assert unpack_traces(packed) == traces
    assert len(packed) / len(traces) < 700
    assert unpack_traces(pack_traces([])) == []


def test_a_trace_is_read_without_torch(tmp_path: Path):
    (tmp_path / "trace").write_bytes(pack_traces(make_example_traces()))
    code = (
        "import sys; from pathlib import Path; from samplers import unpack_traces; "
        f"steps = unpack_traces(Path({str(tmp_path / 'trace')!r}).read_bytes()); "
        "print(len(steps), round(steps[3].surprisal_bits, 6), 'torch' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["20", str(round(make_example_traces()[3].surprisal_bits, 6)), "False"]


def tamper(change) -> bytes:
    line, _, body = zlib.decompress(pack_traces(make_example_traces()[:2])).partition(b"\n")
    header = json.loads(line)
    body = change(header, body) or body
    return zlib.compress(json.dumps(header).encode() + b"\n" + body)


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"not zlib",
        zlib.compress(b""),
        zlib.compress(b"[]\n"),
        zlib.compress(b"{}\n"),
        zlib.compress(b'{"version":1,"steps":[[1,2]]}\n'),
        zlib.compress(b"[" * 100_000 + b"\n"),
        pack_traces(make_example_traces())[:-30],
        tamper(lambda header, body: header.update(version=2)),
        tamper(lambda header, body: body[:-4]),
        tamper(lambda header, body: body + b"\0"),
        tamper(lambda header, body: header["steps"][0].__setitem__(2, 10**9)),
        tamper(lambda header, body: header["steps"][0].__setitem__(2, -1)),
        tamper(lambda header, body: header["steps"][0].__setitem__(0, 10**6)),
        tamper(lambda header, body: header["steps"][0].__setitem__(3, [])),
        tamper(lambda header, body: header["steps"][0][3][0].__setitem__(1, None)),
    ],
)
def test_strangers_bytes_are_refused(packed):
    with pytest.raises(ValueError, match=r"^trace: not one that was packed here"):
        unpack_traces(packed)


def test_a_small_file_cannot_fill_the_memory(monkeypatch):
    packed = pack_traces(make_example_traces())
    monkeypatch.setattr(trace_codec, "MAX_TRACE_BYTES", 1000)
    with pytest.raises(ValueError, match="longer than 1000 bytes"):
        unpack_traces(packed)


def test_traces_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_example_traces()[0].rank = 3
