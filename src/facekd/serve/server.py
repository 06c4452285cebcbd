"""The server's process: its socket, slow clients, and how it ends."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import signal
import socket
import threading
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http import HTTPStatus
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from facekd.errors import InputError
from facekd.serve.app import Service, create_app
from facekd.serve.front import LOG, MOST_HEAD, Status
from facekd.serve.problems import problem_body
from facekd.serve.settings import ServeSettings

HEAD_SECONDS = 10.0  # for the head of a request, and for a body that nobody reads
KEEP_ALIVE_SECONDS = 30  # that a connection may be idle
LINGER_SECONDS = 5.0  # that what a client still sends is read and forgotten, for else it could lose its answer
STOPPING_SECONDS = 0.5  # that new requests are told to go elsewhere before their connections are refused
DRAIN_SECONDS = 30  # for the answers to the requests accepted before
MOST_CONNECTIONS = 1000


class Connection(H11Protocol):
    """A connection whose client may not take forever, and whose errors have the API's shape."""

    _head: asyncio.TimerHandle | None = None
    _over = False  # everything is said, and what the client still sends is not read

    def connection_made(self, transport: Any) -> None:
        """Start the time for the first request's head.

        Args:
            transport: of the connection.
        """
        super().connection_made(_Lingering(transport, self))  # type: ignore[arg-type]
        if len(self.connections) > MOST_CONNECTIONS:
            self._refuse(503, "the server is busy: it has too many connections; try again in a moment")
            return
        self._head = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def data_received(self, data: bytes) -> None:
        """Take bytes; a head has to be whole in time, and a body that nobody wants has to end.

        Args:
            data: from the client.
        """
        if self._over:
            return
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._forget_head()
        elif (self.cycle is None or self.cycle.response_complete) and self._head is None:
            self._head = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def eof_received(self) -> None:
        """Answer a client that ended its body early and still listens."""
        cycle = self.cycle
        if self._over or cycle is None or cycle.disconnected:
            return
        if cycle.more_body and not cycle.response_started:
            cycle.disconnected = True
            cycle.message_event.set()
            self._refuse(400, "the body ends before its Content-Length")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection.

        Args:
            exc: why it was lost.
        """
        self._forget_head()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP.

        Args:
            msg: uvicorn's word for it.
        """
        if len(self.conn.trailing_data[0]) > MOST_HEAD:
            self._refuse(431, f"the request's headers are longer than {MOST_HEAD // 1024} KiB; shorten them")
            return
        self._refuse(400, "that is no HTTP request; see /docs")

    def shutdown(self) -> None:
        """End the connection, or let it end with the answer that it waits for."""
        if self._over:
            self.transport.close()
        else:
            super().shutdown()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; a client that does not read the rest of its answer loses it."""
        super().timeout_keep_alive_handler()
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def _too_slow(self) -> None:
        self._refuse(408, f"the request's head was not whole within {HEAD_SECONDS:.0f} s")

    def _forget_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _refuse(self, status: int, message: str) -> None:
        """Answer with an error, if an answer can still be begun, and close the connection."""
        self._forget_head()
        if self.transport.is_closing():
            return
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            request_id = uuid.uuid4().hex
            body = problem_body(status, message, request_id)
            lines = [
                f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
                "content-type: application/json",
                f"content-length: {len(body)}",
                f"x-request-id: {request_id}",
                "connection: close",
                *(["retry-after: 1"] if status == 503 else []),
                "\r\n",
            ]
            self.transport.write("\r\n".join(lines).encode() + body)
            LOG.info("- other %d %s", status, request_id)
        self.linger()

    def linger(self) -> None:
        """Send the end, and forget what still comes for a while: closing at once would tear the answer away."""
        self._over = True
        self._forget_head()
        self._unset_keepalive_if_required()
        self.flow.resume_reading()
        self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)


class _Lingering:
    """A transport that lets a client finish its body if the answer came before it was read."""

    def __init__(self, transport: Any, connection: Connection) -> None:
        self._transport, self._connection = transport, connection

    def close(self) -> None:
        cycle = self._connection.cycle
        if cycle is not None and cycle.response_complete and cycle.more_body and not self._transport.is_closing():
            self._connection.linger()
        else:
            self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Server(uvicorn.Server):
    """A server that answers what it accepted before it ends.

    Args:
        config: uvicorn's.
        status: told when the server stops.
    """

    def __init__(self, config: uvicorn.Config, status: Status) -> None:
        super().__init__(config)
        self._status = status

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuse new requests with an answer for a moment, then their connections; and answer those accepted.

        Args:
            sockets: that it listens on.
        """
        self._status.stopping = True
        await asyncio.sleep(0 if self.force_exit else STOPPING_SECONDS)
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Take SIGTERM and Ctrl-C as the end; uvicorn's own raises them again, and the exit code would tell of them.

        Yields:
            Nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        names = ("SIGINT", "SIGTERM", "SIGBREAK")
        signals = [getattr(signal, name) for name in names if hasattr(signal, name)]
        before = {number: signal.signal(number, self.handle_exit) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the end; a second signal does not wait for the answers.

        Args:
            sig: the signal.
            frame: where the program was.
        """
        self.force_exit = self.should_exit
        self.should_exit = self._status.stopping = True


def make_server(service: Service) -> Server:
    """Make the server that runs an application.

    Args:
        service: what its routes share.

    Returns:
        The server; `run(sockets=[listen(host, port)])` runs it.
    """
    config = uvicorn.Config(
        create_app(service),
        http=Connection,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        h11_max_incomplete_event_size=MOST_HEAD,
    )
    return Server(config, service.status)


def listen(host: str, port: int) -> socket.socket:
    """Open the socket.

    Args:
        host: name or address.
        port: 0: a free one.

    Returns:
        A socket that listens; `address` says where.

    Raises:
        InputError: there is no such address here, or its port is taken.
    """
    try:
        family, kind, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        opened = socket.socket(family, kind)
    except (OSError, UnicodeError, OverflowError) as error:
        raise InputError(f"there is no address '{host}' here to listen on: {error}") from error
    try:
        if hasattr(socket, "SO_REUSEPORT"):  # not Windows, where SO_REUSEADDR takes a port that is in use
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(place)
        opened.listen(2048)
    except (OSError, OverflowError) as error:
        opened.close()
        why = getattr(error, "strerror", None) or error
        raise InputError(f"cannot listen on {host} port {port}: {why}; choose another with --port") from error
    return opened


def address(listening: socket.socket) -> str:
    """Write where a server is found.

    Args:
        listening: its socket.

    Returns:
        Such as http://127.0.0.1:8000.
    """
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    settings: ServeSettings,
    host: str = "127.0.0.1",
    port: int = 8000,
    open_to_all: bool = False,
    started: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve until SIGTERM or Ctrl-C; then answer the requests that were accepted, and return.

    Args:
        settings: of the server.
        host: name or address to listen on.
        port: 0: a free one.
        open_to_all: listen on an address that other machines reach without asking for a token.
        started: is told the address once the networks are loaded.

    Raises:
        InputError: the address cannot be listened on, or other machines reach it and there is no token.
        ModelError: a network cannot be loaded.
    """
    with listen(host, port) as listening:
        if settings.token is None and not open_to_all and not _is_loopback(listening):
            raise InputError(
                f"other machines reach {address(listening)}; give --token for those who may use it, or --no-token"
            )
        service = Service(settings)
        if settings.log:
            _log_to_stderr()
        started(address(listening))
        make_server(service).run(sockets=[listening])


def _is_loopback(listening: socket.socket) -> bool:
    return ipaddress.ip_address(listening.getsockname()[0].partition("%")[0]).is_loopback


def _log_to_stderr() -> None:
    """Write a line per request."""
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    LOG.propagate = False
