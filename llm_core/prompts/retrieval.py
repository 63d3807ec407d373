"""Retrieve the passages of a pasted document that a question is about, without an index.

A document is split at blank lines and its passages are ranked by BM25. They keep their numbers, so that an answer can
cite them. Words are compared as they are written: letter case and the way accents are encoded do not matter;
inflections, synonyms and, in Vietnamese, words of several syllables are not known.
"""

from __future__ import annotations

import functools
import math
import re
import unicodedata
from collections import Counter
from typing import NamedTuple

from llm_core.errors import NucleusError

MAX_PASSAGE_CHARACTERS = 600
"""Characters of one passage: about one paragraph."""
MAX_PASSAGES = 50
"""Passages shown in one prompt."""
MAX_DOCUMENT_CHARACTERS = 500_000
"""Characters of a document. It is ranked anew for every question, in well under a second."""

K1 = 1.2
"""BM25's term saturation: how soon further occurrences of a word stop counting."""
B = 0.75
"""BM25's length normalisation, in [0, 1]: how much longer passages are held back."""

_PARAGRAPHS = re.compile(r"\n[^\S\n]*(?:\n\s*)+")
_SENTENCES = re.compile(r"(?<=[.!?…])\s+|\n+")


class Passage(NamedTuple):
    """One passage of a document, with its rank."""

    number: int
    """Position in the document, from 1."""
    text: str
    score: float
    """BM25 score, 0 for no word of the question; only comparable within one document and question."""

    @property
    def citation(self) -> str:
        """Passage with its number in brackets, as a prompt shows it."""
        return f"[{self.number}] {self.text}"


def split_passages(document: str) -> list[str]:
    """Split a document into its paragraphs, in order and none empty; longer ones than `MAX_PASSAGE_CHARACTERS` in
    parts, at sentences where possible.

    Raises `NucleusError` for a document beyond `MAX_DOCUMENT_CHARACTERS`.
    """
    if len(document) > MAX_DOCUMENT_CHARACTERS:
        raise NucleusError("prompt_too_large", field="document", size=len(document), limit=MAX_DOCUMENT_CHARACTERS)
    text = document.replace("\r\n", "\n").replace("\r", "\n")
    return [part for paragraph in _PARAGRAPHS.split(text) for part in _split_paragraph(paragraph.strip()) if part]


@functools.lru_cache(maxsize=16)
def rank_passages(document: str, question: str, count: int) -> tuple[Passage, ...]:
    """Return at most `count` passages, the best first, earlier ones first among equals.

    Passages that share no word with the question are left out. Raises `NucleusError` where none remains, since an
    answer without a source is what retrieval is to prevent.
    """
    texts = split_passages(document)
    scores = bm25([split_words(text) for text in texts], split_words(question))
    passages = [Passage(number, text, score) for number, (text, score) in enumerate(zip(texts, scores, strict=True), 1)]
    found = [passage for passage in passages if passage.score > 0]
    if not found:
        raise NucleusError("passage_not_found")
    return tuple(sorted(found, key=lambda passage: -passage.score)[:count])


def find_cited_numbers(answer: str) -> set[int]:
    """Return the passage numbers that an answer cites in brackets, as in `[2]` and `[1, 3]`."""
    lists = re.findall(r"\[(\d{1,6}(?:\s*[,;]\s*\d{1,6})*)\]", answer)
    return {int(number) for numbers in lists for number in re.findall(r"\d+", numbers)}


def split_words(text: str) -> list[str]:
    """Split a text into words, in the form in which they are compared."""
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    return re.findall(r"\w+", folded)


def bm25(passages: list[list[str]], question: list[str]) -> list[float]:
    """Return the BM25 score of each passage for the question; every distinct word of the question counts once.

    Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), equation 3.15, with the
    inverse document frequency `ln(1 + (N - n + 0.5) / (n + 0.5))`, which stays positive for words of most passages.
    """
    counts = [Counter(passage) for passage in passages]
    average = sum(map(len, passages)) / len(passages) if passages else 0.0
    scores = [0.0] * len(passages)
    for word in dict.fromkeys(question):
        holding = sum(word in count for count in counts)
        weight = math.log(1 + (len(passages) - holding + 0.5) / (holding + 0.5))
        for place, count in enumerate(counts):
            if often := count[word]:
                length = K1 * (1 - B + B * len(passages[place]) / average)
                scores[place] += weight * often * (K1 + 1) / (often + length)
    return scores


def _split_paragraph(paragraph: str) -> list[str]:
    """Join sentences up to `MAX_PASSAGE_CHARACTERS`; cut a longer sentence between words, a longer word anywhere."""
    parts: list[str] = [""]
    for sentence in _SENTENCES.split(paragraph):
        for piece in _split_sentence(sentence):
            if parts[-1] and len(parts[-1]) + 1 + len(piece) > MAX_PASSAGE_CHARACTERS:
                parts.append("")
            parts[-1] += f" {piece}" if parts[-1] else piece
    return [paragraph] if len(paragraph) <= MAX_PASSAGE_CHARACTERS else parts


def _split_sentence(sentence: str) -> list[str]:
    pieces = []
    while len(sentence) > MAX_PASSAGE_CHARACTERS:
        end = sentence.rfind(" ", 1, MAX_PASSAGE_CHARACTERS + 1)
        end = end if end > 0 else MAX_PASSAGE_CHARACTERS
        pieces.append(sentence[:end].rstrip())
        sentence = sentence[end:].lstrip()
    return [*pieces, sentence]
