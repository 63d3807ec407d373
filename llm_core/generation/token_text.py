"""Text whose every character shows."""

from __future__ import annotations


def escape_control_characters(text: str) -> str:
    """Whitespace made visible, so that `" Paris"` and `"Paris"` look different."""
    text = text.replace("\n", "↵").replace("\t", "⇥").replace(" ", "·")
    return "".join(character if character.isprintable() else "�" for character in text) or "∅"
