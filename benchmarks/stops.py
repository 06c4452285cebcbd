"""SIGKILL at random moments: are the outputs whole, does a worker live on, and does the next run leave nothing over?

    python benchmarks/stops.py [--kills 50] [--only detect track ...] [--out docs/benchmarks]

Each command first runs twice undisturbed: that says how long it takes, which files it leaves, and which of them have
the same content each time. Then it is killed at moments drawn from that time, over and over with the same output; after
each kill every file is read by the package's own readers, and processes are looked for that the command started. After
every fifth kill it runs to its end, and its files are compared with those of the undisturbed run. Writes stops.json
and, from it, stops.md. Linux only. The rows of commands that `--only` leaves out stay as they are.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import yaml
from PIL import Image

from facekd import results
from facekd.data.pack import Pack
from facekd.exporters.onnx import SAMPLE
from facekd.images import read_image
from facekd.networks import checkpoint
from facekd.runtime.card import ModelCard
from facekd.runtime.landmarker import Landmarker
from facekd.runtime.video import Video, VideoWriter

LITE = "facekd-68-lite"
EVERY = 5  # kills between two runs to the end
LONGEST = 60.0  # seconds after which a process that still runs counts as left over
SOON = 2.0
MARK = "FACEKD_STOPS"  # in the environment of what is killed, by which its processes are found
# Logs of TensorBoard are named by time and process, one for each start; their number says nothing.
# Those that say how long something took differ, or do not by chance.
TIMED = re.compile(r".*\b((summary|evaluation|report)\.json|index\.html|log\.jsonl|runs/[^/]*|study\.md|events)$")
EVENTS = re.compile(r"events\.out\.tfevents\.[\d.]+.*")
STAGE = {"backbone": "mobilenetv2_035", "init": "none", "epochs": 3, "batch": 8, "lr": 1e-3}
RECIPE: dict[str, Any] = {
    "name": "tiny",
    "precision": "32",
    "input": {"size": 32, "scale": 1.3},
    "evaluation": {"bootstrap": 100},
    "stages": {
        "teacher": STAGE | {"loss": "l2"},
        "student": STAGE | {"loss": "kd", "teachers": ["teacher"], "views": 2},
    },
}
ROWS = [{"name": "l1", "stage": "teacher", "set": {"teacher.loss": "l1"}}, {"name": "l2", "stage": "teacher"}]


@dataclass(frozen=True)
class Command:
    """A command whose output is `out` in the folder it runs in.

    Attributes:
        words: of the command line.
        check: raises what is wrong with the output as a whole, of a run that has ended.
    """

    words: tuple[object, ...]
    check: Callable[[Path], object] = lambda out: None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    options = parser.parse_args()
    file = options.out / "stops.json"
    rows = json.loads(file.read_text())["rows"] if options.only and file.exists() else {}
    with tempfile.TemporaryDirectory(prefix="s") as folder:  # short: Ray's sockets lie below it
        os.environ["TMPDIR"] = folder
        tempfile.tempdir = folder
        for name, command in made(Path(folder, "in")).items():
            if not options.only or name in options.only:
                rows[name] = row(command, Path(folder, name), options.kills, options.seed)
                print(name, rows[name], flush=True)
                write(options, rows)


def write(options: argparse.Namespace, rows: dict[str, Any]) -> None:
    """Write what is done so far."""
    result = {
        "command": f"python benchmarks/stops.py --kills {options.kills}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "rows": rows,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "stops.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "stops.md").write_text(page(result))


def made(folder: Path) -> dict[str, Command]:
    """Make the inputs, and return the commands."""
    photos, pack = folder / "photos", folder / "faces.parquet"
    photos.mkdir(parents=True)
    sample = Image.open(SAMPLE)
    for index in range(30):
        left, top = 320 * (index % 3), 320 * (index // 3 % 2)
        sample.crop((left, top, left + 320, top + 320)).save(photos / f"{index}.png")
    video = VideoWriter(folder / "film.mp4", 25, (240, 280))
    face = np.asarray(sample.crop((0, 0, 320, 320)))
    for index in range(40):
        video.add(face[20:300, index % 60 : index % 60 + 240])
    video.close()
    finished("prepare", "synthetic", pack, "--count", 60, "--jobs", 1)
    recipe, study = folder / "tiny.yaml", folder / "study.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE, sort_keys=False))
    study.write_text(yaml.safe_dump({"name": "small", "recipe": "tiny.yaml", "rows": ROWS}))
    trained = ("--data", pack, "--out", "out", "--accelerator", "cpu")
    finished("distill", recipe, "--data", pack, "--out", folder / "run", "--accelerator", "cpu")
    network, files = folder / "run", ("out/net.onnx", "--int8", pack, "--bundle", "out/app", "--without-detector")
    return {
        "detect": Command(("detect", photos, "-m", LITE, "--out", "out", "--draw", "--threads", 1)),
        "track": Command(("track", folder / "film.mp4", "-m", LITE, "--out", "out", "--threads", 1)),
        "prepare": Command(("prepare", "synthetic", "out/a.parquet", "--count", 80, "--jobs", 2)),
        "distill": Command(("distill", recipe, *trained)),
        "export": Command(("export", network, *files[:3])),
        "bulk": Command(("bulk", photos, "out", "-m", LITE, "--workers", 2), lambda out: list(results.read(str(out)))),
        "study": Command(("study", study, *trained, "--jobs", 2)),
    }


def finished(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "facekd.cli", *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def row(command: Command, place: Path, kills: int, seed: int) -> dict[str, Any]:
    """Return what the kills of a command did."""
    begun = time.monotonic()
    first = undisturbed(command, place / "0")
    seconds = time.monotonic() - begun
    second = undisturbed(command, place / "1")
    same = {name for name, digest in first.items() if second.get(name) == digest and not TIMED.match(name)}
    found: dict[str, Any] = {
        "seconds": round(seconds, 1),
        "files": files(first),
        "files_with_one_content": files({name: first[name] for name in same}),
    }
    found |= dict.fromkeys(("kills", "ended_before", "runs_to_the_end", "temporary_files", "workers_left"), 0)
    found |= {"slowest_to_end": 0.0, "broken": [], "different": [], "left_over": []}
    if first.keys() != second.keys():
        raise RuntimeError(f"two undisturbed runs left other files: {first.keys() ^ second.keys()}")
    moments, number = random.Random(seed), 2
    folder = place / "2"
    while found["kills"] < kills:
        ended = killed(command, folder, moments.uniform(0, seconds), found)
        found["broken"] += damaged(folder / "out")
        if not ended and found["kills"] % EVERY and found["kills"] < kills:
            continue
        last = undisturbed(command, folder) if not ended else digests(command, folder)
        found["runs_to_the_end"] += 1
        found["left_over"] += [f"{folder.name}: {name}" for name in sorted(last.keys() - first.keys())]
        other = [name for name in sorted(first) if last.get(name) != first[name] and (name in same or name not in last)]
        found["different"] += [f"{folder.name}: {name}" for name in other]
        number += 1
        folder = place / str(number)
    return found


def started(command: Command, folder: Path) -> subprocess.Popen[str]:
    folder.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.gettempdir(), "t")
    temporary.mkdir(exist_ok=True)
    environment = {**os.environ, MARK: str(folder), "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "facekd.cli", *map(str, command.words)]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(words, cwd=folder, env=environment, start_new_session=True, **pipes)  # type: ignore[call-overload,no-any-return]


def undisturbed(command: Command, folder: Path) -> dict[str, str]:
    """Run to the end; return what `digests` does."""
    process = started(command, folder)
    _, said = process.communicate()
    refuse_failure(command, process.returncode, said)
    return digests(command, folder)


def refuse_failure(command: Command, code: int, said: str) -> None:
    """Raise if a run has failed; one that was killed behind its last file finds that all is there already."""
    if code and "is there already" not in said:
        raise RuntimeError(f"{command.words[0]} ended with {code}: {said}")


def files(found: dict[str, str]) -> int:
    """Return how many of what `digests` found are no folders."""
    return sum(bool(digest) for digest in found.values())


def digests(command: Command, folder: Path) -> dict[str, str]:
    """Return a digest by name of every file there is, hidden and temporary ones too, and "" by that of a folder."""
    command.check(folder / "out")
    found = {}
    for place in (folder, Path(tempfile.gettempdir(), "t")):
        for path in sorted(place.rglob("*")):
            digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
            found[EVENTS.sub("events", path.relative_to(place).as_posix())] = digest
    return found


def killed(command: Command, folder: Path, moment: float, found: dict[str, Any]) -> bool:
    """Kill a run at a moment, and count what it left; returns whether it had ended before."""
    process = started(command, folder)
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        pass
    else:
        found["ended_before"] += 1
        refuse_failure(command, process.returncode, process.communicate()[1])
        return True
    process.kill()
    process.wait()
    found["kills"] += 1
    begun = time.monotonic()
    while (left := processes(str(folder), process.pid)) and time.monotonic() - begun < LONGEST:
        time.sleep(0.05)
    found["slowest_to_end"] = round(max(found["slowest_to_end"], time.monotonic() - begun), 1)
    found["workers_left"] += len(left)
    for each in left:
        os.kill(each, signal.SIGKILL)
    found["temporary_files"] += sum(path.name[0] == "." for path in folder.rglob("*"))
    return False


def processes(mark: str, session: int) -> list[int]:
    """Return the processes that have a mark in their environment or are of a session.

    Some write a title over their environment, and some begin a session of their own; none does both.
    """
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, of = (path / "stat").read_text(errors="replace").rsplit(")", 1)[1].split()[:4]
            marked = f"{MARK}={mark}".encode() in (path / "environ").read_bytes().split(b"\0")
            if state != "Z" and (marked or int(of) == session):
                found.append(int(path.name))
        except OSError:
            continue
    return found


def damaged(out: Path) -> list[str]:
    """Return what is wrong with the files of an output that is not finished, in sentences."""
    found = []
    for path in out.rglob("*"):
        if path.is_file() and not any(part[0] == "." for part in path.relative_to(out).parts):
            try:
                READERS.get(path.suffix, lambda path: None)(path)
            except Exception as error:
                found.append(f"{path.relative_to(out)}: {type(error).__name__}: {error}")
    return found


def read_lines(path: Path) -> None:
    """Read JSON lines; of a log that is added to, the last may be cut."""
    whole, _, _ = path.read_text().rpartition("\n")
    for line in whole.splitlines():
        json.loads(line)


def read_network(path: Path) -> None:
    ModelCard.load(path).verify(path)
    Landmarker(path, threads=1).model.predict(np.zeros((1, *[32] * 2, 3), np.uint8))


def read_video(path: Path) -> None:
    if sum(1 for _ in Video(path)) != 40:
        raise ValueError("frames are missing")


def read_checkpoint(path: Path) -> None:
    import torch

    torch.load(path, weights_only=True)


def read_pack(path: Path) -> None:
    if path.name.startswith("part-"):  # of a bulk run
        return
    faces = Pack.open(path)
    if len(faces.readable()) != 80:
        raise ValueError("faces are missing")


READERS: dict[str, Callable[[Path], object]] = {
    ".json": lambda path: json.loads(path.read_text()),
    ".jsonl": read_lines,
    ".yaml": lambda path: yaml.safe_load(path.read_text())["stages"],
    ".jpg": read_image,
    ".png": read_image,
    ".svg": ElementTree.parse,
    ".html": lambda path: path.read_text().rindex("</html>"),
    ".npz": lambda path: [np.asarray(each) for each in np.load(path).values()],
    ".npy": np.load,
    ".safetensors": checkpoint.load,
    ".onnx": read_network,
    ".pt": read_checkpoint,
    ".parquet": read_pack,
    ".mp4": read_video,
}


def page(result: dict[str, Any]) -> str:
    """Return the figures as a page."""
    lines = [
        "# Commands that are killed",
        "",
        f"`{result['command']}`, {result['machine']}.",
        "",
        "SIGKILL at random moments of the time that the command takes undisturbed, again and again with the same",
        "output. After each kill every file is read, and processes that the command started are looked for. After",
        "every fifth the command runs to its end: the files must be those of an undisturbed run, with the same content",
        "where two undisturbed runs give the same, and nothing else; in the system's temporary folder, nothing at all.",
        "",
        "| command | takes | kills | broken files | processes left | the last ended after | hidden files left by kills "
        "| runs to the end | files left over | files, with one content | other content |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in result["rows"].items():
        files = f"{row['files']}, {row['files_with_one_content']}"
        lines.append(
            f"| {name} | {row['seconds']:.0f} s | {row['kills']} | {len(row['broken'])} | {row['workers_left']} "
            f"| {row['slowest_to_end']:.1f} s | {row['temporary_files']} | {row['runs_to_the_end']} "
            f"| {len(row['left_over'])} | {files} | {len(row['different'])} |"
        )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
