"""Describe everything needed to repeat a run, for somebody else to open, read, run and trust.

    recipe = Recipe.from_request(request, title="A haiku about the sea")
    text = dump_yaml(recipe)                        # `llm_core.recipes.yaml_json`, as `load_text`, which reads it again
    run = router.submit(load_text(text).request())

Files, databases and links hold a recipe's data (`Recipe.data`, `Recipe.read`): a dict that JSON can hold, with
`schema_version`, `model`, `prompt`, and every field that differs from its default. Reading is strict, since data comes
from strangers: unknown, missing, wrongly typed and too large fields are refused with a `NucleusError`. Defaults belong
to the schema version: whoever changes one raises it and adds a migration.
"""

from __future__ import annotations

import dataclasses
import json
import re
import reprlib
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from llm_core.decoding.precision import Precision
from llm_core.errors import NucleusError
from llm_core.generation.request import (
    DEFAULT_DEADLINE_SECONDS,
    MAX_OUTPUT_TOKENS,
    MAX_SAMPLES_PER_REQUEST,
    GenerationRequest,
    HostedOptions,
    SampleRequest,
)
from llm_core.prompts import serialization
from llm_core.prompts.spec import PromptSpec
from llm_core.prompts.validation_errors import from_validation_error
from llm_core.providers.http.url_policy import normalize_url
from llm_core.providers.model_id import is_local
from llm_core.recipes.trace import Trace
from samplers import SamplerConfig

SCHEMA_VERSION = 1
"""Version of the data, raised when older programs could misread what newer ones write."""
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""For each older version, the function that turns its data into the next version's."""

MAX_RECIPE_CHARACTERS = 32 * 2**20
"""Characters of a recipe as JSON: a few pictures, or a long recorded run."""
MAX_DEPTH = 24
MAX_NUMBER = 2**63
"""Bound of all numbers: whole numbers below it fit those of a tensor and of a database."""

_HIDDEN_CHARACTERS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
"""Characters that are invisible, or that turn the direction of the text around them."""
_STRICT = ConfigDict(
    frozen=True,
    extra="forbid",
    strict=True,
    allow_inf_nan=False,
    use_attribute_docstrings=True,
    ser_json_bytes="base64",
    val_json_bytes="base64",
)


def _check_visible(text: str) -> str:
    if found := _HIDDEN_CHARACTERS.search(text):
        raise ValueError(f"the character U+{ord(found[0]):04X} hides text or turns its direction")
    return text


def _check_one_line(text: str) -> str:
    if "\n" in text or "\t" in text:
        raise ValueError("more than one line, or a tab")
    return _check_visible(text)


OneLineText = Annotated[str, Field(max_length=200), AfterValidator(_check_one_line)]
ShortName = Annotated[str, Field(min_length=1, max_length=60), AfterValidator(_check_one_line)]
Seed = Annotated[int, Field(ge=0, lt=MAX_NUMBER - MAX_SAMPLES_PER_REQUEST)]


class ModelReference(BaseModel):
    """Which model."""

    model_config = _STRICT

    id: Annotated[str, Field(min_length=1, max_length=600), AfterValidator(_check_one_line)] = "builtin"
    """As the router takes it: `builtin`, a Hub id or a directory; `openai:NAME@URL`, `gemini:NAME`, ..."""
    revision: OneLineText = ""
    """What tells its weights from others of that name: a hash, for local models. Empty where it is not known."""

    @model_validator(mode="after")
    def _check_no_key(self) -> Self:
        before, address, after = self.id.partition("://")
        if address:
            normalize_url(before.rpartition("@")[2] + address + after)
        return self


class Limits(BaseModel):
    """Where an answer ends, if the model does not end it."""

    model_config = _STRICT

    max_output_tokens: Annotated[int, Field(ge=1, le=MAX_OUTPUT_TOKENS)] = 128
    stop_sequences: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=200)], ...], Field(max_length=16)
    ] = ()
    deadline_seconds: Annotated[float, Field(gt=0, le=86_400)] = DEFAULT_DEADLINE_SECONDS


