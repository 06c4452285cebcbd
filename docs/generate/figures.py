"""Draw the figures of explanation/method.md: `python docs/generate/figures.py` (needs the `train` extra).

    python docs/generate/figures.py                       the losses, and soft-landmarks of synthetic faces
    python docs/generate/figures.py --pack 300w.parquet   also the shape model of a pack's training faces (+ soft.json)

What the teachers get wrong is drawn by teachers.py, which needs a finished run.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from facekd.data.pack import Pack
from facekd.data.synthetic import faces as synthetic_faces
from facekd.evaluation import shapes as pictures
from facekd.evaluation.metrics import inter_ocular
from facekd.evaluation.shapes import BLUE, GREEN, GREY, ORANGE, RED, draw_shape
from facekd.files import atomic
from facekd.geometry import apply, crop_matrix, tight_box, warp
from facekd.losses.distance import L1Settings, L2Settings, SmoothL1Settings, WingSettings
from facekd.losses.kd import PRESETS, KDLoss, assistive_loss
from facekd.markup import IBUG68, MarkUp
from facekd.shape import ShapeModel

TOUGH, TOLERANT = 0.01, 0.03  # teachers' errors in the examples: 2.2 and 6.7 px of a 224 px input
SCALE = 1.2  # side of the crop, in units of the tight landmark box's larger side: the recipes'
PERCENTAGES = (80, 90, 97)
matplotlib.rcParams |= {
    "svg.fonttype": "none",
    "svg.hashsalt": "facekd",  # the same figure is the same file
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.6,
}


def save(figure: Figure, path: Path) -> None:
    """Write a figure on white, so that it can be read on a dark page too."""
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=130, metadata={"Date": None} if path.suffix == ".svg" else None)


def curve(loss: torch.nn.Module, error: np.ndarray, tough: float, tolerant: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a loss and its derivative at errors (n,) of one coordinate, for two teachers' errors."""
    target, *teachers = (torch.full((1, 1, 1), float(at), dtype=torch.float64) for at in (0, tough, tolerant))
    students = torch.from_numpy(error).view(-1, 1, 1, 1).requires_grad_()
    values = torch.vmap(lambda student: loss(student, target, *teachers).total)(students)
    (slopes,) = torch.autograd.grad(values.sum(), students)
    return values.detach().numpy(), slopes.flatten().numpy()


def pieces(axes: Axes, x: np.ndarray, y: np.ndarray, breaks: list[float], **line: Any) -> None:
    """Plot a curve without the vertical strokes at its jumps."""
    for part in np.split(np.arange(len(x)), np.searchsorted(x, breaks)):
        axes.plot(x[part], y[part], **line)
        line.pop("label", None)


def aloss(path: Path) -> None:
    """Draw ALoss of one teacher and its derivative, with its three regions, in units of the teacher's error."""
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    rows = figure.subplots(2, 2, sharex=True, sharey="row")
    for (top, bottom), (preset, s) in zip(rows.T, PRESETS.items(), strict=True):
        error = torch.linspace(0, 2, 2001, dtype=torch.float64).requires_grad_()
        ramp = s.low_influence == "ramp"
        value = assistive_loss(error, torch.ones_like(error), s.tough_positive, s.tough_negative, s.beta, ramp)
        (slope,) = torch.autograd.grad(value.sum(), error)
        x = error.detach().numpy()
        regions = [(0, s.beta, GREY, "low\ninfluence"), (s.beta, 1, BLUE, "negative"), (1, 2, ORANGE, "positive")]
        for axes, y in ((top, value.detach().numpy()), (bottom, slope.numpy())):
            for start, end, colour, name in regions:
                axes.axvspan(start, end, color=colour, alpha=0.13, linewidth=0)
                if axes is top:
                    narrow = {"s": name.replace("\n", " "), "rotation": 90} if end - start < 0.3 else {"s": name}
                    axes.text((start + end) / 2, 1.95, ha="center", va="top", fontsize=8, **narrow)
            axes.axhline(0, color="black", linewidth=0.6)
            pieces(axes, x, y, [s.beta, 1.0 + 1e-9], color="black")
        top.set_title(f"preset {preset}" + (" (tough teacher)" if preset == "released" else ""), fontsize=10)
        top.set_ylim(-0.8, 2.05)
        bottom.set(xlabel="student's error e / teacher's error T", xlim=(0, 2), ylim=(-1.6, 2.3))
    rows[0, 0].set_ylabel("ALoss / T")
    rows[1, 0].set_ylabel("derivative by e")
    save(figure, path)


