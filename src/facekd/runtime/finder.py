"""From photos and boxes to faces: cutting out, the network, and the search for rolled faces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from facekd.errors import InputError, ModelError, nearest
from facekd.geometry import (
    BoxTransform,
    Crops,
    centre_and_side,
    crop_faces,
    crop_matrix,
    iou,
    snap,
    square,
    upright_box,
)
from facekd.runtime.detector import Detector, whole
from facekd.runtime.face import Face
from facekd.runtime.face_confidence import FaceCalibration
from facekd.runtime.model import Predictor
from facekd.runtime.output import NetworkOutput
from facekd.runtime.recrop import recrop
from facekd.runtime.roll import roll_angle, rotate_boxes
from facekd.runtime.selection import FAR_ROLL, better, face_confidence, with_turned, without_parts

BOX_TYPES = ("detector", "landmarks")  # what boxes that are given hold
# Sides in pixels to which what is turned and searched for rolled faces is resized: a photo at most, and what is about a
# doubtful face, a square of so many times its box's side.
_PHOTO_SIDE, _REGION_SIDE, _AROUND = 640, 96, 2.0
_QUARTERS = (1, 2, 3)
# Face confidence of rolled faces that are taken for upright ones: hardly ever the first. Networks that have learned
# hard faces trust some of them a little; from the second on no turned face would be clearly more confident.
_MAYBE_UPRIGHT, _SURELY_UPRIGHT = 0.3, 0.8
_APART = 0.3  # IoU with a trusted face below which a box in a turned photo may be of another face
# Beside an upright face: of 88 that could not be trusted in 1,095 photos none was a rolled one. So those that the
# photo's edge cuts, or that are far behind, are not turned: the least side, in units of that face's.
_NEAR = 1 / 3


@dataclass(frozen=True)
class Cut:
    """What was cut out of a photo for the network.

    Attributes:
        boxes: (k, 4) float32, as the detector drew them or the caller gave them.
        scores: (k,) the detector's.
        crops: of the faces.
        photo: what they were cut out of, (H, W, 3) uint8, by boxes that may be off, as a detector's are; None: by boxes
            that say where the landmarks are.
    """

    boxes: np.ndarray
    scores: np.ndarray
    crops: Crops
    photo: np.ndarray | None = None


@dataclass(frozen=True)
class Found:
    """A photo whose faces were found but not their landmarks.

    Attributes:
        photo: (H, W, 3) uint8 RGB; it may have to be searched again.
        cut: the faces that were cut out.
        smaller: boxes and scores of the faces beyond `max_faces`; None if all were cut out.
        max_faces: most faces to return; None: all.
        given_as: the type of boxes that the caller gave, which get a face each; None if they were detected.
        roll_known: whether the caller gave the faces' roll, too.
    """

    photo: np.ndarray
    cut: Cut
    smaller: tuple[np.ndarray, np.ndarray] | None = None
    max_faces: int | None = None
    given_as: str | None = None
    roll_known: bool = False


class FaceFinder:
    """Finds the faces of photos and their landmarks; `Landmarker` reads the photos and puts them together to batches.

    Args:
        model: the landmark network.
        detector: what finds the faces.
        box_transform: how the detector's box becomes the one that the network was trained on; None: not known, so that
            the network takes boxes of that kind alone.
        any_roll: search turned photos, too, where no face is found or one whose landmarks cannot be trusted.
        min_confidence: lowest `Face.face_confidence` of faces that are returned.
    """

    def __init__(
        self,
        model: Predictor,
        detector: Detector,
        box_transform: BoxTransform | None,
        any_roll: bool,
        min_confidence: float,
    ) -> None:
        self.model, self.detector, self._box_transform = model, detector, box_transform
        self.min_confidence = min_confidence
        self._calibration: FaceCalibration | None = getattr(model, "face_calibration", None)
        self.any_roll = any_roll and self._calibration is not None  # else nothing tells which roll is right

    @property
    def box_transform(self) -> BoxTransform:
        """How the detector's box becomes the network's.

        Raises:
            ModelError: it is not known.
        """
        if self._box_transform is None:
            raise ModelError(
                f"this network of '{self.model.markup.name}' has no transform for a face detector's boxes, so it takes "
                'boxes of its own kind alone: give boxes and box_type="landmarks", or a box_transform'
            )
        return self._box_transform

    def detect(self, photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Run only the face detector.

        Args:
            photo: (H, W, 3) uint8 RGB.

        Returns:
            Boxes (k, 4) float32, and scores (k,), best first.
        """
        boxes, scores = self.detector.detect(photo)
        return np.asarray(boxes, np.float32).reshape(-1, 4), scores

    def cut(
        self,
        photo: np.ndarray,
        boxes: Any = None,
        box_type: str = "detector",
        roll: np.ndarray | float | None = None,
        max_faces: int | None = None,
    ) -> Found:
        """Find the faces of a photo, or take the given ones, and cut them out.

        Args:
            photo: (H, W, 3) uint8 RGB.
            boxes: as for `Landmarker.detect`, and so are the rest.
            box_type: "detector" or "landmarks".
            roll: degrees by which the faces in `boxes` are rotated; None: not known.
            max_faces: most faces to return.

        Returns:
            What `faces` takes.

        Raises:
            InputError: a box is not a box, or another argument is not what it may be.
        """
        check_count(max_faces)
        if box_type not in BOX_TYPES:
            raise InputError(f"box_type '{box_type}' is no kind of boxes; {nearest(str(box_type), BOX_TYPES)}")
        if boxes is not None:
            boxes = _checked(boxes)
            scores = np.ones(len(boxes), np.float32)
            tight, angles = self._tight(boxes, box_type), _angles(roll, len(boxes))
            cut = self._cut_out(photo, boxes, scores, tight, angles, exact=box_type == "landmarks")
            return Found(photo, cut, given_as=box_type, roll_known=roll is not None)
        if roll is not None:
            raise InputError("roll says how the faces in given boxes are rotated; give boxes with it, or leave it out")
        boxes, scores = self.detect(photo)
        if max_faces is None:
            return Found(photo, self._cut_out(photo, boxes, scores, self._tight(boxes)))
        order = np.argsort(-(boxes[:, 2:] - boxes[:, :2]).prod(axis=1), kind="stable")
        boxes, scores = boxes[order], np.asarray(scores)[order]
        largest = slice(max_faces)
        cut = self._cut_out(photo, boxes[largest], scores[largest], self._tight(boxes[largest]))
        return Found(photo, cut, (boxes[max_faces:], scores[max_faces:]), max_faces)

    def faces(self, photos: Sequence[Found]) -> Iterator[list[Face]]:
        """Find the landmarks of several photos' faces, with one call of the network for most.

        Args:
            photos: as `cut` returns them.

        Yields:
            The faces of each photo that count: one for each given box; or of those detected the ones that can be
            trusted, best score first, or with `max_faces` largest first.
        """
        for found, faces in zip(photos, self._predicted([found.cut for found in photos]), strict=True):
            yield self._given(found, faces) if found.given_as else self._detected(found, faces)

    def _tight(self, boxes: np.ndarray, box_type: str = "detector", quarters: int = 0) -> np.ndarray:
        """Return the tight landmark boxes (k, 4) of faces that are rolled by quarters of a circle."""
        if box_type == "landmarks":
            return boxes
        return rotate_boxes(self.box_transform.apply(rotate_boxes(boxes, -quarters)), quarters)

    def _cut_out(
        self,
        photo: np.ndarray,
        boxes: np.ndarray,
        scores: np.ndarray,
        tight: np.ndarray,
        roll: np.ndarray | float = 0.0,
        exact: bool = False,
    ) -> Cut:
        """Cut faces out by their tight boxes (k, 4), turned upright; `exact` ones are those of the landmarks."""
        tight = tight if exact else snap(tight)
        crops = crop_faces(photo, tight, self.model.size, self.model.scale, -np.asarray(roll))
        return Cut(boxes, scores, crops, None if exact else photo)

    def _predicted(self, cuts: Sequence[Cut]) -> list[list[Face]]:
        """Run the network for all that was cut out, once more where boxes were off, and share the points out."""
        output = NetworkOutput(*self.model(np.concatenate([cut.crops.images for cut in cuts])))
        photos = [cut.photo for cut in cuts]
        all_crops, (points, confidence, visible) = recrop(self.model, photos, [cut.crops for cut in cuts], output)
        levels = None if confidence is None or self._calibration is None else self._calibration.apply(confidence)
        faces, start = [], 0
        for cut, crops in zip(cuts, all_crops, strict=True):
            rows = range(start, start + len(cut.boxes))
            start = rows.stop
            in_photo = crops.to_photo(points[rows.start : rows.stop]).astype(np.float32)
            faces.append(
                [
                    Face(
                        box=box,
                        score=float(score),
                        points=face_points,
                        confidence=None if confidence is None else confidence[row],
                        markup=self.model.markup,
                        face_confidence=None if levels is None else float(levels[row]),
                        visible=None if visible is None else visible[row],
                    )
                    for row, box, score, face_points in zip(rows, cut.boxes, cut.scores, in_photo, strict=True)
                ]
            )
        return faces

    def _detected(self, found: Found, faces: list[Face]) -> list[Face]:
        """Return the faces of a photo that count, after looking for rolled ones where some cannot be trusted."""
        if found.smaller and not all(face.ok for face in faces):
            boxes, scores = found.smaller
            faces = faces + self._predicted([self._cut_out(found.photo, boxes, scores, self._tight(boxes))])[0]
        if self.any_roll:
            upright = [not _doubtful(face) for face in faces]
            if not faces or not all(upright):
                faces = with_turned(faces, self._rolled(found.photo, faces, np.array(upright, bool)))
        faces = [face for face in without_parts(faces) if face_confidence(face) >= self.min_confidence]
        if found.max_faces is None:
            return sorted(faces, key=lambda face: -face.score)
        return sorted(faces, key=lambda face: -float((face.box[2:] - face.box[:2]).prod()))[: found.max_faces]

    def _rolled(self, photo: np.ndarray, faces: list[Face], upright: np.ndarray) -> list[Face]:
        """Return what is found in a photo once it is turned by one, two and three quarters of a circle.

        What is about the faces that are not surely `upright` (k,) is turned first; beside an upright face only if they
        are whole and not far behind. The whole photo is if no face is upright, or may be one.
        """
        boxes = np.array([face.box for face in faces]).reshape(-1, 4)
        trusted, doubtful = boxes[upright], boxes[~upright]
        if len(trusted):
            near = centre_and_side(doubtful)[1] >= _NEAR * centre_and_side(trusted)[1].max()
            doubtful = doubtful[near & whole(doubtful, photo)]
        once = getattr(self.detector, "detect_once", self.detector.detect)
        turned = []
        for region in square(doubtful, _AROUND):
            turned += self._turned(once, photo, region, _REGION_SIDE, trusted, _QUARTERS)
        sure = sorted({quarters for quarters, face in turned if face.ok})
        if len(trusted) or (not sure and any(face_confidence(face) >= _MAYBE_UPRIGHT for face in faces)):
            return [face for _, face in turned]
        height, width = photo.shape[:2]
        everything, side = square(np.array([0, 0, width, height]) - 0.5), min(_PHOTO_SIDE, max(height, width))
        for quarters in sure or _QUARTERS:
            turned += self._turned(self.detector.detect, photo, everything, side, trusted, [quarters])
        return [face for _, face in turned]

    def _turned(
        self,
        detect: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
        photo: np.ndarray,
        region: np.ndarray,
        side: int,
        trusted: np.ndarray,
        turns: Sequence[int],
    ) -> list[tuple[int, Face]]:
        """Search a square region (4,) of a photo, turned and resized; returns quarters of the circle and faces.

        Boxes that are of `trusted` faces (k, 4) are left aside.
        """
        (upright,) = crop_faces(photo, region, side).images
        images = [np.rot90(upright, quarters) for quarters in turns]
        matrices = crop_matrix(np.repeat(region[None], len(turns), axis=0), side, 1.0, -90.0 * np.array(turns))
        # One call of the detector for all turns: beside each other they are one image.
        boxes, scores = detect(np.concatenate(images, axis=1))
        if not len(boxes):
            return []
        boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
        tile = np.clip((boxes[:, [0, 2]].mean(axis=1) + 0.5) // side, 0, len(turns) - 1).astype(int)
        boxes = boxes - np.outer(tile * side, [1, 0, 1, 0])
        cuts = []
        for index, quarters in enumerate(turns):
            crop, rows = Crops(images[index][None], matrices[index : index + 1]), tile == index
            tight = _boxes_to_photo(crop, self.box_transform.apply(boxes[rows]))
            in_photo = _boxes_to_photo(crop, boxes[rows]).astype(np.float32)
            new = iou(in_photo[:, None], trusted).max(axis=1, initial=0) < _APART
            cuts.append(self._cut_out(photo, in_photo[new], np.asarray(scores)[rows][new], tight[new], 90.0 * quarters))
        faces = self._predicted(cuts)
        return [(quarters, face) for quarters, found in zip(turns, faces, strict=True) for face in found]

    def _given(self, found: Found, faces: list[Face]) -> list[Face]:
        """Return a face for each given box; one that is not surely upright is tried in other quarters of the circle."""
        if found.roll_known or not self.any_roll or found.given_as is None:
            return faces
        for index, face in enumerate(faces):
            if _doubtful(face):
                box, score, exact = face.box[None], np.ones(1, np.float32), found.given_as == "landmarks"
                tights = [self._tight(box, found.given_as, quarters) for quarters in _QUARTERS]
                tries = [
                    self._cut_out(found.photo, box, score, tight, 90.0 * quarters, exact)
                    for tight, quarters in zip(tights, _QUARTERS, strict=True)
                ]
                best = max((again for (again,) in self._predicted(tries)), key=face_confidence)
                again = [self._cut_again(found.photo, best)] if self.model.markup.crop == "points" else []
                faces[index] = better(face, [best, *again])
        return faces

    def _cut_again(self, photo: np.ndarray, face: Face) -> Face:
        """Find the landmarks of a face once more, cut out by those that were found."""
        roll = float(np.rint(roll_angle(face.points, face.markup)))
        box = snap(upright_box(face.points.astype(np.float64), roll))[None]
        cut = self._cut_out(photo, face.box[None], np.array([face.score]), box, roll, exact=True)
        ((again,),) = self._predicted([cut])
        return again


def check_count(max_faces: int | None) -> None:
    """Refuse a number of faces below 1.

    Args:
        max_faces: most faces to return; None: all.

    Raises:
        InputError: it is below 1.
    """
    if max_faces is not None and max_faces < 1:
        raise InputError(f"max_faces must be 1 or more, got {max_faces}; leave it out for all faces")


def _boxes_to_photo(crop: Crops, boxes: np.ndarray) -> np.ndarray:
    """Return boxes (k, 4) of a crop that is turned by quarters, in the photo."""
    corners = crop.to_photo(boxes.reshape(1, -1, 2).astype(np.float64)).reshape(-1, 2, 2)
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def _doubtful(face: Face) -> bool:
    """Whether a face that was taken for an upright one may be a rolled one."""
    return face_confidence(face) < _SURELY_UPRIGHT or abs(float(roll_angle(face.points, face.markup))) > FAR_ROLL


def _checked(boxes: Any) -> np.ndarray:
    """Return the caller's boxes as (k, 4) float32."""
    try:
        array = np.asarray(boxes, np.float32)
    except (TypeError, ValueError) as error:
        raise InputError("boxes must be numbers (k, 4): x0, y0, x1, y1") from error
    if array.size == 0:
        return array.reshape(0, 4)
    if array.ndim != 2 or array.shape[1] != 4:
        raise InputError(f"boxes must be (k, 4): x0, y0, x1, y1, got {array.shape}")
    wrong = ~(np.isfinite(array).all(axis=1) & (array[:, 2:] > array[:, :2]).all(axis=1))
    if wrong.any():
        index = int(np.flatnonzero(wrong)[0])
        raise InputError(f"box {index} is {array[index].tolist()}; it needs finite numbers with x0 < x1 and y0 < y1")
    return array


def _angles(roll: Any, count: int) -> np.ndarray:
    """Return the caller's degrees as (count,) float64; None: 0."""
    try:
        angles = np.asarray(0.0 if roll is None else roll, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError("roll must be degrees: one number, or one for each box") from error
    if angles.ndim and angles.shape != (count,):
        raise InputError(f"there are {count} boxes but rolls of shape {angles.shape}; give one number, or one per box")
    if not np.isfinite(angles).all():
        raise InputError("roll must be a finite number of degrees, or one for each box")
    return np.broadcast_to(angles, count)
