"""`facekd models` and `facekd demo`, and finding the model that a user names."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from facekd.errors import FacekdError, ModelError

if TYPE_CHECKING:
    from facekd.runtime.model import Predictor


def resolve(model: str) -> Path:
    """Return the file of the network a user names.

    Args:
        model: an .onnx file, a .safetensors checkpoint, a run's folder (its student), or else a bundled model's name;
            "" is the default one.

    Raises:
        ModelError: nothing there has that name.
    """
    from facekd.runtime import model as runtime

    if not model:
        return runtime.resolve(runtime.DEFAULT)
    path = Path(model)
    file = path / "student" / "model.safetensors" if path.is_dir() else path
    if file.suffix in (".onnx", ".safetensors") and file.is_file():
        return file
    unfinished = (path / "recipe.yaml").is_file()  # a run, even without a student, is what its name means
    if model in runtime.bundled() and not unfinished:
        return runtime.resolve(model)
    if path.is_dir():
        others = [str(found.relative_to(path)) for found in sorted(path.glob("*/model.safetensors"))]
        there = f"finished stages there: {', '.join(others)}" if others else "facekd distill writes one"
        raise ModelError(f"the folder {model} has no student/model.safetensors; {there}")
    raise ModelError(
        f"no model '{model}'; give a run's folder, a .safetensors or .onnx file, or a bundled model "
        f"({', '.join(runtime.bundled()) or 'none in this build'})"
    )


def load(file: Path, threads: int | None = None, providers: list[str] | None = None) -> Predictor:
    """Return the network of a file that `resolve` found.

    Args:
        file: an .onnx file or a .safetensors checkpoint.
        threads: CPU threads of the network; None: all cores.
        providers: where it runs, first choice first; None: an .onnx file on the CPU, a checkpoint on a GPU if it can.

    Raises:
        ModelError: the file cannot be used, or not there.
    """
    if file.suffix == ".onnx":
        from facekd.runtime.model import OnnxModel

        return OnnxModel(file, threads, providers)
    import torch

    from facekd.networks.predictor import TorchModel

    available = ["cuda", "cpu"] if torch.cuda.is_available() else ["cpu"]
    wanted = providers or available
    for name in wanted:
        if name not in available:
            raise ModelError(
                f"a checkpoint cannot run on '{name}' (torch has {', '.join(available)}); facekd export makes an .onnx "
                "file of it for other providers"
            )
    if threads is not None:
        torch.set_num_threads(threads)
    return TorchModel.load(file, device=wanted[0])


def models() -> None:
    """List the bundled models and check their files; the exit code says if one is damaged."""
    from facekd.runtime.card import ModelCard
    from facekd.runtime.detector import yunet_weights
    from facekd.runtime.model import bundled

    damaged = 0
    for name, path in bundled().items():
        try:
            card = ModelCard.load(path)
            card.verify(path)
        except FacekdError as error:
            damaged += 1
            typer.echo(f"{name}: {error}")
            continue
        kind = f"{card.markup.count} points ({card.markup.name}), {card.size} px, {path.stat().st_size / 1e6:.1f} MB"
        typer.echo(f"{name}: {kind}, verified")
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

    from facekd.drawing import draw
    from facekd.files import atomic, write_text
    from facekd.images import read_image
    from facekd.runtime.landmarker import Landmarker

    sample = Path(__file__).parents[1] / "weights" / "sample.jpg"
    photo, landmarker = read_image(sample), Landmarker(load(resolve(model)))
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
