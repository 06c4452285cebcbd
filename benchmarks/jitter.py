"""How much tracked points shake, and how far they lag, with and without the filter.

    python benchmarks/jitter.py [--videos FOLDER] [--out docs/benchmarks]

Three kinds of video: a still picture with sensor noise, where every motion is error; a slow pan over it, where the
true motion is known; and real videos, which have no labels: there the lag is the delay at which the filtered points fit
the unfiltered ones best. Writes jitter.json and, from it, the table jitter.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import facekd
from facekd.geometry import centre_and_side, tight_box
from facekd.images import read_image
from facekd.runtime.detector import YuNet
from facekd.runtime.landmarker import Landmarker
from facekd.runtime.smoothing import Smoothing
from facekd.runtime.tracking import TrackedFace, Tracker
from facekd.runtime.video import Video

FPS = 30.0
NOISE = 5.0  # grey levels, standard deviation: a webcam indoors
SPEED = 1.5  # px per frame
MODES = ("each frame on its own", "tracked", "tracked and filtered")
_MOST_LAG = 5  # frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, help="a folder of real videos")
    parser.add_argument("--photo", type=Path, default=Path(facekd.__file__).parent / "weights" / "sample.jpg")
    parser.add_argument("--model", default="facekd-68")
    parser.add_argument("--frames", type=int, default=150, help="of the still and of the pan")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    options = parser.parse_args()

    photo = read_image(options.photo)[:320, :320] if options.photo.name == "sample.jpg" else read_image(options.photo)
    landmarker, count = Landmarker(options.model, YuNet(size=640)), options.frames
    rows: list[dict[str, Any]] = []
    for mode in MODES:
        start = partial(begin, mode, landmarker)
        rows.append({"video": "still with noise", "mode": mode} | measures(follow(start(), moved(photo, count, 0)), 0))
        pan = follow(start(), moved(photo, count, SPEED))
        rows.append({"video": "pan with noise", "mode": mode} | measures(pan, SPEED))
        for path in sorted(options.videos.glob("*.m*")) if options.videos else ():
            rows.append({"video": path.stem, "mode": mode} | measures(follow(start(), Video(path))))
    rows.sort(
        key=lambda row: [row["video"] != name for name in ("still with noise", "pan with noise")] + [row["video"]]
    )
    result = {"command": "python benchmarks/jitter.py --videos VIDEOS", "model": options.model, "rows": rows}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "jitter.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "jitter.md").write_text(table(result))
    print(table(result))


def moved(photo: np.ndarray, frames: int, speed: float) -> Iterator[tuple[float, np.ndarray]]:
    """Yield time and frame of a video in which the photo moves to the left, under fresh noise in every frame.

    Args:
        photo: (H, W, 3) uint8 RGB.
        frames: how many.
        speed: px per frame; the position between pixels is reached by linear interpolation.
    """
    rng = np.random.default_rng(0)
    height, width = photo.shape[:2]
    for index in range(frames):
        # There and back, so that the face stays in view.
        shift = speed * position(index)
        frame = cv2.warpAffine(
            photo, np.array([[1, 0, -shift], [0, 1, 0.0]]), (width, height), borderMode=cv2.BORDER_REPLICATE
        )
        yield index / FPS, np.clip(frame + rng.normal(0, NOISE, frame.shape), 0, 255).astype(np.uint8)


def position(index: np.ndarray | int, turn: int = 40) -> np.ndarray | int:
    """Return how many steps a pan has moved after so many frames: `turn` there, `turn` back, and so on."""
    return turn - abs(index % (2 * turn) - turn)


Update = Callable[[np.ndarray, float], list[TrackedFace]]


def begin(mode: str, landmarker: Landmarker) -> Update:
    """Return what finds the faces of the next frame, as `Tracker.update` does."""
    if mode == MODES[0]:
        return lambda frame, _: [TrackedFace(0, face, face.points) for face in landmarker.detect(frame)[:1]]
    return Tracker(landmarker, smoothing=Smoothing() if mode == MODES[2] else None).update


def follow(update: Update, video: Iterable[tuple[float, np.ndarray]]) -> dict[str, Any]:
    """Go through a video; return, of the first face of each frame, its frame, time, points and raw points."""
    found, ids, count = [], set(), 0
    for count, (time, frame) in enumerate(video, start=1):
        for tracked in update(frame, time)[:1]:
            ids.add(tracked.id)
            found.append((count - 1, time, tracked.face.points, tracked.raw))
    index, time, points, raw = (np.array([values[part] for values in found]) for part in range(4))
    return {"index": index, "time": time, "points": points, "raw": raw, "frames": count, "ids": len(ids)}


def measures(track: dict[str, Any], speed: float | None = None) -> dict[str, Any]:
    """Return motion and lag of a track.

    Args:
        track: as `follow` returns it.
        speed: of the photo in px per frame, whose motion is taken off the points'; None if it is not known.

    Returns:
        motion: mean distance from frame to frame, in % of the face's larger side, without the known motion.
        lag_ms: delay of the points behind the truth (pan) or behind the unfiltered points (real videos).
        shown: share of the frames with a face, in %; ids: numbers given.
        Of a face seen in a few frames only, motion and lag are None.
    """
    share = {"shown": 100 * len(track["index"]) / max(1, track["frames"]), "ids": track["ids"]}
    if len(track["index"]) <= 2 * _MOST_LAG:
        return {"motion": None, "lag_ms": None} | share
    side = float(np.median(centre_and_side(tight_box(track["raw"]))[1]))
    points = track["points"].astype(np.float64)
    if speed is not None:
        points = points + np.stack([speed * position(track["index"]), np.zeros(len(points))], axis=-1)[:, None]
    together = np.diff(track["index"]) == 1
    steps = np.linalg.norm(np.diff(points, axis=0), axis=-1).mean(axis=-1)[together]
    fps = 1 / float(np.median(np.diff(track["time"])))
    return {
        "motion": 100 * float(steps.mean()) / side,
        "lag_ms": None if speed == 0 else 1000 / fps * (pan_lag(track, speed) if speed else own_lag(track)),
    } | share


def pan_lag(track: dict[str, Any], speed: float) -> float:
    """Return by how many frames the points lag behind a pan that turns: half the gap between its two directions."""
    known = -speed * position(track["index"])
    forward = np.diff(known, append=known[-1]) < 0
    offset = track["points"][..., 0].mean(axis=-1) - known
    steady = np.ones(len(known), bool)
    steady[:10] = False  # the filter settles
    gap = offset[steady & forward].mean() - offset[steady & ~forward].mean()
    return float(gap / 2 / speed)


def own_lag(track: dict[str, Any]) -> float:
    """Return by how many frames the points lag behind the unfiltered ones: the delay at which they fit best."""
    delays = np.arange(0, _MOST_LAG + 0.01, 0.1)
    raw, points = track["raw"].reshape(len(track["raw"]), -1), track["points"].reshape(len(track["raw"]), -1)
    place = np.arange(_MOST_LAG, len(raw))
    errors = []
    for delay in delays:
        low = np.floor(place - delay).astype(int)
        part = (place - delay - low)[:, None]
        delayed = raw[low] * (1 - part) + raw[np.minimum(low + 1, len(raw) - 1)] * part
        errors.append(np.abs(delayed - points[place]).mean())
    return float(delays[int(np.argmin(errors))])


def table(result: dict[str, Any]) -> str:
    """Return the figures as a page."""
    lines = [
        "# Jitter and lag of tracked points",
        "",
        f"`{result['command']}`, model {result['model']}.",
        "Motion: mean distance of a point from frame to frame, in % of the face's larger side; in the still and the",
        "pan what the picture itself moved is taken off, so that all of it is error",
        f"(noise of {NOISE:.0f} grey levels, pan of {SPEED} px per frame); in the real videos, named by their files,",
        "the face moves, and that is part of it.",
        "Lag: behind the picture (pan) or behind the unfiltered points (real videos). Shown: share of the frames with",
        "landmarks; in some videos a face leaves or comes.",
        "",
        "| video | | motion | lag | shown | ids |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        motion = "" if row["motion"] is None else f"{row['motion']:.3f} %"
        lag = "" if row["lag_ms"] is None else f"{round(row['lag_ms'])} ms"
        lines.append(f"| {row['video']} | {row['mode']} | {motion} | {lag} | {row['shown']:.0f} % | {row['ids']} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
