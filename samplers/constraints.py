"""Restrict the next token so that the output is one of some strings, matches a regular expression or is valid JSON.

Grammars, lexer and token masks come from llguidance, imported on first use. A vocabulary is its `LLTokenizer`: made
once per model (`llguidance.hf.from_tokenizer`; half a second for 49,152 tokens) and shared by every constraint.

A token is allowed exactly if the text so far plus the token's bytes can still become a complete output. Any
tokenization is accepted, nothing is prepended, and special tokens never count as text. If the text is already complete,
the end tokens are allowed too, or alone if no more text may follow.
"""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

MAX_CHARACTERS = 20_000
"""Largest length of a regular expression, of a schema written as JSON, and of all choices together."""
MAX_OBJECTS = 400
MAX_PATTERNS = 10
MAX_MULTIPLE = 10_000
"""Largest least common multiple of a schema's `multipleOf` values; the two bounds above limit its objects and patterns.

llguidance limits its lexer and parser itself, but follows references on the call stack, tries every combination of
patterns, and builds a state for every remainder of `multipleOf`: without limits, a schema of one line could end the
process or keep it busy for minutes.
"""

_LEXER_STATES = 100_000
"""Largest number of lexer states, about 70 MB; a state is created only when a text visits it."""
_WHITESPACE = r" |\n {0,20}"
"""Whitespace between the parts of a JSON text: a space, or a line break with its indentation. Unlimited, small models
never stop."""
_PREFIX = r"^error: |^at \d+\(\d+\): ((invalid regex .*\(in regex\)|failed to compile JSON schema): )?"
_PREAMBLE = '%llguidance {"no_forcing": true}\n'
"""llguidance option; by default it allows only one tokenization wherever the text is determined."""


class Constraint:
    """Position of one row in its grammar. Made by `match_choice`, `match_pattern` and `match_json_schema`; only
    `accept` changes it.

    Methods raise `ValueError` if the grammar turns out too complex for llguidance's limits, or if the vocabulary has no
    token for the bytes that would have to come next.
    """

    def __init__(self, vocabulary: LLTokenizer, matcher: LLMatcher, source: str) -> None:
        self._vocabulary = vocabulary
        self._matcher = matcher
        self._source = source

    def allowed(self) -> Tensor:
        """Return a bool mask `[V]` on the CPU, V that of the vocabulary, of the tokens that may come next: at least
        one."""
        bias = self._matcher.compute_logit_bias()  # one byte a token, and all end tokens after an error
        self._check()
        return torch.frombuffer(bytearray(bias), dtype=torch.uint8).bool()

    def accept(self, token_id: int) -> None:
        """Advance by one token. Raises `ValueError` for a token that is not allowed, and then nothing changes."""
        known = 0 <= token_id < self._vocabulary.vocab_size
        if known and self._matcher.try_consume_tokens([token_id]):
            return
        self._check()
        if not (self.finished and token_id in self._vocabulary.eos_tokens):
            raise ValueError(f"token_id={token_id!r}: not allowed here by {self._source}; expected one of `allowed()`")

    @property
    def finished(self) -> bool:
        """Whether the accepted tokens are a complete output that only an end token can follow."""
        return self._matcher.is_stopped() and not self._matcher.is_error()

    def copy(self) -> Constraint:
        """Return an independent constraint at the same position in the same grammar.

        Copies share llguidance's lexer, so if one text makes it too complex, all copies raise: rows that must not
        affect each other need constraints made anew, which takes one or two milliseconds.
        """
        return Constraint(self._vocabulary, self._matcher.deep_copy(), self._source)

    def _check(self, expected: str = "something simpler, or a vocabulary with the bytes for it") -> None:
        if self._matcher.is_error():
            raise ValueError(f"{self._source}: {_error_message(self._matcher.get_error())}; expected {expected}")


def match_choice(vocabulary: LLTokenizer, choices: Sequence[str]) -> Constraint:
    """Return a constraint to exactly one of the strings. Raises `ValueError` for choices that are malformed or too
    long."""
    source = f"choices={reprlib.repr(choices)}"
    listed = isinstance(choices, Sequence) and not isinstance(choices, str)
    if not listed or not choices or not all(isinstance(choice, str) for choice in choices):
        raise ValueError(f"{source}: expected a list of at least one string")
    _check_text(source, "".join(choices))
    literals = " | ".join(map(json.dumps, choices))
    return _compile(vocabulary, f"start: CHOICE\nCHOICE: {literals}", source, "fewer or shorter choices")


