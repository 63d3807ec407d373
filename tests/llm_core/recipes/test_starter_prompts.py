"""Every prompt of the gallery works as it stands, in both languages."""

from __future__ import annotations

import json

import pytest

from llm_core.errors import NucleusError
from llm_core.generation.request import GenerationRequest, SampleRequest
from llm_core.prompts.rendering import render
from llm_core.prompts.serialization import dump_prompt, load_prompt
from llm_core.prompts.spec import TECHNIQUES, PromptSpec
from llm_core.recipes.starter_prompts import _FOLDER, APPLICATION_IDS, StarterPrompt, load_applications
from samplers import SamplerConfig
from tests.support.toy_model import toy_model

ENTRIES = {f"{entry.application}/{entry.id}": entry for each in load_applications() for entry in each.entries}
each_entry = pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
MAX_TOKENS = {"en": 400, "vi": 600}
"""Of a prompt, for the built-in model, whose tokens for Vietnamese are short."""


def make_requests(entry: StarterPrompt) -> list[tuple[str, PromptSpec]]:
    return [(language, prompt) for language, spec in entry.prompts.items() for prompt in spec.variants()]


def test_every_application_and_every_technique():
    assert [each.id for each in load_applications()] == list(APPLICATION_IDS)
    assert {file.stem for file in _FOLDER.iterdir()} == set(APPLICATION_IDS)
    assert len(APPLICATION_IDS) == 17
    assert all(len(each.entries) >= 2 for each in load_applications())
    assert len(ENTRIES) == sum(len(each.entries) for each in load_applications())
    assert {entry.technique for entry in ENTRIES.values()} == set(TECHNIQUES)


def test_every_part_of_a_prompt_is_taught_somewhere():
    specs = [entry.prompts["en"] for entry in ENTRIES.values()]
    for part in (
        "system",
        "role",
        "context",
        "question",
        "examples",
        "prefill",
        "stop_sequences",
        "values",
        "document",
    ):
        assert any(getattr(spec, part) for spec in specs), part
    assert {spec.output.kind for spec in specs} == {"text", "choice", "json"}
    assert {spec.examples_as for spec in specs} == {"turns", "text"}


@pytest.mark.parametrize("application", load_applications(), ids=APPLICATION_IDS)
def test_applications_are_named_in_both_languages(application):
    assert application.title.keys() == {"en", "vi"}
    assert application.title["en"] != application.title["vi"]


@each_entry
def test_both_languages_say_something_of_their_own(entry):
    for texts in (entry.title, entry.teaches, entry.expect):
        assert texts.keys() == {"en", "vi"}
        assert all(len(text) > 3 and text == text.strip() for text in texts.values())
        assert texts["en"] != texts["vi"]
    english, vietnamese = entry.prompts["en"], entry.prompts["vi"]
    assert entry.prompts.keys() == {"en", "vi"}
    assert english.technique == vietnamese.technique
    assert english.instruction != vietnamese.instruction
    for one, other in zip(english.texts(), vietnamese.texts(), strict=True):
        assert bool(one[1]) == bool(other[1]), one[0]
    assert len(english.output.choices) == len(vietnamese.output.choices)


@each_entry
def test_variables_have_values_and_values_have_variables(entry):
    for spec in entry.prompts.values():
        assert all(row.keys() == set(spec.variables()) for row in spec.values)
        assert bool(spec.values) == bool(spec.variables())


@each_entry
def test_each_is_a_request_that_the_engine_takes(entry):
    for _, prompt in make_requests(entry):
        row = SampleRequest(SamplerConfig(**entry.sampler), entry.max_output_tokens, prompt.stop_sequences)
        GenerationRequest("builtin", prompt, (row,)).validate()
        assert 1 <= entry.max_output_tokens <= 200


@each_entry
def test_data_says_the_same(entry):
    for spec in entry.prompts.values():
        assert load_prompt(json.loads(json.dumps(dump_prompt(spec)))) == spec


@each_entry
def test_prompts_fit_a_small_model(entry, builtin):
    for language, prompt in make_requests(entry):
        rendered = render(prompt, builtin)
        assert len(rendered.token_ids) <= MAX_TOKENS[language]
        assert rendered.text.endswith(prompt.prefill)


@each_entry
def test_output_formats_can_be_enforced(entry, builtin):
    for _, prompt in make_requests(entry):
        constraint = prompt.output.constraint(builtin)
        assert (constraint is None) == (prompt.output.kind == "text")


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES.values() if entry.prompts["en"].output.kind == "choice"])
def test_examples_answer_with_one_of_the_choices(entry):
    for spec in entry.prompts.values():
        assert {example.output for example in spec.examples} <= set(spec.output.choices)


def test_choices_leave_room_for_the_longest(builtin):
    for entry in ENTRIES.values():
        for spec in entry.prompts.values():
            for choice in spec.output.choices:
                assert len(builtin.tokenizer(choice)["input_ids"]) < entry.max_output_tokens


def test_a_prompt_too_long_for_a_model_says_so():
    with pytest.raises(NucleusError) as caught:
        render(ENTRIES["question_answering/from_passages"].prompts["en"], toy_model())
    assert caught.value.code == "prompt_too_long"


def test_passages_come_from_the_document():
    entry = ENTRIES["question_answering/from_passages"]
    for language, spec in entry.prompts.items():
        assert 3 in [passage.number for passage in spec.retrieve_passages()], f"the passage that answers, in {language}"
