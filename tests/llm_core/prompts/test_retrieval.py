"""The passages that a question is about: splitting, ranking, and their place in the prompt."""

from __future__ import annotations

import dataclasses
import math
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_core import GenerationRequest, NucleusError, PromptSpec, SampleRequest
from llm_core.prompts.retrieval import (
    MAX_DOCUMENT_CHARACTERS,
    MAX_PASSAGE_CHARACTERS,
    MAX_PASSAGES,
    bm25,
    find_cited_numbers,
    rank_passages,
    split_passages,
    split_words,
)
from samplers import SamplerConfig

LIBRARY = "The library opens at eight.\n\nCards are free for students.\n\nA late book costs a fine."


def test_bm25_by_hand():
    # Average length 3. "cat" is in 1 of 3 passages: ln(1 + 2.5 / 1.5) = 0.980829; "the" in 2: ln(1 + 1.5 / 2.5).
    passages = [["the", "cat"], ["the", "dog", "barks"], ["a", "cow", "in", "grass"]]
    # First passage: length factor 1.2 * (0.25 + 0.75 * 2 / 3) = 0.9, so each word counts 2.2 / 1.9 times its weight.
    first = (0.980829 + 0.470004) * 2.2 / 1.9
    # Second: average length, factor 1.2; "the" counts 2.2 / 2.2.
    assert bm25(passages, ["the", "cat"]) == pytest.approx([first, 0.470004, 0.0], abs=1e-5)


def test_bm25_of_a_repeated_word_by_hand():
    # Both passages have the word: ln(1 + 0.5 / 2.5); lengths 4 and 2, average 3: factors 1.5 and 0.9.
    weight = math.log(1.2)
    expected = [weight * 3 * 2.2 / (3 + 1.5), weight * 1 * 2.2 / (1 + 0.9)]
    assert bm25([["x", "x", "x", "y"], ["x", "z"]], ["x", "x"]) == pytest.approx(expected)


def test_bm25_of_nothing():
    assert bm25([], ["x"]) == []
    assert bm25([[], []], ["x"]) == [0.0, 0.0]


def test_words_are_normalised():
    composed, decomposed = unicodedata.normalize("NFC", "Tiếng Việt"), unicodedata.normalize("NFD", "TIẾNG VIỆT")
    assert composed != decomposed
    assert split_words(composed) == split_words(decomposed) == ["tiếng", "việt"]
    assert split_words("Đồng hồ, 5% – don't!") == ["đồng", "hồ", "5", "don", "t"]


def test_paragraphs():
    assert split_passages("  One\nline.\r\n\r\nTwo.\n \t\n\n  Three. \n") == ["One\nline.", "Two.", "Three."]
    assert split_passages(" \n\n ") == []


def test_long_paragraphs_are_cut_at_sentences():
    sentence = "Câu này dài vừa phải. "
    parts = split_passages(sentence * 60)
    assert len(parts) > 1
    assert all(part.endswith("phải.") for part in parts)
    assert " ".join(parts) == (sentence * 60).strip()


@given(st.text(st.sampled_from("ab .\n{"), max_size=3000))
def test_parts_are_bounded_and_nothing_is_lost(document):
    parts = split_passages(document)
    assert all(part and part == part.strip() and len(part) <= MAX_PASSAGE_CHARACTERS for part in parts)
    assert "".join("".join(parts).split()) == "".join(document.split())


def test_a_word_without_end_is_cut():
    assert [len(part) for part in split_passages("x" * (2 * MAX_PASSAGE_CHARACTERS + 1))] == [
        MAX_PASSAGE_CHARACTERS,
        MAX_PASSAGE_CHARACTERS,
        1,
    ]


def test_best_first_and_only_what_fits():
    best, *others = rank_passages(LIBRARY, "Which fine costs a LATE book?", 3)
    assert (best.number, best.text) == (3, "A late book costs a fine.")
    assert others == []


def test_equals_stand_in_the_documents_order_and_count_is_a_limit():
    document = "\n\n".join(["same words"] * 4)
    assert [passage.number for passage in rank_passages(document, "words", 2)] == [1, 2]


def test_vietnamese_with_other_accents_encoding():
    document = unicodedata.normalize("NFD", "Thư viện nghỉ Chủ nhật.\n\nThẻ miễn phí cho sinh viên.")
    assert rank_passages(document, "Sinh viên trả bao nhiêu?", 1)[0].number == 2


def ask(document: str, question: str, count: int = 2) -> PromptSpec:
    return PromptSpec("Answer.", context="Rules.", question=question, document=document, passages=count)


def test_numbered_passages_follow_the_context_in_the_documents_order():
    spec = ask(LIBRARY, "late students")
    [message] = spec.messages()
    assert message.pieces[1] == ("document", "[2] Cards are free for students.\n\n[3] A late book costs a fine.")
    assert [piece.part for piece in message.pieces] == ["context", "document", "instruction", "question"]
    assert PromptSpec("late students?", document=LIBRARY).retrieve_passages() == spec.retrieve_passages()


def test_each_row_of_values_finds_its_own():
    spec = dataclasses.replace(ask(LIBRARY, "{{about}}", 1), values=({"about": "students"}, {"about": "a late book"}))
    assert [prompt.retrieve_passages()[0].number for prompt in spec.variants()] == [2, 3]


@pytest.mark.parametrize("text", ["a {{x}} b", "{{{x}}}", r"\{{x", "{{{{x"])
def test_braces_of_a_document_are_no_variables(text):
    [spec] = ask(text, "x").variants()
    assert spec.messages()[0].pieces[1].text == f"[1] {text}"


@pytest.mark.parametrize(
    ("answer", "numbers"),
    [("It is free [2].", {2}), ("[1, 3]; [12]", {1, 3, 12}), ("[x] 4 [5", set()), ("passage [3]. [3]", {3})],
)
def test_numbers_that_an_answer_cites(answer, numbers):
    assert find_cited_numbers(answer) == numbers


def refusal_code(spec: PromptSpec) -> NucleusError:
    with pytest.raises(NucleusError) as caught:
        GenerationRequest("toy", spec, (SampleRequest(SamplerConfig()),)).validate()
    return caught.value


def test_refusals():
    assert refusal_code(ask(LIBRARY, "weather")).code == "passage_not_found"
    assert refusal_code(ask("x" * (MAX_DOCUMENT_CHARACTERS + 1), "x")).details["field"] == "document"
    assert refusal_code(ask("bell \a", "bell")).details == {"field": "document", "character": "U+0007", "position": 6}
    for count in (0, MAX_PASSAGES + 1):
        assert refusal_code(ask(LIBRARY, "late", count)).details["field"] == "passages"
