"""Processes end with the one that they work for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from facekd import workers
from processes import alive, descendants

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are found in /proc")


@pytest.mark.slow
def test_a_process_does_its_work_and_says_whether_it_could(tmp_path: Path) -> None:
    done = workers.start(Path.write_text, tmp_path / "a", "x" * 1_000_000)  # more than a pipe holds
    failed = workers.start(os.rmdir, tmp_path / "none")
    done.join()
    failed.join()
    assert (done.exitcode, failed.exitcode) == (0, 1)
    assert (tmp_path / "a").stat().st_size == 1_000_000


GUARDED = '''
import subprocess, sys
from facekd.workers import guard

# As Ray's, which starts agents whose title comes to stand where their environment was.
ABOVE = """import subprocess, sys, time
subprocess.Popen(sys.argv[1:], env={}, start_new_session=True, stdout=subprocess.DEVNULL)
print("there", flush=True)
time.sleep(1000)"""

if __name__ == "__main__":
    with guard():
        # As Ray's agents: not of this session, and deaf to all but SIGKILL.
        command = [sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(1000)"]
        processes = [subprocess.Popen(command, start_new_session=True) for _ in range(2)]
        above = subprocess.Popen([sys.executable, "-c", ABOVE, *command], start_new_session=True)
        sys.stdin.read()
    for process in processes:
        print(process.poll(), flush=True)
        process.kill()
    subprocess.run(["pkill", "-KILL", "-P", str(above.pid)])
    above.kill()
'''


@linux
@pytest.mark.slow
@pytest.mark.parametrize("killed", [True, False])
def test_a_library_s_processes_end_with_a_killed_one(killed: bool, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(GUARDED)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, str(script)], **pipes, text=True) as process:  # type: ignore[call-overload]
        assert process.stdout.readline() == "there\n"
        started = descendants(process.pid)
        assert len(started) >= 5
        if killed:
            process.kill()
        printed, _ = process.communicate()
        assert alive(started) == {} and printed == ("" if killed else "None\nNone\n")
