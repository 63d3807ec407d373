"""Files of other programs that are opened wrongly today: a field that is neither carried nor named, or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llm_core import NucleusError, Recipe
from llm_core.formats import registry
from llm_core.formats.registry import ImportResult

DATA = Path(__file__).parent / "data"


def load(name: str) -> ImportResult:
    return registry.load((DATA / name).read_bytes(), name)


def dropped_fields(result: ImportResult, prefix: str) -> list[str]:
    return [each.field for each in result.dropped if each.field.startswith(prefix)]


def expect_failure(reason: str, raises: type[BaseException] = AssertionError) -> pytest.MarkDecorator:
    return pytest.mark.xfail(strict=True, reason=reason, raises=raises)


@expect_failure("a path as a prompt is taken for the prompt", raises=pytest.fail.Exception)
def test_path_of_a_prompt_is_refused():
    with pytest.raises(NucleusError):
        load("promptfoo_path_prompt.yaml")


@pytest.mark.parametrize(
    "field",
    [
        pytest.param("prompts.config", marks=expect_failure("a prompt's config is dropped")),
        pytest.param("prompts.label", marks=expect_failure("a prompt's label is dropped")),
    ],
)
def test_fields_of_a_prompt_are_carried_or_named(field):
    loaded = load("promptfoo_prompt_config.yaml")
    recipe = loaded.recipe
    carried = {
        "prompts.config": recipe.sampler.temperature == 0 and recipe.prompt.output.kind == "json",
        "prompts.label": "Sentiment" in (recipe.title, recipe.notes, *recipe.tags),
    }
    assert carried[field] or dropped_fields(loaded, field)


@expect_failure("the last value's line break is lost, and not named")
def test_last_line_break_survives_dotprompt():
    recipe: Recipe = load("dotprompt_last_line.yaml").recipe
    dumped = registry.dump("dotprompt", recipe)
    again = registry.load(dumped.text, "again.prompt")
    named = [
        each for each in (*dumped.dropped, *again.dropped) if each.reason != "nucleus_only"
    ]  # that one is in the file
    assert again.recipe == recipe or named


@expect_failure("types, enums and descriptions are dropped")
def test_input_schema_is_named_as_lost():
    assert dropped_fields(load("dotprompt_input_schema.prompt"), "input.schema")


@expect_failure("Picoschema is named as lost, though an output format has a place for it")
def test_picoschema_is_carried():
    output = load("dotprompt_picoschema.prompt").recipe.prompt.output
    assert output.kind == "json"
    schema = json.loads(output.schema)
    assert set(schema["properties"]) == {"name", "age"}
    assert schema["required"] == ["name"]


@expect_failure("thinkingConfig is named as lost, though a recipe has a place for it")
def test_thinking_budget_is_carried():
    assert load("dotprompt_thinking_safety.prompt").recipe.hosted.thinking in ("off", 0)


@expect_failure("safetySettings are named as lost, though a recipe has a place for them")
def test_safety_settings_are_carried():
    assert load("dotprompt_thinking_safety.prompt").recipe.hosted.safety == (("HARASSMENT", "BLOCK_ONLY_HIGH"),)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("dotprompt_no_front.prompt", "Say hello to {{name}}.", id="none"),
        pytest.param("dotprompt_empty_front.prompt", "Hi", id="empty"),
    ],
)
@expect_failure("front matter is required, though it is optional", raises=NucleusError)
def test_dotprompt_without_front_matter_opens(name, text):
    assert load(name).recipe.prompt.instruction == text
