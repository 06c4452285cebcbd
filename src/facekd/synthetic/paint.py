"""Paint a face: skin on the lit relief, then eyes, brows, lips and nose, each through the landmarks that outline it."""

from __future__ import annotations

import cv2
import numpy as np

from facekd.synthetic.camera import Camera, slide
from facekd.synthetic.canvas import Canvas, blend, coverage, ellipse, ribbon, spline
from facekd.synthetic.head import JAW, LEFT_BROW, LEFT_EYE, RIGHT_BROW, RIGHT_EYE, Head
from facekd.synthetic.look import Look
from facekd.synthetic.skin import Light, surface

DARK = np.array([30.0, 18.0, 16.0])
_COARSE = 2  # pixels per cell of the maps of the lit surface, which is smooth


class FacePainter:
    """Paints one face.

    Args:
        head: its shape.
        camera: its pose, and where in the image it is.
        light: the lamp.
        look: its colours.
        solid: (68, 3) the landmarks on the head, from `camera.landmarks`.
        shape: (h, w) of the image to paint into.

    Attributes:
        points: (68, 2) the landmarks in the image, pixels.
    """

    def __init__(
        self, head: Head, camera: Camera, light: Light, look: Look, solid: np.ndarray, shape: tuple[int, int]
    ) -> None:
        self.head, self.camera, self.light, self.look = head, camera, light, look
        coarse = (shape[0] // _COARSE + 1, shape[1] // _COARSE + 1)
        self._seen = surface(head, camera.cropped(0, 0, _COARSE), light, coarse)
        self.points, self._near = camera.project(solid)
        self._unit = camera.unit
        self._right, self._down = camera.rotation[:2, 0] * camera.unit, camera.rotation[:2, 1] * camera.unit

    def visible(self) -> np.ndarray:
        """Return which landmarks the face itself does not hide; the jaw is its outline, never hidden.

        Returns:
            (68,) bool.
        """
        in_view = self._in_view(self.points, self._near)
        in_view[JAW] = True
        return in_view

    def outline(self) -> np.ndarray:
        """Return the outline of the skin: the jaw through its 17 landmarks, and the hairline.

        Returns:
            (n, 2), pixels.
        """
        hairline = self.look.hairline
        outward = np.stack([np.sign(hairline[:, 0]), np.zeros(len(hairline))], -1)
        above, _ = self.camera.project(slide(self.head, self.camera, hairline, outward))
        return spline(np.concatenate([self.points[JAW], above]), closed=True)

    def paint(self, image: np.ndarray, rng: np.random.Generator) -> None:
        """Paint the face over an image.

        Args:
            image: (h, w, 3) uint8, painted in place.
            rng: the mottling of the skin is drawn from it.
        """
        look, seen = self.look, self._seen
        height, width = image.shape[:2]

        def fine(map_: np.ndarray) -> np.ndarray:
            whole = cv2.resize(map_, None, fx=_COARSE, fy=_COARSE, interpolation=cv2.INTER_LINEAR)
            return whole[:height, :width]

        flush = np.clip(look.skin * (1.0, 0.72, 0.68) + (14, 0, 0), 0, 255)
        shadow = 0.5 * look.skin + 0.5 * look.hair
        coarse = np.float32(look.skin) + (look.blush * seen.blush)[..., None] * np.float32(flush - look.skin)
        coarse += (look.beard * seen.beard)[..., None] * (np.float32(shadow) - coarse)
        skin = fine(cv2.convertScaleAbs(coarse))
        canvas = Canvas(skin.copy())
        freckles = [ellipse(spot, 0.014 * self._right, 0.012 * self._down, 6) for spot in self._on_skin(look.freckles)]
        canvas.fill(freckles, 0.7 * look.skin, 0.6)
        self._folds(canvas)
        for eye in (LEFT_EYE, RIGHT_EYE):
            self._eye(canvas, eye)
        for brow in (LEFT_BROW, RIGHT_BROW[::-1]):
            self._brow(canvas, brow)
        self._mouth(canvas)
        nose = fine(seen.nose)
        canvas.stroke(spline(self.points[JAW]), 0.55 * look.skin, 0.04 * self._unit, 0.5, 0.012 * self._unit)
        canvas.image[...] = blend(canvas.image, skin, nose)
        self._nose(canvas)

        grain = cv2.resize(rng.standard_normal((90, 90), np.float32), seen.light.shape[::-1])
        lit = (seen.light * (1 + 0.03 * grain))[..., None] * np.float32(self.light.colour)
        face = cv2.multiply(canvas.image, fine(cv2.convertScaleAbs(lit, alpha=128)), scale=1 / 128)
        mask = np.maximum(coverage((height, width), self.outline()) * np.float32(1 / 255), nose)
        image[...] = blend(image, face, mask)

    def _on_skin(self, flat: np.ndarray) -> np.ndarray:
        """Return the pixels (m, 2) of those frontal points (k, 2) that are on the visible skin."""
        pixels, near = self.camera.project(np.column_stack([flat, self.head.relief(flat)]))
        return pixels[self._in_view(pixels, near)]

    def _in_view(self, pixels: np.ndarray, near: np.ndarray) -> np.ndarray:
        """Return which points (n, 2) of this nearness (n,) the face itself does not hide: (n,) bool."""
        height, width = self._seen.near.shape
        column, row = np.clip(np.rint((pixels + 0.5) / _COARSE - 0.5), 0, (width - 1, height - 1)).astype(int).T
        return near > self._seen.near[row, column] - 0.15  # the steepest step of a visible surface within a cell

    def _folds(self, canvas: Canvas) -> None:
        """Folds from the nose to the mouth's corners, and below the eyes."""
        p, shade = self.points, 0.62 * self.look.skin
        for wing, corner, cheek, inner, outer in ((31, 48, 3, 39, 36), (35, 54, 13, 42, 45)):
            out = p[corner] + 0.22 * (p[cheek] - p[corner])
            start = p[wing] + 0.35 * (out - p[wing]) - 0.08 * self._down
            fold = spline(np.array([start, (start + out) / 2 + 0.05 * (p[cheek] - p[wing]), out]))
            widths = np.array([0.2, 1.0, 0.1]) * 0.04 * self._unit
            canvas.stroke(fold, shade, widths, 0.5 * self.look.folds, 0.018 * self._unit)
            below = np.array([p[inner], (p[inner] + p[outer]) / 2 + 0.16 * self._down, p[outer] + 0.08 * self._down])
            canvas.stroke(spline(below), shade, 0.03 * self._unit, 0.45 * self.look.folds, 0.02 * self._unit)

    def _eye(self, canvas: Canvas, eye: np.ndarray) -> None:
        """An eye: white, iris, pupil and glint within the lids; the lids' lines run through the six landmarks."""
        p, unit, look = self.points[eye], self._unit, self.look
        upper, lower = spline(p[:4]), spline(p[[3, 4, 5, 0]])
        ball = np.concatenate([upper[:-1], lower[:-1]])
        canvas.stroke(upper - 0.03 * self._down, 0.75 * look.skin, 0.12 * unit, 0.5, 0.03 * unit)
        inside = coverage(canvas.image.shape[:2], ball)
        canvas.fill(ball, (238, 232, 226))
        corner, flesh = p[3 if eye[0] == 36 else 0], (205, 130, 120)
        canvas.fill(ellipse(corner, 0.035 * self._right, 0.04 * self._down), flesh, 0.8, within=inside)
        turn = np.cos(np.radians(self.camera.yaw))
        right, down = 0.105 * self._right * turn, 0.105 * self._down
        centre = (p[0] + p[3]) / 2 - 0.02 * self._down + look.gaze[0] * right * 0.6 + look.gaze[1] * down * 0.4
        for share, colour in ((1.0, 0.35 * look.iris), (0.86, look.iris)):
            canvas.fill(ellipse(centre, share * right, share * down), colour, within=inside)
        canvas.fill(ellipse(centre + 0.3 * down, 0.6 * right, 0.35 * down), 1.5 * look.iris, 0.35, 0.02 * unit, inside)
        canvas.fill(ellipse(centre, 0.4 * right, 0.4 * down), DARK * 0.4, within=inside)
        canvas.fill(ribbon(upper + 0.025 * self._down, 0.07 * unit), DARK, 0.45, 0.02 * unit, inside)
        glint = centre + 0.45 * (right * np.sign(self.light.towards[0]) - down)
        canvas.fill(ellipse(glint, 0.22 * right, 0.22 * down, 10), (255, 255, 255), 0.95, within=inside)
        width = 0.012 + 0.03 * look.lashes
        canvas.stroke(upper, DARK, np.array([0.5, 1.0, 1.0, 0.8]) * width * unit, 0.6 + 0.35 * look.lashes)
        canvas.stroke(lower, 0.5 * look.skin, 0.014 * unit, 0.8)
        crease = upper - 0.065 * self._down
        canvas.stroke(crease, 0.55 * look.skin, np.array([0.2, 1.0, 0.4]) * 0.022 * unit, 0.6)

    def _brow(self, canvas: Canvas, brow: np.ndarray) -> None:
        """A brow, given from its outer end to its inner: the five landmarks are its upper edge."""
        edge = spline(self.points[brow])
        thick = np.interp(np.linspace(0, 1, len(edge)), [0, 0.3, 0.75, 0.95, 1], [0.1, 0.75, 1.0, 0.95, 0.75])
        under = edge + (thick * self.look.brow)[:, None] * self._down
        colour = np.minimum(0.75 * self.look.hair, 0.55 * self.look.skin)
        canvas.fill(np.concatenate([edge, under[::-1]]), colour, 0.85, 0.008 * self._unit)

    def _mouth(self, canvas: Canvas) -> None:
        """Lips between outer and inner landmarks; in an open mouth teeth and a tongue."""
        p, unit, look = self.points, self._unit, self.look
        outer = spline(p[48:55]), spline(p[[54, 55, 56, 57, 58, 59, 48]])
        inner = spline(p[60:65]), spline(p[[64, 65, 66, 67, 60]])
        whole, hole = (np.concatenate([upper[:-1], lower[:-1]]) for upper, lower in (outer, inner))
        canvas.stroke(outer[1] + 0.05 * self._down, 0.7 * look.skin, 0.07 * unit, 0.5, 0.03 * unit)
        canvas.fill(whole, look.lips)
        canvas.fill(np.concatenate([outer[0], inner[0][::-1]]), 0.82 * look.lips, 0.9)
        shine = (spline(p[[59, 58, 57, 56, 55]]) + spline(p[[67, 67, 66, 65, 65]])) / 2
        canvas.stroke(shine, np.minimum(1.25 * look.lips + 15, 255), 0.05 * unit, 0.5, 0.02 * unit)
        canvas.stroke(outer[0], 0.6 * look.lips, 0.016 * unit, 0.6)
        canvas.stroke(outer[1], 0.6 * look.lips, 0.016 * unit, 0.6)
        inside = coverage(canvas.image.shape[:2], hole)
        canvas.fill(hole, (58, 18, 20))
        if np.linalg.norm(p[66] - p[62]) > 0.05 * unit:
            tongue = ellipse(0.75 * p[66] + 0.25 * p[62] + 0.06 * self._down, 0.17 * self._right, 0.1 * self._down)
            canvas.fill(tongue, (176, 84, 84), 1, 1, inside)
            for row, reach in ((inner[0], 0.1), (inner[1], -0.03)):
                edge = (row + np.linspace(row[0], row[-1], len(row))) / 2 + reach * self._down
                canvas.fill(np.concatenate([row, edge[::-1]]), (226, 220, 208), 0.95, 0.01 * unit, inside)
            canvas.stroke(inner[0] + 0.01 * self._down, DARK, 0.02 * unit, 0.3, 0.012 * unit)
        for row in inner:
            canvas.stroke(row, 0.3 * look.lips, 0.016 * unit, 0.8)

    def _nose(self, canvas: Canvas) -> None:
        """The nose's highlight along the bridge, its wings, nostrils and base, all through the landmarks."""
        p, unit, skin = self.points, self._unit, self.look.skin
        ridge = spline(p[27:31])
        bright = np.minimum(1.15 * skin + 12, 255)
        canvas.stroke(ridge, bright, np.array([0.03, 0.045, 0.07]) * unit, 0.45, 0.014 * unit)
        canvas.stroke(spline(p[31:36]), 0.5 * skin, np.array([0.4, 1, 1, 1, 0.4]) * 0.03 * unit, 0.55, 0.012 * unit)
        flat = self.head.flat
        for wing, side in ((31, -1), (35, 1)):
            nostril = 0.55 * flat[wing] + 0.45 * flat[33] - (0.0, 0.035)
            round_the_wing = np.array([[0.0, 0.0], [side * 0.035, -0.05], [side * 0.03, -0.11], [0.0, -0.15]])
            curve = self._on_skin(np.concatenate([nostril[None], spline(flat[wing] + round_the_wing, 4)]))
            if len(curve) > 8:  # else this side of the nose is turned away
                canvas.fill(ellipse(curve[0], 0.05 * self._right, 0.022 * self._down), 0.28 * skin, 0.85, 0.006 * unit)
                canvas.stroke(curve[1:], 0.5 * skin, np.array([1.0, 1.0, 0.2]) * 0.026 * unit, 0.6, 0.006 * unit)
