"""Whatever is drawn from the allowed tokens comes out as asked, and nothing that could still come out is forbidden."""

from __future__ import annotations

import functools
import itertools
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import llguidance
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from samplers.constraints import MAX_CHARACTERS, Constraint, match_choice, match_json_schema, match_pattern

SPECIAL = [b"<end>", b"<also-end>", b"<user>"]
END = {0, 1}
LONGER = ["ab", "abc", "ba", " a", "ế", "Hà", " Nội", '{"', '": "', '", "', '"}', '": ', "null", "},", "12", "\n  "]
BYTES = [bytes([byte]) for byte in range(256)]
HALF = "ế".encode()[:2]
TOKENS = [*SPECIAL, *BYTES, HALF, *(text.encode() for text in LONGER), b"", b""]
"""Every byte, some longer pieces, a part of a letter, and two ids that no token has, as in padded models."""
ORDINARY = [token for token, piece in enumerate(TOKENS) if token >= len(SPECIAL) and piece]


class Table:
    """What llguidance asks of a tokenizer that it is given as a table."""

    bos_token_id = None
    special_token_ids = tuple(range(len(SPECIAL)))

    def __init__(self, tokens: list[bytes]) -> None:
        self.tokens = tokens
        self.eos_token_id = 0

    def __call__(self, text: bytes) -> list[int]:
        return []


@functools.cache
def make_vocabulary(tokens: tuple[bytes, ...] = tuple(TOKENS)) -> llguidance.LLTokenizer:
    return llguidance.LLTokenizer(llguidance.TokenizerWrapper(Table(list(tokens))), eos_token=sorted(END))


def allowed_ids(constraint: Constraint) -> set[int]:
    mask = constraint.allowed()
    assert mask.dtype == torch.bool
    assert mask.shape == (len(TOKENS),)
    return set(mask.nonzero()[:, 0].tolist())


def advance_by_text(constraint: Constraint, text: str | bytes) -> Constraint:
    """The constraint one byte at a time further."""
    further = constraint.copy()
    for byte in text.encode() if isinstance(text, str) else text:
        further.accept(len(SPECIAL) + byte)
    return further


def accepts(constraint: Constraint, token: int) -> bool:
    try:
        constraint.copy().accept(token)
    except ValueError:
        return False
    return True


def check_exact(constraint: Constraint, language: set[str]) -> None:
    """At every place that the texts lead to, exactly the tokens are allowed that one of the texts goes on with."""
    whole = {text.encode() for text in language}
    pending, seen = [(b"", constraint)], {b""}
    while pending:
        prefix, place = pending.pop()
        ahead = {text[len(prefix) :] for text in whole if text.startswith(prefix)}
        pieces = {token for token in ORDINARY if any(text.startswith(TOKENS[token]) for text in ahead)}
        wanted = pieces | (END if b"" in ahead else set())
        assert allowed_ids(place) == wanted, prefix
        assert {token for token in range(len(TOKENS)) if accepts(place, token)} == wanted, prefix
        assert place.finished == (ahead == {b""}) or not prefix, prefix
        for token in pieces:
            longer = prefix + TOKENS[token]
            if longer not in seen:
                seen.add(longer)
                further = place.copy()
                further.accept(token)
                pending.append((longer, further))


def random_walk(constraint: Constraint, seed: int, most: int = 2000) -> str:
    """The text that random logits lead to."""
    generator = torch.Generator().manual_seed(seed)
    out = b""
    for _ in range(most):
        logits = torch.randn(len(TOKENS), generator=generator) * 3
        token = int(logits.masked_fill(~constraint.allowed(), -torch.inf).argmax())
        constraint.accept(token)
        if token in END:
            assert constraint.finished
            return out.decode()
        out += TOKENS[token]
    raise AssertionError(f"no end in sight: {out[-200:]!r}")


texts = st.text("abế ", max_size=5)


@given(st.sets(texts, min_size=1, max_size=5))
def test_choices_are_exact(choices):
    check_exact(match_choice(make_vocabulary(), sorted(choices)), choices)


