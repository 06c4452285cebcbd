"""What can go wrong with a request, and the one JSON shape in which it is said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from facekd.errors import FacekdError, InputError
from facekd.images import ImageTooLargeError, NotAnImageError

CODES = {
    400: "bad_request",
    401: "unauthorized",
    404: "not_found",
    405: "method_not_allowed",
    408: "timeout",
    413: "too_large",
    415: "not_a_photo",
    422: "unusable",
    431: "headers_too_large",
    500: "internal",
    503: "busy",
}
GONE = 499  # the client left before it was answered; nobody gets it but the log and the metrics
RETRY_AFTER = 1  # seconds; a full queue of the default length is done by then


class RequestError(FacekdError):
    """A request that is not answered with landmarks.

    Args:
        status: of HTTP.
        message: one sentence.
        headers: of the answer, beside those of every answer.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.headers = status, dict(headers or {})
        if status == 503:
            self.headers.setdefault("retry-after", str(RETRY_AFTER))
        if status == 401:
            self.headers.setdefault("www-authenticate", "Bearer")


class ClientGoneError(Exception):
    """The client closed the connection before it was answered."""


def problem(status: int, message: str, request_id: str) -> dict[str, Any]:
    """Write what went wrong as plain values.

    Args:
        status: of HTTP.
        message: one sentence.
        request_id: which request it was.

    Returns:
        The body of the answer.
    """
    return {"error": {"code": CODES.get(status, "bad_request"), "message": message, "request_id": request_id}}


def problem_body(status: int, message: str, request_id: str) -> bytes:
    """Write what went wrong as JSON.

    Args:
        status: of HTTP.
        message: one sentence.
        request_id: which request it was.

    Returns:
        The body of the answer.
    """
    return json.dumps(problem(status, message, request_id)).encode()


def status_of(error: FacekdError) -> int:
    """Choose the status for a photo or setting that cannot be used.

    Args:
        error: why.

    Returns:
        Its own status, 413 for too many pixels, 415 for what is no photo, 422 for another fault of the input, and 500
        for one of the server.
    """
    if isinstance(error, RequestError):
        return error.status
    if isinstance(error, ImageTooLargeError):
        return 413
    if isinstance(error, NotAnImageError):
        return 415
    return 422 if isinstance(error, InputError) else 500
