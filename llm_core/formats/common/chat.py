"""Convert a prompt to the chat that it makes, with its variables kept, and back: the content of other programs'
formats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import NamedTuple

from llm_core.formats.common.fields import is_arranged
from llm_core.formats.common.result import DroppedField
from llm_core.prompts.spec import Example, PromptSpec


class Variable(NamedTuple):
    """Placeholder for a value."""

    name: str


Part = str | Variable


class Turn(NamedTuple):
    """One message of the chat.

    The role is `system`, `user` or `assistant`; an assistant's turn at the end is the beginning of the answer.
    """

    role: str
    parts: tuple[Part, ...]

    def text(self, literal: Callable[[str], str] = str, variable: Callable[[str], str] = "{{{{{}}}}}".format) -> str:
        """Return the turn's text, its parts written by a template language's rules."""
        return "".join(literal(part) if isinstance(part, str) else variable(part.name) for part in self.parts)


def spec_to_turns(spec: PromptSpec) -> tuple[Turn, ...]:
    """Return the chat of the technique's first prompt, with its prefill as a turn of the assistant's. Raises
    `NucleusError` for a prompt that cannot be arranged."""
    names = spec.variables()
    # Filled with marks, braces that are text become text, and variables stay apart from it.
    marks = _make_marks(spec, names)
    filled = spec.expand({name: mark for mark, name in marks.items()})
    if filled.traits.steps_back:
        filled = filled.make_step_back_prompt()
    messages = [(message.role, message.content) for message in filled.messages()]
    if filled.prefill:
        messages.append(("assistant", filled.prefill))
    return tuple(Turn(role, tuple(_split_at_marks(content, marks))) for role, content in messages)


def turns_to_spec(turns: Sequence[Turn]) -> PromptSpec:
    """Return a prompt that makes this chat: the system's text, earlier turns as examples, the last question as the
    instruction, and what follows it as the prefill.

    Raises `ValueError` for a chat of another shape, and for one whose braces and backslashes a prompt cannot express.
    """
    left = [(turn.role, _write_turn(turn)) for turn in turns if turn.text().strip()]
    system = left.pop(0)[1] if left and left[0][0] == "system" else ""
    prefill = left.pop()[1] if left and left[-1][0] == "assistant" else ""
    if not left or [role for role, _ in left] != ["user", "assistant"] * (len(left) // 2) + ["user"]:
        raise ValueError("its turns are not a system text, then user and assistant in turn, then a question")
    pairs = zip(left[:-1:2], left[1::2], strict=True)
    examples = tuple(Example(question, answered) for (_, question), (_, answered) in pairs)
    last = left[-1][1]
    if examples:
        return PromptSpec(system=system, question=last, examples=examples, technique="few_shot", prefill=prefill)
    return PromptSpec(last, system=system, prefill=prefill)


def _write_turn(turn: Turn) -> str:
    """Write the turn by `PromptSpec`'s rules, in which two braces after a backslash are text. Raises `ValueError` for a
    variable after a backslash or a brace."""
    written = ""
    for part in turn.parts:
        if isinstance(part, str):
            written += part.replace("{{", "\\{{")
        elif written.endswith(("\\", "{")):
            raise ValueError("a variable follows a backslash or a brace")
        else:
            written += f"{{{{{part.name}}}}}"
    return written


def dropped_prompt_fields(spec: PromptSpec) -> list[DroppedField]:
    """Return the fields that are dropped where only the prompt's chat is carried."""
    found = [DroppedField("prompt", "as_chat")] if is_arranged(spec) else []
    if spec.traits.steps_back or spec.traits.votes:
        found.append(DroppedField("prompt.technique", "one_step"))
    if spec.extraction.kind != "whole":
        found.append(DroppedField("prompt.extraction", "no_place"))
    return found


def _make_marks(spec: PromptSpec, names: Sequence[str]) -> dict[str, str]:
    """Return a mark for each name, made of two characters that no text of the prompt has."""
    labels = (spec.document, spec.input_label, spec.output_label, spec.answer_marker)
    used = set("".join([*labels, *(text for _, text in spec.texts())]))
    opening, closing = islice((chr(code) for code in range(0xE000, 0xF900) if chr(code) not in used), 2)
    return {f"{opening}{number}{closing}": name for number, name in enumerate(names)}


def _split_at_marks(content: str, marks: dict[str, str]) -> list[Part]:
    parts: list[Part] = [content]
    for mark, name in marks.items():
        split: list[Part] = []
        for part in parts:
            if not isinstance(part, str):
                split.append(part)
                continue
            first, *rest = part.split(mark)
            split.append(first)
            for after in rest:
                split += [Variable(name), after]
        parts = split
    return [part for part in parts if part]