@st.composite
def finite_regexes(draw, depth: int = 3) -> tuple[str, set[str]]:
    """A regular expression without endless repetition, and every text that it matches."""
    kind = draw(
        st.sampled_from(["literal", "class", "or", "then", "maybe", "times"] if depth else ["literal", "class"])
    )
    if kind == "literal":
        text = draw(st.text("ab./\nế", min_size=1, max_size=2))
        return re.escape(text), {text}
    if kind == "class":
        return "[aế]", {"a", "ế"}
    left, those = draw(finite_regexes(depth - 1))
    if kind == "maybe":
        return f"(?:{left})?", those | {""}
    if kind == "times":
        twice = {a + b for a in those for b in those}
        return f"(?:{left}){{1,2}}", those | twice
    right, these = draw(finite_regexes(depth - 1))
    if kind == "or":
        return f"(?:{left}|{right})", those | these
    return left + right, {a + b for a in those for b in these}


@given(finite_regexes().filter(lambda pair: len(pair[1]) <= 30))
def test_regular_expressions_are_exact(pair):
    regex, language = pair
    assert all(re.fullmatch(regex, text) for text in language)
    check_exact(match_pattern(make_vocabulary(), regex), language)


@pytest.mark.parametrize(
    "regex", ["a*b|ba?", "^(a|bb)*$", "a|b+$", "(?i)AB+", r"(ab|a)(c|bcd)*", "[^a]b{2,}", r"\w\s?\w"]
)
def test_a_regular_expression_means_what_it_means_in_python(regex):
    constraint = match_pattern(make_vocabulary(), regex)
    words = {"".join(letters) for size in range(5) for letters in itertools.product("abc ", repeat=size)}
    whole = {word for word in words if re.fullmatch(regex, word)}
    assert {word for word in words if ends_after(constraint, word)} == whole
    assert 2 < len(whole) < len(words)


def ends_after(constraint: Constraint, text: str) -> bool:
    try:
        return allowed_ids(advance_by_text(constraint, text)) >= END
    except ValueError:
        return False


def compact_json(*values: object) -> set[str]:
    return {json.dumps(value, ensure_ascii=False, separators=(",", ":")) for value in values}


@pytest.mark.parametrize(
    ("schema", "language"),
    [
        ({"enum": ["ế", "a", 12, 1, True, None, [1, "b"]]}, compact_json("ế", "a", 12, 1, True, None, [1, "b"])),
        (
            {"properties": {"a": {"enum": [1, 12]}, "ế": {"type": "null"}}, "additionalProperties": False}
            | {"type": "object"},
            compact_json({}, {"a": 1}, {"a": 12}, {"ế": None}, {"a": 1, "ế": None}, {"a": 12, "ế": None}),
        ),
        (
            {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2},
            compact_json(*([*items] for size in (1, 2) for items in itertools.product([True, False], repeat=size))),
        ),
    ],
)
def test_small_schemas_are_exact(schema, language):
    check_exact(match_json_schema(make_vocabulary(), schema | {"x-guidance": {"whitespace_flexible": False}}), language)


NAMES = ["Hà Nội", "Hà", "Hà Nội ơi", "tiếng Việt", " a", "a "]
MARKS = ['nói "có"', "it's", "a\\b", "a\nb", "\x7f\0", "😀", "</s>", "<end>", "/.*/", "%json {}"]
CHOICES = NAMES + MARKS


@pytest.mark.parametrize("seed", range(30))
def test_random_walks_end_in_one_of_the_choices(seed):
    assert random_walk(match_choice(make_vocabulary(), CHOICES), seed) in CHOICES


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_can_be_written(choice):
    assert allowed_ids(advance_by_text(match_choice(make_vocabulary(), CHOICES), choice)) >= END


def test_thousands_of_choices():
    constraint = match_choice(make_vocabulary(), [f"{place:04}" for place in range(4000)])
    assert allowed_ids(constraint) == {len(SPECIAL) + ord(digit) for digit in "0123"} | {TOKENS.index(b"12")}
    assert advance_by_text(constraint, "3999").finished


