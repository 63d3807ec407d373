"""What the model receives, and what is refused before it does."""

from __future__ import annotations

import dataclasses

import pytest

from llm_core import Example, NucleusError, PromptSpec
from llm_core.prompts.extraction import Extraction
from llm_core.prompts.output_format import OutputFormat
from llm_core.prompts.rendering import render
from llm_core.prompts.spec import MAX_CHARACTERS, TECHNIQUES
from tests.support.toy_model import CONTEXT_WINDOW, toy_model, toy_tokenizer


def refusal_code(spec: PromptSpec) -> NucleusError:
    with pytest.raises(NucleusError) as caught:
        render(spec, toy_model())
    return caught.value


def test_chat_template_is_applied(toy):
    rendered = render(PromptSpec("Hi", system="Be brief"), toy)
    assert rendered.text == "<|system|>Be brief<|end|><|user|>Hi<|end|><|assistant|>"
    assert toy.tokenizer.decode(rendered.token_ids) == rendered.text
    assert rendered.token_ids[0] == toy.tokenizer.convert_tokens_to_ids("<|system|>")


def test_a_base_model_gets_plain_text():
    base = toy_model(chat=False)
    assert render(PromptSpec("Once upon", system="A tale."), base).text == "A tale.\n\nOnce upon"
    assert render(PromptSpec("Once upon"), base).text == "Once upon"


def test_a_template_without_system_role_gets_it_in_front_of_the_instruction(toy):
    tokenizer = toy_tokenizer()
    tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "{% for m in messages %}[{{ m['content'] }}]{% endfor %}"
    )
    model = dataclasses.replace(toy, tokenizer=tokenizer)
    assert render(PromptSpec("Hi", system="Be brief"), model).text == "[Be brief\n\nHi]"


@pytest.mark.parametrize("text", ["", "   ", "\n\t "])
def test_empty(text):
    assert refusal_code(PromptSpec(text)).code == "prompt_empty"


@pytest.mark.parametrize("character", ["\x00", "\x07", "\x1b", "\x7f", "\x9b"])
def test_control_characters_are_named_with_their_place(character):
    error = refusal_code(PromptSpec(f"ab{character}c"))
    assert error.code == "prompt_control_character"
    assert error.details["position"] == 3
    assert f"U+{ord(character):04X}" in str(error)
    assert refusal_code(PromptSpec("fine", system=character)).details["field"] == "system"


def test_line_breaks_tabs_and_vietnamese_are_fine(toy):
    text = "Dòng một\r\n\tdòng hai 😀"
    assert text in render(PromptSpec(text), toy).text


def test_a_megabyte_is_refused_before_it_is_tokenised():
    error = refusal_code(PromptSpec("x" * 2**20))
    assert (error.code, error.details["limit"]) == ("prompt_too_large", MAX_CHARACTERS)


def test_longer_than_the_context_window():
    error = refusal_code(PromptSpec("x" * CONTEXT_WINDOW))
    assert error.code == "prompt_too_long"
    assert error.details["limit"] == CONTEXT_WINDOW


def test_the_length_error_says_how_much_and_where():
    spec = PromptSpec("Sum it up.", context="y" * CONTEXT_WINDOW, system="Be brief")
    error = refusal_code(spec)
    assert error.details["field"] == "context"
    assert error.details["over"] == error.details["tokens"] - CONTEXT_WINDOW + 1
    shorter = dataclasses.replace(spec, context="y" * (CONTEXT_WINDOW - error.details["over"]))
    assert len(render(shorter, toy_model()).token_ids) == CONTEXT_WINDOW - 1


