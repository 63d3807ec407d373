"""Show token texts with every character visible."""

from __future__ import annotations


def escape_control_characters(text: str) -> str:
    """Return the text with whitespace made visible, so that `" Paris"` and `"Paris"` look different."""
    text = text.replace("\n", "↵").replace("\t", "⇥").replace(" ", "·")
    return "".join(character if character.isprintable() else "�" for character in text) or "∅"
