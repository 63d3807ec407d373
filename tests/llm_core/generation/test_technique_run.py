"""Techniques through the real engine on the toy: what is asked, in which steps, and what comes of it."""

from __future__ import annotations

import dataclasses
import time

import pytest

from llm_core import Engine, Example, GenerationRequest, ModelStore, NucleusError, PromptSpec, SampleRequest
from llm_core.experiments.study import GridExperiment
from llm_core.generation.technique_run import TechniqueRun, count_samples
from llm_core.prompts.extraction import Extraction
from llm_core.prompts.output_format import OutputFormat
from llm_core.prompts.spec import remove_control_characters
from samplers import SamplerConfig
from tests.support.toy_model import toy_model


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(ModelStore(loader=lambda model_id, report: toy_model()))


def make_request(spec: PromptSpec, tokens: int = 12) -> GenerationRequest:
    return GenerationRequest("toy", spec, (SampleRequest(SamplerConfig(seed=3), tokens),))


def wait_until_done(technique_run: TechniqueRun) -> TechniqueRun:
    assert technique_run.wait(30)
    return technique_run


def test_zero_shot_is_one_run(engine):
    technique_run = wait_until_done(TechniqueRun(engine.submit, make_request(PromptSpec("Hi", prefill="Well"))))
    assert len(technique_run.runs) == 1
    [outcome] = technique_run.outcomes
    assert outcome.text == "Well" + technique_run.runs[0].samples[0].text
    assert technique_run.tokens == len(technique_run.runs[0].samples[0].events())


def test_self_consistency_writes_chains_that_differ_and_votes(engine):
    spec = PromptSpec("Hi", technique="self_consistency", chains=4, extraction=Extraction("regex", "."))
    technique_run = wait_until_done(TechniqueRun(engine.submit, make_request(spec)))
    assert len(technique_run.main.samples) == len(technique_run.outcomes) == 4
    assert [row.request.sampler.seed for row in technique_run.main.samples] == [3, 4, 5, 6]
    assert len({outcome.text for outcome in technique_run.outcomes}) > 1
    assert sum(count for _, count in technique_run.votes) == sum(
        outcome.result is not None for outcome in technique_run.outcomes
    )
    assert technique_run.answer == technique_run.votes[0][0]


def test_step_back_puts_the_first_answer_into_the_context(engine):
    spec = PromptSpec("How hot?", technique="step_back", context="Known.")
    technique_run = wait_until_done(TechniqueRun(engine.submit, make_request(spec)))
    general, main = technique_run.runs
    assert spec.step_back_question in general.rendered.text
    assert "How hot?" in general.rendered.text
    assert remove_control_characters(general.samples[0].text).strip() in main.request.prompt.context
    assert main.request.prompt.context.startswith("Known.")
    assert technique_run.main is main


def test_reasoning_is_free_and_its_answer_is_held_to_the_format(engine):
    spec = PromptSpec("Hi", technique="chain_of_thought", output=OutputFormat("choice", ("yes", "no")))
    technique_run = wait_until_done(TechniqueRun(engine.submit, make_request(spec)))
    chain, final = technique_run.runs
    assert "step by step" in chain.rendered.text
    assert final.request.prompt.prefill.endswith("\nAnswer:")
    assert remove_control_characters(chain.samples[0].text).rstrip() in final.request.prompt.prefill
    assert technique_run.answer in ("yes", "no")


def test_a_free_answer_after_reasoning_goes_on_after_the_marker(engine):
    spec = PromptSpec("Hi", technique="self_consistency", chains=2, extraction=Extraction("marker", "Answer:"))
    technique_run = wait_until_done(TechniqueRun(engine.submit, make_request(spec)))
    chains, *finals = technique_run.runs
    assert len(finals) == 2
    for chain, final, outcome in zip(chains.samples, finals, technique_run.outcomes, strict=True):
        assert final.request.prompt.prefill == remove_control_characters(chain.text).rstrip() + "\nAnswer:"
        assert "\n" not in final.samples[0].text
        assert outcome.text == final.request.prompt.prefill + final.samples[0].text
        last_line = Extraction("last_line").extract(remove_control_characters(chain.text))
        assert outcome.result == (spec.extraction.extract(outcome.text) or last_line)


@pytest.mark.parametrize(
    ("output", "valid"),
    [
        (OutputFormat("choice", ("red", "green")), {"red", "green"}),
        (OutputFormat("json", schema='{"enum": ["a", 1]}'), {'"a"', "1"}),
    ],
)
def test_output_formats_are_enforced(engine, output, valid):
    spec = PromptSpec("Hi", output=output)
    technique_run = wait_until_done(TechniqueRun(engine.submit, make_request(spec)))
    assert technique_run.answer in valid


