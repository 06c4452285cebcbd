"""The bounded queue, clients that leave, the end of the server: what is accepted is answered, nobody else waits."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

from facekd.serve import server as servers
from facekd.serve.engine import Pool
from facekd.serve.problems import RequestError
from facekd.serve.server import listen
from processes import held
from serving import Served, serving

LITE = "facekd-68-lite"
_LONGEST = 60


def until(happens: object) -> None:
    """Wait for an event that comes."""
    end = time.monotonic() + _LONGEST
    while not happens():
        assert time.monotonic() < end
        time.sleep(0.005)


@contextmanager
def held_workers(served: Served) -> Iterator[threading.Event]:
    """Keep every photo from being processed until the event is set."""
    go, faces = threading.Event(), served.service.engine.faces

    def waits(*arguments: object) -> object:
        assert go.wait(_LONGEST)
        return faces(*arguments)

    served.service.engine.faces = waits
    try:
        yield go
    finally:
        go.set()
        served.service.engine.faces = faces


def test_a_full_queue_is_refused_at_once_and_what_was_accepted_is_answered(photo: bytes) -> None:
    with serving(models=(LITE,), workers=1, queue=2) as served, ThreadPoolExecutor(3) as clients:
        with held_workers(served) as go:
            accepted = [clients.submit(served.post, photo) for _ in range(3)]
            until(lambda: served.service.pool.full)
            assert "facekd_queue_length 2.0" in served.get("/metrics").text
            start = time.monotonic()
            refused = [served.post(photo) for _ in range(20)]
            assert time.monotonic() - start < 10  # none of them waited for a worker, which is held
            assert {answer.status_code for answer in refused} == {503}
            assert all(answer.headers["retry-after"] == "1" for answer in refused)
            assert refused[0].json()["error"]["code"] == "busy"
            go.set()
        assert [len(each.result().json()["faces"]) for each in accepted] == [6, 6, 6]
        assert len(served.post(photo).json()["faces"]) == 6


def test_a_batch_is_queued_whole_or_not_at_all(photo: bytes) -> None:
    with serving(models=(LITE,), workers=1, queue=3) as served, ThreadPoolExecutor(3) as clients:
        with held_workers(served) as go:
            alone = [clients.submit(served.post, photo) for _ in range(2)]
            until(lambda: served.service.pool.waiting == 1)
            files = [("photos", (f"{i}.jpg", photo)) for i in range(3)]
            answer = httpx.post(f"{served.url}/v1/faces:batch", files=files)
            assert answer.status_code == 503 and served.service.pool.waiting == 1
            go.set()
        assert all(each.result().status_code == 200 for each in alone)
        batch = httpx.post(f"{served.url}/v1/faces:batch", files=files).json()["photos"]
        assert [len(one["faces"]) for one in batch] == [6, 6, 6]
        assert served.get("/v1/models").json()["limits"]["photos"] == 3  # no more than may wait


def test_a_client_that_leaves_gives_its_place_back(photo: bytes) -> None:
    with serving(models=(LITE,), workers=1, queue=1) as served, ThreadPoolExecutor(1) as clients:
        with held_workers(served) as go:
            first = clients.submit(served.post, photo)
            until(lambda: served.service.pool.running == 1)
            leaves = served.connect()
            leaves.sendall(b"POST /v1/faces HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(photo), photo))
            until(lambda: served.service.pool.full)
            leaves.close()
            until(lambda: not served.service.pool.full)
            go.set()
        assert first.result().status_code == 200
        until(lambda: served.service.budget.held == 0)


def test_memory_for_photos_is_bounded(photo: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(models=(LITE,), workers=1) as served, ThreadPoolExecutor(2) as clients:
        served.service.budget.most = 3 * len(photo)
        with held_workers(served) as go:
            accepted = [clients.submit(served.post, photo) for _ in range(2)]
            until(lambda: served.service.budget.held == 2 * len(photo))
            answer = served.post(photo + photo)
            assert answer.status_code == 503 and "holds as many bytes" in answer.json()["error"]["message"]
            go.set()
        assert [each.result().status_code for each in accepted] == [200, 200]
        assert served.service.budget.held == 0


def test_the_pool_counts_what_it_runs_and_what_waits() -> None:
    pool, go = Pool(2, 1), threading.Event()
    futures: list[Future[bool]] = pool.submit([lambda: go.wait(_LONGEST)] * 3)
    assert (pool.running, pool.waiting, pool.full) == (2, 1, True)
    with pytest.raises(RequestError) as refused:
        pool.submit([lambda: True])
    assert refused.value.status == 503
    assert futures[2].cancel() and (pool.running, pool.waiting, pool.full) == (2, 0, False)
    go.set()
    assert [future.result() for future in futures[:2]] == [True, True]
    until(lambda: pool.running == 0)
    pool.close()


def test_a_server_that_stops_answers_what_it_accepted_and_refuses_the_rest(
    photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "STOPPING_SECONDS", 2.0)  # the new requests below come within
    with serving(models=(LITE,), workers=1) as served, ThreadPoolExecutor(4) as clients, httpx.Client() as idle:
        assert idle.get(f"{served.url}/health/ready").status_code == 200
        with held_workers(served) as go:
            accepted = [clients.submit(served.post, photo) for _ in range(3)]
            until(lambda: served.service.pool.waiting == 2)
            half = served.connect()  # its head is accepted, its body comes later
            half.sendall(
                b"POST /v1/faces HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(photo), photo[:99])
            )
            until(lambda: served.service.budget.held > 3 * len(photo))
            served.server.should_exit = True
            until(lambda: served.service.status.stopping)
            for client in (idle, httpx):
                answer = client.get(f"{served.url}/health/ready")
                assert answer.status_code == 503 and answer.headers["connection"] == "close"
            late = served.post(photo)
            assert late.status_code == 503 and late.headers["retry-after"] == "1"
            assert served.get("/health/live").status_code == 200
            half.sendall(photo[99:])
            go.set()
            answers = [each.result() for each in accepted]
        assert [len(answer.json()["faces"]) for answer in answers] == [6, 6, 6]
        assert b"HTTP/1.1 200" in half.recv(100)
    with pytest.raises(httpx.ConnectError):
        served.get("/health/live")


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGTERM there")
@pytest.mark.slow
def test_sigterm_under_load_ends_with_0(photo: bytes) -> None:
    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/v1/faces"

    def posts() -> httpx.Response:
        while True:
            try:
                return httpx.post(url, content=photo, timeout=_LONGEST)
            except httpx.ConnectError:
                time.sleep(0.05)

    options = ("serve", "--port", port, "--workers", 1, "--model", LITE)
    # Made before: a client loads its certificates for longer than the server goes on refusing with an answer.
    client = httpx.Client(limits=httpx.Limits(max_keepalive_connections=0), timeout=_LONGEST)
    with client, ThreadPoolExecutor(1) as clients:
        answer = clients.submit(posts)
        with held("facekd", *options, at="facekd.serve.engine:Engine.faces", when="before") as process:
            process.process.send_signal(signal.SIGTERM)
            until(lambda: client.get(f"http://127.0.0.1:{port}/health/ready").status_code == 503)
            assert client.post(url, content=photo).status_code == 503
            with pytest.raises(httpx.TransportError):  # a moment later: no connection, or one that is closed
                while True:
                    assert client.post(url, content=photo).status_code == 503
            assert not answer.done()
            process.release()
            code, _, said = process.finish()
        assert code == 0 and "Traceback" not in said
        assert len(answer.result().json()["faces"]) == 6
    assert f"facekd: http://127.0.0.1:{port} is ready" in said
    logged = [line.split()[2:5] for line in said.splitlines() if " POST " in line]
    assert ["POST", "/v1/faces", "200"] in logged and ["POST", "/v1/faces", "503"] in logged


def test_a_taken_port_is_one_sentence() -> None:
    from facekd.errors import InputError

    with (
        listen("127.0.0.1", 0) as taken,
        pytest.raises(InputError, match=r"cannot listen on 127\.0\.0\.1 port .*--port"),
    ):
        listen("127.0.0.1", taken.getsockname()[1])
    for host in ("no.such.host.invalid", "256.1.1.1", "a" * 300):
        with pytest.raises(InputError, match=r"no address|cannot listen"):
            listen(host, 0)


def test_addresses_of_both_kinds() -> None:
    with listen("127.0.0.1", 0) as four:
        assert servers.address(four) == f"http://127.0.0.1:{four.getsockname()[1]}" and servers._is_loopback(four)
    with listen("0.0.0.0", 0) as every:
        assert not servers._is_loopback(every)
    if socket.has_ipv6:
        try:
            with listen("::1", 0) as six:
                assert servers.address(six).startswith("http://[::1]:") and servers._is_loopback(six)
        except Exception as error:  # a machine without IPv6
            assert "cannot listen" in str(error)