class Recipe(BaseModel):
    """A prompt configuration. Made by hand, it raises pydantic's `ValidationError` for wrong types and sizes, and
    `NucleusError` for a prompt that could not be run."""

    model_config = _STRICT

    schema_version: Literal[1] = 1
    title: OneLineText = ""
    author: OneLineText = ""
    language: OneLineText = ""
    """Of the prompt, as a tag such as `en` or `vi`."""
    licence: OneLineText = ""
    """Under which others may use it, such as `CC-BY-4.0`."""
    notes: Annotated[str, Field(max_length=20_000), AfterValidator(_check_visible)] = ""
    """What to look for, in the author's words."""
    tags: Annotated[tuple[ShortName, ...], Field(max_length=32)] = ()
    model: ModelReference = ModelReference()
    precision: Precision = "float32"
    """In which numbers a local model computes. Only `float32` promises the same tokens elsewhere."""
    prompt: PromptSpec
    sampler: SamplerConfig = SamplerConfig()
    """Its settings and the order of its stages; its seed is 0, since seeds stand in `seeds`."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1, max_length=MAX_SAMPLES_PER_REQUEST)] = (0,)
    """An answer for each."""
    candidates: Annotated[int, Field(ge=1, le=MAX_SAMPLES_PER_REQUEST)] = 1
    """Best of how many: that many answers for each seed, with the seeds that follow it."""
    criteria: Annotated[Mapping[ShortName, Annotated[float, Field(ge=-1e6, le=1e6)]], Field(max_length=32)] = {}
    """Weights of the criteria by which the best candidate is chosen, by their names. At 0 one is shown and does not
    count."""
    limits: Limits = Limits()
    hosted: HostedOptions = HostedOptions()
    """What only hosted models take."""
    trace: Trace | None = None
    """A run of it, as it was recorded."""

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if self.sampler.seed:
            raise ValueError("the sampler has a seed; write it into 'seeds'")
        if self.count > MAX_SAMPLES_PER_REQUEST:
            raise ValueError(
                f"seeds times candidates are {self.count}; at most {MAX_SAMPLES_PER_REQUEST} answers are written"
            )
        self.prompt.validate()
        self.hosted.validate()
        if len(self.hosted.safety) > 16 or any(len(word) > 60 for pair in self.hosted.safety for word in pair):
            raise ValueError("more safety settings than there are, or longer ones")
        return self

    @property
    def count(self) -> int:
        """Number of answers to write."""
        return len(self.seeds) * self.candidates

    @property
    def local(self) -> bool:
        """Whether the model runs on the machine that runs the recipe."""
        return is_local(self.model.id)

    def rows(self) -> tuple[SampleRequest, ...]:
        """Return one sample request for each answer, the candidates of a seed together."""
        stops = dict.fromkeys((*self.limits.stop_sequences, *self.prompt.stop_sequences))
        return tuple(
            SampleRequest(
                dataclasses.replace(self.sampler, seed=seed + number), self.limits.max_output_tokens, tuple(stops)
            )
            for seed in self.seeds
            for number in range(self.candidates)
        )

    def request(self, *, prompt: PromptSpec | None = None, session: str = "") -> GenerationRequest:
        """Return the request to submit: for the prompt itself, or for one of `prompt.variants()` where it has
        variables."""
        return GenerationRequest(
            self.model.id,
            prompt or self.prompt,
            self.rows(),
            self.precision,
            session,
            self.limits.deadline_seconds,
            self.hosted,
        )

    @classmethod
    def from_request(cls, request: GenerationRequest, *, prompt: PromptSpec | None = None, **about: Any) -> Self:
        """Make the recipe of a request; `about` has its title and other fields that the request lacks.

        `prompt` is the prompt with its variables, if the request's was expanded from one. Raises `ValueError` for
        samples that differ in more than their seeds, and `NucleusError` for what no recipe can hold.
        """
        first = request.samples[0]
        stripped = {
            dataclasses.replace(row, sampler=dataclasses.replace(row.sampler, seed=0)) for row in request.samples
        }
        if len(stripped) > 1:
            raise ValueError("the rows differ in more than their seeds: a recipe holds one sampler")
        spec = dataclasses.replace(prompt or request.prompt, stop_sequences=())
        try:
            return cls(
                **{
                    "model": ModelReference(id=request.model_id),
                    "precision": request.precision,
                    "prompt": spec,
                    "sampler": dataclasses.replace(first.sampler, seed=0),
                    "seeds": tuple(row.sampler.seed for row in request.samples),
                    "limits": Limits(
                        max_output_tokens=first.max_output_tokens,
                        stop_sequences=first.stop_sequences,
                        deadline_seconds=request.deadline_seconds,
                    ),
                    "hosted": request.hosted,
                    **about,
                }
            )
        except ValidationError as error:
            raise from_validation_error(error, "recipe") from error

    def replace(self, **fields: Any) -> Self:
        """Return a recipe with other values in these fields. Raises `NucleusError` for what no recipe can hold."""
        try:
            return type(self)(**(dict(self) | fields))
        except ValidationError as error:
            raise from_validation_error(error, "recipe") from error

    def data(self) -> dict[str, Any]:
        """Return the data of which `read` makes an equal recipe."""
        changed = self.model_dump(mode="json", exclude_defaults=True)
        if biases := changed.get("sampler", {}).get("logit_bias"):
            changed["sampler"]["logit_bias"] = {str(token): bias for token, bias in biases}
        head: dict[str, Any] = {"schema_version": SCHEMA_VERSION}
        for name in type(self).model_fields:
            if name in changed and name not in ("model", "prompt"):
                head[name] = changed[name]
            elif name == "model":
                head[name] = {"id": self.model.id} | self.model.model_dump(exclude_defaults=True)
            elif name == "prompt":
                head[name] = _remove_version(serialization.dump_prompt(self.prompt))
        return head

    @classmethod
    def read(cls, data: object) -> Self:
        """Make the recipe that `data` describes, migrated from an older version if need be.

        Raises `NucleusError` with the place and the value at fault.
        """
        if not isinstance(data, Mapping):
            raise NucleusError("recipe_wrong", place="recipe", value=reprlib.repr(data), detail="not an object")
        _check_data(data)
        try:
            text = json.dumps(migrate(data), ensure_ascii=False, allow_nan=False)
            if len(text) > MAX_RECIPE_CHARACTERS:
                raise NucleusError("recipe_too_large", size=len(text), limit=MAX_RECIPE_CHARACTERS)
            return cls.model_validate_json(text, strict=True, extra="forbid")
        except ValidationError as error:
            raise from_validation_error(error, "recipe") from error
        except (TypeError, ValueError) as error:
            raise NucleusError("recipe_wrong", place="recipe", value="…", detail=str(error)[:200]) from error


def migrate(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data in the newest version's form. Raises `NucleusError` for a version that is not known here."""
    version = data.get("schema_version")
    if type(version) is not int or not 1 <= version <= SCHEMA_VERSION:
        raise NucleusError("recipe_version", value=reprlib.repr(version), limit=SCHEMA_VERSION)
    newer = dict(data)
    for older in range(version, SCHEMA_VERSION):
        newer = MIGRATIONS[older](newer) | {"schema_version": older + 1}
    return newer


