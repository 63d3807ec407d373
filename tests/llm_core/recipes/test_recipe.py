"""Recipes survive being written down, in every form, and say no more than they should."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import example, given
from pydantic import ValidationError

from llm_core import (
    Example,
    GenerationRequest,
    ModelReference,
    NucleusError,
    PromptSpec,
    Recipe,
    SampleRequest,
    decode_link,
    dump_json,
    dump_yaml,
    encode_link,
    load_text,
)
from llm_core.recipes import recipe as recipe_module
from llm_core.recipes.json_schema import SCHEMA_FILE, make_recipe_schema
from llm_core.recipes.link import MAX_LINK_CHARACTERS
from llm_core.recipes.recipe import Limits
from samplers import SamplerConfig
from tests.support.recipe_strategies import recipes

ROOT = Path(__file__).parents[3]
VALIDATOR = jsonschema.Draft202012Validator(make_recipe_schema())


@given(recipes)
@example(Recipe(prompt=PromptSpec("x"), limits=Limits(stop_sequences=("\x85", "a\u2028b"))))
def test_what_was_written_is_read(recipe):
    assert load_text(dump_yaml(recipe)) == recipe
    assert load_text(dump_json(recipe)) == recipe
    assert load_text(dump_yaml(recipe).encode()) == recipe
    assert Recipe.read(json.loads(json.dumps(recipe.data()))) == recipe


@given(recipes)
def test_a_link_holds_the_whole_recipe(recipe):
    link = encode_link(recipe)
    assert decode_link(link) == recipe
    assert decode_link(f"  https://example.org/nucleus/?lang=vi&r={link}#top\n") == recipe
    assert link.replace("-", "").replace("_", "").isalnum()


@given(recipes)
def test_other_readers_of_yaml_read_the_same(recipe):
    assert yaml.safe_load(dump_yaml(recipe)) == recipe.data()


@given(recipes)
def test_the_published_schema_takes_what_is_written(recipe):
    VALIDATOR.validate(recipe.data())


def test_the_published_schema_is_current():
    """`python -m llm_core.recipes.json_schema` writes it."""
    assert json.loads((ROOT / SCHEMA_FILE).read_text(encoding="utf-8")) == make_recipe_schema()


@pytest.mark.parametrize(
    "data",
    [
        {"prompt": {"instruction": "Hi"}},
        {"schema_version": 1},
        {"schema_version": 2, "prompt": {"instruction": "Hi"}},
        {"schema_version": 1, "prompt": {"instruction": "Hi", "instrution": "Hi"}},
        {"schema_version": 1, "prompt": {"instruction": "Hi"}, "sampler": {"top_p": 2}},
        {"schema_version": 1, "prompt": {"instruction": "Hi"}, "sampler": {"seed": 3}},
        {"schema_version": 1, "prompt": {"instruction": "Hi"}, "sampler": {"order": "alphabetical"}},
        {"schema_version": 1, "prompt": {"instruction": "Hi"}, "colour": "red"},
    ],
)
def test_schema_and_reader_refuse_the_same(data):
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(data)
    with pytest.raises(NucleusError):
        Recipe.read(data)


def test_a_file_is_for_people():
    recipe = Recipe(
        title="Biển",
        model=ModelReference(revision="sha256:00"),
        prompt=PromptSpec("Say\n  yes.", technique="few_shot", examples=(Example("no", "12:30"),)),
        sampler=SamplerConfig(temperature=0.5, logit_bias={7: -2}, banned_tokens=(1, 2)),
        seeds=(7, 8),
    )
    assert dump_yaml(recipe) == (
        "schema_version: 1\n"
        "title: Biển\n"
        "model:\n"
        "  id: builtin\n"
        "  revision: sha256:00\n"
        "prompt:\n"
        "  instruction: |-\n"
        "    Say\n"
        "      yes.\n"
        "  technique: few_shot\n"
        "  examples:\n"
        "    - input: 'no'\n"
        "      output: '12:30'\n"
        "sampler:\n"
        "  temperature: 0.5\n"
        "  logit_bias:\n"
        "    '7': -2.0\n"
        "  banned_tokens: [1, 2]\n"
        "seeds: [7, 8]\n"
    )


def test_yaml_written_by_hand():
    text = """
    # a comment
    schema_version: 1
    prompt:
      instruction: no
      question: "12:30"
      stop_sequences: [yes, on]
    sampler: {temperature: 1e-1, top_k: 40, logit_bias: {42: -1}}
    """
    recipe = load_text(text)
    assert (recipe.prompt.instruction, recipe.prompt.question) == ("no", "12:30")
    assert recipe.rows()[0].stop_sequences == ("yes", "on")
    assert (recipe.sampler.temperature, recipe.sampler.logit_bias) == (0.1, ((42, -1.0),))


def test_a_request_becomes_a_recipe_and_a_request_again():
    rows = tuple(SampleRequest(SamplerConfig(top_p=0.9, seed=seed), 40, ("\n",)) for seed in (3, 9))
    request = GenerationRequest("builtin", PromptSpec("Hi"), rows, deadline_seconds=60.0)
    recipe = Recipe.from_request(request, title="Greeting")
    assert recipe.seeds == (3, 9)
    assert recipe.request() == request
    with pytest.raises(ValueError, match="differ in more than their seeds"):
        Recipe.from_request(GenerationRequest("builtin", PromptSpec("Hi"), (rows[0], SampleRequest(SamplerConfig()))))


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        (Recipe(prompt=PromptSpec("Hi")), "title", "Other"),
        (ModelReference(), "revision", "sha256:00"),
        (Limits(), "max_output_tokens", 7),
    ],
)
def test_a_recipe_and_its_parts_cannot_be_changed(part, field, value):
    with pytest.raises(ValidationError, match="frozen"):
        setattr(part, field, value)


def test_candidates_have_seeds_of_their_own():
    recipe = Recipe(prompt=PromptSpec("Hi"), seeds=(5, 100), candidates=3)
    assert [row.sampler.seed for row in recipe.rows()] == [5, 6, 7, 100, 101, 102]


def test_older_versions_are_migrated_step_by_step(monkeypatch):
    """No older version is in use yet; one that called the instruction `text` and knew no limits would be read."""
    monkeypatch.setattr(recipe_module, "SCHEMA_VERSION", 3)
    monkeypatch.setattr(
        recipe_module,
        "MIGRATIONS",
        {
            1: lambda data: data | {"prompt": {"instruction": data["prompt"]["text"]}},
            2: lambda data: data | {"limits": {"max_output_tokens": 7}},
        },
    )
    data = {"schema_version": 1, "prompt": {"text": "Hi"}}
    with pytest.raises(NucleusError) as caught:  # the model of today stays at its own version
        Recipe.read(data)
    assert caught.value.details["place"] == "schema_version"
    assert caught.value.details["value"] == "3"
    assert recipe_module.migrate(data) == {
        "schema_version": 3,
        "prompt": {"instruction": "Hi"},
        "limits": {"max_output_tokens": 7},
    }
    assert data == {"schema_version": 1, "prompt": {"text": "Hi"}}


def test_the_prompts_own_version_belongs_to_the_recipes():
    """A recipe's prompt carries no version: whoever raises that of prompts has to raise that of recipes too."""
    from llm_core.prompts import serialization

    assert (recipe_module.SCHEMA_VERSION, serialization.VERSION) == (1, 1)


def test_too_long_for_a_link():
    words = " ".join(str(number * 7919) for number in range(5_000))
    with pytest.raises(NucleusError) as caught:
        encode_link(Recipe(prompt=PromptSpec(words)))
    assert caught.value.code == "recipe_link_too_long"
    with pytest.raises(NucleusError) as caught:
        decode_link("a" * (MAX_LINK_CHARACTERS + 1))
    assert caught.value.code == "recipe_link_too_long"


def test_a_usual_recipe_makes_a_short_link():
    recipe = Recipe(
        title="A haiku about the sea",
        author="Nguyễn Văn An",
        prompt=PromptSpec("Write a haiku about the sea.", system="You are a poet."),
        sampler=SamplerConfig(temperature=0.8, top_p=0.95),
        seeds=(7,),
        limits=Limits(max_output_tokens=96),
    )
    assert len(encode_link(recipe)) < 220
