"""Export runs as one HTML file that opens anywhere, offline, with its plots: no scripts, nothing fetched.

The templates escape whatever people and models wrote; and since the file allows no scripts and nothing but its own
style sheet (Content-Security-Policy), text that slipped through could still do nothing.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from llm_core.errors import NucleusError
from llm_core.formats.common.result import DroppedField, ExportResult
from llm_core.formats.report import svg_charts
from llm_core.generation.record import Run, SampleRecord, TokenEvent
from llm_core.generation.token_text import escape_control_characters
from llm_core.prompts.spec import PromptSpec
from llm_core.recipes.recipe import Recipe
from llm_core.recipes.yaml_json import dump_yaml
from samplers.config import STAGE_FIELDS

if TYPE_CHECKING:
    from jinja2 import Environment

MAX_DRAWN_STEPS = 60
"""Steps of an answer that are drawn one by one; curves and tables have all of them."""
MAX_DRAWN_STEPS_TOTAL = 240
"""Steps of all answers together that are drawn one by one."""
_FOLDER = Path(__file__).parent
_COLUMNS = ("number", "token", "id", "raw", "after", "rank", "entropy", "surprisal")
_SHADES = (0.05, 0.2, 0.4, 0.6, 0.8)
"""Probabilities from which a token's colour gets stronger."""

WORDS = {
    "language": "en",
    "decimal": ".",
    "made_by": "Report of a run, made by Nucleus",
    "model": "Model",
    "author": "Author",
    "licence": "Licence",
    "notes": "Notes",
    "precision": "Precision",
    "settings": "Sampler",
    "neutral": "all settings neutral",
    "order": "Order of stages",
    "max_output_tokens": "Most tokens",
    "stop_sequences": "Stop sequences",
    "prompt": "Prompt",
    "system": "System",
    "user": "User",
    "assistant": "Assistant",
    "begins_with": "The answer begins with",
    "answer": "Answer {number}",
    "seed": "seed {seed}",
    "tokens": "{count} tokens",
    "seconds": "{value} s",
    "speed": "{value} tokens/s",
    "mean_logprob": "mean log-probability {value}",
    "perplexity": "perplexity {value}",
    "error": "This answer ended with an error: {text}",
    "thoughts": "Thoughts",
    "colour": "Colour: the model's probability of the token",
    "unknown": "not known",
    "probability": "probability",
    "entropy": "entropy (bits)",
    "step": "token of the answer",
    "raw": "before the sampler",
    "after": "after the sampler",
    "drawn": "drawn",
    "probability_caption": "Probability of each drawn token, before and after the sampler.",
    "entropy_caption": "How undecided the model was at each token, and what the sampler left of it.",
    "steps": "How each token was chosen",
    "steps_more": "The first {shown} of {count} steps are drawn; the table has all of them.",
    "kept": "{kept} of {all} tokens kept",
    "table": "All tokens as a table",
    "number": "Step",
    "token": "Token",
    "id": "Id",
    "rank": "Rank",
    "surprisal": "Surprisal (bits)",
    "recipe": "The recipe of this run",
}
"""Texts of the report in English; pages give them in the reader's language."""


class _Text(NamedTuple):
    """Texts and numbers in one language."""

    words: Mapping[str, str]

    def t(self, key: str, **details: object) -> str:
        return self.words[key].format(**details) if details else self.words[key]

    def number(self, value: float, digits: int = 2) -> str:
        text = f"{value:.{digits}f}".replace("-", "−")
        return text.replace(".", self.words["decimal"])


