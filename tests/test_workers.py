"""Processes end with the one that they work for."""

from __future__ import annotations

import importlib.util
import os
import signal
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


GUARDED = """
import subprocess, sys
from facekd.workers import guard

# As Ray's agents: with a title where their command line was, of a parent that has ended, not of this session, and deaf
# to all but SIGKILL.
AGENT = "import ray._raylet, signal, time; signal.signal(15, signal.SIG_IGN); ray._raylet.setproctitle('ray::Agent'); "
AGENT += "print(__import__('os').getpid(), flush=True); time.sleep(1000)"
ABOVE = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {AGENT!r}], start_new_session=True)"

if __name__ == "__main__":
    with guard():
        subprocess.run([sys.executable, "-c", ABOVE], check=True)
        deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(1000)"
        process = subprocess.Popen([sys.executable, "-c", deaf], start_new_session=True)
        sys.stdin.read()
    print(process.poll(), flush=True)
    process.kill()
"""


@linux
@pytest.mark.slow
@pytest.mark.parametrize("killed", [True, False])
def test_a_library_s_processes_end_with_a_killed_one(killed: bool, tmp_path: Path) -> None:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    script = tmp_path / "script.py"
    script.write_text(GUARDED)
    # Behind Ray's own variables, which importing it changes, the title would spare the mark.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, str(script)], env=clean, **pipes, text=True) as process:  # type: ignore[call-overload]
        agent = int(process.stdout.readline())
        assert Path(f"/proc/{agent}/cmdline").read_text().startswith("ray::Agent")
        began = Path(f"/proc/{agent}/stat").read_text().rsplit(")", 1)[1].split()[19]
        started = {agent: began, **descendants(process.pid)}
        assert len(started) >= 3
        if killed:
            process.kill()
        else:
            process.stdin.close()
            process.wait(60)
            assert process.stdout.readline() == "None\n" and alive({agent: began}, patience=0)
            os.kill(agent, signal.SIGKILL)
        assert alive(started) == {}
