"""How a face detector's boxes relate to the boxes that networks are trained with, and how much they vary about them."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass

import numpy as np

from facekd.data.pack import Pack
from facekd.documents import Fields, parse_json, read_text
from facekd.files import write_text
from facekd.geometry import BoxTransform, iou, square
from facekd.pipeline.context import Context
from facekd.run_folder import BOX_TRANSFORM
from facekd.runtime.detector import Detector, YuNet, holding

_FACES = 600  # to fit on: enough for medians, a few seconds of detection
_SAME = 0.2  # IoU of transformed and true box, below which most of the points would lie outside the crop
ENOUGH = 0.95  # share of the faces that must be found for a transform to be of use


@dataclass(frozen=True)
class DetectorBoxes:
    """What a face detector finds on training faces.

    Attributes:
        faces: how many were searched for.
        found: how many of them it found, with a box that says where the points are.
        transform: how its boxes become those that the faces are cut by; None where too few were found, as with drawn
            faces.
        spread: standard deviations of what the transform leaves: log of the side; x and y, in sides of the box. None
            as `transform`.
    """

    faces: int
    found: int
    transform: BoxTransform | None = None
    spread: tuple[float, float, float] | None = None

    @property
    def share(self) -> float:
        """The share of the faces that were found, in percent."""
        return 100 * self.found / self.faces

    def to_json(self) -> str:
        """Write it.

        Returns:
            JSON that `from_json` reads back.
        """
        transform = self.transform.to_dict() if self.transform else None
        record = {"faces": self.faces, "found": self.found, "transform": transform}
        return json.dumps(record | ({"spread_log_scale_x_y": self.spread} if self.spread else {}), indent=1)

    @classmethod
    def from_json(cls, text: str) -> DetectorBoxes:
        """Read what `to_json` wrote.

        Args:
            text: JSON.

        Returns:
            The record.

        Raises:
            InputError: the text is damaged.
        """
        advice = f"delete {BOX_TRANSFORM} of the run, and it is fitted again"
        fields = Fields(parse_json(text, BOX_TRANSFORM, advice=advice), BOX_TRANSFORM, advice=advice)
        transform = fields.group("transform", None)
        return cls(
            fields.integer("faces", 0, 10**9),
            fields.integer("found", 0, 10**9),
            BoxTransform.from_dict(transform.values, BOX_TRANSFORM) if transform else None,
            tuple(fields.numbers("spread_log_scale_x_y", 3, ()) or ()) or None,
        )


def fit_box_transform(train: Pack, detector: Detector | None = None) -> DetectorBoxes:
    """Fit a `BoxTransform` to what a face detector finds on training faces: place, size, and how much both vary.

    A detection is of a face if it holds the centre of the box that the face is cut by, which may be a small part of it.

    Args:
        train: the faces; their crops have to hold the whole face.
        detector: finds faces; None: YuNet.

    Returns:
        What was found.
    """
    detector = detector or YuNet()
    sample = train.select(indices=np.linspace(0, len(train) - 1, min(len(train), _FACES)).astype(int))
    detections, boxes = [], []
    for i, tight in enumerate(sample.boxes):
        detected, _ = detector.detect(sample.image(i))
        if len(held := holding(detected, tight)):
            detections.append(detected[held[0]])
            boxes.append(tight)
    if not boxes:
        return DetectorBoxes(len(sample), 0)
    found, wanted = np.array(detections), np.array(boxes)
    transform = BoxTransform.fit(found, wanted)
    good = iou(transform.apply(found), square(wanted)) > _SAME
    if good.sum() < ENOUGH * len(sample):
        return DetectorBoxes(len(sample), int(good.sum()))
    log_side, x, y = (round(float(value), 4) for value in transform.residuals(found, wanted)[good].std(axis=0))
    return DetectorBoxes(len(sample), int(good.sum()), transform, (log_side, x, y))


def detector_boxes(context: Context) -> DetectorBoxes:
    """Return what the face detector finds on the training faces, fitted once and kept in the run's folder.

    Registered and rotated faces do not count: the detector sees the latter otherwise than it sees photos.

    Args:
        context: of the run.

    Returns:
        The record.
    """
    path = context.folder / BOX_TRANSFORM

    def fit() -> None:
        if not path.is_file():
            record = fit_box_transform(context.pack.select("train").annotated())
            write_text(path, record.to_json())
            if record.transform is None:
                logging.getLogger(__name__).warning(not_found(record))

    context.once(path, fit)
    return DetectorBoxes.from_json(read_text(path, "box transform"))


def not_found(record: DetectorBoxes) -> str:
    """Say why networks cannot be used with a face detector.

    Args:
        record: without a transform.

    Returns:
        One sentence: the share that was found, and what to do.
    """
    return (
        f"the face detector says where the points are on only {record.share:.0f} % of the training faces, and "
        f"{100 * ENOUGH:.0f} % are needed to find faces with this network; give its mark-up crop: face and prepare "
        "again, or use it with boxes of your own alone (without_detector)"
    )
