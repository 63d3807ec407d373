"""Serve recorded HTTP responses byte for byte on 127.0.0.1, mistakes included."""

from __future__ import annotations

import socketserver
import threading


class RawServer(socketserver.ThreadingTCPServer):
    """A server that sends `response` to every request as it is, head and body, and then hangs up.

    With `hang` set it keeps the connection open and silent until the server closes.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _RawHandler)
        self.response = b""
        self.hang = False
        self.served = 0
        """Number of requests so far."""
        self.closing = threading.Event()
        self.address = f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> RawServer:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that hang up."""


class _RawHandler(socketserver.StreamRequestHandler):
    server: RawServer

    def handle(self) -> None:
        size = 0
        while (line := self.rfile.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            size = int(value) if name.lower() == b"content-length" else size
        self.server.served += 1
        self.rfile.read(size)  # unread bytes would turn the hang-up into a reset
        self.wfile.write(self.server.response)
        if self.server.hang:
            self.server.closing.wait(30)
