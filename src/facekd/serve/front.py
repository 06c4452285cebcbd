"""What every request passes first: an id, the token, the end of the server, and the count."""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import time
import uuid
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from facekd.serve.metrics import Metrics
from facekd.serve.problems import GONE, ClientGoneError, RequestError, problem_body

LOG = logging.getLogger("facekd.serve")
MOST_HEAD = 16 * 1024  # bytes
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_OPEN = ("/health/live", "/health/ready")
# The page loads nothing from elsewhere, and nobody may frame it. Blobs are the user's own photos and camera.
_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


@dataclass
class Status:
    """How the server is.

    Attributes:
        stopping: no new request is accepted.
    """

    stopping: bool = False


class Front:
    """Middleware about all routes.

    Args:
        app: the rest.
        paths: of the API; others are counted together.
        guarded: those that need the token.
        token: what clients have to send; None: nothing.
        status: of the server.
        metrics: count the requests.
    """

    def __init__(
        self,
        app: ASGIApp,
        paths: frozenset[str],
        guarded: frozenset[str],
        token: str | None,
        status: Status,
        metrics: Metrics,
    ) -> None:
        self.app, self.paths, self.guarded, self.token = app, paths, guarded, token
        self.status, self.metrics = status, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request.

        Args:
            scope: of ASGI.
            receive: gives the body.
            send: takes the answer.
        """
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        request_id = given if _ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        start, answer = time.perf_counter(), _Answer(send, receive, headers, request_id, self.status)
        try:
            head = len(scope["raw_path"]) + len(scope["query_string"])
            if head + sum(len(name) + len(value) for name, value in scope["headers"]) > MOST_HEAD:
                raise RequestError(431, f"the request's headers are longer than {MOST_HEAD // 1024} KiB; shorten them")
            self._admit(scope["path"], headers)
            await self.app(scope, answer.receive, answer.send)
        except RequestError as error:
            await answer.refuse(error.status, str(error), error.headers)
        except ClientGoneError:
            answer.code = GONE
        except asyncio.CancelledError:  # the server ends, and the answer took too long
            if answer.code is None:
                await answer.refuse(503, "the server stopped before the photo was processed; try again", {})
            raise
        except Exception:
            LOG.exception("request %s failed", request_id)
            if answer.code is not None:
                raise
            await answer.refuse(500, "something went wrong on the server, which has logged it under this id", {})
        seconds, code = time.perf_counter() - start, answer.code or GONE
        path = scope["path"] if scope["path"] in self.paths else "other"
        self.metrics.request(path, code, seconds)
        LOG.info("%s %s %d %.0f ms %s", scope["method"][:7], path, code, seconds * 1e3, request_id)

    def _admit(self, path: str, headers: dict[bytes, bytes]) -> None:
        """Refuse what comes while the server stops, or without the token."""
        if self.status.stopping and path not in _OPEN:
            raise RequestError(503, "the server is stopping; send the request to another one, or again in a moment")
        if self.token is None or path not in self.guarded:
            return
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(given.strip(), self.token.encode()):
            raise RequestError(401, "this server asks for a token; send it as 'Authorization: Bearer TOKEN'")


class _Answer:
    """Sends an answer with the headers that every answer has, and remembers its status."""

    def __init__(
        self, send: Send, receive: Receive, request: dict[bytes, bytes], request_id: str, status: Status
    ) -> None:
        self.code: int | None = None
        self._send, self._receive, self._status = send, receive, status
        self._headers = {**_HEADERS, "x-request-id": request_id}
        self._unread = b"transfer-encoding" in request or request.get(b"content-length", b"0") != b"0"

    async def receive(self) -> Message:
        message = await self._receive()
        if not message.get("more_body", False):
            self._unread = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.code = message["status"]
            own = {name.lower() for name, _ in message["headers"]}
            # A connection with half a body in it is of no use for another request.
            ends = self._status.stopping or self._unread
            more = self._headers | ({"connection": "close"} if ends else {})
            message["headers"] = [
                *message["headers"],
                *((k.encode(), v.encode()) for k, v in more.items() if k.encode() not in own),
            ]
        await self._send(message)

    async def refuse(self, code: int, message: str, headers: dict[str, str]) -> None:
        body = problem_body(code, message, self._headers["x-request-id"])
        headers = {"content-type": "application/json", "content-length": str(len(body)), **headers}
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": code, "headers": encoded})
        await self.send({"type": "http.response.body", "body": body})
