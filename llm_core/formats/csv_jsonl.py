"""Export the results of runs as tables for other programs, one row for each answer: CSV for spreadsheets, JSON Lines
with every token."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

from llm_core.errors import NucleusError
from llm_core.formats.common.result import DroppedField, ExportResult
from llm_core.generation.record import Run, SampleRecord, TokenEvent

COLUMNS = (
    *("prompt", "row", "seed", "answer", "status", "finish_reason", "error", "tokens", "prompt_tokens", "seconds"),
    *("mean_logprob", "perplexity", "model"),
)
_FORMULA = re.compile(r"[=+\-@\t\r]")
_NUMBER = re.compile(r"[-+]?\d[\d.,]*(?:[eE][-+]?\d+)?%?")


def dump_csv(runs: Sequence[Run]) -> ExportResult:
    """Export runs as CSV, in UTF-8 with the byte-order mark that spreadsheets need to read Vietnamese.

    A text that a spreadsheet would run as a formula gets an apostrophe in front. Raises `NucleusError` without a run.
    """
    rows = list(_number_records(runs))
    varied = [
        name
        for name in _sampler_settings(rows[0][1])
        if len({str(_sampler_settings(row)[name]) for _, row, _ in rows}) > 1
    ]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([*COLUMNS, *varied])
    guarded = False
    for place, row, run in rows:
        figures = _figures(place, row, run) | {name: _sampler_settings(row)[name] for name in varied}
        cells = [_format_cell(figures[name]) for name in (*COLUMNS, *varied)]
        safe = [_guard_formula(cell) if isinstance(cell, str) else cell for cell in cells]
        guarded |= safe != cells
        writer.writerow(safe)
    dropped = [DroppedField("recipe", "not_in_results"), DroppedField("events", "not_in_results")]
    return ExportResult(
        "\ufeff" + out.getvalue(), (*dropped, *([DroppedField("answer", "guarded")] if guarded else []))
    )


def dump_jsonl(runs: Sequence[Run]) -> ExportResult:
    """Export runs as JSON Lines, one object for each answer.

    Each token has its id, text and seconds, and where they are known its raw log-probability, its rank, and the entropy
    before and the probability after the sampler. Raises `NucleusError` without a run.
    """
    lines = []
    for place, row, run in _number_records(runs):
        told = _figures(place, row, run) | {"sampler": _sampler_settings(row), "thoughts": row.thoughts}
        told["events"] = [_event_data(event) for event in row.events()]
        lines.append(json.dumps(told, ensure_ascii=False, allow_nan=False))
    return ExportResult(
        "\n".join(lines) + "\n",
        (DroppedField("recipe", "not_in_results"), DroppedField("candidates", "not_in_results")),
    )


def _number_records(runs: Sequence[Run]) -> Iterator[tuple[tuple[int, int], SampleRecord, Run]]:
    """Yield `((prompt, row), record, run)`, both numbered from 1. Raises `NucleusError` without a run."""
    if not runs:
        raise NucleusError("export_without_run")
    for prompt, run in enumerate(runs, 1):
        for number, row in enumerate(run.samples, 1):
            yield (prompt, number), row, run


def _figures(place: tuple[int, int], row: SampleRecord, run: Run) -> dict[str, Any]:
    events = row.events()
    logprobs = [event.trace.logprob for event in events if event.trace]
    mean = math.fsum(logprobs) / len(logprobs) if logprobs else None
    read = len(run.rendered.token_ids) if run.rendered else row.usage.prompt_tokens if row.usage else None
    return {
        "prompt": place[0],
        "row": place[1],
        "seed": row.seed,
        "answer": row.text,
        "status": row.status,
        "finish_reason": row.finish_reason,
        "error": row.error.code if row.error else None,
        "tokens": len(events),
        "prompt_tokens": read,
        "seconds": round(row.seconds, 4),
        "mean_logprob": mean,
        "perplexity": math.exp(-mean) if mean is not None else None,
        "model": run.request.model_id,
    }


def _sampler_settings(row: SampleRecord) -> dict[str, Any]:
    """Return all settings of the sampler except its seed, neutral ones included."""
    found = dataclasses.asdict(row.request.sampler)
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items() if name != "seed"}


def _event_data(event: TokenEvent) -> dict[str, Any]:
    told: dict[str, Any] = {"id": event.token_id, "text": event.piece, "seconds": round(event.seconds, 4)}
    if trace := event.trace:
        after = trace.final.logprobs[trace.candidates.index(trace.token_id)]
        told |= {
            "logprob": _finite_or_none(trace.logprob),
            "rank": trace.rank,
            "entropy_bits": _finite_or_none(trace.raw.entropy_bits),
        }
        told |= {"probability_after": math.exp(after), "kept": trace.final.kept}
    return told


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _format_cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict) else "" if value is None else value


def _guard_formula(text: str) -> str:
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text
