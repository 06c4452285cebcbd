"""Networks of a user's tried out in a process of their own."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from facekd.errors import ModelError
from facekd.runtime import trial
from facekd.runtime.names import bundled
from facekd.runtime.trial import tried, try_out

forked = pytest.mark.skipif(sys.platform != "linux", reason="the reader is changed in a forked child")


@pytest.mark.slow
def test_a_good_network_is_found(make_model: Callable[..., Path]) -> None:
    path = make_model()
    assert tried(path) == path


@pytest.mark.slow
def test_what_is_wrong_with_a_network_is_told(make_model: Callable[..., Path]) -> None:
    path = make_model()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelError, match="not the file its card describes"):
        tried(path)


@forked
def test_a_network_that_ends_the_process_is_one_sentence(
    make_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "load", lambda *_, **__: os._exit(134))
    with pytest.raises(ModelError, match=r"tiny\.onnx ends the process that runs it; do not use it"):
        try_out(make_model())


@forked
def test_a_network_that_does_not_end_is_one_sentence(
    make_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "load", lambda *_, **__: time.sleep(60))
    monkeypatch.setattr(trial, "_LONGEST", 0.2)
    with pytest.raises(ModelError, match=r"tiny\.onnx does not end; do not use it"):
        try_out(make_model())


@forked
def test_bundled_networks_and_checkpoints_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "load", lambda *_, **__: os._exit(134))
    for path in bundled().values():
        try_out(path)
        try_out(path.with_suffix(".tflite"))
    try_out(Path("model.safetensors"))
