"""Events out of bytes, however they are cut."""

from __future__ import annotations

import pytest

from llm_core.providers.http import sse
from llm_core.providers.http.sse import parse_events


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("data: a\n\ndata: b\n\n", ["a", "b"]),
        ("data:a\r\n\r\ndata:  b\r\n\r\n", ["a", " b"]),
        ("data: a\r\rdata: b\r\r", ["a", "b"]),
        (": ping\n\nevent: x\nid: 1\ndata: a\ndata: b\n\n", ["a\nb"]),
        ("data: one\u2028two\x85three\x0bfour\n\n", ["one\u2028two\x85three\x0bfour"]),
        ("data: a\n\ndata: cut", ["a", "cut"]),
        ("data\n\ndata: tiếng Việt 🙂\n\n", ["", "tiếng Việt 🙂"]),
        ("\n\n\n", []),
    ],
)
def test_wherever_the_stream_is_cut(text, found):
    data = text.encode()
    for cut in range(len(data) + 1):
        assert list(parse_events([data[:cut], data[cut:]])) == found
    assert list(parse_events(bytes([byte]) for byte in data)) == found


def test_an_event_without_end_is_given_up(monkeypatch):
    monkeypatch.setattr(sse, "MAX_EVENT_SIZE", 100)
    with pytest.raises(ValueError, match="too large"):
        list(parse_events(b"data: endless " for _ in range(100)))
    with pytest.raises(ValueError, match="too large"):
        list(parse_events(b"data: endless\n" for _ in range(100)))
