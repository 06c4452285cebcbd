"""Photos received: raw bodies and multipart forms, bounded in size, in time and in all together, never on disk."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from facekd.serve.problems import ClientGoneError, RequestError

# A body may take so long, as Apache's mod_reqtimeout counts: longer by a second for each so many bytes received.
BODY_SECONDS, BODY_RATE, LONGEST = 20.0, 16 * 1024, 300.0
_FORM = 64 * 1024  # bytes of a form beside its files
_PART_HEADERS = 8 * 1024
_NAMES = ("photo", "photos", "file", "files")  # of form fields that hold photos even without a file name


@dataclass
class Upload:
    """A file that was received.

    Attributes:
        name: as the client calls it; "" if it does not.
        content: of the file; nothing of one that is too large.
        too_large: whether it is larger than a file may be.
    """

    name: str = ""
    content: bytearray = field(default_factory=bytearray)
    too_large: bool = False


class Budget:
    """Bytes of photos that may be held at the same time.

    Args:
        most: how many.
    """

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0

    @contextmanager
    def share(self) -> Iterator[Share]:
        """Hold bytes for the time of a request.

        Yields:
            What counts them.
        """
        share = Share(self)
        try:
            yield share
        finally:
            self.held -= share.held


@dataclass
class Share:
    """The bytes that one request holds.

    Attributes:
        budget: of all requests.
        held: how many these are.
    """

    budget: Budget
    held: int = 0

    def add(self, count: int) -> None:
        """Hold more.

        Args:
            count: how many more bytes.

        Raises:
            RequestError: all requests together would hold too many (503).
        """
        if self.budget.held + count > self.budget.most:
            raise RequestError(503, "the server is busy: it holds as many bytes of photos as it may; try again")
        self.budget.held += count
        self.held += count


async def receive_photos(request: Request, share: Share, most: int, max_bytes: int) -> list[Upload]:
    """Receive the photos of a request: the body itself, or the files of a multipart form.

    What the client calls the type of a raw body does not count: its bytes tell.

    Args:
        request: whose body is read.
        share: takes the bytes received.
        most: how many photos there may be.
        max_bytes: largest file.

    Returns:
        The photos, at least one.

    Raises:
        RequestError: the body is no form that can be read, is too large, comes too slowly, or holds no photo or too
            many.
        ClientGoneError: the client left.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    form = kind == b"multipart/form-data"
    limit = most * max_bytes + _FORM if form else max_bytes
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise _too_large(max_bytes)
    if not form:
        upload = Upload()
        async for chunk in _chunks(request, limit, max_bytes):
            share.add(len(chunk))
            upload.content += chunk
        return [upload]
    boundary = options.get(b"boundary")
    if not boundary:
        raise RequestError(400, "the multipart form has no boundary; leave the content type to your HTTP client")
    reader = FormReader(boundary, share, most, max_bytes)
    async for chunk in _chunks(request, limit, max_bytes):
        reader.write(chunk)
    return reader.close()


async def _chunks(request: Request, limit: int, max_bytes: int) -> AsyncIterator[bytes]:
    """Yield the parts of a body as they come, within its size and its time."""
    loop = asyncio.get_running_loop()
    start, received, stream = loop.time(), 0, request.stream()
    while True:
        patience = min(BODY_SECONDS + received / BODY_RATE, LONGEST)
        try:
            async with asyncio.timeout_at(start + patience):
                chunk = await anext(stream, None)
        except TimeoutError:
            raise RequestError(408, f"the body came too slowly: {received} bytes in {patience:.0f} s") from None
        except ClientDisconnect:
            raise ClientGoneError from None
        if chunk is None:
            return
        received += len(chunk)
        if received > limit:
            raise _too_large(max_bytes)
        if chunk:
            yield chunk


def _too_large(max_bytes: int) -> RequestError:
    return RequestError(413, f"a photo may have {max_bytes / 2**20:g} MiB here; send a smaller one")


class FormReader:
    """Reads the files of a multipart form in memory; frameworks write large ones to disk.

    Args:
        boundary: of the form.
        share: takes the bytes received.
        most: how many files there may be.
        max_bytes: largest file; of a larger one nothing is kept.
    """

    def __init__(self, boundary: bytes, share: Share, most: int, max_bytes: int) -> None:
        self.uploads: list[Upload] = []
        self._share, self._most, self._max_bytes = share, most, max_bytes
        self._ended = False
        self._header, self._value, self._headers, self._size = b"", b"", dict[bytes, bytes](), 0
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._field,
                    "on_header_value": self._text,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._named,
                    "on_part_data": self._data,
                    "on_end": self._end,
                },
            )
        except ValueError as error:
            raise _broken() from error

    def write(self, chunk: bytes) -> None:
        """Read the next part of the body.

        Args:
            chunk: its bytes.

        Raises:
            RequestError: it is no form, or one that is not wanted.
        """
        try:
            self._parser.write(chunk)
        except ValueError as error:
            raise _broken() from error

    def close(self) -> list[Upload]:
        """End the form.

        Returns:
            Its files, at least one.

        Raises:
            RequestError: it has no end, or no file.
        """
        if not self._ended:
            raise RequestError(400, "the multipart form ends early: its last boundary is missing")
        if not self.uploads:
            raise RequestError(422, "the form holds no photo; send it as the file 'photo'")
        return self.uploads

    def _begin(self) -> None:
        self._headers, self._header, self._value, self._size = {}, b"", b"", 0

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._header += self._counted(data[start:end])

    def _text(self, data: bytes, start: int, end: int) -> None:
        self._value += self._counted(data[start:end])

    def _counted(self, data: bytes) -> bytes:
        self._size += len(data)
        if self._size > _PART_HEADERS:
            raise RequestError(400, "a part of the form has headers that are too long")
        return data

    def _header_end(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header, self._value = b"", b""

    def _named(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        field_name = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" not in options and field_name not in _NAMES:
            shown = re.sub(r"[^\w .-]", "?", field_name[:40])
            raise RequestError(422, f"the form has a field '{shown}' that is no file; settings belong in the query")
        if len(self.uploads) == self._most:
            more = "send more to /v1/faces:batch" if self._most == 1 else "send them in several requests"
            raise RequestError(422, f"the form holds more than {self._most} photo(s); {more}")
        name = options.get(b"filename", b"").decode("utf-8", "replace")
        self.uploads.append(Upload(re.split(r"[/\\]", name)[-1][:255]))

    def _data(self, data: bytes, start: int, end: int) -> None:
        upload = self.uploads[-1]
        if upload.too_large:
            return
        if len(upload.content) + end - start > self._max_bytes:
            upload.too_large, upload.content = True, bytearray()
            return
        self._share.add(end - start)
        upload.content += memoryview(data)[start:end]

    def _end(self) -> None:
        self._ended = True


def _broken() -> RequestError:
    return RequestError(400, "the multipart form cannot be read; leave its making to your HTTP client")
