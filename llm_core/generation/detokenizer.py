"""Turn tokens into text, one token at a time: join bytes into whole characters and detect stop sequences."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Decode = Callable[[list[int]], str]

REPLACEMENT_CHARACTER = "\ufffd"
_MAX_HELD_TOKENS = 8
"""Largest number of tokens held back: a character has at most four bytes, so more tokens are not waiting for one."""
_MAX_CONTEXT_TOKENS = 16
"""Number of tokens decoded again with each new one."""


class IncrementalDetokenizer:
    """Decoder of a growing token sequence that never returns part of a character.

    Byte-level tokens split Vietnamese letters and emoji; their text is held until the last byte has come. Decoding
    starts a few tokens back, since some tokenizers write a token differently at the start of a text.
    """

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._context_from = 0
        self._shown_to = 0
        self._shown = ""
        """Text of the tokens from `_context_from` to `_shown_to`."""

    def push(self, token_id: int) -> str:
        """Return the characters that this token completes: `""` while one is still incomplete."""
        self._ids.append(token_id)
        return self._release(final=len(self._ids) - self._shown_to > _MAX_HELD_TOKENS)

    def finish(self) -> str:
        """Return the remaining text after the last token; bytes that never became a character show as U+FFFD."""
        return self._release(final=True)

    def _release(self, final: bool) -> str:
        text = self._decode(self._ids[self._context_from :])
        if len(text) <= len(self._shown) or (text.endswith(REPLACEMENT_CHARACTER) and not final):
            return ""
        new = text[len(self._shown) :]
        before, self._shown_to, self._shown = self._shown_to, len(self._ids), text
        if self._shown_to - self._context_from > _MAX_CONTEXT_TOKENS:
            self._context_from, self._shown = before, self._decode(self._ids[before:])
        return new


class StopSequenceDetector:
    """Filter that passes text on until a stop sequence appears, which may begin in one piece and end in another.

    Text that could still become the beginning of a stop sequence is held back.
    """

    def __init__(self, stop_sequences: Sequence[str]) -> None:
        self._stops = tuple(stop_sequences)
        self._held = ""
        self.stopped = False

    def push(self, text: str) -> str:
        """Return the text that is safe to show. After a stop sequence `stopped` is true and the result is always ""."""
        if self.stopped:
            return ""
        self._held += text
        found = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            safe, self._held = self._held[: min(found)], ""
            return safe
        keep = max((_longest_overlap(self._held, stop) for stop in self._stops), default=0)
        safe, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return safe

    def finish(self) -> str:
        """Return the text that was held back for a stop sequence that never came."""
        held, self._held = self._held, ""
        return held


def _longest_overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of `text` that `stop` begins with."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
