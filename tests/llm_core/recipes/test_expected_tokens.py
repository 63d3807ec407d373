"""Recipes give the same tokens in a fresh engine, whatever the machine."""

from __future__ import annotations

import json

import pytest

from llm_core import Engine, ModelStore, Recipe
from tests.llm_core.recipes.expected_tokens import FILE, RECIPES, generate_tokens

EXPECTED = json.loads(FILE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def engine(builtin):
    engine = Engine(ModelStore(loader=lambda model_id, report: builtin))
    yield engine
    engine.close()


def test_there_are_ten_different_recipes():
    assert len(EXPECTED) == len(RECIPES) == 10
    assert [each["recipe"] for each in EXPECTED] == [recipe.data() for recipe in RECIPES]
    answers = [tuple(answer) for each in EXPECTED for answer in each["tokens"]]
    assert len(answers) == 17
    assert len(set(answers)) >= 16, "they are no test of the settings if they all say the same"


@pytest.mark.parametrize("expected", EXPECTED, ids=lambda each: each["recipe"]["title"])
def test_the_same_tokens(expected, engine):
    assert generate_tokens(Recipe.read(expected["recipe"]), engine.submit) == expected["tokens"]
