"""Some seconds of the fuzzer, the files that were faults once, and whether it notices what it is there for."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("the fuzzer bounds memory as Unix does", allow_module_level=True)

import fuzzing
import run_fuzz
from fuzzing import FAULTS, Worker, case, examples, seeds
from kinds import KINDS

pytestmark = pytest.mark.slow
CASES = 24  # of a usual kind
BENCHMARKS = Path(__file__).parents[2] / "docs" / "benchmarks"
SEEDS = seeds(run_fuzz.SEEDS)


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    one = Worker(tmp_path_factory.mktemp("fuzz"))
    yield one
    one.close()


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_read_or_refused(worker: Worker, kind: str) -> None:
    worker.prepare(kind)
    outcomes = [worker.run(kind, 0, number) for number in range(max(1, round(CASES * KINDS[kind].share)))]
    assert not [outcome for outcome in outcomes if outcome.what in FAULTS]
    assert {outcome.what for outcome in outcomes} <= {"read", "refused"}


@pytest.mark.parametrize(("kind", "name", "files"), [pytest.param(*seed, id=f"{seed[0]}-{seed[1]}") for seed in SEEDS])
def test_what_was_a_fault_is_read_or_refused(worker: Worker, kind: str, name: str, files: fuzzing.Files) -> None:
    outcome = worker.run(kind, files)
    assert outcome.what in ("read", "refused"), outcome.detail


@pytest.mark.parametrize("what", ["read", "refused", "traceback", "dead", "memory", "hang"])
def test_every_fault_is_noticed(tmp_path: Path, what: str) -> None:
    if what == "memory" and not Path("/proc/self/clear_refs").exists():
        pytest.skip("this system does not say how much memory was held")
    one = Worker(tmp_path, "faulty_kinds", longest=2.0 if what == "hang" else 60.0)
    try:
        assert one.run(what, 0, 0).what == what
        assert one.run("read", 0, 0).what == "read"  # and the next file is read
    finally:
        one.close()


def test_processor_time_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzzing, "HANG", 0.2)
    one = Worker(tmp_path, "faulty_kinds")
    try:
        assert one.run("busy", 0, 0).what == "hang"
    finally:
        one.close()


@pytest.mark.parametrize("kind", ["mark-ups", "packs", "ONNX", "networks", "results logs", "labels cvat"])
def test_the_same_numbers_give_the_same_files(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    whole = examples(KINDS[kind], tmp_path / "case")
    found = [[case(KINDS[kind], whole, seed, number) for number in range(20)] for seed in (1, 1, 2)]
    assert found[0] == found[1] != found[2]
    assert sum(files != whole[0] for files in found[0]) > 15  # two equal lines swapped are no damage


def test_the_page_says_what_its_figures_say() -> None:
    found = json.loads((BENCHMARKS / "fuzz.json").read_text(encoding="utf-8"))
    assert (BENCHMARKS / "fuzz.md").read_text(encoding="utf-8") == run_fuzz.page(found)
    assert set(found["kinds"]) == set(KINDS)
    assert sum(kind["files"] for kind in found["kinds"].values()) >= 20_000 and found["minutes"] >= 30
    assert sum(kind[fault] for kind in found["kinds"].values() for fault in FAULTS) == len(found["faults"])
    assert not any(kind[fault] for kind in found["kinds"].values() for fault in ("dead", "hang", "memory"))
