"""Text as a search sees it: without capitals and diacritics, so that `tieng viet` finds `Tiếng Việt`."""

from __future__ import annotations

import re
import unicodedata

from sqlalchemy import Column, ColumnElement

MAX_FOUND_BY = 20_000
"""Characters of one text that a search looks through."""
MAX_QUERY = 200
MAX_WORDS = 10

_OWN_LETTERS = str.maketrans({"đ": "d", "ð": "d", "ł": "l", "ø": "o"})
"""Letters that are no other letter with a mark, as far as Unicode goes."""


def fold(text: str) -> str:
    """Lower case without marks, runs of white space as one space, nothing that a database refuses."""
    marked = unicodedata.normalize("NFKD", text.casefold())
    kept = "".join(
        sign for sign in marked if sign.isspace() or (sign.isprintable() and not unicodedata.combining(sign))
    )
    return re.sub(r"\s+", " ", kept.translate(_OWN_LETTERS)).strip()


def found_by(*texts: str) -> str:
    """What a search looks through: these texts, folded, a space at both ends, cut where they are very long."""
    return f" {fold(' '.join(texts))[:MAX_FOUND_BY]} "


def containing(column: Column[str], query: str) -> list[ColumnElement[bool]]:
    """Conditions that each word of a reader's `query` occurs in the column. The words are bound parameters."""
    words = fold(query[:MAX_QUERY]).split()[:MAX_WORDS]
    return [column.contains(word, autoescape=True) for word in words]


def storable(text: str) -> str:
    """Text that any database takes: with another character for the zero character and for halves of characters."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
