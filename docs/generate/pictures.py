"""Draw the README's pictures.

python docs/generate/pictures.py tour RUN PACK          # figures/tour.jpg: test faces of a run of the recipe demo
python docs/generate/pictures.py portraits MODEL FOLDER # figures/portraits.jpg: what a model finds on photos
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from facekd.data.pack import Pack
from facekd.drawing import draw
from facekd.files import atomic
from facekd.geometry import apply, crop_faces, crop_matrix, invert, normalise, square, tight_box, to_pixels, warp
from facekd.markup import MarkUp
from facekd.networks.predictor import TorchModel
from facekd.run_folder import MODEL, SHAPE_MODEL, result_model
from facekd.runtime.face import Face
from facekd.runtime.landmarker import Landmarker
from facekd.shape import ShapeModel

FIGURES = Path(__file__).parents[1] / "figures"
CELL, COLUMNS, GAP = 200, 6, 6


def tour(run: Path, pack: Path) -> np.ndarray:
    """Return rows of test faces: hard-landmarks, soft-landmarks, and what the student and the result find."""
    faces = Pack.open(pack).select("test")
    shape = ShapeModel.load(run / "tolerant" / SHAPE_MODEL)
    networks = [TorchModel.load(path) for path in (run / "student" / MODEL, result_model(run))]
    rows: list[list[np.ndarray]] = [[], [], [], []]
    for i in np.linspace(0, len(faces) - 1, COLUMNS).astype(int):
        image, markup = faces.image(i), faces.markup
        crops = [crop_faces(image, faces.boxes[i], network.size, network.scale) for network in networks]
        found = [crop.to_photo(network(crop.images)[0])[0] for network, crop in zip(networks, crops, strict=True)]
        matrix, size = crops[0].matrices[0], networks[0].size
        soft = to_pixels(shape.soft(normalise(apply(matrix, faces.points[i]), size)), size)
        for row, points in zip(rows, (faces.points[i], apply(invert(matrix), soft), *found), strict=True):
            row.append(_cell(image, points, markup, square(faces.boxes[i], 1.5)))
    return _grid(rows)


def portraits(model: str, folder: Path) -> np.ndarray:
    """Return two rows of photos with the landmarks that a model finds."""
    landmarker = Landmarker(model)
    cells = []
    for path in sorted(folder.iterdir()):
        photo = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        for face in landmarker(photo)[:1]:
            box = square(tight_box(face.points), 1.7)
            cells.append(_cell(photo, face.points, face.markup, box, face.confidence))
    return _grid([cells[:COLUMNS], cells[COLUMNS : 2 * COLUMNS]])


def _cell(
    image: np.ndarray, points: np.ndarray, markup: MarkUp, box: np.ndarray, confidence: np.ndarray | None = None
) -> np.ndarray:
    matrix = crop_matrix(box, CELL)
    face = Face(box, 1.0, apply(matrix, points).astype(np.float32), confidence, markup)
    return draw(warp(image, matrix, CELL), [face], confidence=confidence is not None)


def _grid(rows: list[list[np.ndarray]]) -> np.ndarray:
    padded = [[np.pad(cell, ((0, GAP), (0, GAP), (0, 0)), constant_values=255) for cell in row] for row in rows]
    return np.vstack([np.hstack(row) for row in padded])[:-GAP, :-GAP]


def main() -> None:
    """Draw the picture named on the command line."""
    name, first, second = sys.argv[1:]
    picture = tour(Path(first), Path(second)) if name == "tour" else portraits(first, Path(second))
    with atomic(FIGURES / f"{name}.jpg") as temporary:
        cv2.imwrite(str(temporary), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
