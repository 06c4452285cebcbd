"""A server of `facekd serve` in a thread of the test's process."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from facekd.serve.app import Service
from facekd.serve.server import Server, address, listen, make_server
from facekd.serve.settings import ServeSettings

_LONGEST = 60  # seconds: no test waits for them, but one that fails


@dataclass
class Served:
    """A server that runs.

    url: such as http://127.0.0.1:41234.
    place: its host and port.
    """

    url: str
    place: tuple[str, int]
    service: Service
    server: Server

    def post(self, content: bytes, path: str = "/v1/faces", **more: Any) -> httpx.Response:
        """Send a photo as the body."""
        return httpx.post(self.url + path, content=content, timeout=_LONGEST, **more)

    def get(self, path: str, **more: Any) -> httpx.Response:
        """Ask for a path."""
        return httpx.get(self.url + path, timeout=_LONGEST, **more)

    def connect(self) -> socket.socket:
        """Open a connection, to write on it what no HTTP client would."""
        return socket.create_connection(self.place, timeout=_LONGEST)


@contextmanager
def serving(**settings: Any) -> Iterator[Served]:
    """Run a server with these settings; it answers what it accepted before it ends."""
    service = Service(ServeSettings(**{"log": False, "workers": 2, **settings}))
    listening = listen("127.0.0.1", 0)
    server = make_server(service)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="server-of-the-test")
    thread.start()
    try:
        until = time.monotonic() + _LONGEST
        while not server.started:
            assert thread.is_alive() and time.monotonic() < until
            time.sleep(0.01)
        yield Served(address(listening), listening.getsockname()[:2], service, server)
    finally:
        server.should_exit = True
        thread.join()
