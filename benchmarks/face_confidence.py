"""What face confidence accepts and refuses: right landmarks, failures, and boxes that hold no face.

    python benchmarks/face_confidence.py PACK [--model facekd-68] [--limit 400] [--out docs/benchmarks]

Each face of a split (default: train) is cut out as a face detector would box it, turned by a quarter, a half and three
quarters of a circle, and as a part of itself or what lies beside it; then its photo goes through the face detector as
it is. A face is accepted if its confidence is at least 0.5. Writes face_confidence.json and face_confidence.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from facekd.data.pack import Pack
from facekd.evaluation import metrics
from facekd.geometry import crop_faces, iou, square, tight_box
from facekd.pipeline.face_calibration import KINDS, crops_about
from facekd.runtime.detector import YuNet
from facekd.runtime.face import TRUSTED
from facekd.runtime.face_confidence import FAILURE
from facekd.runtime.model import OnnxModel

IS_THE_FACE = 0.3  # IoU of a detector's box, transformed, and the square about the labels
CROPS = {
    "upright": "boxes as a detector draws them",
    "turned": "the same, turned by 90, 180 and 270 degrees",
    "part": "a part of the face: an eye, an ear, a cheek",
    "beside": "what lies beside the face: hair, hands, clothes",
    "detected": "the detector's box in the photo as it is",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--split", default="train")
    parser.add_argument("--models", nargs="+", default=["facekd-68", "facekd-68-lite"])
    parser.add_argument("--limit", type=int, default=400, help="at most so many faces, evenly spread")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    options = parser.parse_args()
    faces = Pack.open(options.pack).select(options.split)
    faces = faces.select(indices=np.linspace(0, len(faces) - 1, min(len(faces), options.limit)).astype(int))
    result = {
        "command": "python benchmarks/face_confidence.py PACK",
        "split": options.split,
        "faces": len(faces),
        "models": {name: measured(OnnxModel(name), faces) for name in options.models},
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "face_confidence.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "face_confidence.md").write_text(page(result))
    print(page(result))


def measured(model: OnnxModel, faces: Pack) -> dict[str, Any]:
    """Return what is right and what is accepted, by kind of crop and in all."""
    assert model.face_calibration is not None
    rng, detector = np.random.default_rng(1), YuNet()
    rows: list[tuple[str, bool, bool]] = []  # kind, right, accepted
    for index in range(len(faces)):
        image, truth = faces.image(index), faces.points[index][None].astype(np.float64)
        boxes, rolls = crops_about(tight_box(truth[0]), rng)
        kinds = list(KINDS)
        detected = model.card.box_transform.apply(detector.detect(image)[0])
        overlap = iou(detected, square(tight_box(truth[0]))) if len(detected) else np.zeros(1)
        if overlap.max() > IS_THE_FACE:
            kinds.append("detected")
            boxes, rolls = np.vstack([boxes, detected[int(overlap.argmax())]]), np.append(rolls, 0.0)
        crops = crop_faces(image, boxes, model.size, model.scale, -rolls)
        points, confidence, *_ = model(crops.images)
        error = metrics.nme(crops.to_photo(points), truth, metrics.primary_normaliser(truth, faces.markup))
        accepted = model.face_calibration.apply(confidence) >= TRUSTED
        rows += zip(kinds, (error <= FAILURE).tolist(), accepted.tolist(), strict=True)
    names, right, accepted = (np.array(column) for column in zip(*rows, strict=True))
    drawn = names != "detected"
    return {
        "kinds": {
            kind: {
                "crops": int((names == kind).sum()),
                "right": int(right[names == kind].sum()),
                "right_accepted": int((right & accepted)[names == kind].sum()),
                "wrong_refused": int((~right & ~accepted)[names == kind].sum()),
            }
            for kind in CROPS
        },
        "precision": float(right[drawn & accepted].mean()),
        "recall": float(accepted[drawn & right].mean()),
        "refused": float((~accepted)[drawn & ~right].mean()),
    }


def page(result: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    lines = [
        "# Face confidence",
        "",
        f"`{result['command']}`: {result['faces']} faces of the {result['split']} split of 300W; the networks were "
        "trained on them, other faces of that split fitted the two numbers of [face confidence]"
        "(../explanation/design/confidence.md#of-a-face).",
        f"Right: of the face, with an NME of at most {100 * FAILURE:.0f} %. Accepted: a face confidence of at least "
        f"{TRUSTED}, the default of `min_confidence`.",
    ]
    for name, values in result["models"].items():
        lines += [
            "",
            f"## {name}",
            "",
            f"Of all crops, precision {100 * values['precision']:.1f} % (accepted ones that are right), recall "
            f"{100 * values['recall']:.1f} % (right ones that are accepted); {100 * values['refused']:.1f} % of the "
            "wrong ones are refused.",
            "",
            "| cut out | crops | right | of those accepted | wrong | of those refused |",
            "|---|---|---|---|---|---|",
        ]
        for kind, row in values["kinds"].items():
            wrong = row["crops"] - row["right"]
            lines.append(
                f"| {CROPS[kind]} | {row['crops']} | {row['right']} | {share(row['right_accepted'], row['right'])} "
                f"| {wrong} | {share(row['wrong_refused'], wrong)} |"
            )
    return "\n".join([*lines, ""])


def share(part: int, whole: int) -> str:
    """Return a share in percent; nothing of nothing."""
    return f"{100 * part / whole:.1f} %" if whole else ""


if __name__ == "__main__":
    main()
