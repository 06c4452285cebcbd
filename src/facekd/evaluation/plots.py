"""The report's plots as SVG text that takes its text colour from the page, so that it suits a light and a dark one.

`styles` say how each model is drawn; a page has its own legend for all of its plots.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from facekd.evaluation.metrics import ContourError, ced

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart by people with any colour vision, and readable on white and on black.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
_INK = "#010203"  # stands for the page's text colour until the SVG is written


@dataclass(frozen=True)
class Style:
    """How a model's line is drawn.

    Attributes:
        colour: as matplotlib takes it.
        dashed: a dashed line instead of a solid one.
    """

    colour: str
    dashed: bool = False


def _figure(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """Return a figure in inches without a window or global state, and its axes from left to right."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"text.color": _INK, "axes.labelcolor": _INK, "axes.edgecolor": _INK}):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = list(figure.subplots(1, columns, squeeze=False)[0])
        for one in axes:
            one.spines[["top", "right"]].set_visible(False)
            one.tick_params(colors=_INK)
            one.grid(color=_INK, alpha=0.12, linewidth=0.6)
            one.set_axisbelow(True)
            one.set_facecolor("none")
    return figure, axes


def _line(style: Style) -> dict[str, Any]:
    return {"color": style.colour, "linestyle": (0, (3, 1.5)) if style.dashed else "-"}


def _svg(figure: Figure, name: str) -> str:
    """Return the figure as an <svg> element to stand inside a page; `name` keeps its ids apart from other plots'."""
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif"}):
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # figure_1, axes_1, ...: nothing refers to them, and each plot has them
    return text[text.index("<svg") :].replace(_INK, "currentColor")


def styles(models: Sequence[str]) -> dict[str, Style]:
    """Return how each model is drawn, wherever it is drawn.

    Args:
        models: their names.

    Returns:
        A style by model: six colours, then the same ones dashed.
    """
    return {m: Style(COLOURS[k % len(COLOURS)], k // len(COLOURS) % 2 == 1) for k, m in enumerate(models)}


def alone(svg: str) -> str:
    """Return a plot as a file of its own: dark on white, since no page gives it a colour.

    Args:
        svg: what `ced_plot` or `curve_plot` returned.

    Returns:
        The SVG text.
    """
    return svg.replace("<svg ", '<svg style="background:#fff;color:#222" ', 1)


def _legend(figure: Figure) -> None:
    """Name the models beside the plot, where they cover no line."""
    width, height = figure.get_size_inches()
    figure.set_size_inches(1.6 * width, height)
    figure.legend(loc="outside right center", frameon=False, fontsize="small", labelcolor=_INK)


def ced_plot(
    errors: Mapping[str, np.ndarray], limit: float, styles: Mapping[str, Style], name: str, legend: bool = False
) -> str:
    """Draw the cumulative error curves of several models on one set of faces.

    Args:
        errors: (n,) fractions by model, infinite where a face was missed.
        limit: the largest error shown, a fraction.
        styles: how each model is drawn.
        name: unique on the page.
        legend: name the models beside the plot.

    Returns:
        SVG text.
    """
    figure, (axes,) = _figure(4.6, 3.2)
    at = np.linspace(0, limit, 400)
    for model, values in errors.items():
        axes.plot(100 * at, 100 * ced(values, at), linewidth=1.8, label=model, **_line(styles[model]))
    if legend:
        _legend(figure)
    axes.set(xlim=(0, 100 * limit), ylim=(0, 101), xlabel="error of a face, %", ylabel="faces up to this error, %")
    return _svg(figure, name)


def contour_plot(errors: Mapping[str, Mapping[str, ContourError]], styles: Mapping[str, Style]) -> str:
    """Draw the error of each contour by model: its size on the left, how far it lies outwards on the right.

    Args:
        errors: by model and contour.
        styles: how each model is drawn.

    Returns:
        SVG text.
    """
    contours = list(next(iter(errors.values())))
    bar = 0.8 / len(errors)
    figure, (size, sign) = _figure(9.0, 0.6 + len(contours) * max(0.3, 0.11 * len(errors)), columns=2)
    for index, (model, contour) in enumerate(errors.items()):
        y = np.arange(len(contours)) + (index - (len(errors) - 1) / 2) * bar
        size.barh(y, [100 * contour[key].distance for key in contours], bar * 0.9, color=styles[model].colour)
        sign.barh(y, [100 * contour[key].outwards for key in contours], bar * 0.9, color=styles[model].colour)
    sign.axvline(0, color=_INK, linewidth=0.8)
    for axes in (size, sign):
        axes.set_yticks(range(len(contours)), contours if axes is size else [])
        axes.set_ylim(len(contours) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
    size.set_xlabel("mean error, %")
    sign.set_xlabel("inwards  ←  mean shift, %  →  outwards")
    return _svg(figure, "contours")


def curve_plot(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    label: str,
    styles: Mapping[str, Style],
    legend: bool = False,
) -> str:
    """Draw a training curve of each model, on a logarithmic axis when all values are positive.

    Args:
        curves: epochs and values by model.
        label: what the values are.
        styles: how each model is drawn.
        legend: name the models beside the plot.

    Returns:
        SVG text.
    """
    figure, (axes,) = _figure(4.6, 3.0)
    for model, (epochs, values) in curves.items():
        axes.plot(epochs, values, linewidth=1.5, label=model, **_line(styles[model]))
    if legend:
        _legend(figure)
    if all(value > 0 for _, values in curves.values() for value in values):
        axes.set_yscale("log", subs=(1.5, 2, 3, 4, 5, 7))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
    axes.set(xlabel="epoch", ylabel=label)
    axes.tick_params(which="both", colors=_INK)
    return _svg(figure, f"curve {label}")
