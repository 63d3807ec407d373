"""Provide starter prompts for the applications of language models: each teaches one thing, in English and Vietnamese.

They are data: `starter_prompts/<application>.json`, read once, at first use. Expected results were written down after
running each of them on the built-in model.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from llm_core.prompts.serialization import load_prompt
from llm_core.prompts.spec import PromptSpec, Technique
from samplers import SamplerConfig

if TYPE_CHECKING:
    from llm_core.recipes.recipe import Recipe

Language = Literal["en", "vi"]
LocalizedText = Mapping[Language, str]

APPLICATION_IDS = (
    *("code_generation", "code_completion", "code_refactoring", "code_translation", "test_generation"),
    *("code_documentation", "mathematics", "machine_translation", "summarization", "question_answering", "chat"),
    *("content_generation", "natural_language_inference", "text_classification", "autorater", "text_analysis"),
    "multimodal",
)

_FOLDER = Path(__file__).with_name("starter_prompts")


@dataclass(frozen=True, slots=True)
class StarterPrompt:
    """Starter prompt that teaches one thing."""

    id: str
    """Identifier, unique within its application."""
    application: str
    title: LocalizedText
    teaches: LocalizedText
    """Lesson of the prompt, in one line."""
    expect: LocalizedText
    """Result on the built-in model, in one line."""
    prompts: Mapping[Language, PromptSpec]
    """Prompt by language: the same task by the same technique."""
    sampler: Mapping[str, Any]
    """Fields of `SamplerConfig` that suit the task; the others stay at their defaults."""
    max_output_tokens: int

    @property
    def technique(self) -> Technique:
        return self.prompts["en"].technique

    def recipe(self, language: Language, **about: Any) -> Recipe:
        """Return the prompt as a recipe that can be opened, saved and passed on; `about` has further fields."""
        from llm_core.recipes.recipe import Limits, Recipe

        sampler = SamplerConfig(**self.sampler)
        spec = self.prompts[language]
        return Recipe(
            title=self.title[language],
            notes=f"{self.teaches[language]}\n{self.expect[language]}",
            language=language,
            prompt=dataclasses.replace(spec, stop_sequences=()),
            sampler=dataclasses.replace(sampler, seed=0),
            seeds=(sampler.seed,),
            limits=Limits(max_output_tokens=self.max_output_tokens, stop_sequences=spec.stop_sequences),
            **about,
        )


@dataclass(frozen=True, slots=True)
class Application:
    """Application of language models, and starter prompts for it."""

    id: str
    title: LocalizedText
    entries: tuple[StarterPrompt, ...]


@functools.lru_cache
def load_applications() -> tuple[Application, ...]:
    """Return all applications, from code to images."""
    return tuple(map(_read_application, APPLICATION_IDS))


def _read_application(name: str) -> Application:
    data = json.loads((_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return Application(name, data["title"], tuple(_make_starter_prompt(name, **entry) for entry in data["entries"]))


def _make_starter_prompt(application: str, prompts: Mapping[Language, Any], **rest: Any) -> StarterPrompt:
    specs = {language: load_prompt(prompt) for language, prompt in prompts.items()}
    return StarterPrompt(application=application, prompts=specs, **rest)