def test_every_token_knows_its_part(toy):
    spec = PromptSpec(
        "Add.",
        system="Rules",
        role="You count.",
        context="Known",
        question="3+3",
        technique="few_shot",
        examples=(Example("1+1", "2"),),
        prefill="It is",
    )
    for style in ("turns", "text"):
        rendered = render(dataclasses.replace(spec, examples_as=style), toy)
        assert "".join(rendered.text[span.start : span.stop] for span in rendered.spans) == rendered.text
        assert sum(rendered.tokens_by_part.values()) == len(rendered.token_ids) == len(rendered.token_parts)
        texts = {}
        for span in rendered.spans:
            texts[span.part] = texts.get(span.part, "") + rendered.text[span.start : span.stop]
        assert texts["role"].strip() == "You count."
        assert texts["context"].strip() == "Known"
        assert "1+1" in texts["examples"]
        assert "3+3" in texts["question"]
        assert texts["prefill"] == "It is"
        assert set("".join(texts["template"])) <= set("<|>systemuerandit")


def test_parts_are_found_where_a_template_trims(toy):
    tokenizer = toy_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}[{{ m['content'] | trim }}]{% endfor %}"
    rendered = render(PromptSpec(" Add. \n", question="3+3 "), dataclasses.replace(toy, tokenizer=tokenizer))
    assert rendered.text == "[Add. \n\n\n3+3]"
    assert {span.part for span in rendered.spans} == {"template", "instruction", "question"}


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_switching_the_technique_keeps_everything(technique):
    spec = PromptSpec("I", question="Q", examples=(Example("a", "b", "c"), Example("d", "e", "f")), trigger="Think!")
    other = dataclasses.replace(spec, technique=technique)
    assert dataclasses.replace(other, technique="zero_shot") == spec
    shown = len(other.shown_examples)
    assert shown == {"one_shot": 1}.get(technique, 2 if "few" in technique or technique == "self_consistency" else 0)
    text = "".join(message.content for message in other.messages())
    assert ("Think!" in text) == (technique == "chain_of_thought")
    assert ("c" in text.split("a", 1)[-1]) == (technique in ("few_shot_chain_of_thought", "self_consistency"))


def test_variables_make_a_prompt_for_each_row():
    values = ({"nước": "Peru", "more": ""}, {"nước": "{{nước}}", "more": ""})
    spec = PromptSpec("Capital of {{ nước }}? \\{{x}}", values=values)
    assert spec.variables() == ("nước",)
    assert [prompt.instruction for prompt in spec.variants()] == [
        "Capital of Peru? {{x}}",
        "Capital of {{nước}}? {{x}}",
    ]
    assert PromptSpec("\\{{{x}} \\\\{{{{").variants()[0].instruction == "{{{x}} \\{{{{"
    assert PromptSpec("no variables {x}").variants()[0].instruction == "no variables {x}"


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        (PromptSpec("Capital of {{country?"), "variable_unbalanced"),
        (PromptSpec("{{}}"), "variable_unbalanced"),
        (PromptSpec("Capital of {{country}}?"), "variable_without_value"),
        (PromptSpec("Capital of {{country}}?", values=({"city": "Lima"},)), "variable_without_value"),
    ],
)
def test_variables_that_cannot_be_filled(spec, code):
    with pytest.raises(NucleusError) as caught:
        spec.variants()
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"technique": "magic"}, "technique_unknown"),
        ({"examples": (Example("a", "b"), Example("a", " "))}, "example_incomplete"),
        ({"examples": (Example("a", "b"),) * 501}, "setting_out_of_range"),
        ({"chains": 0}, "setting_out_of_range"),
        ({"context": "x" * MAX_CHARACTERS, "question": "y"}, "prompt_too_large"),
        ({"output": OutputFormat("choice")}, "choices_empty"),
        ({"output": OutputFormat("choice", ("a", " "))}, "choices_empty"),
        ({"output": OutputFormat("choice", ("a", "a"))}, "choices_repeated"),
        ({"output": OutputFormat("json", schema="{")}, "schema_not_json"),
        ({"output": OutputFormat("json", schema="[" * 100_000)}, "schema_not_json"),
        ({"output": OutputFormat("json", schema="[]")}, "schema_not_object"),
        ({"extraction": Extraction("regex", "(")}, "regex_invalid"),
    ],
)
def test_what_is_refused(fields, code):
    error = refusal_code(PromptSpec("I", **fields))
    assert error.code == code
