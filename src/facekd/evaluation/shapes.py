"""Line drawings of shapes: the modes of a shape model, and a face's contours for any matplotlib axes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from facekd.drawing import polylines
from facekd.files import atomic
from facekd.markup import MarkUp
from facekd.shape import Array, ShapeModel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which colour-blind readers tell apart.
GREY, BLUE, ORANGE, GREEN, RED = "#777777", "#0072B2", "#E69F00", "#009E73", "#D55E00"


def draw_shape(axes: Axes, points: Array, markup: MarkUp, colour: str = BLUE, **line: Any) -> None:
    """Draw the contours of one shape as lines, x to the right and y down; points in no contour become dots.

    Args:
        axes: of matplotlib.
        points: (N, 2).
        markup: what the points are.
        colour: as matplotlib takes it.
        **line: further settings of matplotlib's lines; a `label` appears once.
    """
    label = line.pop("label", None)
    contours, loose = polylines(points, markup)
    for contour, closed in contours:
        whole = np.concatenate([contour, contour[:1]]) if closed else contour
        axes.plot(*whole.T, color=colour, marker="." if len(whole) == 1 else None, label=label, **line)
        label = None
    axes.plot(*loose.T, ".", color=colour, markersize=3, label=label)
    axes.set_aspect("equal")
    axes.yaxis.set_inverted(True)
    axes.axis("off")


def modes(model: ShapeModel, path: str | Path, markup: MarkUp, count: int = 4) -> None:
    """Draw what a shape model has learned: its first modes at +-2 standard deviations, and its variance by modes.

    Args:
        model: the shape model.
        path: .png, .svg or another format of matplotlib.
        markup: of the model's N points.
        count: how many modes.
    """
    from matplotlib.figure import Figure

    count = min(count, len(model.variances))
    figure = Figure(figsize=(2 * count + 3.2, 2.5), layout="constrained")
    *panels, curve = figure.subplots(1, count + 1, width_ratios=[1] * count + [1.4])
    faces = np.stack([model.along(mode, deviations) for mode in range(count) for deviations in (-2, 2)])
    low, high = faces.min((0, 1)), faces.max((0, 1))  # one scale for all panels
    margin = 0.05 * (high - low)
    shares = np.diff(model.explained, prepend=0)
    for mode, axes in enumerate(panels):
        draw_shape(axes, faces[2 * mode], markup, BLUE, linewidth=1, label="−2 standard deviations")
        draw_shape(axes, faces[2 * mode + 1], markup, ORANGE, linewidth=1, label="+2 standard deviations")
        draw_shape(axes, model.mean, markup, "black", linewidth=1, label="mean shape")
        (left, top), (right, bottom) = low - margin, high + margin
        axes.set(xlim=(left, right), ylim=(bottom, top))
        axes.set_title(f"mode {mode + 1}: {shares[mode]:.1f} %", fontsize=10)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower left", ncols=3, frameon=False, fontsize=9)
    kept = model.modes()
    curve.plot(np.arange(1, len(model.explained) + 1), model.explained, color="black", linewidth=1)
    curve.plot([kept], [model.explained[kept - 1]], "o", color=RED)
    curve.annotate(
        f"{model.variance:g} %: {kept} modes", (kept, model.explained[kept - 1]), (8, -14), textcoords="offset points"
    )
    curve.set(xscale="log", xlabel="modes kept", ylabel="variance explained, %", ylim=(0, 103))
    curve.xaxis.set_major_formatter("{x:g}")
    curve.spines[["top", "right"]].set_visible(False)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=120)
