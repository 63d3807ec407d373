"""Sweeps through the real engine on the toy, and passages under the model that wrote."""

from __future__ import annotations

import time

import pytest

from llm_core import Engine, GenerationRequest, ModelStore, NucleusError, PromptSpec, SampleRequest
from llm_core.analysis.reference_texts import REFERENCE_TEXTS, score_continuation, score_reference_texts
from llm_core.analysis.text_metrics import STATISTICS, make_text_sample
from llm_core.experiments.sweep import MAX_GRID_POINTS, Axis, Sweep, expand_grid, replace_settings
from llm_core.generation import record as generation_record
from samplers import SamplerConfig
from tests.support.toy_model import toy_model

REQUEST = GenerationRequest("toy", PromptSpec("Hello"), (SampleRequest(SamplerConfig(seed=5), 16),))
AXES = (Axis("temperature", (0.5, 1.0)), Axis("top_k", (2, 8, 0)))


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(ModelStore(loader=lambda model_id, report: toy_model()))


def run_sweep(sweep: Sweep, until=lambda sweep: sweep.finished) -> Sweep:
    give_up = time.monotonic() + 30
    while not until(sweep) and time.monotonic() < give_up:
        sweep.advance()
        time.sleep(0.002)
    assert until(sweep)
    return sweep


def test_a_grid_has_every_combination_and_names_a_bad_value():
    points = expand_grid(SamplerConfig(min_p=0.1), AXES)
    assert list(points) == [(t, k) for t in (0.5, 1.0) for k in (2, 8, 0)]
    assert points[0.5, 8] == SamplerConfig(min_p=0.1, temperature=0.5, top_k=8)
    with pytest.raises(NucleusError) as refused:
        replace_settings(SamplerConfig(), {"top_p": 1.5})
    assert refused.value.details["field"] == "top_p"
    assert replace_settings(SamplerConfig(), {"top_k": 3.0}).top_k == 3
    for value in (2.5, float("nan"), float("inf")):
        with pytest.raises(NucleusError):
            replace_settings(SamplerConfig(), {"top_k": value})


def test_every_place_has_its_own_settings_and_all_share_the_seeds(engine):
    sweep = run_sweep(Sweep(engine.submit, REQUEST, expand_grid(SamplerConfig(), AXES), 3))
    assert len(sweep.texts) == 18
    for place, sampler in sweep.points.items():
        texts = sweep.texts_at(place)
        for name, compute in STATISTICS.items():
            assert sweep.statistic(place, name) == compute(texts)
        alone = engine.submit(
            GenerationRequest("toy", REQUEST.prompt, (SampleRequest(replace_settings(sampler, {"seed": 6}), 16),))
        )
        assert alone.wait(30)
        assert texts[1] == make_text_sample(alone.samples[0].events())


def test_stopping_keeps_texts_and_resuming_asks_only_for_the_rest(engine):
    sent = []

    def submit(request):
        sent.append(request)
        return engine.submit(request)

    sweep = run_sweep(
        Sweep(submit, REQUEST, expand_grid(SamplerConfig(), AXES), 40), lambda sweep: len(sweep.texts) > 3
    )
    sweep.stop()
    kept, count = dict(sweep.texts), len(sent)
    sweep.advance()
    assert len(sent) == count
    assert sweep.texts == kept
    sweep.resume()
    run_sweep(sweep)
    assert len(sweep.texts) == 240
    assert all(sweep.texts[place] is text for place, text in kept.items())
    finished_before = {(sweep.points[place], item) for place, item in kept}
    again = [(request.samples[0].sampler, request.samples[0].sampler.seed - 5) for request in sent[count:]]
    assert not {(replace_settings(sampler, {"seed": 0}), item) for sampler, item in again} & finished_before


def test_a_sweep_whose_page_was_left_goes_on_when_somebody_comes_back(engine, monkeypatch):
    sweep = Sweep(engine.submit, REQUEST, expand_grid(SamplerConfig(), AXES), 2)
    with monkeypatch.context() as nobody:
        nobody.setattr(generation_record, "ABANDONED_AFTER_SECONDS", -1.0)
        sweep.advance()
        for technique_run in sweep._active.values():
            assert technique_run.main.wait(30)
            assert technique_run.main.error.code == "run_abandoned"
    run_sweep(sweep)
    assert len(sweep.texts) == 12
    assert not [cell.error for cell in sweep.cells.values() if cell.error]


def test_figures_follow_the_texts_that_come_in(engine):
    sweep = Sweep(engine.submit, REQUEST, expand_grid(SamplerConfig(), AXES[:1]), 4)
    assert sweep.statistic((0.5,), "length") is None
    run_sweep(sweep, lambda sweep: len(sweep.texts_at((0.5,))) >= 1)
    early = sweep.statistic((0.5,), "self_bleu") if len(sweep.texts_at((0.5,))) == 1 else None
    run_sweep(sweep)
    assert early is None
    assert sweep.statistic((0.5,), "self_bleu") is not None
    assert len(sweep.statistics_by_seed((0.5,), "perplexity")) == 4


def test_too_large_a_sweep_is_refused(engine):
    many = expand_grid(SamplerConfig(), [Axis("top_k", tuple(range(MAX_GRID_POINTS + 1)))])
    for points, seeds in ((many, 1), (expand_grid(SamplerConfig(), AXES), 0), ({}, 1)):
        with pytest.raises(NucleusError):
            Sweep(engine.submit, REQUEST, points, seeds)


def test_scoring_a_text_gives_what_the_run_that_wrote_it_recorded(engine):
    done = engine.submit(REQUEST)
    assert done.wait(30)
    events = done.samples[0].events()
    prompt = list(done.rendered.token_ids)
    own = score_continuation(toy_model(), [*prompt, *(event.token_id for event in events)], given=len(prompt))
    recorded = make_text_sample(events)
    assert own.tokens == recorded.tokens
    assert own.logprobs == pytest.approx(recorded.logprobs, abs=1e-4)
    assert own.entropies == pytest.approx(recorded.entropies, abs=1e-4)


def test_passages_are_scored_after_their_opening(builtin):
    texts = score_reference_texts(builtin)
    assert texts.keys() == REFERENCE_TEXTS.keys()
    for name, text in texts.items():
        assert REFERENCE_TEXTS[name].endswith(text.text.strip())
        assert len(text.tokens) == len(text.logprobs) == len(text.entropies) > 80
    assert STATISTICS["perplexity"]([texts["declaration"]]) < 0.3 * STATISTICS["perplexity"]([texts["origin"]])
