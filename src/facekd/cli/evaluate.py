"""`facekd evaluate`, and finding the model that a user names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from facekd.errors import ModelError

if TYPE_CHECKING:
    from facekd.runtime.model import Predictor


def register(app: typer.Typer) -> None:
    """Add the command of this module to the application."""
    app.command()(evaluate)


def resolve(model: str) -> Predictor:
    """Return the network a user names.

    Args:
        model: a run's folder (its student), a .safetensors checkpoint, an .onnx file, or a bundled model's name.

    Raises:
        ModelError: nothing there has that name, or the file cannot be used.
    """
    from facekd.runtime.model import OnnxModel, bundled

    path = Path(model)
    if model in bundled() or path.suffix == ".onnx":
        return OnnxModel(model)
    checkpoint = path / "student" / "model.safetensors" if path.is_dir() else path
    if checkpoint.suffix == ".safetensors" and checkpoint.is_file():
        import torch

        from facekd.distill.networks import TorchModel

        return TorchModel.load(checkpoint, device="cuda" if torch.cuda.is_available() else "cpu")
    if path.is_dir():
        others = [str(found.relative_to(path)) for found in sorted(path.glob("*/model.safetensors"))]
        there = f"finished stages there: {', '.join(others)}" if others else "facekd distill writes one"
        raise ModelError(f"the folder {model} has no student/model.safetensors; {there}")
    raise ModelError(
        f"no model '{model}'; give a run's folder, a .safetensors or .onnx file, or a bundled model "
        f"({', '.join(bundled()) or 'none in this build'})"
    )


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
    from facekd.evaluate import protocol, tables
    from facekd.files import atomic
    from facekd.runtime.detector import YuNet

    faces = Pack.open(pack).select(split)
    predictor = resolve(model)
    detect = YuNet().detect if boxes == "detector" else None
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("faces", total=len(faces))
        result = protocol.evaluate(
            predictor,
            faces,
            boxes,
            detect,
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
        with atomic(out) as temporary:
            temporary.write_text(json.dumps(figures, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if report:
        from facekd.evaluate.report import write

        typer.echo(f"Report: {write(report, [result], title=title)}")
