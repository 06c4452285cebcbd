"""Give damaged files of every kind to their readers, for as long as asked, and write what they did.

    python tests/fuzz/run_fuzz.py --minutes 60

The same seed gives the same files. Those that were faults are kept in KEEP, each with what it did; put under
tests/fuzz/seeds/KIND/, they are tested from then on. `--kind NAME --number N --seed S` reads one file again.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from fuzzing import FAULTS, HANG, MEMORY, Outcome, Worker, keep, seeds  # noqa: E402
from kinds import KINDS  # noqa: E402

_SLICE = 4.0  # seconds of one kind before the next
SEEDS = Path(__file__).with_name("seeds")


@dataclass
class Tally:
    """What the files of a kind did so far."""

    number: int = 0
    seconds: float = 0.0
    busy: bool = False
    count: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    megabytes: float = 0.0
    faults: list[str] = field(default_factory=list)

    def add(self, outcome: Outcome, where: str) -> None:
        self.count[outcome.what] += 1
        self.slowest, self.megabytes = max(self.slowest, outcome.seconds), max(self.megabytes, outcome.megabytes)
        if outcome.what in FAULTS:
            last = outcome.detail.strip().splitlines()[-1:] or [""]
            self.faults.append(f"{where}: {outcome.what}, {last[0][:200]}")


class Fuzzer:
    """Workers that share kinds and time.

    Args:
        names: of the kinds.
        seed: of the files.
        until: when to stop, as `time.monotonic` counts.
        folder: for the faults.
    """

    def __init__(self, names: list[str], seed: int, until: float, folder: Path) -> None:
        self.tallies = {name: Tally() for name in names}
        self.seed, self.until, self.folder = seed, until, folder
        self._lock = threading.Lock()

    def work(self, place: Path) -> None:
        """Let one worker read files until the time is over."""
        worker = Worker(place)
        while time.monotonic() < self.until:
            with self._lock:
                free = [name for name, tally in self.tallies.items() if not tally.busy]
                name = min(free, key=lambda each: self.tallies[each].seconds * KINDS[each].share)
                tally = self.tallies[name]
                tally.busy = True
            worker.prepare(name)
            start = time.monotonic()
            while time.monotonic() < min(self.until, start + _SLICE):
                number, tally.number = tally.number, tally.number + 1
                outcome = worker.run(name, self.seed, number)
                where = f"{name}-{self.seed}-{number}"
                tally.add(outcome, where)
                if outcome.what in FAULTS:
                    keep(outcome, worker.folder, self.folder / where.replace(" ", "_"))
                    print(tally.faults[-1], flush=True)
            tally.seconds += time.monotonic() - start
            tally.busy = False
        worker.close()


def record(fuzzer: Fuzzer, minutes: float, workers: int) -> dict[str, Any]:
    """Return the figures by kind, as the JSON file has them."""
    kinds = {
        name: {
            "files": sum(tally.count.values()),
            **{what: tally.count[what] for what in ("read", "refused", *FAULTS)},
            "slowest_s": round(tally.slowest, 2),
            "most_mb": round(tally.megabytes),
        }
        for name, tally in fuzzer.tallies.items()
    }
    return {
        "command": f"make fuzz MINUTES={minutes:g}",
        "seed": fuzzer.seed,
        "minutes": minutes,
        "workers": workers,
        "bounds": {"seconds": HANG, "megabytes": MEMORY},
        "kinds": kinds,
        "faults": [fault for tally in fuzzer.tallies.values() for fault in tally.faults],
    }


def page(found: dict[str, Any]) -> str:
    """Return the page that says the figures."""
    kinds = found["kinds"]
    total = {key: sum(kind[key] for kind in kinds.values()) for key in ("files", "read", "refused", *FAULTS)}
    lines = [
        f"| {name} | {kind['files']:,} | {kind['read']:,} | {kind['refused']:,} | {kind['traceback']} | {kind['dead']} "
        f"| {kind['hang']} | {kind['memory']} | {kind['slowest_s']:.2f} | {kind['most_mb']} |"
        for name, kind in kinds.items()
    ]
    faults = "".join(f"- {fault}\n" for fault in found["faults"])
    if faults:
        faults = f"Found by this run, and kept as a seed of the tests once mended:\n\n{faults}\n"
    return f"""# Damaged files

