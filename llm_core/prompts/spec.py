"""Compose a prompt of named parts, and arrange them into chat messages by a technique.

A `PromptSpec` keeps every part whatever the technique uses, so switching the technique loses nothing. `messages` is the
arrangement, the same for local and hosted models; `llm_core.prompts.rendering` turns it into one model's text and
tokens.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

from llm_core.errors import NucleusError
from llm_core.prompts.extraction import Extraction
from llm_core.prompts.output_format import OutputFormat
from llm_core.prompts.retrieval import MAX_DOCUMENT_CHARACTERS, MAX_PASSAGES, Passage, rank_passages

MAX_CHARACTERS = 200_000
"""Characters of all parts together: more than any context window this app meets. A larger paste is refused before it is
tokenised."""
MAX_EXAMPLES = 500
MAX_VALUES = 1_000
"""Rows of the table of values: prompts that one spec can become."""
MAX_CHAINS = 64
"""Chains of self-consistency: as many as one request may have samples."""

Technique = Literal[
    "zero_shot",
    "one_shot",
    "few_shot",
    "chain_of_thought",
    "few_shot_chain_of_thought",
    "self_consistency",
    "step_back",
]


class TechniqueTraits(NamedTuple):
    """Traits of a technique: what it uses of a prompt's parts."""

    examples: int | None = 0
    """Number of examples shown; None for all of them."""
    reasoning: bool = False
    """Whether the model is to reason before it answers: shown by worked examples, or else asked for by the trigger."""
    votes: bool = False
    """Whether several answers are written and the most frequent result counts."""
    steps_back: bool = False
    """Whether a more general question is answered first, and its answer becomes context."""


TECHNIQUES: dict[Technique, TechniqueTraits] = {
    "zero_shot": TechniqueTraits(),
    "one_shot": TechniqueTraits(examples=1),
    "few_shot": TechniqueTraits(examples=None),
    "chain_of_thought": TechniqueTraits(reasoning=True),
    "few_shot_chain_of_thought": TechniqueTraits(examples=None, reasoning=True),
    "self_consistency": TechniqueTraits(examples=None, reasoning=True, votes=True),
    "step_back": TechniqueTraits(steps_back=True),
}
assert tuple(TECHNIQUES) == get_args(Technique)


@dataclass(frozen=True, slots=True)
class Example:
    """A worked example: an input, and the answer it should get."""

    input: str
    output: str
    reasoning: str = ""
    """How the output follows: shown before it by techniques that reason."""


class PromptPiece(NamedTuple):
    """Text of one part of the prompt."""

    part: str
    """Field that the text comes from, one of `PARTS`."""
    text: str


PARTS = (
    *("system", "role", "context", "document", "instruction", "examples", "question", "trigger", "prefill"),
    "template",
)
"""Parts that a prompt's tokens come from; `template` is what the chat template adds."""


class Message(NamedTuple):
    """One chat turn."""

    role: Literal["system", "user", "assistant"]
    pieces: tuple[PromptPiece, ...]

    @property
    def content(self) -> str:
        return SEPARATOR.join(piece.text for piece in self.pieces)


SEPARATOR = "\n\n"
"""Text between the pieces of a message."""

_BRACES_PATTERN = re.compile(r"\\(?P<text>\{{2,})|\{\{\s*(?P<name>\w(?:[\w\-]| +(?=[\w\-]))*+)\s*\}\}|\{\{")
"""Braces that are text, a variable, or two braces that open nothing. Linear: no piece can match what another did."""


