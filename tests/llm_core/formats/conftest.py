"""Provide real runs of the toy model."""

from __future__ import annotations

import pytest

from llm_core import Engine, ModelStore, PromptSpec, Recipe, Run
from llm_core.recipes.trace import make_trace
from samplers import SamplerConfig
from tests.support.toy_model import toy_model


@pytest.fixture(scope="session")
def toy_engine() -> Engine:
    return Engine(ModelStore(loader=lambda model_id, report: toy_model()))


@pytest.fixture
def toy_recipe() -> Recipe:
    return Recipe(
        title="A toy",
        model={"id": "toy"},
        prompt=PromptSpec("Describe the sea.", system="Be brief."),
        sampler=SamplerConfig(temperature=0.9, top_k=20),
        seeds=(1, 2),
        limits={"max_output_tokens": 12},
    )


@pytest.fixture
def toy_run(toy_engine, toy_recipe) -> Run:
    run = toy_engine.submit(toy_recipe.request())
    assert run.wait(60)
    return run


@pytest.fixture
def traced_recipe(toy_recipe, toy_run) -> Recipe:
    return toy_recipe.model_copy(update={"trace": make_trace(toy_run)})
