"""Damaged files given to readers in processes of their own, so that one that dies, hangs or takes much memory is seen.

A case is told by kind, seed and number: the same three give the same files.
"""

from __future__ import annotations

import faulthandler
import importlib
import multiprocessing
import os
import resource
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

from mutators import Mutator, damaged

from facekd.errors import FacekdError

HANG = 10.0  # seconds of a processor that a file may take
MEMORY = 1000.0  # MB that reading it may add
_START = 300.0  # seconds: nothing waits for them but a fuzzer that is broken
_FOLDER = b"@FOLDER@"  # in seeds in place of the folder they were made in
_TEXTS = (".json", ".jsonl", ".yaml", ".txt")
_TIME = 1_700_000_000  # of each file, as results logs hold the times of photos

Files = dict[str, bytes]


@dataclass(frozen=True)
class Kind:
    """A kind of file, and how the library's users read it.

    Attributes:
        name: of the kind.
        make: writes a whole example into the current folder; several for several examples.
        read: reads what lies in the current folder.
        damage: what is damaged: endings of paths, and ways besides damaged bytes.
        finish: is called with the files once they are damaged, such as to make a checksum fit.
        share: cases of it in the tests, 1 being usual; of a long run, a kind with a smaller one gets more time.
    """

    name: str
    make: tuple[Callable[[], object], ...]
    read: Callable[[], object]
    damage: Mapping[str, tuple[Mutator, ...]]
    finish: Callable[[Files, Random], object] = lambda files, rng: None
    share: float = 1.0


@dataclass(frozen=True)
class Outcome:
    """What a file did.

    Attributes:
        what: "read", "refused", or one of FAULTS.
        seconds: of a processor that it took.
        megabytes: of memory it added at most; 0 where that is not known.
        detail: the sentence, or the traceback.
    """

    what: str
    seconds: float = 0.0
    megabytes: float = 0.0
    detail: str = ""


FAULTS = ("traceback", "dead", "hang", "memory")


def examples(kind: Kind, folder: Path) -> list[Files]:
    """Make the whole files of a kind in a folder, which is emptied."""
    found = []
    for make in kind.make:
        _empty(folder)
        os.chdir(folder)
        make()
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        here = str(folder).encode()
        found.append(
            {name: text.replace(here, _FOLDER) if name.endswith(_TEXTS) else text for name, text in files.items()}
        )
    return found


def case(kind: Kind, whole: list[Files], seed: int, number: int) -> Files:
    """Return the damaged files of a case."""
    rng = Random(f"{kind.name} {seed} {number}")
    files = dict(rng.choice(whole))
    names = sorted(name for name in files if name.endswith(tuple(kind.damage)))
    for name in rng.sample(names, min(len(names), rng.choice((1, 1, 1, 2)))):
        ways = next(ways for ending, ways in kind.damage.items() if name.endswith(ending))
        way = damaged if not ways or rng.random() < 0.3 else rng.choice(ways)
        files[name] = way(files[name], rng)
    kind.finish(files, rng)
    return files


def write(files: Files, folder: Path) -> None:
    """Write the files of a case into a folder, which is emptied."""
    _empty(folder)
    here = str(folder).encode()
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.replace(_FOLDER, here) if name.endswith(_TEXTS) else content)
        os.utime(path, (_TIME, _TIME))