Files of every kind that facekd reads, damaged at random: bytes are flipped, removed, doubled and cut off, and what
formats hold is changed within them: keys dropped and renamed, values of other types, huge, negative and infinite
numbers, empty rows, columns of other types, rewired networks with a checksum that fits. Each is read as a user's
program or command reads it, in a process of its own. A file is either read, or refused by one sentence; anything else
would be a fault: a traceback, the end of the process, more than {found["bounds"]["seconds"]:g} s of a
processor, more than {found["bounds"]["megabytes"]:g} MB.

{total["files"]:,} files in {found["minutes"]:g} minutes by {found["workers"]} processes: {total["read"]:,} read,
{total["refused"]:,} refused; {total["traceback"]} tracebacks, {total["dead"]} dead processes, {total["hang"]} beyond
the time, {total["memory"]} beyond the memory.

| kind | files | read | refused | traceback | dead | time | memory | slowest, s | memory, MB |
|---|---|---|---|---|---|---|---|---|---|
{chr(10).join(lines)}

    {found["command"]}

{faults}The seed of these files is {found["seed"]}. The figures are in [fuzz.json](fuzz.json); the damage and the
readers are in `tests/fuzz/`, where files that once were faults are tested again with all other tests.
"""


def again(kind: str, given: Any, number: int) -> int:
    """Read one case, and print what it did; return 1 for a fault."""
    with TemporaryDirectory() as place:
        worker = Worker(Path(place))
        outcome = worker.run(kind, given, number)
        worker.close()
    print(f"{kind}: {outcome.what}, {outcome.seconds:.2f} s, {outcome.megabytes:.0f} MB\n{outcome.detail}")
    return int(outcome.what in FAULTS)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="default: another one each time")
    parser.add_argument("--kind", choices=KINDS, action="append", help="only this one; repeatable; default: all")
    parser.add_argument("--number", type=int, help="of one case of a kind, to be read again")
    parser.add_argument("--seeds", action="store_true", help="read the files in tests/fuzz/seeds/ alone")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-faults"), help="folder for the files that are faults")
    parser.add_argument("--out", type=Path, help="folder for fuzz.json and fuzz.md; default: none are written")
    options = parser.parse_args()
    if options.seeds:
        return max([again(kind, files, 0) for kind, _, files in seeds(SEEDS)], default=0)
    if options.number is not None:
        return again(options.kind[0], options.seed, options.number)
    print(f"seed {options.seed}, {options.minutes:g} minutes", flush=True)
    fuzzer = Fuzzer(
        options.kind or list(KINDS), options.seed, time.monotonic() + 60 * options.minutes, options.keep.absolute()
    )
    with TemporaryDirectory(prefix="facekd-fuzz-") as place:
        threads = [
            threading.Thread(target=fuzzer.work, args=(Path(place) / str(index),)) for index in range(options.workers)
        ]
        for thread in threads:
            thread.start()
        start = time.monotonic()
        while any(thread.is_alive() for thread in threads):  # a run that is stopped has its figures of so far
            time.sleep(min(60.0, max(1.0, fuzzer.until - time.monotonic())))
            found = record(fuzzer, round(min(options.minutes, (time.monotonic() - start) / 60), 1), options.workers)
            if options.out:
                (options.out / "fuzz.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
                (options.out / "fuzz.md").write_text(page(found), encoding="utf-8")
    print(page(found))
    return int(bool(found["faults"]))


if __name__ == "__main__":
    sys.exit(main())