def test_a_letter_split_over_tokens():
    constraint = match_choice(make_vocabulary(), ["ếa", "ềb"])  # E1 BA BF and E1 BB 81
    half = TOKENS.index(HALF)
    whole = TOKENS.index("ế".encode())
    assert allowed_ids(constraint) == {len(SPECIAL) + 0xE1, half, whole}
    constraint.accept(half)
    assert allowed_ids(constraint) == {len(SPECIAL) + 0xBF}


def test_one_choice_at_the_beginning_of_another():
    constraint = match_choice(make_vocabulary(), ["a", "abc"])
    letter = {text: len(SPECIAL) + ord(text) for text in "abc"}
    assert allowed_ids(constraint) == {letter["a"], TOKENS.index(b"ab"), TOKENS.index(b"abc")}
    constraint.accept(letter["a"])
    assert allowed_ids(constraint) == {letter["b"]} | END
    assert not constraint.finished
    further, ended = constraint.copy(), constraint.copy()
    further.accept(letter["b"])
    assert allowed_ids(further) == {letter["c"]}
    ended.accept(1)
    assert ended.finished
    assert allowed_ids(ended) == END


@pytest.mark.parametrize("end", sorted(END))
def test_only_end_tokens_after_a_whole_output(end):
    constraint = match_choice(make_vocabulary(), ["ab"])
    assert not constraint.finished
    constraint.accept(TOKENS.index(b"ab"))
    assert constraint.finished
    assert allowed_ids(constraint) == END
    constraint.accept(end)
    constraint.accept(end)  # still allowed, and still changes nothing
    assert constraint.finished
    assert allowed_ids(constraint) == END


def test_a_copy_goes_its_own_way():
    constraint = advance_by_text(match_pattern(make_vocabulary(), "a[bc]+"), "a")
    before = allowed_ids(constraint)
    copy = constraint.copy()
    copy.accept(len(SPECIAL) + ord("b"))
    assert allowed_ids(constraint) == before
    assert allowed_ids(copy) == before | END
    constraint.accept(len(SPECIAL) + ord("c"))
    copy.accept(0)
    assert copy.finished
    assert not constraint.finished


@pytest.mark.parametrize("token", [-1, 0, 2, len(SPECIAL) + ord("b"), len(TOKENS) - 1, len(TOKENS), 2**40])
def test_a_token_that_is_not_allowed_is_refused_and_changes_nothing(token):
    constraint = match_pattern(make_vocabulary(), "ab?")
    before = allowed_ids(constraint)
    with pytest.raises(ValueError, match=rf"token_id={token}: not allowed here by regex='ab\?'; expected one of"):
        constraint.accept(token)
    assert allowed_ids(constraint) == before
    constraint.accept(TOKENS.index(b"ab"))
    assert constraint.finished


