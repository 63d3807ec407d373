"""What counts as the result of an answer, and which result wins a vote."""

from __future__ import annotations

import time

import pytest

from llm_core import NucleusError
from llm_core.prompts.extraction import Extraction, count_votes


@pytest.mark.parametrize(
    ("kind", "argument", "text", "result"),
    [
        ("whole", "", "  Paris \n", "Paris"),
        ("whole", "", " \n", None),
        ("last_line", "", "So it is\n\n 12 \n\n", "12"),
        ("marker", "Answer:", "Answer: 3? No.\nanswer: **4**.\nDone", "4"),
        ("marker", "Answer:", "I do not know", None),
        ("marker", "Answer:", "Answer:", None),
        ("number", "", "2 boxes of 3 are 6", "6"),
        ("number", "", "It costs $1,234.50.", "1234.5"),
        ("number", "", r"So \boxed{-7}", "-7"),
        ("number", "", "1.000", "1"),
        ("number", "", "none", None),
        ("regex", r"(\w+) wins", "A wins, then B wins", "B"),
        ("regex", r"\d+", "7 then 8", "8"),
        ("regex", r"\d+", "no", None),
        ("json_path", "$.city", 'Sure: ```json\n{"city": "Huế", "n": [1]}\n```', "Huế"),
        ("json_path", "$.n", '{"city": "Huế", "n": [1]}', "[1]"),
        ("json_path", "$.x", '{"city": 1}', None),
        ("json_path", "$.x", "{no json}", None),
    ],
)
def test_extract(kind, argument, text, result):
    extraction = Extraction(kind, argument)
    extraction.validate()
    assert extraction.extract(text) == result


@pytest.mark.parametrize(
    ("kind", "argument", "code"),
    [
        ("marker", " ", "extraction_without_argument"),
        ("regex", "(", "regex_invalid"),
        ("json_path", "$[", "json_path_invalid"),
    ],
)
def test_an_argument_that_cannot_work_is_refused(kind, argument, code):
    with pytest.raises(NucleusError) as caught:
        Extraction(kind, argument).validate()
    assert caught.value.code == code


def test_a_regular_expression_that_never_ends_is_given_up():
    began = time.monotonic()
    assert Extraction("regex", r"(a|aa)+$").extract("a" * 60 + "b") is None
    assert time.monotonic() - began < 5


def test_vote_ignores_spelling_and_keeps_the_first():
    assert count_votes(["Paris", "lyon", None, "paris.", " PARIS"]) == [("Paris", 3), ("lyon", 1)]
    assert count_votes(["b", "a"]) == [("b", 1), ("a", 1)]
    assert count_votes([None]) == []
