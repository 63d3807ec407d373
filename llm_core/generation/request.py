"""Describe what is asked for: one prompt, a sample for each answer to it, and what only hosted models have."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from llm_core.decoding.precision import Precision
from llm_core.errors import NucleusError
from llm_core.prompts.spec import PromptSpec
from samplers import SamplerConfig

Thinking = Literal["default", "off", "minimal", "low", "medium", "high"]
THINKING: tuple[Thinking, ...] = get_args(Thinking)

MAX_OUTPUT_TOKENS = 100_000
"""Tokens of one answer; context windows are smaller."""
MAX_SAMPLES_PER_REQUEST = 64
"""Answers that one request may ask for; the engine writes as many at the same time."""
MAX_TOP_LOGPROBS = 20
"""Likeliest tokens that a provider gives of one step at most."""
MAX_IMAGE_BYTES = 7_000_000
"""Bytes of all images of a request: requests are limited to 20 MB, and base64 adds a third."""
MAX_CANDIDATES_PER_CALL = 8
"""Answers that one call to a provider may ask for: Gemini's limit; others take as many."""
IMAGE_TYPES = ("image/png", "image/jpeg", "image/webp", "image/gif", "image/heic")


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """One answer to write."""

    sampler: SamplerConfig
    max_output_tokens: int = 128
    stop_sequences: tuple[str, ...] = ()
    prefix_ids: tuple[int, ...] = ()
    """Token ids that the answer already begins with: a branch of an earlier one. They count as its first steps."""
    keep_logits: bool = False
    """Keep what the model gave for the first token that is written."""
    keep_self_certainty: bool = False
    """Record how far each step's distribution was from uniform: `StepTrace.self_certainty`. Local models only."""
    forced_ids: tuple[int, ...] = ()
    """Token ids that come next whatever the sampler draws: picked or typed by somebody. Each becomes an event with the
    probabilities that it stood among, and counts towards `max_output_tokens`."""


@dataclass(frozen=True, slots=True)
class Image:
    """A picture that the question is about."""

    media_type: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class HostedOptions:
    """What only hosted models have. A local model takes no notice of it."""

    thinking: Thinking | int = "default"
    """How much the model thinks before it answers: a level, or a number of tokens."""
    show_thoughts: bool = False
    """Ask for what it thought."""
    safety: tuple[tuple[str, str], ...] = ()
    """`(category, threshold)` as Gemini names them, without prefixes, as in `("HARASSMENT", "BLOCK_ONLY_HIGH")`."""
    images: tuple[Image, ...] = ()
    """Shown with the last message."""
    top_logprobs: int = MAX_TOP_LOGPROBS
    """How many of the likeliest tokens of each step to ask for; 0 asks for none."""
    candidate_count: int = 1
    """Rows that may travel in one call where they differ in nothing but their seeds: the provider then reads, and
    bills, the prompt once. It is sent no seed for them, so that such an answer can be neither repeated nor found in a
    cache. A model that does not take it is sent a call for each row."""

    def validate(self) -> None:
        """Raises `NucleusError`."""
        if not 0 <= self.top_logprobs <= MAX_TOP_LOGPROBS:
            raise NucleusError("provider_logprobs_range", value=self.top_logprobs, limit=MAX_TOP_LOGPROBS)
        if not 1 <= self.candidate_count <= MAX_CANDIDATES_PER_CALL:
            raise NucleusError(
                "setting_out_of_range",
                field="candidate_count",
                value=self.candidate_count,
                low=1,
                high=MAX_CANDIDATES_PER_CALL,
            )
        for image in self.images:
            if image.media_type not in IMAGE_TYPES:
                raise NucleusError("provider_image_type", value=image.media_type, known=", ".join(IMAGE_TYPES))
        if (size := sum(len(image.data) for image in self.images)) > MAX_IMAGE_BYTES:
            raise NucleusError("provider_image_large", size=size, limit=MAX_IMAGE_BYTES)


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """Everything that decides a run's tokens: one prompt, and a row for each answer to it."""

    model_id: str
    prompt: PromptSpec
    samples: tuple[SampleRequest, ...]
    precision: Precision = "float32"
    session: str = ""
    """Whose turn it uses up: sessions take turns, however much each asks for."""
    deadline_seconds: float = 900.0
    """After submission; rows that are not done by then end as they are."""
    hosted: HostedOptions = field(default_factory=HostedOptions)

    def validate(self) -> None:
        """Refuse what needs no model to be seen. Raises `NucleusError`."""
        self.prompt.validate()
        self.prompt.found_passages()
        self.hosted.validate()
        if not 1 <= len(self.samples) <= MAX_SAMPLES_PER_REQUEST:
            raise NucleusError("rows_out_of_range", value=len(self.samples), limit=MAX_SAMPLES_PER_REQUEST)
        for row in self.samples:
            if not all(row.stop_sequences):
                raise NucleusError("stop_sequence_empty")
            if row.max_output_tokens < 1:
                raise NucleusError(
                    "setting_out_of_range",
                    field="max_output_tokens",
                    value=row.max_output_tokens,
                    low=1,
                    high=MAX_OUTPUT_TOKENS,
                )