def kd_loss(path: Path) -> None:
    """Draw KD-Loss and its derivative for both presets, with the two teachers of the gradient table."""
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    rows = figure.subplots(2, 2, sharex="col", sharey="row")
    error = np.linspace(0, 0.05, 1001)[1:] - 2.5e-5  # no point on a boundary
    for (top, bottom), (preset, s) in zip(rows.T, PRESETS.items(), strict=True):
        value, slope = curve(KDLoss(preset), error, TOUGH, TOLERANT)
        without, without_slope = curve(KDLoss(preset, assistance=0.0), error, TOUGH, TOLERANT)
        breaks = sorted(f * teacher for teacher in (TOUGH, TOLERANT) for f in (s.beta, 1))
        for axes, kd, main in ((top, value, without), (bottom, slope, without_slope)):
            for teacher, colour in ((TOUGH, RED), (TOLERANT, GREEN)):
                axes.axvline(teacher, color=colour, linewidth=1)
                axes.axvline(s.beta * teacher, color=colour, linewidth=1, linestyle=":")
            pieces(axes, error, main, breaks, color=GREY, linewidth=1.2, label="main term alone")
            pieces(axes, error, kd, breaks, color="black", label="KD-Loss")
        top.set_title(f"preset {preset}", fontsize=10)
        bottom.set(xlabel="student's error e (share of the input's side)", xlim=(0, 0.05), ylim=(0, 10))
        bottom.text(TOUGH, 9.9, " T tough", color=RED, va="top", fontsize=8)
        bottom.text(TOLERANT, 9.9, " T tolerant", color=GREEN, va="top", fontsize=8)
    rows[0, 0].set_ylabel("loss")
    rows[1, 0].set_ylabel("derivative by e")
    rows[0, 0].legend(frameon=False, loc="lower right")
    save(figure, path)


def shapes_of_losses(path: Path) -> None:
    """Compare how hard each loss pulls at an error, relative to how hard it pulls at 0.1."""
    figure = Figure(figsize=(7.2, 2.9), layout="constrained")
    axes = figure.subplots()
    error = np.geomspace(5e-4, 0.1, 601)
    losses = {
        "L2": L2Settings().build(),
        "L1": L1Settings().build(),
        "smooth-L1": SmoothL1Settings().build(),
        "Wing": WingSettings().build(),
        "KD paper": KDLoss("paper"),
        "KD released": KDLoss("released"),
    }
    styles = [(GREY, "--"), (GREY, "-"), (GREEN, "-"), (BLUE, "-"), (ORANGE, "-"), (RED, "-")]
    for (label, loss), (colour, dash) in zip(losses.items(), styles, strict=True):
        _, slope = curve(loss, error, TOUGH, TOLERANT)
        breaks = [10 / 256]  # Wing's
        if isinstance(loss, KDLoss):
            breaks = sorted(f * teacher for teacher in (TOUGH, TOLERANT) for f in (loss.settings.beta, 1))
        pieces(axes, error, slope / slope[-1], breaks, color=colour, linestyle=dash, label=label)
    axes.set(xscale="log", yscale="log", xlim=(5e-4, 0.1), ylim=(0.02, 20))
    axes.set(xlabel="student's error e (share of the input's side)", ylabel="pull, relative to e = 0.1")
    axes.legend(frameon=False, ncols=2, loc="upper right")
    save(figure, path)


def in_crop(points: np.ndarray, scale: float = SCALE) -> np.ndarray:
    """Return points (n, N, 2) of any photos in the network's normalised crop frame, [-0.5, 0.5]."""
    return apply(crop_matrix(tight_box(points), 1, scale), points.astype(np.float64))


def distance(a: np.ndarray, b: np.ndarray, markup: MarkUp) -> np.ndarray:
    """Return the mean point distance of each face (n,), in percent of the inter-ocular distance of `b`."""
    return 100 * np.linalg.norm(a - b, axis=-1).mean(-1) / inter_ocular(b, markup)


