"""`facekd evaluate`."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from facekd.cli.models import load, resolve


def register(app: typer.Typer) -> None:
    """Add the command of this module to the application."""
    app.command()(evaluate)


def _shown(path: Path) -> str:
    """Return the name to show for a model: a run's or a stage's folder, a file, or the bundled name itself."""
    return path.parent.name if path.name == "model.safetensors" else path.name


def evaluate(
    model: str = typer.Argument(help="A run's folder, a .safetensors or .onnx file, or a bundled model's name."),
    pack: Path = typer.Argument(help="The pack to test on; facekd prepare makes it."),
    boxes: str = typer.Option("truth", help="How faces are cut out: truth (true landmarks' box) or detector (YuNet)."),
    split: str = typer.Option("test", help="train, val or test."),
    batch: int = typer.Option(64, min=1, help="Faces per call of the network."),
    out: Path | None = typer.Option(None, "--json", help="Write the figures to this file."),
    report: Path | None = typer.Option(None, help="Write a page with tables, curves and faces to this folder."),
) -> None:
    """Measure a model: NME, failure rate and AUC per subset, with 95 % intervals."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress
    from rich.table import Table

    from facekd.data.pack import Pack
    from facekd.evaluation import protocol, tables
    from facekd.files import write_text
    from facekd.runtime.detector import YuNet

    faces = Pack.open(pack).select(split)
    predictor = load(resolve(model))
    detector = YuNet() if boxes == "detector" else None
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("faces", total=len(faces))
        result = protocol.evaluate(
            predictor,
            faces,
            boxes,
            detector,
            model=_shown(Path(model).resolve()),
            batch=batch,
            progress=lambda count: bar.advance(task, count),
        )
    figures = result.to_json()
    title = f"{figures['model']} on {figures['dataset']}"
    heading, *lines = tables.rows(figures)
    table = Table(title=escape(title), caption=escape(tables.caption(figures)), caption_justify="left")
    for index, text in enumerate(heading):
        table.add_column(text, justify="right" if index else "left")
    for line in lines:
        table.add_row(*(cell.replace(" [", "\n[") for cell in line))  # intervals beneath: it fits 80 columns
    Console().print(table)
    if out:
        write_text(out, json.dumps(figures, indent=1, allow_nan=False) + "\n")
    if report:
        from facekd.evaluation.report import write

        typer.echo(f"Report: {write(report, [result], title=title)}")
