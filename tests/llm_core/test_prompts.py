"""What the model receives, and what is refused before it does."""

from __future__ import annotations

import dataclasses

import pytest

from llm_core import NucleusError, PromptSpec
from llm_core.prompts import MAX_CHARACTERS
from tests.toy import CONTEXT_WINDOW, toy_model, toy_tokenizer


def refusal(spec: PromptSpec) -> NucleusError:
    with pytest.raises(NucleusError) as caught:
        spec.render(toy_model())
    return caught.value


def test_chat_template_is_applied(toy):
    rendered = PromptSpec("Hi", system="Be brief").render(toy)
    assert rendered.text == "<|system|>Be brief<|end|><|user|>Hi<|end|><|assistant|>"
    assert toy.tokenizer.decode(rendered.token_ids) == rendered.text
    assert rendered.token_ids[0] == toy.tokenizer.convert_tokens_to_ids("<|system|>")


def test_a_base_model_gets_plain_text():
    base = toy_model(chat=False)
    assert PromptSpec("Once upon", system="A tale.").render(base).text == "A tale.\n\nOnce upon"
    assert PromptSpec("Once upon").render(base).text == "Once upon"


def test_a_template_without_system_role_gets_it_in_front_of_the_instruction(toy):
    tokenizer = toy_tokenizer()
    tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "{% for m in messages %}[{{ m['content'] }}]{% endfor %}"
    )
    model = dataclasses.replace(toy, tokenizer=tokenizer)
    assert PromptSpec("Hi", system="Be brief").render(model).text == "[Be brief\n\nHi]"


@pytest.mark.parametrize("text", ["", "   ", "\n\t "])
def test_empty(text):
    assert refusal(PromptSpec(text)).code == "prompt_empty"


@pytest.mark.parametrize("character", ["\x00", "\x07", "\x1b", "\x7f", "\x9b"])
def test_control_characters_are_named_with_their_place(character):
    error = refusal(PromptSpec(f"ab{character}c"))
    assert error.code == "prompt_control_character"
    assert error.details["position"] == 3
    assert f"U+{ord(character):04X}" in str(error)
    assert refusal(PromptSpec("fine", system=character)).details["field"] == "system"


def test_line_breaks_tabs_and_vietnamese_are_fine(toy):
    text = "Dòng một\r\n\tdòng hai 😀"
    assert text in PromptSpec(text).render(toy).text


def test_a_megabyte_is_refused_before_it_is_tokenised():
    error = refusal(PromptSpec("x" * 2**20))
    assert (error.code, error.details["limit"]) == ("prompt_too_large", MAX_CHARACTERS)


def test_longer_than_the_context_window():
    error = refusal(PromptSpec("x" * CONTEXT_WINDOW))
    assert error.code == "prompt_too_long"
    assert error.details["limit"] == CONTEXT_WINDOW
