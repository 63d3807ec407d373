"""Export runs as one HTML file that opens anywhere, offline, with its plots: no scripts, nothing fetched.

What people and models wrote is escaped text; and since the file allows no scripts and nothing but its own style sheet
(Content-Security-Policy), text that slipped through could still do nothing.
"""

from __future__ import annotations

import base64
import hashlib
import html
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from llm_core.errors import NucleusError
from llm_core.formats.common.result import DroppedField, ExportResult
from llm_core.formats.report import svg_charts
from llm_core.formats.report.style import STYLE
from llm_core.generation.record import Run, SampleRecord, TokenEvent
from llm_core.generation.token_text import escape_control_characters
from llm_core.prompts.spec import PromptSpec
from llm_core.recipes.recipe import Recipe
from llm_core.recipes.yaml_json import dump_yaml
from samplers.config import STAGE_FIELDS

MAX_DRAWN_STEPS = 60
"""Steps of an answer that are drawn one by one; curves and tables have all of them."""
MAX_DRAWN_STEPS_TOTAL = 240
"""Steps of all answers together that are drawn one by one."""
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


class _TextWriter(NamedTuple):
    """Writer of texts and numbers in one language."""

    words: Mapping[str, str]

    def t(self, key: str, **details: object) -> str:
        return html.escape(self.words[key].format(**details) if details else self.words[key])

    def number(self, value: float, digits: int = 2) -> str:
        text = f"{value:.{digits}f}".replace("-", "−")
        return text.replace(".", self.words["decimal"])


