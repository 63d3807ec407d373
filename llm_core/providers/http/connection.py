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

from llm_core.providers.http.url_policy import UrlPolicy

CONNECT_TIMEOUT_SECONDS = 10.0
READ_TIMEOUT_SECONDS = 120.0
"""Seconds without a byte from the server. A model that thinks before it answers may be silent for long."""


class RequestCancelled(Exception):
    """Raised when the connection was cancelled while a request was on its way."""


class Connection:
    """Connection of one request. `cancel` may be called from any thread, at any time and more than once."""

    def __init__(self, url_policy: UrlPolicy, read_timeout: float = READ_TIMEOUT_SECONDS) -> None:
        self._url_policy = url_policy
        self.read_timeout = read_timeout
        self._cancelled = threading.Event()
        self._sockets: list[socket.socket] = []

    def make_sibling(self) -> Connection:
        """Return a new connection with the same rules, for another request."""
        return Connection(self._url_policy, self.read_timeout)

    @property
    def _timeout(self) -> httpx.Timeout:
        return httpx.Timeout(self.read_timeout, connect=min(CONNECT_TIMEOUT_SECONDS, self.read_timeout))

    @property
    def is_cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Cancel the request: whoever reads from the connection gets an error at once."""
        self._cancelled.set()
        for each in list(self._sockets):
            with contextlib.suppress(OSError):  # the socket was closed already
                # the base class's method: `SSLSocket.shutdown` also drops state that a reading thread still uses
                socket.socket.shutdown(each, socket.SHUT_RDWR)

    def pause(self, seconds: float) -> None:
        """Sleep for `seconds`. Raises `RequestCancelled` as soon as the connection is cancelled."""
        if self._cancelled.wait(seconds):
            raise RequestCancelled

    def open_client(self, max_keepalive: int = 0) -> httpx.Client:
        """Return an HTTP client for this connection only.

        It reuses a connection only if `max_keepalive` is above 0. It follows no redirects, which could lead a key
        elsewhere, and calls this machine's own addresses without a proxy; an installation that others use takes no
        proxy at all.
        """
        return httpx.Client(
            timeout=self._timeout,
            limits=httpx.Limits(max_keepalive_connections=max_keepalive),
            verify=_ssl_context(),
            trust_env=not self._url_policy.hosted,
            mounts=dict.fromkeys(("all://127.0.0.1", "all://localhost", "all://[::1]")),
            event_hooks={"request": [self._attach_trace]},
        )

    def _attach_trace(self, request: httpx.Request) -> None:
        """Prepare a request to report its sockets. Raises `RequestCancelled` if the connection is cancelled already."""
        url = str(request.url.copy_with(query=None))

        def trace(event: str, info: dict[str, Any]) -> None:
            if event.endswith(("connect_tcp.complete", "start_tls.complete")):
                self._check_peer(info["return_value"], url)

        if self.is_cancelled:
            raise RequestCancelled
        request.extensions |= {"trace": trace, "timeout": self._timeout.as_dict()}

    def _check_peer(self, stream: Any, url: str) -> None:
        """Check the address of a new socket and keep the socket for `cancel`.

        Runs before anything is sent. If it raises, it has to close the connection itself.
        """
        peer = stream.get_extra_info("server_addr")
        # forget closed sockets: a run may take many requests
        self._sockets = [each for each in self._sockets if each.fileno() >= 0] + [stream.get_extra_info("socket")]
        try:
            self._url_policy.check_peer(str(peer[0]), url)
            if self.is_cancelled:
                raise RequestCancelled
        except Exception:
            stream.close()
            raise


@functools.lru_cache
def _ssl_context() -> ssl.SSLContext:
    return httpx.create_ssl_context()