def match_pattern(vocabulary: LLTokenizer, regex: str) -> Constraint:
    """Return a constraint to text that matches the whole regular expression, with or without `^` and `$` around it.

    The syntax is that of Rust's `regex` crate: nearly Python's, but without look-around and back-references. Raises
    `ValueError` for a malformed or unsupported expression.
    """
    import llguidance

    source = f"regex={reprlib.repr(regex)}"
    if not isinstance(regex, str):
        raise ValueError(f"{source}: expected a string")
    _check_text(source, regex)
    if re.search(r"\(\?[a-zA-Z]*x", regex):  # llguidance rewrites line breaks as \n, which flag x gives another meaning
        raise ValueError(f"{source}: the flag x is not supported; expected the expression without it")
    # the group makes a backslash at the very end an error; without it llguidance would drop the backslash
    quoted = llguidance.regex_to_lark(f"(?:{regex})", "")
    expected = "a regular expression without look-around and back-references"
    return _compile(vocabulary, f"start: /{quoted}/", source, expected)


def match_json_schema(vocabulary: LLTokenizer, schema: Mapping[str, Any]) -> Constraint:
    """Return a constraint to JSON that is valid under the schema (draft 2020-12), with properties in the schema's
    order.

    Raises `ValueError` for keywords that llguidance cannot enforce; `$ref` reaches inside the schema only. The key
    `x-guidance` sets llguidance's own options, such as the whitespace.
    """
    source = f"json_schema={reprlib.repr(schema)}"
    if not isinstance(schema, Mapping):
        raise ValueError(f"{source}: expected an object, as in {{'type': 'object', ...}}")
    try:
        text = json.dumps(dict(schema), allow_nan=False)
        plain = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{source}: {error}; expected what JSON can say") from error
    _check_text(source, text)
    _check_effort(source, plain)
    complete = {"x-guidance": {"whitespace_pattern": _WHITESPACE}} | plain
    expected = "keywords from https://github.com/guidance-ai/llguidance/blob/main/docs/json_schema.md"
    return _compile(vocabulary, f"start: %json {json.dumps(complete)}", source, expected)


def _compile(vocabulary: LLTokenizer, grammar: str, source: str, expected: str) -> Constraint:
    import llguidance

    limits = llguidance.LLParserLimits(max_lexer_states=_LEXER_STATES)
    matcher = llguidance.LLMatcher(vocabulary, _PREAMBLE + grammar, log_level=0, limits=limits)
    constraint = Constraint(vocabulary, matcher, source)
    matcher.compute_logit_bias()  # otherwise a grammar that no text satisfies would go unnoticed
    constraint._check(expected)
    return constraint


def _error_message(report: str) -> str:
    """Return the line of llguidance's report that states the problem, without positions in the generated grammar."""
    if report.startswith("NoExtensionBias"):
        return "no token can come next"
    lines = report.splitlines()
    told = next((line for line in lines if line.startswith("error: ")), lines[0])
    return re.sub(_PREFIX, "", told)[:200]


def _check_text(source: str, text: str) -> None:
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"{source}: has {len(text)} characters; expected at most {MAX_CHARACTERS}")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError(f"{source}: has half a surrogate pair; expected whole characters")


def _check_effort(source: str, schema: Any) -> None:
    objects = list(_iterate_objects(schema))
    patterns = {node[key] for node in objects for key in ("pattern", "format") if isinstance(node.get(key), str)}
    for node in objects:
        if isinstance(node.get("patternProperties"), dict):
            patterns.update(node["patternProperties"])
    for excessive, what in (
        (len(objects) > MAX_OBJECTS, f"more than {MAX_OBJECTS} objects"),
        (len(patterns) > MAX_PATTERNS, f"more than {MAX_PATTERNS} patterns and formats"),
        (_least_common_multiple(objects) > MAX_MULTIPLE, f"a least common multiple of multipleOf above {MAX_MULTIPLE}"),
    ):
        if excessive:
            raise ValueError(f"{source}: has {what}; expected less")


def _iterate_objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield every JSON object in the schema, at any depth."""
    pending = [schema]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            yield node
            pending.extend(node.values())
        elif isinstance(node, list):
            pending.extend(node)


def _least_common_multiple(objects: list[dict[str, Any]]) -> int:
    """Return the least common multiple of every `multipleOf`, in the largest unit that divides all: 250 for 0.01 and
    2.5."""
    steps = [node.get("multipleOf") for node in objects]
    exact = [Fraction(str(step)) for step in steps if isinstance(step, int | float) and not isinstance(step, bool)]
    unit = math.lcm(*(step.denominator for step in exact))
    return math.lcm(*(int(step * unit) for step in exact))
