"""What the server answers: the JSON of Python's faces, errors in one shape, counters, health."""

from __future__ import annotations

import base64
import io
import json
import logging
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

import facekd
from facekd.images import read_image
from facekd.runtime.detector import YuNet
from facekd.serve.schemas import BatchAnswer, ErrorAnswer, FaceJson, FacesAnswer, ModelsAnswer
from serving import Served, serving

LITE = "facekd-68-lite"


@pytest.fixture(scope="module")
def landmarker() -> facekd.Landmarker:
    return facekd.Landmarker(threads=1)


def refused(answer: httpx.Response, status: int, code: str, says: str) -> None:
    """Check an error: its status, and the one shape of all."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    error = ErrorAnswer.model_validate(answer.json()).error
    assert error.code == code and re.search(says, error.message), error
    assert error.request_id == answer.headers["x-request-id"]
    assert error.message.count("\n") == 0 and not error.message.endswith(".")


def test_the_faces_are_python_s(served: Served, photo: bytes, landmarker: facekd.Landmarker) -> None:
    answer = served.post(photo).json()
    expected = [face.to_dict() for face in landmarker.detect(photo)]
    assert len(expected) == 6
    for found, face in zip(answer["faces"], expected, strict=True):
        assert list(found) == list(face)
        np.testing.assert_allclose(found["points"], face["points"], atol=0.0101)  # they are rounded to 0.01
        np.testing.assert_allclose(found["confidence"], face["confidence"], atol=2e-4)
    height, width = read_image(photo).shape[:2]
    assert (answer["width"], answer["height"]) == (width, height)
    assert (answer["model"], answer["markup"]) == ("facekd-68", "ibug68") and answer["milliseconds"] > 0


def test_a_form_gives_what_a_body_gives(served: Served, photo: bytes) -> None:
    raw = served.post(photo, headers={"content-type": "image/jpeg"}).json()["faces"]
    for name in ("photo", "file", "any"):
        form = httpx.post(f"{served.url}/v1/faces", files={name: ("a.jpg", photo)}).json()["faces"]
        assert form == raw
    assert served.post(photo, headers={"content-type": "application/x-www-form-urlencoded"}).json()["faces"] == raw


def test_the_query_is_followed(served: Served, photo: bytes) -> None:
    asked = {"model": LITE, "markup": "five5", "max_faces": 2, "min_score": 0.3}
    answer = served.post(photo, params=asked).json()
    landmarker = facekd.Landmarker(LITE, YuNet(0.3, threads=1), threads=1)
    expected = [face.convert("five5") for face in landmarker.detect(photo, max_faces=2)]
    assert answer["model"] == LITE and answer["markup"] == "five5"
    assert [len(face["points"]) for face in answer["faces"]] == [5, 5]
    for found, face in zip(answer["faces"], expected, strict=True):
        np.testing.assert_allclose(found["points"], face.points, atol=0.011)
    strict = facekd.Landmarker(LITE, YuNet(0.935, threads=1), threads=1).detect(photo)
    fewer = served.post(photo, params={"min_score": 0.935, "model": LITE}).json()["faces"]
    assert 0 < len(fewer) == len(strict) < 6
    assert len(served.post(photo).json()["faces"]) == 6  # the threshold was that request's alone


def test_a_drawing_has_the_faces_drawn_in(served: Served, photo: bytes, landmarker: facekd.Landmarker) -> None:
    answer = served.post(photo, params={"draw": "true"}).json()
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["drawing"]))), np.float32)
    image = read_image(photo)
    expected = facekd.draw(image, landmarker.detect(image)).astype(np.float32)
    assert drawn.shape == image.shape
    assert np.abs(drawn - expected).mean() < 4 < np.abs(drawn - image).max()
    assert "drawing" not in served.post(photo).json()


def test_photos_are_turned_as_they_say(served: Served, photo: bytes) -> None:
    turned, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side
    Image.open(io.BytesIO(photo)).transpose(Image.Transpose.ROTATE_90).save(turned, "png", exif=exif)
    answer = served.post(turned.getvalue()).json()
    upright = served.post(photo).json()
    assert (answer["width"], answer["height"]) == (upright["width"], upright["height"])
    np.testing.assert_allclose(answer["faces"][0]["points"], upright["faces"][0]["points"], atol=0.5)


def test_a_batch_has_each_photo_or_its_error_in_its_place(served: Served, photo: bytes) -> None:
    files = [("photos", (name, content)) for name, content in (("a.jpg", photo), ("b.txt", b"no"), ("../c.jpg", photo))]
    files.append(("photos", ("d.jpg", photo[:2000])))
    answer = httpx.post(f"{served.url}/v1/faces:batch", files=files, params={"model": LITE}, timeout=60)
    photos = answer.json()["photos"]
    BatchAnswer.model_validate(answer.json())
    assert [one["photo"] for one in photos] == ["a.jpg", "b.txt", "c.jpg", "d.jpg"]
    alone = served.post(photo, params={"model": LITE}).json()["faces"]
    assert photos[0]["faces"] == photos[2]["faces"] == alone
    assert [one["error"]["code"] for one in (photos[1], photos[3])] == ["not_a_photo", "unusable"]
    assert photos[1]["error"]["request_id"] == answer.headers["x-request-id"]


def test_a_large_photo_of_a_batch_is_an_error_in_its_place(photo: bytes) -> None:
    with serving(models=(LITE,), max_mb=0.2) as served:
        large = photo + bytes(300_000)
        files = [("photos", ("large.jpg", large)), ("photos", ("small.jpg", photo))]
        photos = httpx.post(f"{served.url}/v1/faces:batch", files=files).json()["photos"]
        assert photos[0]["error"]["code"] == "too_large" and len(photos[1]["faces"]) == 6
        refused(served.post(large), 413, "too_large", r"0\.2 MiB")
        refused(httpx.post(f"{served.url}/v1/faces", files={"photo": large}), 413, "too_large", r"0\.2 MiB")
        assert served.service.budget.held == 0


@pytest.mark.parametrize(
    ("count", "status", "says"), [(0, 422, "no photo"), (33, 422, "more than 32 photo")], ids=["none", "33"]
)
def test_a_batch_has_1_to_32_photos(served: Served, count: int, status: int, says: str) -> None:
    form = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="photos"; filename="a"\r\n\r\nno\r\n' for _ in range(count)
    )
    headers = {"content-type": "multipart/form-data; boundary=x"}
    refused(served.post(form + b"--x--\r\n", "/v1/faces:batch", headers=headers), status, "unusable", says)


def test_one_photo_means_one(served: Served, photo: bytes) -> None:
    files = [("photo", photo), ("photo", photo)]
    refused(httpx.post(f"{served.url}/v1/faces", files=files), 422, "unusable", "/v1/faces:batch")


def test_settings_in_a_form_are_refused_rather_than_ignored(served: Served, photo: bytes) -> None:
    answer = httpx.post(f"{served.url}/v1/faces", files={"photo": photo}, data={"max_faces": "1"})
    refused(answer, 422, "unusable", "'max_faces' .* query")


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"max_face": "1"}, "did you mean 'max_faces'"),
        ({"max_faces": "0"}, "max_faces .*greater than or equal to 1"),
        ({"max_faces": "many"}, "max_faces"),
        ({"min_score": "1.5"}, "min_score .*less than or equal to 1"),
        ({"min_score": "nan"}, "min_score"),
        ({"draw": "perhaps"}, "draw"),
        ({"model": "facekd-86"}, "no model 'facekd-86'.*facekd-68"),
        ({"model": "../../etc/passwd.onnx"}, "no model"),
        ({"markup": "wflw98"}, "no mark-up 'wflw98'.*five5"),
    ],
)
def test_wrong_queries_are_one_sentence(served: Served, photo: bytes, query: dict[str, str], says: str) -> None:
    refused(served.post(photo, params=query), 422, "unusable", says)


def test_what_is_no_photo_or_damaged(served: Served, photo: bytes) -> None:
    refused(served.post(b""), 415, "not_a_photo", "is empty")
    refused(served.post(b"%PDF-1.7 no photo"), 415, "not_a_photo", "is no image")
    refused(served.post(photo[:3000]), 422, "unusable", "is damaged")


def test_too_many_pixels_are_refused_before_they_are_decoded(photo: bytes) -> None:
    with serving(models=(LITE,), max_mpx=0.6) as served:  # the sample has 0.61
        refused(served.post(photo), 413, "too_large", r"960 x 640 pixels, more than 0\.6 megapixels")


def test_other_addresses_and_methods(served: Served) -> None:
    refused(served.get("/v1/face"), 404, "not_found", "no such address")
    refused(served.get("/v1/faces"), 405, "method_not_allowed", "method")


def test_request_ids_are_the_client_s_if_they_are_sane(served: Served) -> None:
    assert served.get("/health/live", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    for bad in ("a" * 65, "a b", "<script>"):
        assert re.fullmatch("[0-9a-f]{32}", served.get("/v1/no", headers={"x-request-id": bad}).headers["x-request-id"])


def test_models_and_mark_ups(served: Served) -> None:
    answer = ModelsAnswer.model_validate(served.get("/v1/models").json())
    found = [(model.name, model.default) for model in answer.models]
    assert found == [("facekd-68", True), (LITE, False)]
    assert answer.models[0].markups == ["ibug68", "five5"]
    ibug, five = answer.markups
    assert (ibug.count, five.count) == (68, 5)
    assert {"name": "left eye", "points": [36, 37, 38, 39, 40, 41], "closed": True} in ibug.contours
    assert answer.limits == {"max_mb": 10, "max_mpx": 40, "photos": 32}


def test_own_models_by_name(photo: bytes, make_model) -> None:
    file = make_model("mine")
    with serving(models=(str(file), LITE)) as served:
        assert [model["name"] for model in served.get("/v1/models").json()["models"]] == ["mine", LITE]
        assert served.post(photo).json()["model"] == "mine"
    with pytest.raises(facekd.InputError, match="two models are called 'mine'"), serving(models=(str(file), str(file))):
        pass
    blind = str(make_model("blind", box_transform=None))
    with pytest.raises(facekd.ModelError, match="no transform for a face detector"), serving(models=(blind,)):
        pass


def test_the_schema_describes_the_answers(served: Served, photo: bytes) -> None:
    answer = served.post(photo, params={"draw": "true"}).json()
    FacesAnswer.model_validate(answer)
    assert set(FaceJson.model_fields) <= set(answer["faces"][0])
    assert set(answer) == set(FacesAnswer.model_fields)


def test_health(served: Served) -> None:
    for path in ("/health/live", "/health/ready"):
        assert served.get(path).json() == {"status": "ok"}


def sample(text: str, line: str) -> float:
    """The value of a line of the metrics."""
    found = re.search(rf"^{re.escape(line)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_metrics_count(photo: bytes) -> None:
    with serving(models=(LITE,)) as served:
        served.post(photo)
        served.post(b"no")
        served.get("/wp-admin/setup.php")
        text = served.get("/metrics").text
        assert sample(text, 'facekd_requests_total{path="/v1/faces",status="200"}') == 1
        assert sample(text, 'facekd_requests_total{path="/v1/faces",status="415"}') == 1
        assert sample(text, 'facekd_requests_total{path="other",status="404"}') == 1 and "wp-admin" not in text
        assert sample(text, f'facekd_faces_total{{model="{LITE}"}}') == 6
        assert sample(text, 'facekd_photos_total{outcome="error"}') == 1
        assert sample(text, 'facekd_request_seconds_count{path="/v1/faces"}') == 2
        assert 0 < sample(text, "facekd_photo_seconds_sum") < 60
        assert sample(text, "facekd_queue_seconds_count") == 2
        assert "facekd_queue_length 0.0" in text and "facekd_busy_workers 0.0" in text


def test_the_token_guards_all_but_health_and_the_page(photo: bytes) -> None:
    with serving(models=(LITE,), token="secret") as served:
        for headers in (
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": "secret"},
            {"authorization": "Bearer"},
        ):
            answer = served.post(photo, headers=headers)
            refused(answer, 401, "unauthorized", "Bearer TOKEN")
            assert answer.headers["www-authenticate"] == "Bearer"
        for path in ("/v1/models", "/metrics"):
            assert served.get(path).status_code == 401
            assert served.get(path, headers={"authorization": "Bearer secret"}).status_code == 200
        for path in ("/", "/docs", "/health/live", "/health/ready", "/openapi.json", "/page/app.js"):
            assert served.get(path).status_code == 200
        assert len(served.post(photo, headers={"authorization": "bearer secret"}).json()["faces"]) == 6


def test_other_origins_only_if_they_are_set(served: Served, photo: bytes) -> None:
    asks = {"origin": "https://example.org", "access-control-request-method": "POST"}
    assert "access-control-allow-origin" not in served.post(photo, headers=asks).headers
    assert httpx.options(f"{served.url}/v1/faces", headers=asks).status_code == 405
    with serving(models=(LITE,), origins=("https://example.org",), token="secret") as other:
        preflight = httpx.options(
            f"{other.url}/v1/faces", headers=asks | {"access-control-request-headers": "authorization"}
        )
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == "https://example.org"
        answer = other.post(photo, headers=asks)  # without the token: the page can read why
        assert answer.status_code == 401 and answer.headers["access-control-allow-origin"] == "https://example.org"
        assert "access-control-allow-origin" not in other.post(photo, headers={"origin": "https://evil.org"}).headers


def test_a_fault_of_the_server_is_said_in_the_same_shape(
    served: Served, photo: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(*_: object) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(served.service.engine, "faces", breaks)
    answer = served.post(photo)
    refused(answer, 500, "internal", "logged it")
    assert "out of order" not in answer.text and "out of order" in caplog.text
    assert answer.headers["x-request-id"] in caplog.text


# What the audit hook, which cannot be removed, saw of the server's threads while it listens.
_SEEN: list[str] = []
_LISTENS = threading.Event()
_THREADS = ("server-of-the-test", "facekd")


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if not _LISTENS.is_set() or not threading.current_thread().name.startswith(_THREADS):
        return
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        _SEEN.append(f"open {arguments}")
    elif event.startswith(
        ("socket.connect", "socket.getaddrinfo", "tempfile.", "subprocess.", "os.rename", "os.mkdir")
    ):
        _SEEN.append(f"{event} {arguments}")


@pytest.fixture
def watched() -> Iterator[list[str]]:
    sys.addaudithook(_hook)
    _SEEN.clear()
    _LISTENS.set()
    yield _SEEN
    _LISTENS.clear()


def test_nothing_of_a_photo_is_written_logged_or_sent(
    photo: bytes, watched: list[str], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    large = photo + bytes(3_000_000)  # frameworks write forms of more than 1 MB to disk
    with serving(models=(LITE,)) as served:
        open_form = {"photo": ("secret-name.jpg", large)}
        assert len(httpx.post(f"{served.url}/v1/faces?draw=true", files=open_form).json()["faces"]) == 6
        assert served.post(photo, params={"model": "secret-query"}).status_code == 422
        assert served.get("/secret-path").status_code == 404
        assert served.get("/").status_code == 200
    assert watched == []
    lines = [record.getMessage() for record in caplog.records if record.name.startswith(("facekd", "uvicorn"))]
    assert len(lines) >= 4 and "secret" not in "".join(lines) and len("".join(lines)) < 2000
    # The hook does see what it is for.
    watcher = threading.Thread(target=(tmp_path / "a").write_text, args=("x",), name="facekd")
    watcher.start()
    watcher.join()
    assert len(watched) == 1


def test_every_answer_keeps_browsers_from_loading_elsewhere(served: Served) -> None:
    for path in ("/", "/docs", "/v1/models", "/nothing"):
        headers = served.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_the_schema_is_the_one_in_the_repository(served: Served) -> None:
    kept = json.loads((Path(__file__).parents[2] / "docs" / "reference" / "openapi.json").read_text())
    now = served.get("/openapi.json").json()
    now["info"]["version"] = kept["info"]["version"]
    assert now == kept, "run python docs/generate/openapi.py"
