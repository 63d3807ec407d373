"""Record the tokens of ten recipes for the built-in model in float32, which every machine has to reproduce.

`python -m tests.llm_core.recipes.expected_tokens` writes the file again. That is right only after a change that is
meant to change tokens; such a change breaks every recipe that anybody shared.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from llm_core import Engine, Example, ModelStore, PromptSpec, Recipe
from llm_core.generation.technique_run import Submit
from llm_core.prompts.extraction import Extraction
from llm_core.prompts.output_format import OutputFormat
from llm_core.recipes.recipe import Limits
from llm_core.recipes.replay import RecipeRun
from samplers import SamplerConfig

FILE = Path(__file__).with_name("expected_tokens.json")
SHORT = Limits(max_output_tokens=24)

RECIPES = (
    Recipe(
        title="greedy",
        prompt=PromptSpec("Name three colours of the rainbow."),
        sampler=SamplerConfig(temperature=0),
        limits=SHORT,
    ),
    Recipe(
        title="top-P, several seeds",
        prompt=PromptSpec("Write a sentence about the sea.", system="You are a poet."),
        sampler=SamplerConfig(temperature=0.8, top_p=0.95),
        seeds=(7, 8, 2**40),
        limits=SHORT,
    ),
    Recipe(
        title="top-K, best of three",
        prompt=PromptSpec("Tell me a joke."),
        sampler=SamplerConfig(temperature=1.3, top_k=40),
        seeds=(3,),
        candidates=3,
        limits=SHORT,
    ),
    Recipe(
        title="the stages in llama.cpp's order",
        prompt=PromptSpec("What is a neural network?"),
        sampler=SamplerConfig(
            temperature=1.5, top_k=50, top_p=0.9, min_p=0.05, dry_multiplier=0.8, xtc_probability=0.5, order="llama_cpp"
        ),
        seeds=(11,),
        limits=SHORT,
    ),
    Recipe(
        title="an order of one's own",
        prompt=PromptSpec("List fruit."),
        sampler=SamplerConfig(
            temperature=0.9,
            typical_p=0.9,
            repetition_penalty=1.2,
            logit_bias={30: -4.0},
            order=("typical_p", "temperature", "repetition_penalty", "logit_bias"),
        ),
        limits=SHORT,
    ),
    Recipe(
        title="mirostat",
        prompt=PromptSpec("Describe a forest at night."),
        sampler=SamplerConfig(mirostat_tau=3.0),
        seeds=(5,),
        limits=SHORT,
    ),
    Recipe(
        title="few-shot, one of some answers",
        prompt=PromptSpec(
            "Is the review positive or negative?",
            question="The soup was cold.",
            technique="few_shot",
            examples=(Example("A lovely place.", "positive"), Example("Never again.", "negative")),
            output=OutputFormat("choice", ("positive", "negative")),
        ),
        limits=SHORT,
    ),
    Recipe(
        title="JSON",
        prompt=PromptSpec(
            "Describe Hanoi.",
            output=OutputFormat(
                "json",
                schema='{"type": "object", "properties": {"city": {"type": "string", "maxLength": 12}}, '
                '"required": ["city"], "additionalProperties": false}',
            ),
        ),
        sampler=SamplerConfig(temperature=0.7),
        seeds=(1,),
        limits=SHORT,
    ),
    Recipe(
        title="a vote over chains of thought",
        prompt=PromptSpec(
            "How many legs have three cats?",
            technique="self_consistency",
            chains=3,
            extraction=Extraction("number"),
        ),
        sampler=SamplerConfig(temperature=0.7, top_p=0.9),
        seeds=(21,),
        limits=SHORT,
    ),
    Recipe(
        title="Tiếng Việt, một bảng giá trị",
        prompt=PromptSpec(
            "Viết một câu về {{chủ đề}}.",
            values=({"chủ đề": "biển"}, {"chủ đề": "núi"}),
            prefill="Buổi sáng",
        ),
        sampler=SamplerConfig(temperature=0.6, frequency_penalty=0.5, presence_penalty=0.3),
        seeds=(2,),
        limits=Limits(max_output_tokens=24, stop_sequences=("\n\n",)),
    ),
)


def generate_tokens(recipe: Recipe, submit: Submit) -> list[list[int | None]]:
    """Run a recipe and return the token ids of each answer."""
    run = RecipeRun(recipe, submit)
    while run.active:
        run.advance()
        time.sleep(0.01)
    assert run.error is None, run.error
    return [[event.token_id for event in each.sample.events()] for each in run.recorded_samples()]


def main() -> None:
    engine = Engine(ModelStore())
    expected = [{"recipe": recipe.data(), "tokens": generate_tokens(recipe, engine.submit)} for recipe in RECIPES]
    FILE.write_text(json.dumps(expected, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
