"""Render a prompt for one model: the text with its special tokens, the tokens, and the part that each comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from llm_core.errors import NucleusError
from llm_core.prompts.spec import SEPARATOR, Message, PromptPiece, PromptSpec

if TYPE_CHECKING:
    from llm_core.models.language_model import LanguageModel

TEMPLATE = "template"


class Span(NamedTuple):
    """Characters `start .. stop - 1` of the rendered text and the part of the prompt that they come from."""

    part: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class RenderedPrompt:
    """Text that the model receives, and its tokens."""

    text: str
    token_ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...] = ()
    """Characters of the text that each token covers, as `(start, stop)`; several tokens may share one character."""
    spans: tuple[Span, ...] = ()
    """Parts of the whole text, in order and without gaps."""

    @property
    def token_parts(self) -> tuple[str, ...]:
        """Part that each token begins in. Tokens that the tokenizer puts around the text belong to `template`."""
        parts, place = [], 0
        for start, stop in self.offsets:
            if start == stop:
                parts.append(TEMPLATE)
                continue
            while place + 1 < len(self.spans) and self.spans[place].stop <= start:
                place += 1
            parts.append(self.spans[place].part)
        return tuple(parts)

    @property
    def tokens_by_part(self) -> dict[str, int]:
        """Number of tokens of each part, in the order of first appearance."""
        counts: dict[str, int] = {}
        for part in self.token_parts:
            counts[part] = counts.get(part, 0) + 1
        return counts


def render(spec: PromptSpec, model: LanguageModel) -> RenderedPrompt:
    """Render the prompt with the model's chat template, or as plain text to continue for a model without one.

    Raises `NucleusError` for an invalid prompt, and for one that leaves no room in the context window.
    """
    spec.validate()
    tokenizer = model.tokenizer
    if tokenizer.chat_template:
        text, spans = _render_chat(tokenizer, spec.messages())
        spans, special = _add_prefill_span(spans, spec.prefill, ""), False
        text += spec.prefill
    else:
        text, spans = _join_pieces(spec.messages(examples_as="text"))
        gap = " " if spec.prefill else ""
        spans, special = _add_prefill_span(spans, spec.prefill, gap), True
        text += gap + spec.prefill
    encoded = tokenizer(text, add_special_tokens=special, return_offsets_mapping=tokenizer.is_fast)
    ids = encoded["input_ids"]
    rendered = RenderedPrompt(text, tuple(ids), tuple(encoded.get("offset_mapping", ())), tuple(spans))
    if len(ids) >= model.context_window:
        counts = {part: count for part, count in rendered.tokens_by_part.items() if part != TEMPLATE}
        longest = max(counts, key=counts.__getitem__, default="instruction")
        over = len(ids) - model.context_window + 1
        raise NucleusError("prompt_too_long", tokens=len(ids), limit=model.context_window, over=over, field=longest)
    return rendered


def _render_chat(tokenizer: Any, messages: Sequence[Message]) -> tuple[str, list[Span]]:
    from jinja2 import TemplateError

    try:
        return _apply_template(tokenizer, messages)
    except TemplateError:
        if messages[0].role != "system":
            raise
        # Some models have no system role; their makers put such text in front of the user's.
        system, first, *rest = messages
        return _apply_template(tokenizer, [Message("user", system.pieces + first.pieces), *rest])


def _apply_template(tokenizer: Any, messages: Sequence[Message]) -> tuple[str, list[Span]]:
    """Apply the chat template and find the parts in its text.

    A template may change a message, for example strip it, so the parts are located by rendering marks in their place.
    Where that leads to another text, all of it counts as the template's.
    """

    def apply(contents: Sequence[str]) -> str:
        chat = [{"role": each.role, "content": content} for each, content in zip(messages, contents, strict=True)]
        return str(tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False))

    text = apply([message.content for message in messages])
    marks = [f"\ue000{place}\ue001" for place in range(len(messages))]
    marked = apply(marks)
    for trimmed in (False, True):
        spans, rebuilt, rest = [], "", marked
        for mark, message in zip(marks, messages, strict=True):
            before, found, rest = rest.partition(mark)
            if not found:
                break
            spans.append(Span(TEMPLATE, len(rebuilt), len(rebuilt) + len(before)))
            rebuilt += before
            spans += _make_spans(message.pieces, len(rebuilt), trimmed)
            rebuilt += message.content.strip() if trimmed else message.content
        spans.append(Span(TEMPLATE, len(rebuilt), len(rebuilt) + len(rest)))
        if rebuilt + rest == text:
            return text, [span for span in spans if span.start < span.stop]
    return text, [Span(TEMPLATE, 0, len(text))]


def _make_spans(pieces: Sequence[PromptPiece], start: int, trimmed: bool = False) -> list[Span]:
    """Return the spans of one message's pieces in a text where the message begins at `start`. A separator belongs to
    the piece before it."""
    texts = [piece.text + SEPARATOR for piece in pieces]
    texts[-1] = pieces[-1].text
    if trimmed:
        texts[0] = texts[0].lstrip()
        texts[-1] = texts[-1].rstrip()
    spans = []
    for piece, text in zip(pieces, texts, strict=True):
        spans.append(Span(piece.part, start, start + len(text)))
        start += len(text)
    return spans


def _join_pieces(messages: Sequence[Message]) -> tuple[str, list[Span]]:
    pieces = [piece for message in messages for piece in message.pieces]
    return SEPARATOR.join(piece.text for piece in pieces), _make_spans(pieces, 0)


def _add_prefill_span(spans: list[Span], prefill: str, gap: str) -> list[Span]:
    if not prefill:
        return spans
    end = spans[-1].stop
    return [*spans, Span("prefill", end, end + len(gap) + len(prefill))]
