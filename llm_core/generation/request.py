"""Describe a generation request: one prompt, a sample for each answer to it, and options of hosted models."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from llm_core.decoding.precision import Precision
from llm_core.errors import NucleusError
from llm_core.prompts.spec import PromptSpec
from samplers import SamplerConfig

Thinking = Literal["default", "off", "minimal", "low", "medium", "high"]
THINKING: tuple[Thinking, ...] = get_args(Thinking)

DEFAULT_DEADLINE_SECONDS = 900.0
"""Seconds after which a run ends as it is, unless its request says otherwise."""
MAX_OUTPUT_TOKENS = 100_000
"""Largest number of tokens of one answer; context windows are smaller."""
MAX_SAMPLES_PER_REQUEST = 64
"""Largest number of samples of one request; the engine advances as many at the same time."""
MAX_TOP_LOGPROBS = 20
"""Largest number of likeliest tokens that a provider gives for one step."""
MAX_IMAGE_BYTES = 7_000_000
"""Largest size of all images of a request: requests are limited to 20 MB, and base64 adds a third."""
MAX_CANDIDATES_PER_CALL = 8
"""Largest number of candidates of one call to a provider: Gemini's limit; others allow as many."""
IMAGE_TYPES = ("image/png", "image/jpeg", "image/webp", "image/gif", "image/heic")


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """Settings of one answer to generate."""

    sampler: SamplerConfig
    max_output_tokens: int = 128
    stop_sequences: tuple[str, ...] = ()
    prefix_ids: tuple[int, ...] = ()
    """Token ids that the answer already begins with: those of the branch that it continues. They count as its first
    steps."""
    keep_logits: bool = False
    """Whether to keep the model's logits of the first generated token."""
    keep_self_certainty: bool = False
    """Whether to record each step's divergence from uniform, `StepTrace.self_certainty`. Local models only."""
    forced_ids: tuple[int, ...] = ()
    """Token ids that come next whatever the sampler draws: picked or typed by a user. Each becomes an event with the
    probabilities of its step, and counts towards `max_output_tokens`."""


@dataclass(frozen=True, slots=True)
class Image:
    """Image that the question is about."""

    media_type: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class HostedOptions:
    """Options of hosted models; local models ignore them."""

    thinking: Thinking | int = "default"
    """Amount of thinking before the answer: a level, or a number of tokens."""
    show_thoughts: bool = False
    """Whether to request the thoughts."""
    safety: tuple[tuple[str, str], ...] = ()
    """`(category, threshold)` as Gemini names them, without prefixes, as in `("HARASSMENT", "BLOCK_ONLY_HIGH")`."""
    images: tuple[Image, ...] = ()
    """Images sent with the last message."""
    top_logprobs: int = MAX_TOP_LOGPROBS
    """Number of the likeliest tokens of each step to request; 0 requests none."""
    candidate_count: int = 1
    """Number of samples that may share one call if they differ only in their seeds: the provider then reads, and bills,
    the prompt once. The call sends no seed, so such an answer can be neither repeated nor cached. A model without this
    option gets a call for each sample."""

    def validate(self) -> None:
        """Raise `NucleusError` for an option outside its range."""
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
    """Everything that decides a run's tokens: one prompt, and a sample for each answer to it."""

    model_id: str
    prompt: PromptSpec
    samples: tuple[SampleRequest, ...]
    precision: Precision = "float32"
    session: str = ""
    """Session whose turn the request takes: sessions take turns, however many samples each requests."""
    deadline_seconds: float = DEFAULT_DEADLINE_SECONDS
    """Seconds after submission; unfinished samples end then as they are."""
    hosted: HostedOptions = field(default_factory=HostedOptions)

    def validate(self) -> None:
        """Raise `NucleusError` for a request that can be refused without the model."""
        self.prompt.validate()
        self.prompt.retrieve_passages()
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
