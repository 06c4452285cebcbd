"""CPU threads of training: their number, and that they sleep while they wait."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import cv2
import pytest
import torch

from facekd.errors import InputError
from facekd.training import threads
from facekd.training.threads import set_threads

# Says what OpenMP will read, at the moment when torch is asked for, and ends there.
WATCHED = """
import os, sys
class Watch:
    def find_spec(self, name, *_):
        if name == "torch":
            print(os.environ.get("OMP_WAIT_POLICY"), flush=True)
            os._exit(0)
sys.meta_path.insert(0, Watch())
sys.argv = ["facekd", *sys.argv[1:]]
from facekd.cli import main
main()
"""


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    torch_threads, opencv_threads = torch.get_num_threads(), cv2.getNumThreads()
    yield
    torch.set_num_threads(torch_threads)
    cv2.setNumThreads(opencv_threads)


def test_as_many_as_are_asked_for_and_no_more_than_there_are_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    set_threads(3)
    assert torch.get_num_threads() == 3 and cv2.getNumThreads() == 3
    monkeypatch.setattr(threads, "usable_cores", lambda: 2)
    set_threads()
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)  # as OMP_NUM_THREADS=1 does
    set_threads()
    assert torch.get_num_threads() == 1
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"  # of the user
    with pytest.raises(InputError, match="threads must be 1 or more, got 0"):
        set_threads(0)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["distill", "study"])
def test_threads_that_wait_sleep(command: str) -> None:
    """Spinning, they keep those they wait for from running where cores are shared; torch's OpenMP is told in time."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    words = [sys.executable, "-c", WATCHED, command, "nowhere", "--data", "x.parquet", "--out", "x"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "PASSIVE\n")