@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("failing", [{1}, {0, 1, 2}])
def test_a_chain_that_fails_spoils_no_other(engine, marked, failing):
    def submit(wanted: GenerationRequest):
        """With a setting that is refused once the model is known, in the first run."""
        rows = [
            dataclasses.replace(row, sampler=SamplerConfig(top_k=10**6))
            if len(wanted.samples) == 3 and n in failing
            else row
            for n, row in enumerate(wanted.samples)
        ]
        return engine.submit(dataclasses.replace(wanted, samples=tuple(rows)))

    extraction = Extraction("marker", "Answer:") if marked else Extraction()
    spec = PromptSpec("Hi", technique="self_consistency", chains=3, extraction=extraction)
    technique_run = wait_until_done(TechniqueRun(submit, make_request(spec)))
    if len(failing) == 3:
        assert technique_run.error.code == "top_k_above_vocabulary"
        assert not technique_run.outcomes
    else:
        assert technique_run.error is None
        assert [outcome.result is None for outcome in technique_run.outcomes] == [False, True, False]


def test_a_format_that_cannot_be_enforced_fails_that_run_only(engine):
    spec = PromptSpec("Hi", output=OutputFormat("json", schema='{"type": "nonsense"}'))
    bad = TechniqueRun(engine.submit, make_request(spec))
    good = TechniqueRun(engine.submit, make_request(PromptSpec("Hi")))
    assert wait_until_done(bad).error.code == "output_not_enforceable"
    assert wait_until_done(good).outcomes


def test_stop_ends_an_asking_between_its_steps(engine):
    technique_run = TechniqueRun(engine.submit, make_request(PromptSpec("Hi", technique="step_back"), tokens=100))
    technique_run.stop()
    wait_until_done(technique_run)
    assert len(technique_run.runs) == 1
    assert not technique_run.outcomes


def test_refusals_are_raised_at_once(engine):
    with pytest.raises(NucleusError):
        TechniqueRun(engine.submit, make_request(PromptSpec("")))


def test_study_stops_resumes_and_scores_every_cell_once(engine):
    request: list[tuple[str, int]] = []

    def ask(way: str, item: int) -> GenerationRequest:
        request.append((way, item))
        text = "" if item == 3 else f"Item {item}"
        return make_request(PromptSpec(text, system=way, output=OutputFormat("choice", ("yes", "no"))))

    study = GridExperiment(engine.submit, ("a", "b"), 5, ask, lambda item, answer: float(answer == "yes"))
    until = time.monotonic() + 30
    while not study.cells and time.monotonic() < until:
        study.advance()
    study.stop()
    kept = dict(study.cells)
    study.advance()
    assert study.cells == kept
    study.resume()
    while not study.finished and time.monotonic() < until:
        study.advance()
        time.sleep(0.005)
    assert set(study.cells) == {(way, item) for way in "ab" for item in range(5)}
    assert all(study.cells[place] is kept[place] for place in kept)
    assert not study.running
    for (_, item), cell in study.cells.items():
        assert (cell.error is not None) == (item == 3)
        assert cell.score == float(cell.answer == "yes")


def test_worked_examples_reach_the_model_as_turns_or_as_text(engine):
    spec = PromptSpec(
        "Add.", question="3+3", technique="few_shot_chain_of_thought", examples=(Example("1+1", "2", "one and one"),)
    )
    turns = wait_until_done(TechniqueRun(engine.submit, make_request(spec))).main.rendered.text
    assert "<|user|>Add.\n\n1+1<|end|><|assistant|>one and one\nAnswer: 2<|end|><|user|>3+3<|end|>" in turns
    inline = dataclasses.replace(spec, examples_as="text")
    text = wait_until_done(TechniqueRun(engine.submit, make_request(inline))).main.rendered.text
    assert "<|user|>Add.\n\nInput: 1+1\nOutput: one and one\nAnswer: 2\n\nInput: 3+3\nOutput:<|end|>" in text


@pytest.mark.parametrize(
    ("technique", "fields"),
    [
        ("zero_shot", {}),
        ("step_back", {"step_back_question": "What is this about?"}),
        ("self_consistency", {"chains": 3}),
        ("chain_of_thought", {"extraction": Extraction("marker", "Answer:"), "answer_marker": "Answer:"}),
    ],
)
def test_requests_are_counted_beforehand(engine, technique, fields):
    spec = PromptSpec("How many?", technique=technique, **fields)
    technique_run = TechniqueRun(engine.submit, GenerationRequest("toy", spec, (SampleRequest(SamplerConfig(), 4),)))
    assert technique_run.wait(30)
    assert sum(len(run.samples) for run in technique_run.runs) == count_samples(spec)
