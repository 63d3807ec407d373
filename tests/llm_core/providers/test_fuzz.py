"""Whatever a server sends is an answer or an explained failure, never a surprise."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from llm_core.providers.http import error_mapping
from llm_core.providers.http.error_mapping import Failure
from llm_core.providers.http.sse import parse_events
from llm_core.providers.openai import wire
from llm_core.providers.provider import StreamDelta

NAMES = (
    *("choices", "delta", "content", "text", "logprobs", "top_logprobs", "token", "logprob", "bytes", "id", "usage"),
    *("finish_reason", "error", "message", "tokens", "token_logprobs", "prompt_tokens_details", "details", "param"),
    *("completion_tokens", "reasoning_content", "stop_reason", "refusal", "code", "@type", "retryDelay"),
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(NAMES)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5)
)
ENTRIES = st.fixed_dictionaries(
    {"token": VALUES, "logprob": VALUES}, optional={"bytes": VALUES, "top_logprobs": VALUES}
)
CHOICES = st.fixed_dictionaries(
    {"delta": VALUES | st.fixed_dictionaries({"content": VALUES})},
    optional={
        "logprobs": st.fixed_dictionaries({"content": st.lists(ENTRIES)}) | VALUES,
        "finish_reason": VALUES,
        "index": VALUES,
    },
)
ANSWERS = st.dictionaries(st.sampled_from(NAMES), VALUES) | st.fixed_dictionaries(
    {"choices": st.lists(CHOICES, min_size=1, max_size=2)}, optional={"usage": VALUES}
)


@given(ANSWERS)
def test_chunks(data):
    try:
        chunks = wire.stream_deltas(data)
    except Failure as failure:
        explained = failure.error.code
    else:
        explained = ""
        for chunk in chunks:
            assert isinstance(chunk, StreamDelta)
            assert isinstance(chunk.text + chunk.thought, str)
            assert chunk.candidate is None or isinstance(chunk.candidate, int)
            assert all(isinstance(scored.logprob, float) for step in chunk.steps for scored in step.likeliest)
    assert explained in ("", "provider_malformed", "provider_stream_error")


@given(st.integers(300, 599), st.text(max_size=40) | VALUES.map(json.dumps), st.sets(st.sampled_from(NAMES)))
def test_error_bodies(status, body, sent):
    failure = error_mapping.failure_from_response(status, body, sent, {"retry-after": body[:5]}, "m", "sk-1")
    assert failure.error.code.startswith("provider_")
    assert set(failure.refused) <= sent


@given(st.binary(max_size=80), st.integers(1, 9))
def test_streams(data, size):
    try:
        found = list(parse_events(data[at : at + size] for at in range(0, len(data), size)))
    except ValueError:
        return
    assert all(isinstance(each, str) for each in found)