PERSON = {
    "type": "object",
    "properties": {
        "tên": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "city": {"enum": ["Hà Nội", "Đà Nẵng"]},
        "tags": {"type": "array", "items": {"type": "string", "pattern": "^[a-c]{1,3}$"}, "maxItems": 3},
        "price": {"type": "number", "minimum": 0, "maximum": 1, "multipleOf": 0.25},
        "next": {"anyOf": [{"type": "null"}, {"type": "boolean"}]},
    },
    "required": ["tên", "age", "city", "tags", "price"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("seed", range(30))
def test_random_walks_are_json_that_is_valid_under_the_schema(seed):
    text = random_walk(match_json_schema(make_vocabulary(), PERSON), seed)
    person = json.loads(text)
    assert list(person)[:5] == PERSON["required"]
    assert set(person) <= set(PERSON["properties"])
    assert len(person["tên"]) <= 8
    assert type(person["age"]) is int
    assert 0 <= person["age"] <= 120
    assert person["city"] in ("Hà Nội", "Đà Nẵng")
    assert len(person["tags"]) <= 3
    assert all(re.fullmatch("[a-c]{1,3}", tag) for tag in person["tags"])
    assert person["price"] in (0, 0.25, 0.5, 0.75, 1)
    assert person.get("next") in (None, True, False)
    assert text == text.strip()


@pytest.mark.parametrize("seed", range(10))
def test_random_walks_match_the_regular_expression(seed):
    regex = r"([0-9]{1,3}[.,])?(Hà Nội|[^\x00-\x7f]{2})( [a-zà-ỹ]{1,9}ế)?!"
    assert re.fullmatch(regex, random_walk(match_pattern(make_vocabulary(), regex), seed))


def test_whitespace_is_one_space_or_one_line_break_with_its_indentation():
    constraint = advance_by_text(
        match_json_schema(make_vocabulary(), {"type": "array", "items": {"type": "integer"}}), "["
    )
    space, line = len(SPECIAL) + ord(" "), len(SPECIAL) + ord("\n")
    assert {space, line} <= allowed_ids(constraint)
    assert not {space, line} & allowed_ids(advance_by_text(constraint, " "))
    assert line not in allowed_ids(advance_by_text(constraint, "\n"))
    assert space in allowed_ids(advance_by_text(constraint, "\n" + " " * 19))
    assert space not in allowed_ids(advance_by_text(constraint, "\n" + " " * 20))
    compact = {"type": "array", "x-guidance": {"whitespace_flexible": False}}
    assert not {space, line} & allowed_ids(advance_by_text(match_json_schema(make_vocabulary(), compact), "["))


@pytest.mark.parametrize("choices", ["yes", [], None, 5, {"a": "b"}, ["a", 1]])
def test_choices_that_are_no_list_of_strings(choices):
    with pytest.raises(ValueError, match=r"choices=.*: expected a list of at least one string"):
        match_choice(make_vocabulary(), choices)


@pytest.mark.parametrize(
    ("regex", "words"),
    [
        ("(", r"'\(': unclosed group; expected a regular expression without look-around"),
        ("a\\", "unclosed group"),
        ("a{2,1}", "invalid repetition count range"),
        ("(?=a)b", "look-around"),
        (r"(a)\1", "backreferences are not supported"),
        (r"\ba", "not supported"),
        ("a$b", "not supported"),
        ("(?ix)a # b", "the flag x is not supported"),
        (r"[^\s\S]", "no token can come next"),
        (7, "expected a string"),
        ("\ud800", "half a surrogate pair"),
    ],
)
def test_regular_expressions_that_cannot_be_kept(regex, words):
    with pytest.raises(ValueError, match=words) as caught:
        match_pattern(make_vocabulary(), regex)
    assert str(caught.value).startswith(f"regex={regex!r}: ")


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"not": {}}, r"json_schema=\{'not': \{\}\}: Unimplemented keys: \[\"not\"\]; expected keywords from https"),
        ({"uniqueItems": True, "type": "array"}, "uniqueItems"),
        ({"type": "strin"}, "Invalid type: strin"),
        ({"type": "string", "format": "colour"}, "Unknown format: colour"),
        ({"type": "string", "pattern": "("}, "unclosed group"),
        ({"type": "integer", "minimum": 5, "maximum": 3}, "Unsatisfiable"),
        ({"enum": []}, "Unsatisfiable"),
        ({"$ref": "http://127.0.0.1:9/schema.json"}, "does not fetch"),
        ({"$ref": "#"}, "no token can come next"),
        ({"const": float("nan")}, "expected what JSON can say"),
        ({"const": object()}, "expected what JSON can say"),
        ([], "expected an object"),
        (None, "expected an object"),
    ],
)
def test_schemas_that_cannot_be_kept(schema, words):
    with pytest.raises(ValueError, match=words) as caught:
        match_json_schema(make_vocabulary(), schema)
    assert str(caught.value).startswith("json_schema=")


def nest_arrays(depth: int) -> dict:
    schema: dict = {}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


def chain_references(links: int) -> dict:
    """Without a limit, following so many references overflows the call stack and ends the process."""
    definitions = {str(link): {"properties": {"a": {"$ref": f"#/$defs/{link + 1}"}}} for link in range(links)}
    return {"$ref": "#/$defs/0", "$defs": definitions | {str(links): {}}}


def join_schemas(*parts: dict) -> dict:
    return {"allOf": list(parts)}


