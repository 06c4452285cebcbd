"""Memory of processes that train: what a step frees serves the next one."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

# Page faults of tensors that are allocated and freed, over and over, after the first.
FAULTS = """
import resource, sys
from facekd.training.memory import reuse_memory
if sys.argv[1] == "kept":
    assert reuse_memory()
import torch
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.ones(64 << 18)
start = faults()
for _ in range(5):
    torch.ones(64 << 18)  # 64 MiB
print(faults() - start)
"""


def run(kind: str) -> int:
    # Commands that other tests ran in this process may have set the one.
    environment = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    words = [sys.executable, "-c", FAULTS, kind]
    return int(subprocess.run(words, env=environment, check=True, capture_output=True, text=True).stdout)


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_is_used_again() -> None:
    pages = (64 << 20) // os.sysconf("SC_PAGESIZE")
    assert run("plain") > 2 * pages  # five times, or fewer where the system gives large pages
    assert run("kept") < pages / 10


@pytest.mark.slow
@pytest.mark.parametrize("command", ["distill", "study"])
def test_commands_that_train_do_so_before_torch_is_imported(command: str) -> None:
    watched = f"""
import os, sys
from facekd.training import memory
def told():
    print("torch" in sys.modules, flush=True)
    os._exit(0)
memory.reuse_memory = told
sys.argv = ["facekd", "{command}", "nowhere", "--data", "x.parquet", "--out", "x"]
from facekd.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", watched], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "False\n")
