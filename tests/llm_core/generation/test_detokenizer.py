"""Characters come out whole and stop sequences are found wherever tokens split them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_core.generation.detokenizer import REPLACEMENT_CHARACTER, IncrementalDetokenizer, StopSequenceDetector
from tests.support.toy_model import toy_tokenizer

TOKENIZER = toy_tokenizer()


def join_bytes(text: str) -> list[str]:
    """The text's bytes as tokens, through the joiner."""
    joiner = IncrementalDetokenizer(TOKENIZER.decode)
    return [joiner.push(token) for token in TOKENIZER(text)["input_ids"]] + [joiner.finish()]


@pytest.mark.parametrize(
    "text", ["Tiếng Việt rất hay", "xin chào 😀👩‍👩‍👧 nhé", "é", "đ\nả\tỹ", "plain ascii", "日本語"]
)
def test_no_broken_character_is_ever_shown(text):
    parts = join_bytes(text)
    assert "".join(parts) == text
    assert REPLACEMENT_CHARACTER not in "".join(parts)
    assert len(parts) == len(text.encode()) + 1


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=40))
def test_any_text_survives(text):
    assert "".join(join_bytes(text)) == text


def test_a_letter_appears_with_its_last_byte():
    assert join_bytes("aếb") == ["a", "", "", "ế", "b", ""]


def test_bytes_that_never_become_a_character_show_at_the_end_and_are_not_held_for_ever():
    ids = TOKENIZER("ế")["input_ids"]
    joiner = IncrementalDetokenizer(TOKENIZER.decode)
    assert [joiner.push(ids[0]), joiner.push(ids[1]), joiner.finish()] == ["", "", REPLACEMENT_CHARACTER]
    endless = IncrementalDetokenizer(TOKENIZER.decode)
    assert "".join(endless.push(ids[0]) for _ in range(30)).count(REPLACEMENT_CHARACTER) > 10


def detect_stop(parts: list[str], *stops: str) -> tuple[str, bool]:
    watcher = StopSequenceDetector(stops)
    shown = "".join(watcher.push(part) for part in parts)
    return shown + watcher.finish(), watcher.stopped


@pytest.mark.parametrize(
    ("parts", "stops", "expected"),
    [
        (["ab", "cd", "ef"], ["cd"], ("ab", True)),
        (["ab", "c", "d", "ef"], ["cd"], ("ab", True)),
        (["a", "b", "c"], ["abcd"], ("abc", False)),
        (["aab"], ["ab"], ("a", True)),
        (["a", "a", "a", "b"], ["aab"], ("a", True)),
        (["one\n", "\ntwo"], ["\n\n"], ("one", True)),
        (["xyz"], ["z", "y"], ("x", True)),
        (["abc"], [], ("abc", False)),
    ],
)
def test_stop_sequences(parts, stops, expected):
    assert detect_stop(parts, *stops) == expected


def test_the_beginning_of_a_stop_sequence_is_held_back_until_it_is_known():
    watcher = StopSequenceDetector(["END"])
    assert watcher.push("the E") == "the "
    assert watcher.push("N") == ""
    assert watcher.push("V") == "ENV"
    assert watcher.push(" END of it") == " "
    assert watcher.stopped
    assert watcher.push("more") == ""


@given(st.lists(st.text("ab", min_size=1, max_size=3), max_size=8), st.text("ab", min_size=1, max_size=3))
def test_splitting_never_changes_the_result(parts, stop):
    whole = "".join(parts)
    place = whole.find(stop)
    assert detect_stop(parts, stop) == ((whole[:place], True) if place >= 0 else (whole, False))
