"""The Lens on the likeliest tokens alone, against the truth over the whole vocabulary."""

from __future__ import annotations

import math

import pytest
import torch

from llm_core.analysis.partial_inspector import PartialStepInspector, make_partial_inspector
from llm_core.analysis.step_inspector import FullStepInspector, draw_many
from llm_core.errors import NucleusError
from llm_core.generation.record import Run, TokenEvent
from llm_core.generation.request import GenerationRequest, SampleRequest
from llm_core.prompts.spec import PromptSpec
from samplers import SamplerChain, SamplerConfig, summarize

CONFIGS = [
    {},
    {"temperature": 0},
    {"temperature": 0.6, "top_k": 12, "top_p": 0.9},
    {"temperature": 1.7, "top_p": 0.85},
    {"temperature": 1.4, "top_k": 60, "top_p": 0.97, "order": "llama_cpp"},
    {"min_p": 0.03, "temperature": 1.3},
    {"presence_penalty": 1.5, "frequency_penalty": 0.5, "top_p": 0.9},
]
ANSWER = (3, 4, 3)
LOOSE = 2e-4


def make_inspectors(
    vocabulary: int, spread: float, seed: int, told: bool = True
) -> tuple[FullStepInspector, PartialStepInspector]:
    """The same step with all its logits and with the twenty likeliest."""
    logits = torch.randn(vocabulary, generator=torch.Generator().manual_seed(seed)) * spread
    top = logits.log_softmax(-1).topk(20)
    known = dict(zip(top.indices.tolist(), top.values.tolist(), strict=True))
    lens = PartialStepInspector(known, 20, answer=ANSWER, vocabulary=vocabulary if told else None)
    return FullStepInspector(logits, answer=ANSWER), lens


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize(("vocabulary", "spread"), [(60, 1.0), (3000, 1.5), (3000, 4.0)])
def test_at_every_stage_the_truth_lies_within_the_bounds(config, told, vocabulary, spread):
    sampler = SamplerConfig(**config)
    for seed in range(5):
        full, partial = make_inspectors(vocabulary, spread, seed, told)
        truth, shown = full.inspect(sampler), partial.inspect(sampler)
        assert [stage.name for stage in truth.stages] == [stage.name for stage in shown.stages]
        for true, stage in zip(truth.stages, shown.stages, strict=True):
            ids = list(stage.ids)
            for token, probability in zip(ids, stage.probabilities(ids), strict=True):
                assert abs(probability - true.probability(token)) <= stage.error_bound + LOOSE
            others = sorted(set(range(vocabulary)) - set(ids))
            mass = sum(true.probabilities(others))
            assert abs(stage.unseen.mass - mass) <= stage.unseen.mass_bound + LOOSE
            assert max(true.probabilities(others)) <= stage.unseen.ceiling + LOOSE
        assert shown.raw.error_bound == shown.raw.unseen.mass_bound == 0
        assert shown.raw.entropy_bits - 1e-3 <= truth.raw.entropy_bits <= shown.raw.unseen.max_entropy_bits + 1e-3


def test_by_hand():
    known = {7: math.log(0.5), 9: math.log(0.2), 4: math.log(0.1)}
    view = PartialStepInspector(known, 3, vocabulary=1000).inspect(SamplerConfig(top_k=2))
    assert view.raw.unseen.mass == pytest.approx(0.2)
    assert view.raw.unseen.ceiling == pytest.approx(0.1, rel=1e-3)
    assert view.likeliest(2, also=[4]) == [7, 4]
    final = view.final
    assert [final.probability(token) for token in (7, 9, 4)] == pytest.approx([5 / 7, 2 / 7, 0])
    assert (final.kept, final.removed, final.removed_mass) == (2, 1, pytest.approx(0.3))
    assert (final.error_bound, final.unseen.possible) == (pytest.approx(0, abs=1e-6), False)
    assert (final.best, final.possible, final.rank(9)) == (7, frozenset({7, 9}), 2)
    assert [(each.probability, each.rank) for each in view.trace_token(None)] == [
        (pytest.approx(0.1, rel=1e-3), 4),
        (0, None),
    ]
    with pytest.raises(ValueError, match="not in"):
        final.probability(1)


def test_draws_count_the_unseen_together():
    known = {7: math.log(0.5), 9: math.log(0.2), 4: math.log(0.1)}
    drawn = draw_many(PartialStepInspector(known, 3, vocabulary=1000).inspect(SamplerConfig()).final, 10_000, seed=2)
    assert drawn.token_ids == (7, 9, 4)
    assert drawn.expected == pytest.approx([5000, 2000, 1000, 2000], rel=1e-3)
    assert drawn.fit.p > 0.001


def test_texts_are_found_among_the_shown_tokens():
    labels = {7: " Paris", 9: " Par", 4: "\n", 5: " "}
    lens = PartialStepInspector(dict.fromkeys(labels, -2.0), 4, label=labels.__getitem__)
    assert [(each.text, each.token_id, each.begins) for each in lens.find("Paris")] == [
        ("Paris", None, False),
        (" Paris", 7, False),
    ]
    assert lens.find("Parma")[1][1:] == (9, (), True)
    assert [each.token_id for each in lens.find("Rome")] == [None, None], "a lone space says nothing of the word"
    assert lens.find("") == []


def test_stages_without_a_bound_are_named():
    lens = PartialStepInspector({7: math.log(0.5), 9: math.log(0.2)}, 2)
    config = SamplerConfig(typical_p=0.9, repetition_penalty=1.2, presence_penalty=-1, top_p=0.9)
    assert lens.unbounded_stages(config) == ("repetition_penalty", "presence_penalty", "typical_p")
    view = lens.inspect(config)
    assert view.raw.error_bound == 0
    assert view.final.error_bound == 1
    assert lens.unbounded_stages(SamplerConfig(temperature=2, top_k=3)) == ()
    constrained = PartialStepInspector({7: math.log(0.5)}, 1, constrained=True).inspect(SamplerConfig(temperature=2))
    assert [stage.error_bound for stage in constrained.stages] == [0, 1]


def test_from_an_event_of_a_hosted_answer():
    recording: list = []
    SamplerChain([SamplerConfig()]).probs(torch.tensor([[0.5, 0.3, 0.2]]).log(), None, recording)
    [trace] = summarize(recording, [0])
    run = Run(GenerationRequest("openai:sea", PromptSpec("Hi"), (SampleRequest(SamplerConfig()),)))
    run.labels |= {0: "the", 1: " sea"}
    events = [TokenEvent(1, " sea", " sea", None, 0.0), TokenEvent(0, "the", "the", trace, 0.0)]
    lens = make_partial_inspector(run, events, 1, vocabulary=3)
    assert lens.inspect(SamplerConfig()).raw.likeliest(3) == [0, 1, 2]
    assert lens.find("sea")[1].token_id == 1
    assert lens.draw_token(lens.inspect(SamplerConfig()), 1) is None
    with pytest.raises(NucleusError) as caught:
        make_partial_inspector(run, events, 0)
    assert caught.value.code == "lens_without_logprobs"