@dataclass(frozen=True, slots=True)
class PromptSpec:
    """A prompt as its author wrote it. Its methods raise `NucleusError` naming the field at fault.

    Texts may hold `{{name}}`, filled from `values`; after a backslash, two or more braces are text.
    """

    instruction: str = ""
    """What to do, or the whole prompt."""
    system: str = ""
    technique: Technique = "zero_shot"
    role: str = ""
    """Who the model is to be: a sentence, part of the system message."""
    context: str = ""
    """What the model should know: background, a passage, rules. Stands before the instruction."""
    document: str = ""
    """Where to look things up: only the passages that the question is about are shown. Variables in it stay text."""
    passages: int = 2
    """How many of them, at most."""
    question: str = ""
    """The input that the instruction is about, if it is a separate one."""
    examples: tuple[Example, ...] = ()
    examples_as: Literal["turns", "text"] = "turns"
    """Examples as earlier turns of the chat, or as text inside one message."""
    input_label: str = "Input:"
    output_label: str = "Output:"
    """What marks an example's parts where they are text."""
    trigger: str = "Let's think step by step."
    """Asks for reasoning where no worked example shows it."""
    answer_marker: str = "Answer:"
    """Between the reasoning and the answer, in worked examples."""
    step_back_question: str = "What general principle or fact helps to answer this? State it in one sentence."
    chains: int = 5
    """Answers to vote on."""
    prefill: str = ""
    """What the answer begins with, where the model allows it."""
    output: OutputFormat = field(default_factory=OutputFormat)
    extraction: Extraction = field(default_factory=Extraction)
    """Where in an answer its result stands."""
    stop_sequences: tuple[str, ...] = ()
    values: tuple[Mapping[str, str], ...] = ()
    """A table of values for the variables: a prompt for each row."""

    @property
    def traits(self) -> TechniqueTraits:
        return TECHNIQUES[self.technique]

    @property
    def shown_examples(self) -> tuple[Example, ...]:
        """Examples that the technique shows."""
        return self.examples[: self.traits.examples]

    def texts(self) -> Iterator[tuple[str, str]]:
        """Yield `(field, text)` of every part that may hold variables, examples included."""
        for name in _TEXT_FIELDS:
            yield name, getattr(self, name)
        for example in self.examples:
            for part in ("input", "reasoning", "output"):
                yield "examples", getattr(example, part)

    def validate(self) -> None:
        """Check that the prompt can be run.

        Raises `NucleusError` for a prompt without instruction and question, control characters, sizes beyond the
        limits, examples without input or output, and whatever `OutputFormat` and `Extraction` refuse.
        """
        if self.technique not in TECHNIQUES:
            raise NucleusError("technique_unknown", value=self.technique)
        if not (self.instruction.strip() or self.question.strip()):
            raise NucleusError("prompt_empty")
        total = 0
        for part, text in self.texts():
            total += len(text)
            if total > MAX_CHARACTERS:
                raise NucleusError("prompt_too_large", field=part, size=total, limit=MAX_CHARACTERS)
            _check_characters(part, text)
        _check_range("examples", len(self.examples), 0, MAX_EXAMPLES)
        _check_range("values", len(self.values), 0, MAX_VALUES)
        _check_range("chains", self.chains, 1, MAX_CHAINS)
        _check_range("passages", self.passages, 1, MAX_PASSAGES)
        if len(self.document) > MAX_DOCUMENT_CHARACTERS:
            raise NucleusError(
                "prompt_too_large", field="document", size=len(self.document), limit=MAX_DOCUMENT_CHARACTERS
            )
        _check_characters("document", self.document)
        for place, example in enumerate(self.examples, 1):
            for part in ("input", "output"):
                if not getattr(example, part).strip():
                    raise NucleusError("example_incomplete", number=place, field=part)
        self.output.validate()
        self.extraction.validate()

    def variables(self) -> tuple[str, ...]:
        """Return the names in `{{…}}`, in the order of their first use. Raises `NucleusError` for `{{` without a name
        and `}}`."""
        names: dict[str, None] = {}
        for part, text in self.texts():
            for found in _BRACES_PATTERN.finditer(text):
                if found["name"]:
                    names[found["name"]] = None
                elif not found["text"]:
                    raise NucleusError("variable_unbalanced", field=part, position=found.start() + 1)
        return tuple(names)

    def expand(self, values: Mapping[str, str]) -> PromptSpec:
        """Return this prompt with its variables replaced by `values`. A value is text: variables in it are not
        replaced.

        Raises `NucleusError` for a variable without a value.
        """
        for name in self.variables():
            if name not in values:
                raise NucleusError("variable_without_value", variable=name)

        def fill(text: str) -> str:
            return _BRACES_PATTERN.sub(lambda found: found["text"] or values[found["name"]], text)

        fields: dict[str, Any] = {name: fill(getattr(self, name)) for name in _TEXT_FIELDS}
        examples = tuple(
            Example(fill(example.input), fill(example.output), fill(example.reasoning)) for example in self.examples
        )
        return dataclasses.replace(self, **fields, examples=examples, values=())

    def variants(self) -> tuple[PromptSpec, ...]:
        """Return one prompt for each row of values, or this one where it has no variables."""
        if not self.variables():
            return (self.expand({}),)
        return tuple(self.expand(row) for row in self.values or ({},))

    def retrieve_passages(self) -> tuple[Passage, ...]:
        """Return the passages of the document that the question is about, in the document's order.

        Empty without a document. Raises `NucleusError` where no passage fits.
        """
        if not self.document.strip():
            return ()
        return tuple(sorted(rank_passages(self.document, self.question.strip() or self.instruction, self.passages)))

    def messages(self, *, examples_as: Literal["turns", "text"] | None = None) -> tuple[Message, ...]:
        """Return the chat that the technique makes of the parts, ending with a turn of the user's. Variables have to be
        filled before.

        Raises `NucleusError` where no passage of the document fits the question.
        """
        style = examples_as or self.examples_as
        system = _make_pieces(("role", self.role), ("system", self.system))
        turns = [Message("system", system)] if system else []
        found = SEPARATOR.join(passage.citation for passage in self.retrieve_passages())
        head = [("context", self.context), ("document", found)]
        final = self.question
        if self.question.strip():
            head.append(("instruction", self.instruction))
        else:
            final = self.instruction
        shown = self.shown_examples
        opening = _make_pieces(*head)
        if style == "turns":
            for example in shown:
                turns.append(Message("user", (*opening, PromptPiece("examples", example.input))))
                turns.append(Message("assistant", (PromptPiece("examples", self._format_answer(example)),)))
                opening = ()
        else:
            opening += tuple(PromptPiece("examples", self._format_example(example)) for example in shown)
        asks = "question" if self.question.strip() else "instruction"
        if shown and style == "text" and asks == "question":
            final = f"{self.input_label} {final}\n{self.output_label}".strip()
        worked = any(example.reasoning.strip() for example in shown)
        trigger = self.trigger if self.traits.reasoning and not worked else ""
        turns.append(Message("user", (*opening, *_make_pieces((asks, final), ("trigger", trigger)))))
        return tuple(turns)

    def make_step_back_prompt(self) -> PromptSpec:
        """Return the first prompt of a step-back: the general question about this one."""
        query = SEPARATOR.join(filter(str.strip, (self.instruction, self.question)))
        return dataclasses.replace(
            self,
            technique="zero_shot",
            instruction=self.step_back_question,
            question=query,
            prefill="",
            output=OutputFormat(),
            extraction=Extraction(),
        )

    def add_principle(self, principle: str) -> PromptSpec:
        """Return the second prompt of a step-back: this one, with the general answer in its context."""
        context = SEPARATOR.join(filter(str.strip, (self.context, principle.strip())))
        return dataclasses.replace(self, technique="zero_shot", context=context)

    def _format_answer(self, example: Example) -> str:
        """Return the answer that the model should have given to an example."""
        if not (self.traits.reasoning and example.reasoning.strip()):
            return example.output
        return f"{example.reasoning}\n{self.answer_marker} {example.output}"

    def _format_example(self, example: Example) -> str:
        return f"{self.input_label} {example.input}\n{self.output_label} {self._format_answer(example)}".strip()


_TEXT_FIELDS = (
    *("system", "role", "context", "instruction", "question"),
    *("trigger", "step_back_question", "prefill"),
)


def _make_pieces(*named: tuple[str, str]) -> tuple[PromptPiece, ...]:
    return tuple(PromptPiece(part, text) for part, text in named if text.strip())


def _check_range(field: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise NucleusError("setting_out_of_range", field=field, value=value, low=low, high=high)


_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
"""Unicode's categories Cc and Cs, except tabs and line ends."""


def remove_control_characters(text: str) -> str:
    """Remove the characters that a prompt may not hold: a model may write them, and be asked about what it wrote."""
    return _CONTROL_CHARACTERS.sub("", text)


def _check_characters(field: str, text: str) -> None:
    if found := _CONTROL_CHARACTERS.search(text):
        code = f"U+{ord(found[0]):04X}"
        raise NucleusError("prompt_control_character", field=field, character=code, position=found.start() + 1)
