"""Fold text for searching: case and diacritics are removed, so that `tieng viet` finds `Tiếng Việt`."""

from __future__ import annotations

import re
import unicodedata

from sqlalchemy import Column, ColumnElement

MAX_SEARCH_CHARACTERS = 20_000
"""Characters of one text that a search looks through."""
MAX_QUERY_CHARACTERS = 200
MAX_QUERY_WORDS = 10

_UNDECOMPOSED_LETTERS = str.maketrans({"đ": "d", "ð": "d", "ł": "l", "ø": "o"})
"""Letters with a mark that Unicode does not decompose."""


def fold(text: str) -> str:
    """Return a text in lower case without marks, with single spaces, and without characters that a database refuses."""
    marked = unicodedata.normalize("NFKD", text.casefold())
    kept = "".join(
        sign for sign in marked if sign.isspace() or (sign.isprintable() and not unicodedata.combining(sign))
    )
    return re.sub(r"\s+", " ", kept.translate(_UNDECOMPOSED_LETTERS)).strip()


def make_search_text(*texts: str) -> str:
    """Return the text that a search looks through: these texts folded, cut at `MAX_SEARCH_CHARACTERS`, with a space at
    both ends."""
    return f" {fold(' '.join(texts))[:MAX_SEARCH_CHARACTERS]} "


def match_words(column: Column[str], query: str) -> list[ColumnElement[bool]]:
    """Return the conditions that each word of a reader's `query` occurs in the column. The words are bound
    parameters."""
    words = fold(query[:MAX_QUERY_CHARACTERS]).split()[:MAX_QUERY_WORDS]
    return [column.contains(word, autoescape=True) for word in words]


def sanitize_text(text: str) -> str:
    """Return a text that any database takes, with the zero character and halves of characters replaced."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