def soft_landmarks(path: Path) -> None:
    """Draw hard beside soft landmarks of two synthetic faces, a median one and an unusual one."""
    faces = list(synthetic_faces(400, size=192))
    hard = in_crop(np.stack([face.points for face in faces]))
    models = {aligned: ShapeModel.fit(hard, procrustes=aligned) for aligned in (False, True)}
    order = np.argsort(distance(models[False].soft(hard, 90), hard, IBUG68))
    figure = Figure(figsize=(7.2, 2.5), layout="constrained")
    grid = figure.subplots(2, 1 + 2 * len(PERCENTAGES))
    for row, quantile in zip(grid, (0.5, 0.95), strict=True):
        index = order[int(quantile * len(order))]
        face, shape = faces[index], hard[index]
        crop = warp(face.image, crop_matrix(tight_box(face.points), 128, SCALE), 128)
        row[0].imshow(crop, extent=(-0.5, 0.5, 0.5, -0.5))
        draw_shape(row[0], shape, IBUG68, "white", linewidth=0.7)
        for axes, (aligned, p) in zip(row[1:], [(a, p) for a in models for p in PERCENTAGES], strict=True):
            draw_shape(axes, shape, IBUG68, "#bbbbbb", linewidth=0.9)
            draw_shape(axes, models[aligned].soft(shape, p), IBUG68, ORANGE if aligned else BLUE, linewidth=0.9)
            if quantile == 0.5:
                how = "Procrustes" if aligned else "crop frame"
                axes.set_title(f"{how}\n{p} %, {models[aligned].modes(p)} modes", fontsize=8)
    grid[0, 0].set_title("hard", fontsize=8)
    for axes in grid.flat:
        axes.set(xlim=(-0.48, 0.48), ylim=(0.48, -0.48))
    save(figure, path)


def cost_of_softness(hard: np.ndarray, markup: MarkUp) -> list[dict[str, Any]]:
    """Return, for each share of the variance, how many modes it takes and how far it moves the landmarks."""
    rows = []
    for aligned in (False, True):
        model = ShapeModel.fit(hard, procrustes=aligned)
        for p in (70, 75, 80, 85, 90, 95, 97, 99):
            moved = distance(model.soft(hard, p), hard, markup).mean()
            rows.append(
                {"procrustes": aligned, "variance": p, "modes": model.modes(p), "moved": round(float(moved), 3)}
            )
    return rows


def draw_cost(path: Path, rows: list[dict[str, Any]]) -> None:
    """Draw `cost_of_softness`, with the number of modes at each point."""
    figure = Figure(figsize=(5.2, 2.8), layout="constrained")
    axes = figure.subplots()
    for aligned, colour, label in ((False, BLUE, "crop frame (released code)"), (True, ORANGE, "Procrustes")):
        x, y, modes = np.array([(r["variance"], r["moved"], r["modes"]) for r in rows if r["procrustes"] == aligned]).T
        axes.plot(x, y, "o-", color=colour, markersize=4, label=label)
        for at in zip(x, y, modes, strict=True):
            axes.annotate(f"{at[2]:.0f}", at[:2], (3, 4), textcoords="offset points", fontsize=7, color=colour)
    axes.set(xlabel="variance kept, %", ylabel="soft to hard, % inter-ocular", ylim=(0, None))
    axes.legend(frameon=False)
    save(figure, path)


def write_json(path: Path, values: object) -> None:
    """Write the numbers behind a figure."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(values, indent=1) + "\n")


def main() -> None:
    """Draw what the arguments allow for."""
    parser = argparse.ArgumentParser(description="Draw the figures of method.md.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "figures")
    parser.add_argument("--pack", type=Path, help="a pack that facekd prepare wrote")
    arguments = parser.parse_args()
    aloss(arguments.out / "aloss.svg")
    kd_loss(arguments.out / "kd_loss.svg")
    shapes_of_losses(arguments.out / "pull.svg")
    soft_landmarks(arguments.out / "soft.svg")
    if arguments.pack:
        pack = Pack.open(arguments.pack)
        train = pack.select("train")
        hard = in_crop(train.points)
        rows = cost_of_softness(hard, pack.markup)
        write_json(arguments.out / "soft.json", {"dataset": pack.meta["dataset"], "faces": len(hard), "rows": rows})
        draw_cost(arguments.out / "soft_cost.svg", rows)
        pictures.modes(ShapeModel.fit(hard), arguments.out / "modes.png", pack.markup)
        pictures.modes(ShapeModel.fit(hard, procrustes=True), arguments.out / "modes_procrustes.png", pack.markup)


if __name__ == "__main__":
    main()
