"""Open the HTTP connection of one request: bounded in time, refused where it may not lead, cancellable from any thread.

Every request opens its own connection. So Stop can shut its socket down, which wakes a thread that waits for a slow
server, and a key never travels on a connection that was made for another.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import ssl
import threading
from typing import Any

import httpx

from llm_core.providers.http.url_policy import Addresses

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 120.0
"""Seconds without a byte from the server. A model that thinks before it answers may be silent for long."""


class LineCut(Exception):
    """Raised when the connection was cancelled while a request was on its way."""


class Line:
    """Connection of one request. `cancel` may be called from any thread, at any time and more than once."""

    def __init__(self, addresses: Addresses, silence_seconds: float = SILENCE_SECONDS) -> None:
        self._addresses = addresses
        self.silence_seconds = silence_seconds
        self._cut = threading.Event()
        self._sockets: list[socket.socket] = []

    def another(self) -> Line:
        """Return a new connection with the same rules, for another request."""
        return Line(self._addresses, self.silence_seconds)

    @property
    def _timeout(self) -> httpx.Timeout:
        return httpx.Timeout(self.silence_seconds, connect=min(CONNECT_SECONDS, self.silence_seconds))

    @property
    def is_cut(self) -> bool:
        """Whether `cancel` was called."""
        return self._cut.is_set()

    def cut(self) -> None:
        """Cancel the request: whoever reads from the connection gets an error at once."""
        self._cut.set()
        for each in list(self._sockets):
            with contextlib.suppress(OSError):  # the socket was closed already
                # the base class's method: `SSLSocket.shutdown` also drops state that a reading thread still uses
                socket.socket.shutdown(each, socket.SHUT_RDWR)

    def pause(self, seconds: float) -> None:
        """Sleep for `seconds`. Raises `RequestCancelled` as soon as the connection is cancelled."""
        if self._cut.wait(seconds):
            raise LineCut

    def client(self, kept_connections: int = 0) -> httpx.Client:
        """Return an HTTP client for this connection only.

        It reuses a connection only if `max_keepalive` is above 0. It follows no redirects, which could lead a key
        elsewhere, and calls this machine's own addresses without a proxy; an installation that others use takes no
        proxy at all.
        """
        return httpx.Client(
            timeout=self._timeout,
            limits=httpx.Limits(max_keepalive_connections=kept_connections),
            verify=_certificates(),
            trust_env=not self._addresses.hosted,
            mounts=dict.fromkeys(("all://127.0.0.1", "all://localhost", "all://[::1]")),
            event_hooks={"request": [self._watch]},
        )

    def _watch(self, request: httpx.Request) -> None:
        """Prepare a request to report its sockets. Raises `RequestCancelled` if the connection is cancelled already."""
        url = str(request.url.copy_with(query=None))

        def trace(event: str, info: dict[str, Any]) -> None:
            if event.endswith(("connect_tcp.complete", "start_tls.complete")):
                self._connected(info["return_value"], url)

        if self.is_cut:
            raise LineCut
        request.extensions |= {"trace": trace, "timeout": self._timeout.as_dict()}

    def _connected(self, stream: Any, url: str) -> None:
        """Check the address of a new socket and keep the socket for `cancel`.

        Runs before anything is sent. If it raises, it has to close the connection itself.
        """
        peer = stream.get_extra_info("server_addr")
        # forget closed sockets: a run may take many requests
        self._sockets = [each for each in self._sockets if each.fileno() >= 0] + [stream.get_extra_info("socket")]
        try:
            self._addresses.check_peer(str(peer[0]), url)
            if self.is_cut:
                raise LineCut
        except Exception:
            stream.close()
            raise


@functools.lru_cache
def _certificates() -> ssl.SSLContext:
    return httpx.create_ssl_context()
