"""Generate samples without an engine: sequences of one batch, decoded until they end."""

from __future__ import annotations

from collections.abc import Sequence

from llm_core.decoding.factory import make_decoder
from llm_core.engine.batch import Batch
from llm_core.engine.sequence import ActiveSequence
from llm_core.generation.record import SampleRecord
from llm_core.generation.request import SampleRequest
from llm_core.models.language_model import LanguageModel
from samplers import SamplerConfig

MEGABYTE = 2**20


def make_batch(model: LanguageModel, precision: str = "float32", prefix_bytes: int = 64 * MEGABYTE) -> Batch:
    return Batch(make_decoder(model, precision), 256 * MEGABYTE, prefix_bytes)


def generate_all(
    batch: Batch, model: LanguageModel, requests: Sequence[tuple[Sequence[int], SampleRequest]]
) -> list[SampleRecord]:
    """Generate one sample for each `(prompt ids, request)`, all in one batch at the same time."""
    records = [SampleRecord(request) for _, request in requests]
    for (ids, _), record in zip(requests, records, strict=True):
        answer = ActiveSequence(model, ids, record)
        if not answer.finished:
            batch.join(answer)
    while batch.sequences:
        batch.advance()
    return records


def generate(model: LanguageModel, ids: Sequence[int], sampler: SamplerConfig, **fields) -> SampleRecord:
    """Generate one sample on its own."""
    return generate_all(make_batch(model), model, [(ids, SampleRequest(sampler, **fields))])[0]


def token_ids(record: SampleRecord) -> list[int]:
    return [event.token_id for event in record.events()]
