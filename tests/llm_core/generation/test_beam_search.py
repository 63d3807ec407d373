"""Beam search through the real engine, against transformers' own on the toy."""

from __future__ import annotations

import time

import pytest
import torch

from llm_core import Engine, GenerationRequest, ModelStore, NucleusError, PromptSpec, SampleRequest
from llm_core.generation import beam_search as module
from llm_core.generation.beam_search import BeamRun, BeamSettings
from llm_core.prompts.rendering import render
from samplers import SamplerConfig
from tests.support.toy_model import toy_model

PROMPT = PromptSpec("Hello there")
REQUEST = GenerationRequest("toy", PROMPT, (SampleRequest(SamplerConfig()),))


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(ModelStore(loader=lambda model_id, report: toy_model()))


def run_search(engine: Engine, request: GenerationRequest = REQUEST, **settings) -> BeamRun:
    run = BeamRun(engine.submit, request, BeamSettings(**settings))
    assert run.wait(60)
    return run


@pytest.mark.parametrize(("beams", "length"), [(1, 8), (3, 12), (8, 20)])
def test_finds_what_transformers_finds(engine, toy, beams, length):
    ids = torch.tensor([render(PROMPT, toy).token_ids])
    theirs = toy.model.generate(
        ids, attention_mask=torch.ones_like(ids), num_beams=beams, do_sample=False, max_new_tokens=length
    )[0, ids.shape[1] :].tolist()
    run = run_search(engine, beams=beams, max_output_tokens=length)
    assert run.error is None
    assert list(run.finished[0].tokens) == theirs


def test_the_tree_has_the_pruned_hypotheses_and_the_text_of_every_node(engine, toy):
    run = run_search(engine, beams=3, max_output_tokens=6)
    first = [node for node in run.nodes if node.step == 0]
    assert [node.status for node in first] == ["kept"] * 3 + ["pruned"] * 3
    assert all(len([node for node in run.nodes if node.step == step]) >= 3 for step in range(6))
    best = run.finished[0]
    assert run.texts[best.node] == toy.decode(best.tokens)
    assert len(run.texts) == len(run.nodes)
    assert sum(node.status == "finished" for node in run.nodes) >= len(run.finished) == 3


def test_a_step_reads_only_the_newest_token_of_each_beam(engine):
    runs = []
    run = BeamRun(lambda request: runs.append(engine.submit(request)) or runs[-1], REQUEST, BeamSettings(3, 6))
    assert run.wait(60)
    assert len(runs) == 6
    prompt = len(runs[0].rendered.token_ids)
    for step, each in enumerate(runs[1:], start=1):
        assert [row.cached_tokens for row in each.samples] == [prompt + step - 1] * len(each.samples)


def test_stop_and_a_closed_tab_end_it_and_what_was_found_stays(engine, monkeypatch):
    run = BeamRun(engine.submit, REQUEST, BeamSettings(4, 64))
    while not run.nodes:
        time.sleep(0.001)
    run.stop()
    assert run.wait(30)
    assert run.nodes
    assert run.error is None
    monkeypatch.setattr(module, "ABANDONED_AFTER_SECONDS", 0.0)

    def slow(request):
        time.sleep(0.01)
        return stuck

    stuck = engine.submit(REQUEST)
    monkeypatch.setattr(stuck, "wait", lambda timeout: False)
    abandoned = BeamRun(slow, REQUEST, BeamSettings(2, 4))
    until = time.monotonic() + 30
    while abandoned.active and time.monotonic() < until:
        time.sleep(0.01)
    assert not abandoned.active


@pytest.mark.parametrize("settings", [{"beams": 0}, {"beams": 9}, {"max_output_tokens": 65}, {"length_penalty": 11}])
def test_settings_out_of_range_are_named(engine, settings):
    with pytest.raises(NucleusError) as caught:
        BeamRun(engine.submit, REQUEST, BeamSettings(**settings))
    assert caught.value.details["field"] == next(iter(settings))


def test_a_prompt_that_cannot_be_asked_is_the_searchs_error(engine):
    run = run_search(engine, GenerationRequest("toy", PromptSpec("x" * 300), REQUEST.samples))
    assert run.error.code == "prompt_too_long"
    assert (run.nodes, run.finished) == ([], [])
