"""Serve HTTP on 127.0.0.1 for the tests of providers, as strictly as the real services.

The server checks requests, replies with what a test queued and keeps every request for the test to read.
"""

from __future__ import annotations

import functools
import json
import random
import ssl
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch

from samplers import RowState, SamplerChain, SamplerConfig


@dataclass
class Reply:
    """A response: a body, or the events of a stream."""

    status: int = 200
    body: Any = None
    events: Sequence[Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    line_end: str = "\n"
    drop_after: int | None = None
    """Break the connection after so many events, without the end that the protocol requires."""
    gate: threading.Event | None = None
    """Event to wait for after the first event, or before a response without events."""


@dataclass
class ReceivedRequest:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


ACCESS_TOKEN = "ya29.planted-token-55c1"
TOKEN_REPLY = Reply(body={"access_token": ACCESS_TOKEN, "token_type": "Bearer", "expires_in": 3600})
"""The response of Google's token service to a service account."""


class _QuietServer(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that hang up, because some tests are about them."""


class FakeServer:
    """An HTTP server that checks each request, then sends the next of `replies` or, once they are used up, `answer`."""

    def __init__(self, tls: Path | None = None) -> None:
        """Listen on a free port. `tls` is a file with a private key and its certificate."""
        self.requests: list[ReceivedRequest] = []
        self.replies: deque[Reply] = deque()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                self._serve()

            def do_POST(self) -> None:
                self._serve()

            def do_PATCH(self) -> None:
                self._serve()

            def _serve(self) -> None:
                size = int(self.headers.get("content-length") or 0)
                raw = self.rfile.read(size)
                headers = {name.lower(): value for name, value in self.headers.items()}
                try:
                    body = json.loads(raw) if raw and "json" in headers.get("content-type", "") else raw.decode()
                except ValueError:
                    body = raw.decode()
                request = ReceivedRequest(self.command, self.path, headers, body)
                outer.record_request(request)
                with suppress(OSError):
                    self._send(outer._reply(request))

            def _send(self, reply: Reply) -> None:
                if reply.events is not None:
                    return self._stream(reply)
                if reply.gate:
                    reply.gate.wait(20)
                data = reply.body if isinstance(reply.body, str) else json.dumps(reply.body)
                self.send_response(reply.status)
                kind = {"Content-Type": "application/json"} | reply.headers
                for name, value in kind.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data.encode())))
                self.end_headers()
                self.wfile.write(data.encode())

            def _stream(self, reply: Reply) -> None:
                self.send_response(reply.status)
                for name, value in ({"Content-Type": "text/event-stream"} | reply.headers).items():
                    self.send_header(name, value)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for place, event in enumerate(reply.events or ()):
                    if reply.drop_after == place:
                        break
                    if place == 1 and reply.gate:
                        reply.gate.wait(20)
                    text = event if isinstance(event, str) else "data: " + json.dumps(event, ensure_ascii=False)
                    self._chunk((text + reply.line_end * 2).encode())
                if reply.drop_after is not None:
                    self.close_connection = True
                    self.connection.shutdown(2)
                    return
                self._chunk(b"")

            def _chunk(self, data: bytes) -> None:
                self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
                self.wfile.flush()

        self._server = _QuietServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http{'s' if tls else ''}://127.0.0.1:{self._server.server_port}"
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )

    def __enter__(self) -> FakeServer:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def write_service_account(self, file: Path) -> Path:
        """Write application-default credentials whose tokens come from this server, and return the file."""
        account = {
            "type": "service_account",
            "project_id": "of-the-file",
            "private_key_id": "1",
            "private_key": _private_key(),
            "client_email": "tests@of-the-file.iam.gserviceaccount.com",
            "token_uri": f"{self.address}/token",
        }
        file.write_text(json.dumps(account))
        return file

    def record_request(self, request: ReceivedRequest) -> None:
        """Append the request to those that tests read."""
        self.requests.append(request)

    def _reply(self, request: ReceivedRequest) -> Reply:
        refusal = self.check(request)
        if refusal is not None:
            return refusal
        return self.replies.popleft() if self.replies else self.answer(request)

    def check(self, request: ReceivedRequest) -> Reply | None:
        """Return the error that the real service would send for a wrong request, or None."""
        raise NotImplementedError

    def answer(self, request: ReceivedRequest) -> Reply:
        raise NotImplementedError


@functools.cache
def _private_key() -> str:
    """Return one key for all servers, because making a key takes longer than most tests."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key.private_bytes(*form).decode()


WORDS = (
    *("<end>", "the", " sea", " is", " wide", " and", " blue", ",", ".", " calm", " deep", " waves", " sing", " Biển"),
    *(" xanh", " mênh", " mông", " sky", " salt", " wind", " sails", " far", " home", " light", " dark", " moon"),
)


@dataclass(frozen=True)
class SampledToken:
    """One token of the tiny language model `tokens`."""

    token_id: int
    logprobs: tuple[float, ...]
    """Raw log-probability by token id."""

    def top(self, count: int) -> list[int]:
        return sorted(range(len(WORDS)), key=lambda token: -self.logprobs[token])[:count]


def interleave(answers: Sequence[Sequence[Any]]) -> Iterator[tuple[int, Any]]:
    """Yield `(answer index, part)`: the first part of each answer, the second of each, and so on."""
    for step in range(max(map(len, answers))):
        for place, answer in enumerate(answers):
            if step < len(answer):
                yield place, answer[step]


def sample_tokens(config: SamplerConfig, most: int) -> Iterator[SampledToken]:
    """Sample the answer of a tiny language model by the real sampler chain; the same seed gives the same answer."""
    state = RowState(config)
    chain = SamplerChain([config])
    for step in range(most):
        noise = random.Random(step)
        logits = torch.tensor([[noise.gauss(0, 2.2) for _ in WORDS]])
        logits[0, 0] = -8 if step < 6 else 0
        drawn = chain.sample(logits, [state])
        state.accept(drawn.tokens[0], drawn.probabilities[0])
        raw = logits.log_softmax(-1)[0].tolist()
        yield SampledToken(drawn.tokens[0], tuple(max(value, -100.0) for value in raw))
        if drawn.tokens[0] == 0:
            return
