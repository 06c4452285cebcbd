"""Offline means offline: what ONNX Runtime does to the process, its children, the network and the disk."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import facekd
from facekd.errors import ModelError
from facekd.runtime import ort
from facekd.runtime.yunet import yunet_weights

SOURCE = Path(facekd.__file__).parent
SAMPLE = SOURCE / "weights" / "sample.jpg"
# Prints the variable as it is at the moment when ONNX Runtime is first imported.
WATCHED = """
import builtins, os
real = builtins.__import__
def watch(name, *rest, **named):
    if name.partition(".")[0] == "onnxruntime" and not seen:
        seen.append(os.environ.get("ORT_DISABLE_TELEMETRY"))
    return real(name, *rest, **named)
seen = []
builtins.__import__ = watch
import {module}
print(seen)
"""
FORKS = """
import os, signal, sys, facekd
landmarker = facekd.Landmarker(threads=2)
here = landmarker.detect({sample!r})
for does in ("nothing", "detects"):
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # ends it if it hangs
        if does == "detects":
            there = landmarker.detect({sample!r})
            assert len(there) == 6 and all((a.points == b.points).all() for a, b in zip(here, there))
        sys.exit(7)
    print(does, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
assert len(landmarker.detect({sample!r})) == 6
"""
RESTS = """
import time, numpy as np
from facekd.runtime import ort
from facekd.runtime.yunet import yunet_weights
session, idle = ort.Session(yunet_weights(), threads=2), []
for _ in range(5):
    session.run(["maps"], {"image": np.zeros((1, 640, 640, 3), np.uint8)})
    start = time.process_time()
    time.sleep(0.1)
    idle.append(time.process_time() - start)
print(sorted(idle)[2])
"""
DETECTS = f"""
import facekd
print(len(facekd.Landmarker().detect({str(SAMPLE)!r})))
facekd.detect_files([{str(SAMPLE)!r}], facekd.Landmarker(), "found", draw=facekd.draw)
"""


def run(code: str, folder: Path, *before: str, **environment: str) -> str:
    """Run code in a folder, by itself or through another program; return what it printed."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("ORT_")}
    done = subprocess.run(
        [*before, sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
        env={**inherited, "PYTHONPATH": str(SOURCE.parent), "PYTHONDONTWRITEBYTECODE": "1", **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def works(*command: str) -> bool:
    """Whether a tool is there and may do what it is for; containers often forbid it."""
    return bool(shutil.which(command[0])) and subprocess.run(command, capture_output=True).returncode == 0


def test_one_module_imports_onnx_runtime() -> None:
    importers = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            importers |= {path.name for name in names if name.partition(".")[0] == "onnxruntime"}
    assert importers == {"ort.py"}


@pytest.mark.parametrize("module", ["facekd.runtime.model", "facekd.runtime.detector", "facekd.exporters.int8"])
@pytest.mark.slow
def test_telemetry_is_off_before_the_import(tmp_path: Path, module: str) -> None:
    if "exporters" in module:
        pytest.importorskip("torch", reason="the packages for training are not installed")
    assert run(WATCHED.format(module=module), tmp_path) == "['1']\n"


def test_a_value_of_the_users_own_stays(tmp_path: Path) -> None:
    assert run(WATCHED.format(module="facekd.runtime.ort"), tmp_path, ORT_DISABLE_TELEMETRY="0") == "['0']\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_forked_children_detect_and_end(tmp_path: Path) -> None:
    assert run(FORKS.format(sample=str(SAMPLE)), tmp_path) == "nothing 7\ndetects 7\n"


@pytest.mark.slow
def test_detection_opens_no_socket_and_writes_only_where_it_is_told(tmp_path: Path) -> None:
    if not works("strace", "-f", "-e", "trace=network", "true"):
        pytest.skip("strace is not there, or may not trace")
    work, log = tmp_path / "work", tmp_path / "calls"
    work.mkdir()
    calls = "trace=network,open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2"
    assert run(DETECTS, work, "strace", "-f", "-y", "-qq", "-e", calls, "-o", str(log)) == "6\n"
    lines = [line.split(maxsplit=1)[1] for line in log.read_text(errors="replace").splitlines() if " = -1 " not in line]
    assert [line for line in lines if re.match(r"(socket|connect|bind|sendto|sendmsg)\(", line)] == []
    changing = [
        line for line in lines if re.match(r"(creat|mkdir|rename)", line) or re.search(r"O_(WRONLY|RDWR)", line)
    ]
    places = {place for line in changing for place in re.findall(r'"([^"]*)"', line)}
    inside = {place for place in places if (work / place).is_relative_to(work)}
    assert any("sample" in place for place in inside)
    assert {place for place in places - inside if not place.startswith("/dev/")} == set()


@pytest.mark.slow
def test_detection_works_without_a_network(tmp_path: Path) -> None:
    if not works("unshare", "-rn", "true"):
        pytest.skip("unshare is not there, or may make no network namespace")
    assert run(DETECTS, tmp_path, "unshare", "-rn") == "6\n"


def test_providers_have_short_names_and_options() -> None:
    cpu = ("CPUExecutionProvider", {})
    for given in ("cpu", "CPU", "CPUExecutionProvider", ["cpu"], ("cpu", {}), [("cpu", {})], ("cpu",)):
        assert ort.provider_names(given) == [cpu]
    with_options = ("cpu", {"arena_extend_strategy": "kNextPowerOfTwo"})
    assert ort.provider_names(with_options) == [("CPUExecutionProvider", with_options[1])]
    with pytest.raises(ModelError, match="provider 3 is no name"):
        ort.provider_names([3])  # type: ignore[list-item]


class Gpu:
    """ONNX Runtime with the build for CUDA, on a machine without CUDA's libraries, as version 1.31 behaves there.

    started: the providers that work.
    """

    SessionOptions = ort.onnxruntime.SessionOptions

    def __init__(self, *started: str) -> None:
        self.started, self.asked = [*started, "CPUExecutionProvider"], None

    def get_available_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def preload_dlls(self) -> None:
        print("Failed to load libcudart.so")

    def InferenceSession(self, *_: object, providers: list, enable_fallback: bool) -> Gpu:  # noqa: N802
        assert not enable_fallback
        self.asked = providers
        return self

    def get_providers(self) -> list[str]:
        return self.started

    def disable_fallback(self) -> None:
        print("EP Error") if self.asked is None else None


def test_a_provider_that_does_not_start_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ort, "onnxruntime", Gpu())
    for providers in ("cuda", ["cuda", "cpu"], [("cuda", {"device_id": 1}), "cpu"]):
        with pytest.raises(ModelError, match="provider 'cuda' does not start"):
            ort.Session(yunet_weights(), providers=providers)
    assert capfd.readouterr().out == ""


def test_options_reach_onnx_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu("CUDAExecutionProvider")
    monkeypatch.setattr(ort, "onnxruntime", gpu)
    session = ort.Session(yunet_weights(), providers=("cuda", {"device_id": 1}))
    assert gpu.asked == [("CUDAExecutionProvider", {"device_id": 1})] and session.providers == ("cuda", "cpu")


@pytest.mark.parametrize(("given", "usable", "threads"), [(None, 2, 2), (None, 8, 0), (3, 2, 3)])
def test_where_fewer_cores_may_be_used_than_there_are_so_many_threads_run(
    monkeypatch: pytest.MonkeyPatch, given: int | None, usable: int, threads: int
) -> None:
    """0: ONNX Runtime decides."""
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(ort, "usable_cores", lambda: usable)
    options = ort.Session(yunet_weights(), given).session.get_session_options()
    assert options.intra_op_num_threads == threads


def test_a_run_that_fails_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    session = ort.Session(yunet_weights())
    with pytest.raises(Exception, match=r"(?i)invalid"):
        session.run(["maps"], {"image": np.zeros((1, 3), np.uint8)})
    assert capfd.readouterr().out == ""


def test_threads_rest_between_two_runs(tmp_path: Path) -> None:
    assert float(run(RESTS, tmp_path)) < 0.01  # seconds of a tenth; that spin take half of it and more