def read(kind: Kind, folder: Path) -> Outcome:
    """Read what lies in a folder, as the current one."""
    os.chdir(folder)
    before, start = _memory("VmRSS"), time.process_time()
    _forget_peak()
    what, detail = "read", ""
    try:
        kind.read()
    except FacekdError as error:
        what, detail = "refused", str(error)
    except MemoryError:
        what, detail = "memory", traceback.format_exc()
    except Exception:
        what, detail = "traceback", traceback.format_exc()
    seconds, added = time.process_time() - start, max(0.0, _memory("VmHWM") - before)
    if added > MEMORY and what != "traceback":
        what, detail = "memory", f"{added:.0f} MB more than before; {detail}"
    return Outcome(what, seconds, added, detail)


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _memory(field: str) -> float:
    """Return MB that this process holds (VmRSS) or has held (VmHWM); 0 where Linux does not say."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) / 1000 for line in file if line.startswith(field))
    except (OSError, StopIteration):
        return 0.0


def _forget_peak() -> None:
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        pass


def _work(connection: Connection, folder: Path, log: Path, module: str) -> None:
    """Answer what `Worker` asks for, until it says no more."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):  # decoders in C write there
        os.dup2(output, stream)
    faulthandler.enable(os.fdopen(output, "w"))
    kinds: dict[str, Kind] = importlib.import_module(module).KINDS

    if sys.platform == "linux":  # a file that asks for all memory does not get it
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (int(1e6 * _memory("VmSize")) + 16 * 10**9, hard))
    whole: dict[str, list[Files]] = {}
    while (asked := connection.recv()) is not None:
        name, given, number = asked
        kind = kinds[name]
        if given is None:
            if name not in whole:
                whole[name] = examples(kind, folder)
                if module == "kinds":
                    for files in whole[name]:  # once before any is timed: libraries are loaded and warm
                        write(files, folder)
                        read(kind, folder)
            connection.send(Outcome("read"))
            continue
        try:
            write(case(kind, whole[name], given, number) if isinstance(given, int) else given, folder)
        except Exception:  # the fuzzer's own fault, to be seen as the others are
            connection.send("go")
            connection.send(Outcome("traceback", detail=traceback.format_exc()))
            continue
        connection.send("go")
        connection.send(read(kind, folder))


class Worker:
    """A process that reads files; it is started again when it died.

    Args:
        folder: of its own, for the files.
        module: holds the kinds, as KINDS.
        longest: seconds by the clock that a file may take.
    """

    def __init__(self, folder: Path, module: str = "kinds", longest: float = 60.0) -> None:
        self.module, self.longest = module, longest
        self.folder, self.log = folder / "case", folder / "worker.log"
        folder.mkdir(parents=True, exist_ok=True)
        self._process: Any = None
        self._connection: Any = None

    def run(self, kind: str, given: int | Files, number: int = 0) -> Outcome:
        """Read the files of a case.

        Args:
            kind: its name.
            given: the fuzzer's seed; or the files themselves.
            number: of the case.
        """
        if isinstance(given, int) or self._process is None:
            self.prepare(kind)
        self._connection.send((kind, given, number))
        self._answer(_START)
        start = time.perf_counter()
        try:
            found = self._answer(self.longest)
        except TimeoutError:
            return self._ended("hang", start)
        except (EOFError, ConnectionError):
            return self._ended("dead", start)
        assert isinstance(found, Outcome)
        return Outcome("hang", found.seconds, found.megabytes) if found.seconds > HANG else found

    def prepare(self, kind: str) -> None:
        """Start the process if need be, and let it make the whole files of a kind."""
        if self._process is None or not self._process.is_alive():
            self._start()
        self._ask((kind, None, 0))

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, self.folder, self.log, self.module), daemon=False)
        self._process.start()
        theirs.close()

    def _ask(self, message: Any) -> Outcome:
        self._connection.send(message)
        found = self._answer(_START)
        assert isinstance(found, Outcome)
        return found

    def _answer(self, seconds: float) -> Any:
        if not self._connection.poll(seconds):
            raise TimeoutError
        return self._connection.recv()

    def _ended(self, what: str, start: float) -> Outcome:
        seconds = time.perf_counter() - start
        self._process.kill()
        self._process.join()
        code, self._process = self._process.exitcode, None
        said = self.log.read_text(encoding="utf-8", errors="replace")[-4000:]
        return Outcome(what, seconds, 0.0, f"exit code {code}\n{said}")


def keep(outcome: Outcome, files: Path, folder: Path) -> None:
    """Keep the files of a case, and what it did, for a look at it or as a seed of the tests."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(files, folder / "files", symlinks=True)
    for path in (folder / "files").rglob("*"):
        if path.name.endswith(_TEXTS):
            path.write_bytes(path.read_bytes().replace(str(files).encode(), _FOLDER))
    (folder / "outcome.txt").write_text(
        f"{outcome.what}, {outcome.seconds:.2f} s\n{outcome.detail}\n", encoding="utf-8"
    )


def seeds(folder: Path) -> list[tuple[str, str, Files]]:
    """Return the files that were faults once, KIND/NAME/..., spaces in the kind as _: kind, name and files of each."""
    found = []
    for path in sorted(folder.glob("*/*")):
        files = {each.relative_to(path).as_posix(): each.read_bytes() for each in path.rglob("*") if each.is_file()}
        found.append((path.parent.name.replace("_", " "), path.name, files))
    return found


if sys.platform == "win32":  # pragma: no cover
    raise ImportError("the fuzzer bounds memory as Unix does")