LONG_CHOICES = [f"{place:05}" for place in range(MAX_CHARACTERS // 5 + 1)]
LETTER_PATTERNS = [{"pattern": letter} for letter in "abcdefgh"]
PATTERN_KEYS = {f"^k{place:05}$": True for place in range(400)}


@pytest.mark.parametrize(
    ("make", "value", "words"),
    [
        (match_pattern, "a" * (MAX_CHARACTERS + 1), "has 20001 characters; expected at most 20000"),
        (match_choice, LONG_CHOICES, "has 20005 characters"),
        (match_json_schema, {"enum": list(range(MAX_CHARACTERS))}, "characters; expected at most 20000"),
        (match_json_schema, nest_arrays(300), "recursion limit exceeded"),
        (match_json_schema, nest_arrays(50_000), "recursion|characters"),
        (match_json_schema, chain_references(300), "has more than 400 objects; expected less"),
        (
            match_json_schema,
            {"multipleOf": 2_000_003},
            "a least common multiple of multipleOf above 10000; expected less",
        ),
        (match_json_schema, {"multipleOf": 1.0003}, "multiple of multipleOf above"),
        (
            match_json_schema,
            join_schemas({"multipleOf": 97}, {"multipleOf": 101}, {"multipleOf": 2}),
            "multiple of multipleOf above",
        ),
        (
            match_json_schema,
            {"enum": [{"multipleOf": 10**4000 + place} for place in range(4)]},
            "multiple of multipleOf above",
        ),
        (match_json_schema, join_schemas({"multipleOf": 101}, {"multipleOf": 0.01}), "multiple of multipleOf above"),
        (
            match_json_schema,
            join_schemas(*({"pattern": f"a{place}"} for place in range(30))),
            "has more than 10 patterns and formats; expected less",
        ),
        (
            match_json_schema,
            join_schemas(*LETTER_PATTERNS, {"format": "uri"}, {"format": "uuid"}, {"format": "date"}),
            "more than 10 patterns",
        ),
        (match_json_schema, {"patternProperties": PATTERN_KEYS}, "more than 10 patterns"),
    ],
)
def test_what_would_take_minutes_or_the_process_is_refused_at_once(make, value, words):
    began = time.perf_counter()
    with pytest.raises(ValueError, match=words):
        make(make_vocabulary(), value)
    assert time.perf_counter() - began < 1


def test_ordinary_multiples_and_patterns_are_within_the_limits():
    properties = {"price": {"type": "number", "multipleOf": 0.01}, "dozen": {"type": "integer", "multipleOf": 12}}
    properties |= {f"p{place}": {"type": "string", "pattern": f"^a{place}$"} for place in range(10)}
    constraint = match_json_schema(make_vocabulary(), {"type": "object", "properties": properties})
    assert ends_after(constraint, '{"price": 1.25, "dozen": 24, "p3": "a3"}')
    assert not ends_after(constraint, '{"price": 1.255}')
    assert not ends_after(constraint, '{"dozen": 25}')


def test_an_expression_with_too_many_states_stops_half_way_and_stays_stopped():
    constraint = match_pattern(make_vocabulary(), r"(\p{L}|\s)*a(\p{L}|\s){300}x")
    began = time.perf_counter()
    with pytest.raises(ValueError, match=r"^regex=.*too many states: 100000 .*; expected something simpler"):
        random_walk(constraint, 1, 100_000)
    assert time.perf_counter() - began < 5
    assert not constraint.finished
    with pytest.raises(ValueError, match="too many"):
        constraint.allowed()
    with pytest.raises(ValueError, match="too many"):
        constraint.accept(0)


def test_a_vocabulary_without_the_bytes():
    few = make_vocabulary((*SPECIAL, b"a", b"b"))
    with pytest.raises(ValueError, match=r"choices=\['c'\]: no token can come next"):
        match_choice(few, ["c"])
    constraint = match_choice(few, ["ac", "bb"])
    assert constraint.allowed().tolist() == [False, False, False, True, True]
    constraint.accept(3)
    with pytest.raises(ValueError, match="no token can come next"):
        constraint.allowed()
    assert not constraint.finished


def test_llguidance_is_read_when_it_is_needed():
    code = "import sys, samplers.constraints; print('llguidance' in sys.modules)"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