def _check_data(data: object, place: str = "", depth: int = 0) -> None:
    """Refuse what JSON can hold and a recipe cannot: numbers beyond `MAX_NUMBER`, halves of characters, deeper nesting
    than `MAX_DEPTH`. Raises `NucleusError`."""
    if depth > MAX_DEPTH:
        raise NucleusError("recipe_too_deep", place=place[:200], limit=MAX_DEPTH)
    if isinstance(data, Mapping):
        for key, value in data.items():
            _check_data(key, place, depth + 1)
            _check_data(value, f"{place}.{key}".lstrip("."), depth + 1)
    elif isinstance(data, list | tuple):
        for number, value in enumerate(data, 1):
            _check_data(value, f"{place}.{number}".lstrip("."), depth + 1)
    elif isinstance(data, str):
        try:
            data.encode()
        except UnicodeEncodeError:
            detail = "half of a character"
            raise NucleusError("recipe_wrong", place=place or "recipe", value=ascii(data)[:60], detail=detail) from None
    elif isinstance(data, int | float) and not abs(data) < MAX_NUMBER:
        value = reprlib.repr(data)
        raise NucleusError("recipe_wrong", place=place or "recipe", value=value, detail="too large, or not a number")


def _remove_version(data: dict[str, Any]) -> dict[str, Any]:
    """Remove the prompt's version: the recipe's own says what a prompt's data means."""
    return {name: value for name, value in data.items() if name != "version"}
