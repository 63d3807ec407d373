"""Generate samples without an engine: sequences of one batch, decoded until they end."""

from __future__ import annotations

from collections.abc import Sequence

from llm_core.decoding.factory import make_decoder
from llm_core.engine.batch import Batch
from llm_core.engine.sequence import Answer
from llm_core.generation.request import RowRecord, RowRequest
from llm_core.models.language_model import LanguageModel
from samplers import SamplerConfig

MEGABYTE = 2**20


def make_batch(model: LanguageModel, precision: str = "float32", prefix_bytes: int = 64 * MEGABYTE) -> Batch:
    return Batch(make_decoder(model, precision), 256 * MEGABYTE, prefix_bytes)


def generate_all(
    batch: Batch, model: LanguageModel, asked: Sequence[tuple[Sequence[int], RowRequest]]
) -> list[RowRecord]:
    """Generate one sample for each `(prompt ids, request)`, all in one batch at the same time."""
    records = [RowRecord(request) for _, request in asked]
    for (ids, _), record in zip(asked, records, strict=True):
        answer = Answer(model, ids, record)
        if not answer.ended:
            batch.join(answer)
    while batch.answers:
        batch.advance()
    return records


def generate(model: LanguageModel, ids: Sequence[int], sampler: SamplerConfig, **fields) -> RowRecord:
    """Generate one sample on its own."""
    return generate_all(make_batch(model), model, [(ids, RowRequest(sampler, **fields))])[0]


def token_ids(record: RowRecord) -> list[int]:
    return [event.token_id for event in record.events()]
