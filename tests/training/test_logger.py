"""The log of a stage: one record per epoch, also where a run goes on."""

from __future__ import annotations

from pathlib import Path

from facekd.training.logger import TrainingLogger, curve, read


def write_epochs(folder: Path, start: int, last: int, quiet: bool = False) -> None:
    """Log epochs of ten steps from a step on."""
    with TrainingLogger(folder, "net", 40, start, quiet) as logger:
        for step in range(start + 10, last + 1, 10):
            logger.epoch(step=step, epoch=step // 10, total=1 / step, val_nme=float(step))


def test_a_run_that_goes_on_drops_the_records_behind_its_checkpoint(tmp_path: Path) -> None:
    """It was broken in epoch 4, but its last checkpoint is that of epoch 2: epoch 3 is trained, and logged, again."""
    write_epochs(tmp_path, 0, 30)
    write_epochs(tmp_path, 20, 40)
    assert [record["epoch"] for record in read(tmp_path / "log.jsonl")] == [1, 2, 3, 4]
    assert curve(tmp_path / "log.jsonl") == {"epoch": [1, 2, 3, 4], "validation NME, %": [10, 20, 30, 40]}


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    write_epochs(tmp_path, 0, 20)
    path = tmp_path / "log.jsonl"
    path.write_text(path.read_text()[:-5])
    assert [record["epoch"] for record in read(path)] == [1]
    assert read(tmp_path / "none.jsonl") == []


def test_other_processes_write_nothing(tmp_path: Path) -> None:
    write_epochs(tmp_path / "other", 0, 20, quiet=True)
    assert not (tmp_path / "other").exists()


def test_the_time_before_a_break_counts(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"step": 10, "epoch": 1, "seconds": 1000.0}\n')
    with TrainingLogger(tmp_path, "net", 40, 10, quiet=False) as logger:
        assert 1000 <= logger.seconds < 1010


def test_a_record_of_other_types_is_where_the_log_ends(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    whole = '{"step": 10, "epoch": 1, "seconds": 5.0}\n'
    for damaged in ('{"step": 20, "epoch": 2, "seconds": []}', '{"step": 20, "epoch": 2, "seconds": -1}'):
        path.write_text(whole + damaged + "\n")
        assert [record["epoch"] for record in read(path)] == [1]
    path.write_text('{"epoch": 1}\n')
    assert read(path) == [{"epoch": 1, "step": 0, "seconds": 0.0}]
    with TrainingLogger(tmp_path, "net", 40, 10, quiet=False) as logger:
        assert 0 <= logger.seconds < 10
