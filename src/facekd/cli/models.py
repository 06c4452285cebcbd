"""`facekd models` and `facekd demo`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import typer

from facekd.errors import FacekdError


def models() -> None:
    """List the bundled models and check their files; the exit code says if one is damaged."""
    from facekd.api import list_models
    from facekd.runtime.yunet import yunet_weights

    damaged = 0
    for model in list_models():
        try:
            card = model.card
            card.verify(model.path)
        except FacekdError as error:
            damaged += 1
            typer.echo(f"{model.name}: {error}")
            continue
        megabytes = model.path.stat().st_size / 1e6
        kind = f"{card.markup.count} points ({card.markup.name}), {card.size} px, {megabytes:.1f} MB"
        typer.echo(f"{model.name}: {kind}, verified")
        if "macs" in card.made_with:
            cost = card.made_with["parameters"] / 1e6, card.made_with["macs"] / 1e9
            typer.echo(f"  {cost[0]:.2f} M parameters, {cost[1]:.3f} GMACs per face")
        for title, figures in card.figures.items():
            typer.echo(f"  {title}: {_plain(figures)}")
        if card.confidence:
            typer.echo(f"  confidence: {card.confidence}")
        for data in card.data:
            typer.echo(f"  data: {data.get('name')}; {data.get('terms')}")
    try:
        typer.echo(f"face detector: YuNet, {yunet_weights().stat().st_size / 1e6:.1f} MB, verified")
    except FacekdError as error:
        damaged += 1
        typer.echo(f"face detector: {error}")
    raise typer.Exit(1 if damaged else 0)


def _plain(figures: Any) -> str:
    """Return figures of a model card, however nested, as words."""
    return ", ".join(f"{key} {value}" for key, value in figures.items()) if isinstance(figures, dict) else str(figures)


def demo(
    out: Path = typer.Option(Path("facekd-demo"), "--out", "-o", help="Folder for the picture and the points."),
    model: str = typer.Option("", "--model", "-m", help="As for detect."),
) -> None:
    """Find the landmarks of a sample picture with six synthetic faces."""
    from PIL import Image

    from facekd.api import load_model
    from facekd.drawing import draw
    from facekd.files import atomic, write_text
    from facekd.images import read_image
    from facekd.runtime.landmarker import Landmarker

    sample = Path(__file__).parents[1] / "weights" / "sample.jpg"
    photo, landmarker = read_image(sample), Landmarker(load_model(model))
    landmarker.detect(photo)  # the first call also allocates
    start = time.perf_counter()
    faces = landmarker.detect(photo)
    took = time.perf_counter() - start
    with atomic(out / "sample.landmarks.jpg") as temporary:
        Image.fromarray(draw(photo, faces)).save(temporary, quality=92)
    write_text(out / "sample.json", json.dumps([face.to_dict() for face in faces]) + "\n")
    typer.echo(f"{len(faces)} faces in {took * 1e3:.0f} ms; {out / 'sample.landmarks.jpg'} shows them")
    for face in faces:
        pose = f", yaw {face.pose.yaw:.0f}, pitch {face.pose.pitch:.0f}, roll {face.pose.roll:.0f}" if face.pose else ""
        typer.echo(f"  box {face.box.round().astype(int).tolist()}, score {face.score:.2f}{pose}")
