"""`facekd distill`, `facekd study` and `facekd export`."""

from __future__ import annotations

import os
from pathlib import Path

import typer


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the application.

    Args:
        app: the application.
    """
    app.command()(distill)
    app.command()(study)
    app.command()(export)


def distill(
    recipe: str = typer.Argument(
        help="A bundled recipe (demo, quick, finetune, facekd-68, facekd-68-lite, paper) or a YAML file."
    ),
    data: Path = typer.Option(help="The pack to train and test on; facekd prepare makes it."),
    out: Path = typer.Option(help="Folder of the run; the same command goes on where it stopped."),
    change: list[str] = typer.Option([], "--set", help="Change a setting: --set student.epochs=20. Repeatable."),
    unlabelled: Path | None = typer.Option(None, help="More faces, without labels: facekd prepare unlabelled."),
    accelerator: str = typer.Option("auto", help="auto, cpu or cuda; several devices: start with torchrun."),
    threads: int | None = typer.Option(None, min=1, help="CPU threads; default: as many as the cores it may use."),
) -> None:
    """Train a recipe's networks, stage by stage; evaluate all and write a report."""
    from facekd import api
    from facekd.evaluation.tables import markdown_table
    from facekd.run_folder import EVALUATION, REPORT, read_results, result_model
    from facekd.training.memory import reuse_memory

    reuse_memory()  # before torch is imported

    folder = api.train(
        recipe, data=data, out=out, set=change, unlabelled=unlabelled, accelerator=accelerator, threads=threads
    )
    if int(os.environ.get("RANK", 0)):  # under torchrun, one process speaks for all
        return
    if (folder / EVALUATION).is_file():
        typer.echo(markdown_table(read_results(folder)))
        typer.echo(f"\nReport: {folder / REPORT / 'index.html'}")
    else:
        typer.echo(f"{data} has no faces in its test split: nothing was measured")
    typer.echo(f"Result: {result_model(folder)}")


def export(
    run: Path = typer.Argument(help="A run's folder (its result), a checkpoint, or an exported or bundled network."),
    out: Path = typer.Argument(help="The file to write: .onnx, .tflite (LiteRT) or .mlpackage (Core ML)."),
    name: str = typer.Option("", help="Name on the card; default: the file's."),
    precision: str = typer.Option(
        "", help="Of the numbers stored. .tflite: float32 (default), float16; .mlpackage: float16, float32, palette8."
    ),
    batch: int | None = typer.Option(None, min=1, help="Faces per call of a .tflite file; default: 1."),
    int8: Path | None = typer.Option(
        None, help="Also write OUT-int8 (.onnx, .tflite), calibrated on this pack's training faces."
    ),
    bundle: Path | None = typer.Option(
        None, help="Also a folder for an app: files, card, mark-up, a photo and the points to be found in it."
    ),
    without_detector: bool = typer.Option(
        False, "--without-detector", help="Also a network for given boxes alone, whose faces no detector finds."
    ),
) -> None:
    """Write a network as ONNX, LiteRT or Core ML, checked against torch, with a model card."""
    from facekd import api
    from facekd.runtime.trial import tried

    tried(run, "onnx")
    written = api.export(
        run,
        out,
        name=name or None,
        precision=precision or None,
        batch=batch,
        int8_data=int8,
        bundle=bundle,
        without_detector=without_detector,
    )
    parity, card = written.parity, written.card
    size = f"{out}: {_megabytes(out):.1f} MB"
    if parity:
        typer.echo(
            f"{size}; on {parity.frames} frames points differ from torch by at most "
            f"{parity.points:.2g} px, confidence by {parity.confidence:.2g}"
        )
    else:
        typer.echo(f"{size}; converted, but not run: Core ML's networks run on a Mac or an iPhone")
    if card.box_transform is None:
        typer.echo(
            "without a transform for a face detector's boxes: give Landmarker.detect the faces' boxes, with "
            'box_type="landmarks"'
        )
    made = card.made_with
    typer.echo(f"{made['parameters'] / 1e6:.2f} M parameters, {made['macs'] / 1e9:.3f} GMACs per face")
    if written.int8:
        lost = "" if written.int8_lost is None else f"; the NME changes by {written.int8_lost:+.3f} %"
        typer.echo(f"{written.int8}: {_megabytes(written.int8):.1f} MB{lost}")
    if written.bundle:
        typer.echo(f"for an app: {written.bundle}")


def _megabytes(path: Path) -> float:
    """Return the size of a file, or of a folder's files."""
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return sum(each.stat().st_size for each in files) / 1e6


def study(
    study: Path = typer.Argument(help="A YAML file: a recipe, and the rows of the table that vary it."),
    data: Path = typer.Option(help="The pack to train and test on; facekd prepare makes it."),
    out: Path = typer.Option(help="Folder of the study; the same command goes on where it stopped."),
    change: list[str] = typer.Option([], "--set", help="Change a setting in every row. Repeatable."),
    unlabelled: Path | None = typer.Option(None, help="More faces, without labels: facekd prepare unlabelled."),
    jobs: int = typer.Option(1, min=1, help="Networks trained side by side, each on its share of the cores."),
    accelerator: str = typer.Option("auto", help="auto, cpu or cuda."),
) -> None:
    """Train a table of networks that share teachers and caches; one JSON per run, tables and plots."""
    from facekd.training.memory import reuse_memory
    from facekd.training.threads import set_threads

    reuse_memory()  # both before torch is imported
    set_threads()
    from facekd.data.pack import Pack
    from facekd.settings import pairs
    from facekd.study import config, runner

    more = Pack.open(unlabelled) if unlabelled else None
    records = runner.run(
        config.load(study),
        Pack.open(data),
        out,
        changes=pairs(change),
        unlabelled=more,
        jobs=jobs,
        accelerator=accelerator,
    )
    typer.echo((out / "study.md").read_text(encoding="utf-8"))
    failed = [record for record in records if "error" in record]
    for record in failed:
        typer.echo(f"not run: {record['row']}, seed {record['seed']}: {record['error']}", err=True)
    if failed:
        raise typer.Exit(1)
