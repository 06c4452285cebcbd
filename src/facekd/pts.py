"""`.pts` files: the points of one face as text, as iBUG has them. They count pixels from 1, this package from 0."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from facekd.errors import InputError
from facekd.files import write_text


def read_pts(path: str | Path) -> np.ndarray:
    """Read a `.pts` file.

    Args:
        path: the file.

    Returns:
        (N, 2) float64, the centre of the top-left pixel being (0, 0); values may be NaN.

    Raises:
        InputError: it cannot be read, is not a `.pts` file, or holds another number of points than it says.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        header, rest = text.split("{", 1)
        points = np.array([line.split() for line in rest.split("}", 1)[0].strip().splitlines()], np.float64)
    except OSError as error:
        raise InputError(f"the label file cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(
            "not a .pts file: expected 'n_points: N' and then one 'x y' per line between { and }"
        ) from error
    said = [line.split(":")[1].strip() for line in header.splitlines() if line.strip().startswith("n_points:")]
    if points.ndim != 2 or points.shape[1] != 2:
        raise InputError("the .pts file must have one 'x y' per line between { and }")
    if said and said[0] != str(len(points)):
        raise InputError(f"the .pts file says n_points: {said[0]}, but holds {len(points)}")
    return points - 1


def write_pts(path: str | Path, points: np.ndarray) -> None:
    """Write a `.pts` file.

    Args:
        path: the file.
        points: (N, 2), the centre of the top-left pixel being (0, 0); in the file it is (1, 1).
    """
    lines = [f"{x:.4f} {y:.4f}" for x, y in np.asarray(points, np.float64) + 1]
    write_text(path, "\n".join(["version: 1", f"n_points: {len(lines)}", "{", *lines, "}", ""]))