def dump(recipe: Recipe, runs: Sequence[Run], words: Mapping[str, str] | None = None) -> ExportResult:
    """Export the report. `words` replaces texts of `WORDS` by key. Raises `NucleusError` without a run."""
    if not runs:
        raise NucleusError("export_without_run")
    text = _Text(WORDS | dict(words or {}))
    answers = [row for run in runs for row in run.samples]
    share = max(1, min(MAX_DRAWN_STEPS, MAX_DRAWN_STEPS_TOTAL // max(1, len(answers))))
    cut = any(sum(event.trace is not None for event in row.events()) > share for row in answers)
    style = (_FOLDER / "report.css").read_text(encoding="utf-8")
    numbers = iter(range(1, len(answers) + 1))
    page = (
        _load_templates()
        .get_template("report.html.j2")
        .render(
            t=text.t,
            style=style,
            style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
            title=recipe.title,
            facts=_list_facts(recipe, runs[0], text),
            shades=("0", *(f"≥ {text.number(edge)}" for edge in _SHADES)),
            columns=_COLUMNS,
            runs=[
                {
                    "messages": _list_messages(run.request.prompt),
                    "answers": [_describe_answer(next(numbers), run, row, share, text) for row in run.samples],
                }
                for run in runs
            ],
            recipe=dump_yaml(recipe.model_copy(update={"trace": None})),
        )
    )
    dropped = [DroppedField("steps", "later_steps")] if cut else []
    if recipe.trace is not None:
        dropped.append(DroppedField("trace", "no_place"))
    return ExportResult(page, tuple(dropped))


@functools.cache
def _load_templates() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters["point"] = "{:.1f}".format
    return templates


def _list_facts(recipe: Recipe, run: Run, text: _Text) -> dict[str, str]:
    """Return what was set, by key of its name; empty where there is nothing to say."""
    sampler = recipe.sampler
    used = {STAGE_FIELDS[stage]: getattr(sampler, STAGE_FIELDS[stage]) for stage in sampler.stages}
    settings = ", ".join(f"{name} = {value}" for name, value in used.items()) or text.t("neutral")
    order = sampler.order if isinstance(sampler.order, str) else " → ".join(sampler.order)
    return {
        "author": recipe.author,
        "licence": recipe.licence,
        "model": " ".join(filter(None, (run.request.model_id, recipe.model.revision[:16]))),
        "precision": run.request.precision if recipe.local else "",
        "settings": settings,
        "order": order if len(used) > 1 else "",
        "max_output_tokens": str(recipe.limits.max_output_tokens),
        "stop_sequences": ", ".join(map(repr, recipe.limits.stop_sequences)),
        "notes": recipe.notes,
    }


def _list_messages(spec: PromptSpec) -> list[tuple[str, str]]:
    """Return role and content of each message of a prompt, and the beginning that the answer is given."""
    try:
        messages = [(str(message.role), message.content) for message in spec.messages()]
    except NucleusError:  # a document in which the question finds nothing
        messages = [("user", spec.question or spec.instruction)]
    return [*messages, ("begins_with", spec.prefill)] if spec.prefill else messages


def _describe_answer(number: int, run: Run, row: SampleRecord, max_steps: int, text: _Text) -> dict[str, Any]:
    """Return what the template shows of one answer."""
    events = row.events()
    traced = [event for event in events if event.trace]
    return {
        "number": number,
        "seed": row.seed,
        "error": str(row.error) if row.error else "",
        "thoughts": row.thoughts,
        "text": row.text,
        "tokens": [_describe_token(event, run, text) for event in events],
        "figures": _list_figures(row, events, traced, text),
        "charts": _make_curves(events, text) if traced else (),
        "step_count": len(traced),
        "steps": [_describe_step(place, event, run, text) for place, event in enumerate(traced[:max_steps], 1)],
        "table": [_make_table_row(place, event, run, text) for place, event in enumerate(events, 1)],
    }


def _list_figures(row: SampleRecord, events: list[TokenEvent], traced: list[TokenEvent], text: _Text) -> list[str]:
    figures = [text.t("tokens", count=len(events)), text.t("seconds", value=text.number(row.seconds))]
    if row.tokens_per_second:
        figures.append(text.t("speed", value=text.number(row.tokens_per_second, 1)))
    if traced:
        mean = math.fsum(event.known_trace.logprob for event in traced) / len(traced)
        figures.append(text.t("mean_logprob", value=text.number(mean)))
        figures.append(text.t("perplexity", value=text.number(math.exp(-mean), 1)))
    return figures


def _describe_token(event: TokenEvent, run: Run, text: _Text) -> dict[str, Any]:
    """Return a token of the answer. Line ends are shown, and a letter spread over several tokens stands at the last of
    them."""
    piece = event.piece.replace("\n", "↵\n")
    if event.trace is None or event.token_id is None:
        return {"text": piece, "shade": None, "tooltip": text.t("unknown")}
    probability = math.exp(event.trace.logprob)
    label, rank = escape_control_characters(run.label(event.token_id)), f"{text.t('rank')} {event.trace.rank}"
    return {
        "text": piece,
        "shade": sum(probability >= edge for edge in _SHADES),
        "tooltip": f"{label}: {text.t('probability')} {text.number(probability, 3)}, {rank}",
    }


def _make_curves(events: list[TokenEvent], text: _Text) -> list[tuple[svg_charts.LineChart, str]]:
    """Return the curves of an answer, each with the key of its caption."""
    traces = [event.trace for event in events]
    before = [math.exp(trace.logprob) if trace else None for trace in traces]
    after = [
        math.exp(trace.final.logprobs[trace.candidates.index(trace.token_id)]) if trace else None for trace in traces
    ]
    undecided = [trace.raw.entropy_bits if trace else None for trace in traces]
    left = [trace.final.entropy_bits if trace else None for trace in traces]
    names, step = (text.t("raw"), text.t("after")), text.t("step")
    probabilities = (("raw", names[0], before), ("after", names[1], after))
    entropies = (("raw", names[0], undecided), ("after", names[1], left))
    return [
        (
            svg_charts.make_line_chart(probabilities, text.t("probability"), step, text.number, most=1.0),
            "probability_caption",
        ),
        (svg_charts.make_line_chart(entropies, text.t("entropy"), step, text.number), "entropy_caption"),
    ]


def _describe_step(number: int, event: TokenEvent, run: Run, text: _Text) -> dict[str, Any]:
    trace = event.known_trace
    return {
        "label": escape_control_characters(run.label(trace.token_id)),
        "kept": trace.final.kept,
        "all": trace.raw.kept,
        "stages": " → ".join(stage.name for stage in trace.stages),
        "chart": svg_charts.make_bar_chart(trace, run.label, text.number, f"{text.t('number')} {number}"),
    }


def _make_table_row(number: int, event: TokenEvent, run: Run, text: _Text) -> list[str]:
    """Return one token's cells, as far as they are known."""
    token = event.token_id
    cells = [str(number), escape_control_characters(run.label(token) if token is not None else event.piece)]
    cells.append("" if token is None else str(token))
    if trace := event.trace:
        after = math.exp(trace.final.logprobs[trace.candidates.index(trace.token_id)])
        cells += [text.number(math.exp(trace.logprob), 4), text.number(after, 4), str(trace.rank)]
        cells += [text.number(trace.raw.entropy_bits), text.number(trace.surprisal_bits)]
    return cells
