"""Clients that mean no good, or no HTTP: each gets its answer, holds nobody up, and a good request works afterwards."""

from __future__ import annotations

import io
import json
import random
import socket
import struct
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

import httpx
import numpy as np
import pytest
from PIL import Image

from facekd.serve import server as servers
from facekd.serve import uploads
from facekd.serve.problems import CODES
from serving import Served, serving

LITE = "facekd-68-lite"


@pytest.fixture(scope="module")
def attacked() -> Iterator[Served]:
    with serving(models=(LITE,)) as served:
        yield served


@pytest.fixture(autouse=True)
def _a_good_request_works_afterwards(attacked: Served, photo: bytes) -> Iterator[None]:
    before = attacked.post(photo).json()["faces"]
    yield
    assert attacked.post(photo).json()["faces"] == before and len(before) == 6
    assert attacked.service.budget.held == 0 and attacked.service.pool.running == 0


def talk(served: Served, *parts: bytes, end: bool = False) -> tuple[int, dict[str, Any]]:
    """Send bytes as they are; return the status and the JSON of what comes back."""
    with served.connect() as connection:
        for part in parts:
            connection.sendall(part)
        if end:
            connection.shutdown(socket.SHUT_WR)
        return answer(connection)


def answer(source: socket.socket | BinaryIO) -> tuple[int, dict[str, Any]]:
    """Read one answer from a connection, or from its file, which may hold more."""
    file = source.makefile("rb") if isinstance(source, socket.socket) else source
    status = int(file.readline().split()[1])
    headers = {}
    while line := file.readline().strip():
        name, _, value = line.partition(b": ")
        headers[name.lower()] = value
    return status, json.loads(file.read(int(headers[b"content-length"])) or b"{}")