def dump(recipe: Recipe, runs: Sequence[Run], words: Mapping[str, str] | None = None) -> ExportResult:
    """Export the report. `words` replaces texts of `WORDS` by key. Raises `NucleusError` without a run."""
    if not runs:
        raise NucleusError("export_without_run")
    pen = _TextWriter(WORDS | dict(words or {}))
    answers = [(run, row) for run in runs for row in run.samples]
    share = max(1, min(MAX_DRAWN_STEPS, MAX_DRAWN_STEPS_TOTAL // max(1, len(answers))))
    cut = any(sum(event.trace is not None for event in row.events()) > share for _, row in answers)
    body = [_render_head(recipe, runs[0], pen)]
    number = 0
    for run in runs:
        body.append(_render_prompt(run.request.prompt, pen))
        for row in run.samples:
            number += 1
            body.append(_render_answer(number, run, row, share, pen))
    bare = recipe.model_copy(update={"trace": None})
    body.append(f"<h2>{pen.t('recipe')}</h2><pre class='card'>{html.escape(dump_yaml(bare))}</pre>")
    lost = [DroppedField("steps", "later_steps")] if cut else []
    if recipe.trace is not None:
        lost.append(DroppedField("trace", "no_place"))
    return ExportResult(_render_page(recipe.title or pen.words["made_by"], "\n".join(body), pen), tuple(lost))


def _render_page(title: str, body: str, pen: _TextWriter) -> str:
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return (
        f'<!doctype html>\n<html lang="{html.escape(pen.words["language"])}">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _render_head(recipe: Recipe, run: Run, pen: _TextWriter) -> str:
    sampler = recipe.sampler
    used = {STAGE_FIELDS[stage]: getattr(sampler, STAGE_FIELDS[stage]) for stage in sampler.stages}
    settings = ", ".join(f"{name} = {value}" for name, value in used.items()) or pen.words["neutral"]
    order = sampler.order if isinstance(sampler.order, str) else " → ".join(sampler.order)
    facts = {
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
    listed = "".join(
        f"<dt>{pen.t(name)}</dt><dd class='{'text' if name == 'notes' else ''}'>{html.escape(value)}</dd>"
        for name, value in facts.items()
        if value
    )
    title = f"<h1>{html.escape(recipe.title)}</h1>" if recipe.title else ""
    made = f"<p class='soft'>{pen.t('made_by')}</p>" if title else f"<h1>{pen.t('made_by')}</h1>"
    return f"{title}{made}<dl>{listed}</dl>"


def _render_prompt(spec: PromptSpec, pen: _TextWriter) -> str:
    try:
        messages = [(message.role, message.content) for message in spec.messages()]
    except NucleusError:  # a document in which the question finds nothing
        messages = [("user", spec.question or spec.instruction)]
    cards = [(pen.t(role), content) for role, content in messages]
    if spec.prefill:
        cards.append((pen.t("begins_with"), spec.prefill))
    shown = "".join(
        f"<div class='card'><div class='role'>{role}</div><div class='text'>{html.escape(content)}</div></div>"
        for role, content in cards
    )
    return f"<h2>{pen.t('prompt')}</h2>{shown}"


def _render_answer(number: int, run: Run, row: SampleRecord, steps: int, pen: _TextWriter) -> str:
    events = row.events()
    traced = [event for event in events if event.trace]
    title = pen.t("answer", number=number) + ("" if row.seed is None else f" · {pen.t('seed', seed=row.seed)}")
    parts = [f"<h2>{title}</h2>"]
    if row.error:
        parts.append(f"<p class='error'>{pen.t('error', text=str(row.error))}</p>")
    if row.thoughts:
        thoughts = html.escape(row.thoughts)
        parts.append(
            f"<details><summary>{pen.t('thoughts')}</summary><div class='card text'>{thoughts}</div></details>"
        )
    strip = "".join(_render_token(event, run, pen) for event in events) or html.escape(row.text)
    parts.append(f"<div class='card text'>{strip}</div>")
    parts.append(f"<p class='soft'>{' · '.join(_answer_figures(row, events, traced, pen))}</p>")
    if traced:
        parts += [
            _render_scale(pen),
            _render_curves(events, pen),
            _render_steps(run, traced, steps, pen),
            _render_table(run, events, pen),
        ]
    return "\n".join(parts)


def _answer_figures(
    row: SampleRecord, events: list[TokenEvent], traced: list[TokenEvent], pen: _TextWriter
) -> list[str]:
    figures = [pen.t("tokens", count=len(events)), pen.t("seconds", value=pen.number(row.seconds))]
    if row.tokens_per_second:
        figures.append(pen.t("speed", value=pen.number(row.tokens_per_second, 1)))
    if traced:
        mean = math.fsum(event.known_trace.logprob for event in traced) / len(traced)
        figures.append(pen.t("mean_logprob", value=pen.number(mean)))
        figures.append(pen.t("perplexity", value=pen.number(math.exp(-mean), 1)))
    return figures


def _render_token(event: TokenEvent, run: Run, pen: _TextWriter) -> str:
    """Render one token. Line ends are shown, and a letter spread over several tokens stands at the last of them."""
    text = html.escape(event.piece).replace("\n", "↵\n")
    if event.trace is None or event.token_id is None:
        return f"<span class='token' title='{pen.t('unknown')}'>{text}</span>"
    chance = math.exp(event.trace.logprob)
    shade = sum(chance >= edge for edge in _SHADES)
    label = html.escape(escape_control_characters(run.label(event.token_id)))
    told = f"{label}: {pen.t('probability')} {pen.number(chance, 3)}, {pen.t('rank')} {event.trace.rank}"
    return f'<span class="token p{shade}" title="{told}">{text}</span>'


def _render_scale(pen: _TextWriter) -> str:
    edges = ("0", *(f"≥ {pen.number(edge)}" for edge in _SHADES))
    shades = " ".join(f"<span class='token p{shade}'>{edge}</span>" for shade, edge in enumerate(edges))
    return f"<p class='soft scale'>{pen.t('colour')}: {shades}</p>"


def _render_curves(events: list[TokenEvent], pen: _TextWriter) -> str:
    traces = [event.trace for event in events]
    before = [math.exp(trace.logprob) if trace else None for trace in traces]
    after = [
        math.exp(trace.final.logprobs[trace.candidates.index(trace.token_id)]) if trace else None for trace in traces
    ]
    undecided = [trace.raw.entropy_bits if trace else None for trace in traces]
    left = [trace.final.entropy_bits if trace else None for trace in traces]
    names = (pen.words["raw"], pen.words["after"])
    legend = f"<span class='soft'>{_render_key('raw', pen)} {_render_key('after', pen)}</span>"
    chances = svg_charts.render_line_chart(
        (("raw", names[0], before), ("after", names[1], after)),
        pen.words["probability"],
        pen.words["step"],
        pen.number,
        most=1.0,
    )
    entropies = svg_charts.render_line_chart(
        (("raw", names[0], undecided), ("after", names[1], left)), pen.words["entropy"], pen.words["step"], pen.number
    )
    return (
        f"<figure>{chances}<figcaption>{pen.t('probability_caption')} {legend}</figcaption></figure>"
        f"<figure>{entropies}<figcaption>{pen.t('entropy_caption')} {legend}</figcaption></figure>"
    )


def _render_key(kind: str, pen: _TextWriter) -> str:
    square = f'<rect class="bar-{kind}" width="10" height="10"/>'
    return f'<svg class="key" viewBox="0 0 10 10">{square}</svg> {pen.t(kind)}'


def _render_steps(run: Run, traced: list[TokenEvent], most: int, pen: _TextWriter) -> str:
    drawn = []
    for number, event in enumerate(traced[:most], 1):
        trace = event.known_trace
        label = html.escape(escape_control_characters(run.label(trace.token_id)))
        kept = pen.t("kept", kept=trace.final.kept, all=trace.raw.kept)
        stages = " → ".join(stage.name for stage in trace.stages)
        chart = svg_charts.render_bar_chart(trace, run.label, pen.number, f"{pen.words['number']} {number}")
        drawn.append(
            f"<details><summary>{number}. <b>{label}</b> <span class='soft'>{kept}</span></summary>"
            f"<p class='soft'>{html.escape(stages)}</p>{chart}</details>"
        )
    more = f"<p class='soft'>{pen.t('steps_more', shown=most, count=len(traced))}</p>" if len(traced) > most else ""
    legend = f"<p class='soft'>{_render_key('raw', pen)} {_render_key('after', pen)} {_render_key('drawn', pen)}</p>"
    return f"<details><summary><b>{pen.t('steps')}</b></summary>{legend}{more}{''.join(drawn)}</details>"


def _render_table(run: Run, events: list[TokenEvent], pen: _TextWriter) -> str:
    names = ("number", "token", "id", "raw", "after", "rank", "entropy", "surprisal")
    head = "".join(f"<th>{pen.t(name)}</th>" for name in names)
    rows = []
    for number, event in enumerate(events, 1):
        label = escape_control_characters(run.label(event.token_id) if event.token_id is not None else event.piece)
        cells = [html.escape(label), str(event.token_id) if event.token_id is not None else ""]
        if trace := event.trace:
            after = math.exp(trace.final.logprobs[trace.candidates.index(trace.token_id)])
            cells += [pen.number(math.exp(trace.logprob), 4), pen.number(after, 4), str(trace.rank)]
            cells += [pen.number(trace.raw.entropy_bits), pen.number(trace.surprisal_bits)]
        first, *others = [str(number), *cells]
        rows.append(
            f"<tr><td class='n'>{first}</td><td>{others[0]}</td>"
            + "".join(f"<td class='n'>{cell}</td>" for cell in others[1:])
            + "</tr>"
        )
    table = f"<div class='scroll'><table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    return f"<details><summary><b>{pen.t('table')}</b></summary>{table}</details>"
