"""`facekd evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the application.

    Args:
        app: the application.
    """
    app.command()(evaluate)


def evaluate(
    model: str = typer.Argument(help="A run's folder, a network's file, or a bundled model's name."),
    pack: Path = typer.Argument(help="The pack to test on; facekd prepare makes it."),
    boxes: str = typer.Option("truth", help="How faces are cut out: truth (true landmarks' box) or detector (YuNet)."),
    split: str = typer.Option("test", help="train, val or test."),
    batch: int = typer.Option(64, min=1, help="Faces per call of the network."),
    out: Path | None = typer.Option(None, "--json", help="Write the figures to this file."),
    report: Path | None = typer.Option(None, help="Write a page with tables, curves and faces to this folder."),
) -> None:
    """Measure a model: NME, failure rate and AUC per subset, with 95 % intervals."""
    from rich.console import Console
    from rich.progress import Progress

    from facekd import api
    from facekd.files import write_text
    from facekd.runtime.trial import tried

    tried(model)
    faces = api.read_pack(pack).select(split)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("faces", total=len(faces))
        result = api.evaluate(
            model, faces, boxes=boxes, split=None, batch=batch, progress=lambda count: bar.advance(task, count)
        )
    figures = result.to_json()
    title = f"{figures['model']} on {figures['dataset']}"
    _print(figures, title)
    if out:
        write_text(out, json.dumps(figures, indent=1, allow_nan=False) + "\n")
    if report:
        from facekd.evaluation.report import write

        typer.echo(f"Report: {write(report, [result], title=title)}")


def _print(figures: dict[str, Any], title: str) -> None:
    """Print a result as a table of 80 columns."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from facekd.evaluation import tables

    heading, *lines = tables.rows(figures)
    table = Table(title=escape(title), caption=escape(tables.caption(figures)), caption_justify="left")
    for index, text in enumerate(heading):
        table.add_column(text, justify="right" if index else "left")
    for line in lines:
        table.add_row(*(cell.replace(" [", "\n[") for cell in line))  # intervals beneath: it fits 80 columns
    Console().print(table)