def check(found: tuple[int, dict[str, Any]], *statuses: int) -> None:
    """Check that it is an error of the one shape."""
    status, body = found
    assert status in statuses, found
    assert set(body["error"]) == {"code", "message", "request_id"} and body["error"]["code"] == CODES[status]


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Damage a file: bytes replaced, cut out, doubled, moved, or its end cut off."""
    found = bytearray(content)
    for _ in range(chance.randint(1, 12)):
        place = chance.randrange(len(found))
        length = min(chance.choice((1, 1, 4, 64, 1000)), len(found) - place)
        kind = chance.randrange(5)
        if kind < 2:
            found[place : place + length] = chance.randbytes(length)
        elif kind == 2:
            del found[place : place + length]
        elif kind == 3:
            found[place:place] = found[place : place + length]
        else:
            found = found[: max(20, place)] if chance.random() < 0.3 else found
        if len(found) < 20:
            return bytes(found)
    return bytes(found)


@pytest.mark.slow
def test_500_mutated_photos(attacked: Served, photo: bytes) -> None:
    picture, files = Image.open(io.BytesIO(photo)).crop((0, 0, 320, 320)).resize((160, 160)), []
    for kind in ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM"):
        file = io.BytesIO()
        picture.save(file, kind)
        files.append(file.getvalue())
    chance = random.Random(0)
    bad = [mutated(files[i % len(files)], chance) for i in range(500)]
    with httpx.Client(base_url=attacked.url, timeout=60) as client, ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda content: client.post("/v1/faces", content=content), bad))
    statuses = [each.status_code for each in answers]
    assert set(statuses) <= {200, 413, 415, 422} and len(statuses) == 500
    assert min(statuses.count(200), statuses.count(415), statuses.count(422)) > 20  # all kinds of damage are there
    for each in answers:
        if each.status_code != 200:
            check((each.status_code, each.json()), 413, 415, 422)


@pytest.mark.parametrize(
    "kind",
    ["application/json", "text/html; charset=utf-8", "image/png", "", "multipart/mixed; boundary=x", "ü/ü", ";;;"],
)
def test_the_bytes_count_and_not_the_content_type(attacked: Served, photo: bytes, kind: str) -> None:
    headers = {"content-type": kind.encode("latin-1")}
    assert len(attacked.post(photo, headers=headers).json()["faces"]) == 6
    refused = attacked.post(b'{"photo": "http://example.org/a.jpg"}', headers=headers)
    check((refused.status_code, refused.json()), 415)


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("multipart/form-data", b"--x\r\n", 400),
        ("multipart/form-data; boundary=", b"--x\r\n", 400),
        ("multipart/form-data; boundary=" + "x" * 3000, b"--x\r\n", 400),
        ("multipart/form-data; boundary=x", b"", 400),
        ("multipart/form-data; boundary=x", b"no form at all", 400),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="photo"; filename="a"\r\n\r\nabc',
            400,
        ),
        ("multipart/form-data; boundary=x", b"--x\r\n" + b"A" * 100_000 + b": b\r\n\r\n\r\n--x--\r\n", 400),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\nabc\r\n--x--\r\n", 422),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\nabc\r\n--x--\r\n", 422),
        ("multipart/form-data; boundary=x", b"--x--\r\n", 422),
    ],
)
@pytest.mark.parametrize("path", ["/v1/faces", "/v1/faces:batch"])
def test_broken_forms(attacked: Served, path: str, kind: str, body: bytes, status: int) -> None:
    refused = attacked.post(body, path, headers={"content-type": kind})
    check((refused.status_code, refused.json()), status)


def test_names_of_files_are_no_paths(attacked: Served, photo: bytes) -> None:
    names = ["../../etc/passwd", "..\\..\\boot.ini", "/etc/shadow", "a\x00b.jpg", "x" * 2000 + ".jpg"]
    files = [("photos", (name, photo)) for name in names]
    found = httpx.post(f"{attacked.url}/v1/faces:batch", files=files, timeout=60).json()["photos"]
    assert [len(one["faces"]) for one in found] == [6] * 5
    assert all("/" not in one["photo"] and "\\" not in one["photo"] and len(one["photo"]) <= 255 for one in found)


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/page/../settings.py",
            "/page/%2e%2e/settings.py",
            "/page/..%2fsettings.py",
            "/page//etc/passwd",
            "//etc/passwd",
        ),
        *("/page/%00", "/page/app.js%00.html", "/page/", "/page", "/..", "/v1/faces/../../etc/passwd", "/.git/config"),
    ],
)
def test_path_tricks_find_nothing(attacked: Served, path: str) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    check(talk(attacked, request), 404)


@pytest.mark.parametrize(
    "request_line",
    [
        *(
            b"GARBAGE",
            b"",
            b"GET",
            b"GET /x HTTP/9.9",
            b"GET /\xff\xfe HTTP/1.1",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        ),
        *(b"GET / HTTP/1.1\r\nno colon", b"GET / HTTP/1.1\r\n: no name", b"POST / HTTP/1.1\r\nContent-Length: -1"),
        b"POST /v1/faces HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2",
    ],
)
def test_what_is_no_http_is_told_so(attacked: Served, request_line: bytes) -> None:
    check(talk(attacked, request_line + b"\r\n\r\n"), 400, 404)


@pytest.mark.parametrize("size", [20_000, 1_000_000])
def test_huge_headers(attacked: Served, size: int) -> None:
    check(talk(attacked, b"GET /health/live HTTP/1.1\r\nHost: a\r\nX-A: " + b"a" * size + b"\r\n\r\n"), 431)
    many = b"".join(b"X-%d: a\r\n" % i for i in range(size // 5))
    check(talk(attacked, b"GET /health/live HTTP/1.1\r\nHost: a\r\n" + many + b"\r\n"), 431)
    target = b"/v1/models?" + b"a" * size
    check(talk(attacked, b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n"), 431)


def test_bodies_that_claim_to_be_huge_are_refused_unread(attacked: Served) -> None:
    head = b"POST /v1/faces HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
    for length in (10 * 2**20 + 1, 10**12, 10**30):
        check(talk(attacked, head % length), 413, 400)


def test_bodies_without_end_are_cut(attacked: Served) -> None:
    head = b"POST /v1/faces HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"%x\r\n%b\r\n" % (2**20, bytes(2**20))
    check(talk(attacked, head, *[chunk] * 12), 413)


def test_truncated_bodies_are_told_so(attacked: Served, photo: bytes) -> None:
    head = b"POST /v1/faces HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(photo)
    check(talk(attacked, head, photo[:1000], end=True), 400)
    chunked = b"POST /v1/faces HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n400\r\nabc"
    check(talk(attacked, chunked, end=True), 400)
    check(talk(attacked, b"POST /v1/faces HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), 400)


def test_clients_that_vanish_in_the_middle(attacked: Served, photo: bytes) -> None:
    head = b"POST /v1/faces HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(photo)
    for sent in (b"", head[:20], head, head + photo[:1000], head + photo):
        for linger in (False, True):
            with attacked.connect() as connection:
                if linger:  # the connection is reset
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.sendall(sent)


def test_slow_clients_hold_nobody_up_and_are_told_so(
    attacked: Served, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "HEAD_SECONDS", 3.0)
    monkeypatch.setattr(uploads, "BODY_SECONDS", 3.0)
    head = b"POST /v1/faces HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
    # More of them than there are workers and places in the queue.
    slow = [attacked.connect() for _ in range(160)]
    for index, connection in enumerate(slow):
        connection.sendall((b"", b"POST /v1/fa", head, head + b"\xff\xd8")[index % 4])
    for place in range(20, 24):  # a byte now and then
        for connection in slow[2::4]:
            connection.sendall(b"\xff")
        for connection in slow[1::4]:
            connection.sendall(b"ces HTTP/1.1 "[place - 20 : place - 19])
        assert len(attacked.post(photo).json()["faces"]) == 6
    for connection in slow:
        check(answer(connection), 408)
        assert connection.recv(1) == b""  # closed
        connection.close()


def test_too_many_connections_are_told_so(attacked: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "MOST_CONNECTIONS", 20)
    many = [attacked.connect() for _ in range(20)]
    with attacked.connect() as one_more:
        check(answer(one_more), 503)
    for connection in many:
        connection.close()


def test_a_client_that_does_not_read_is_let_go(attacked: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "LINGER_SECONDS", 0.2)
    with attacked.connect() as connection:
        connection.sendall(b"GET /v1/nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        check(answer(connection), 404)
        assert connection.recv(1) == b""


def test_requests_one_behind_the_other_are_answered_in_order(attacked: Served) -> None:
    with attacked.connect() as connection:
        for path in (b"/health/live", b"/nothing", b"/health/ready"):
            connection.sendall(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path)
        with connection.makefile("rb") as file:
            assert [answer(file)[0] for _ in range(3)] == [200, 404, 200]


def test_a_decompression_bomb_is_not_decoded(attacked: Served) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    for side in (7_000, 60_000):
        pixels = zlib.compress(bytes(1_000_000), 9)
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
        refused = attacked.post(bomb)
        check((refused.status_code, refused.json()), 413)


def test_noise_is_answered(attacked: Served) -> None:
    noise = np.random.default_rng(0)
    for size in (1, 10, 1000, 100_000):
        refused = attacked.post(noise.bytes(size))
        check((refused.status_code, refused.json()), 415)
