"""Cache whole provider responses for one browser session, so that an identical request with a seed is not paid twice.

Each session has its own cache, which ends with it, so that nobody is given another user's responses. The credential is
part of the key all the same, for the next person at the same tab. A key is an HMAC-SHA256 under a secret that never
leaves the object: neither the request nor the credential can be read, guessed or compared from it. The stored value is
the provider's stream deltas, so a cached response becomes the same tokens and figures as the first time.

The cache is bounded in number, bytes and age, and evicts the oldest first. Only complete responses to requests with a
seed are stored: without a seed, asking again means asking for another response.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import pickle
import secrets
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from llm_core.providers.provider import Call, StreamDelta

MAX_RESPONSES = 256
MAX_BYTES = 4_000_000
MAX_AGE_SECONDS = 3600.0


class _Entry(NamedTuple):
    data: bytes
    at: float


class ResponseCache:
    """Cache of provider responses. Any thread may read and write."""

    def __init__(
        self,
        max_responses: int = MAX_RESPONSES,
        max_bytes: int = MAX_BYTES,
        max_age: float = MAX_AGE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create an empty cache of at most `max_responses` responses and `max_bytes` compressed bytes, each kept for
        `max_age` seconds by `clock`."""
        self.enabled = True
        """Whether the cache is read and written; turning it off keeps its content."""
        self.hits = 0
        """Responses served since the last `clear`."""
        self._max_responses, self._max_bytes, self._max_age, self._clock = max_responses, max_bytes, max_age, clock
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._secret = secrets.token_bytes(32)
        self._size = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        with self._lock:
            self._expire()
            return len(self._entries)

    @property
    def size(self) -> int:
        """Compressed bytes of all responses."""
        with self._lock:
            self._expire()
            return self._size

    def key(self, call: Call, body: Mapping[str, Any]) -> bytes:
        """Return the cache key of one request as its provider is sent it: target, credential and body."""
        credential = call.secret.get_secret_value() if call.secret else ""
        parts = [call.target.scheme, call.target.place, call.target.name, credential, body]
        text = json.dumps(parts, sort_keys=True, default=repr)
        return hmac.new(self._secret, text.encode(errors="surrogatepass"), hashlib.sha256).digest()

    def get(self, key: bytes) -> tuple[StreamDelta, ...] | None:
        """Return the deltas of a cached response and count a hit, or None."""
        with self._lock:
            self._expire()
            if not self.enabled or key not in self._entries:
                return None
            self.hits += 1
            data = self._entries[key].data
        return pickle.loads(zlib.decompress(data))  # safe: only `put` writes this data

    def put(self, key: bytes, chunks: Sequence[StreamDelta]) -> None:
        """Store a complete response; one of more than a quarter of the byte limit is dropped."""
        if not self.enabled:
            return
        data = zlib.compress(pickle.dumps(tuple(chunks)))
        if len(data) > self._max_bytes // 4:
            return
        with self._lock:
            self._drop(key)
            self._entries[key] = _Entry(data, self._clock())
            self._size += len(data)
            while len(self._entries) > self._max_responses or self._size > self._max_bytes:
                self._drop(next(iter(self._entries)))

    def clear(self) -> None:
        """Remove all responses and reset the hit count."""
        with self._lock:
            self._entries.clear()
            self._size = self.hits = 0

    def _expire(self) -> None:
        now = self._clock()
        while self._entries and now - next(iter(self._entries.values())).at > self._max_age:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: bytes) -> None:
        if kept := self._entries.pop(key, None):
            self._size -= len(kept.data)
