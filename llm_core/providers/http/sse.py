"""Parse server-sent events (WHATWG HTML, section 9.2) from the bytes of a response.

Lines end in LF, CRLF or CR only: U+2028 and similar characters are text, though `str.splitlines` would break at them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

MAX_EVENT_SIZE = 32 * 2**20
"""Characters of one event at most; llama.cpp sends 5.4 MB where the whole vocabulary is requested."""

_LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")


def parse_events(pieces: Iterable[bytes]) -> Iterator[str]:
    """Yield the data of each event. An event that the end of the stream cuts short is yielded too: it may be an error
    message.

    Raises `ValueError` for an event over `MAX_EVENT_SIZE`, and for bytes that are not UTF-8.
    """
    data: list[str] = []
    for line in _split_lines(pieces):
        name, _, value = line.partition(":")
        if not line:
            if data:
                yield "\n".join(data)
            data = []
        elif name == "data":
            data.append(value.removeprefix(" "))
            if sum(map(len, data)) > MAX_EVENT_SIZE:
                raise ValueError("event too large")
    if data:
        yield "\n".join(data)


def _split_lines(pieces: Iterable[bytes]) -> Iterator[str]:
    held = bytearray()
    for piece in pieces:
        searched = max(0, len(held) - 1)
        held += piece
        if len(held) > MAX_EVENT_SIZE:
            raise ValueError("event too large")
        if not (b"\n" in piece or b"\r" in held[searched:]):
            continue
        *whole, rest = _LINE_END.split(held)
        held = bytearray(rest)
        for line in whole:
            yield line.decode()
    if held:
        yield held.decode().rstrip("\r")
