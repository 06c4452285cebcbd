"""The paper's chain, stage by stage: shape model, soft-landmarks, two teachers, student, baseline, evaluation, report.

Each stage ends with a file that says it is done, so the same command goes on where it stopped:

    RUN/recipe.yaml  pack.json                 what the run is made of
    RUN/shape.npz  shape.png  detector.json    the shape model; the face detector's boxes against ours
    RUN/<stage>/model.safetensors              with checkpoint.pt, log.jsonl, tensorboard/ beside it
    RUN/evaluation.json  report/               figures of all four networks on the test set
    RUN/cache/                                 decoded frames, the teachers' views; may be deleted at any time
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from lightning.fabric import Fabric

from facekd import __version__
from facekd.data.pack import Pack
from facekd.distill import journal, networks, parallel, pictures
from facekd.distill.augment import Augmenter
from facekd.distill.boxes import fit_detector
from facekd.distill.networks import About, Architecture, LandmarkNet, TorchModel
from facekd.distill.recipe import Recipe, Stage
from facekd.distill.shape import ShapeModel
from facekd.distill.teachers import OnlineTeachers, ViewedTeachers, look
from facekd.distill.train import Faces, Guidance, fit
from facekd.errors import InputError, RecipeError
from facekd.evaluate import protocol, report
from facekd.evaluate.metrics import inter_ocular
from facekd.files import atomic
from facekd.geometry import BoxTransform, apply, crop_matrix, invert, tight_box
from facekd.runtime.detector import YuNet

STAGES = ("tough", "tolerant", "student", "baseline")
MODEL = "model.safetensors"
_CONFIDENT = 0.05  # of the inter-ocular distance: within it a point counts as right


@dataclass
class Run:
    """A run in the making: what its stages share."""

    recipe: Recipe
    pack: Pack
    folder: Path
    fabric: Fabric
    train: Faces
    val: Faces
    soft: tuple[np.ndarray, np.ndarray]  # soft-landmarks of train and val, frame pixels
    about: About

    @property
    def first(self) -> bool:
        """Return whether this is the process that writes."""
        return self.fabric.global_rank == 0

    def augmenter(self, varied: bool = True) -> Augmenter:
        """Return what makes this run's views; not varied: the plain crop."""
        settings = self.recipe.augment if varied else None
        return Augmenter(settings, self.recipe.input, self.pack.markup, self.recipe.seed, self.fabric.device)

    def model(self, stage: str) -> Path:
        """Return where a stage's network lies once it is done."""
        return self.folder / stage / MODEL


def distill(recipe: Recipe, pack: Pack, folder: str | Path, accelerator: str = "auto") -> Path:
    """Run every stage of a recipe on a pack, or what is left of them; return the folder.

    Raises:
        RecipeError: the folder holds a run of another recipe.
        InputError: the pack has no training faces, or is not the one that the run began with.
        ModelError: a backbone or its weights cannot be had.
        TrainingError: a loss is no longer a number.
    """
    folder = Path(folder)
    fabric = parallel.fabric(recipe.precision, accelerator)
    if fabric.global_rank == 0:
        _claim(folder, recipe, pack)
    fabric.barrier()
    run = _prepare(recipe, pack, folder, fabric)
    for name in STAGES:
        _stage(run, name)
    if run.first:
        _evaluate(run)
    fabric.barrier()
    return folder


def _claim(folder: Path, recipe: Recipe, pack: Pack) -> None:
    """Write down what the run is made of, or check that it is what the folder was made of."""
    mine = {"recipe.yaml": recipe.to_yaml(), "pack.json": json.dumps({"sha256": pack.meta["sha256"]})}
    for name, text in mine.items():
        path = folder / name
        if not path.is_file():
            with atomic(path) as temporary:
                temporary.write_text(text)
            continue
        if path.read_text() == text:
            continue
        if name == "pack.json":
            raise InputError(f"{folder} was begun with another pack than {pack.path}; give that one or another --out")
        before, now = _flat(yaml.safe_load(path.read_text())), _flat(yaml.safe_load(text))
        changed = [
            f"{key} was {before.get(key)}, is {now.get(key)}" for key in now | before if before.get(key) != now.get(key)
        ]
        raise RecipeError(
            f"{folder} was begun with other settings ({'; '.join(changed[:3])}); give those or another --out"
        )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _prepare(recipe: Recipe, pack: Pack, folder: Path, fabric: Fabric) -> Run:
    """Decode the frames, fit the shape model and the detector's boxes, and make the soft-landmarks."""
    size, scale = recipe.input.size, recipe.input.scale
    # Stored crops reach further than the network's: at this size one frame pixel is about one network pixel.
    px = min(pack.meta["size"], 8 * round(size * pack.meta["margin"] / scale / 8))
    splits = {name: pack.select(name) for name in ("train", "val") if (pack.splits == name).any()}
    if "train" not in splits:
        raise InputError(f"{pack.path} has no faces to train on (split train)")
    faces = []
    for name in ("train", "val"):
        view = splits.get(name)
        if view is None:
            faces.append(Faces(np.empty((0, px, px, 3), np.uint8), pack.points[:0], pack.boxes[:0]))
            continue
        if fabric.global_rank == 0:
            view.frames(folder / "cache" / f"{name}.npy", px)
        fabric.barrier()
        frames, points = view.frames(folder / "cache" / f"{name}.npy", px)
        faces.append(Faces(frames, points, tight_box(points)))
    train, val = faces

    matrices = [crop_matrix(part.boxes, size, scale) for part in faces]
    shapes = [(apply(m, part.points) - (size - 1) / 2) / size for m, part in zip(matrices, faces, strict=True)]
    s = recipe.shape
    model = ShapeModel.fit(shapes[0], s.variance, s.clip, s.procrustes)
    soft = [
        apply(invert(m), model.soft(shape) * size + (size - 1) / 2).astype(np.float32) if len(shape) else shape
        for m, shape in zip(matrices, shapes, strict=True)
    ]
    if fabric.global_rank == 0 and not (folder / "shape.png").is_file():
        model.save(folder / "shape.npz")
        pictures.modes(model, folder / "shape.png", pack.markup)
    about = About(
        markup=pack.markup,
        scale=scale,
        detector=_detector(splits["train"], folder / "detector.json", fabric),
        confident=_confident(shapes[0], pack),
        data=[{"name": pack.meta["dataset"], "terms": pack.meta["terms"]}],
    )
    return Run(recipe, pack, folder, fabric, train, val, (soft[0], soft[1]), about)


def _confident(shapes: np.ndarray, pack: Pack) -> float:
    """Return 5 % of the mean inter-ocular distance (of the half diagonal, without eyes) in normalised coordinates."""
    eyes = pack.markup.inter_ocular is not None
    distance = inter_ocular(shapes, pack.markup) if eyes else 0.5 * np.linalg.norm(np.ptp(shapes, axis=1), axis=-1)
    return float(_CONFIDENT * distance.mean())


def _detector(train: Pack, path: Path, fabric: Fabric) -> BoxTransform | None:
    """Return how the face detector's boxes become tight landmark boxes, fitted once and kept at `path`."""
    if fabric.global_rank == 0 and not path.is_file():
        record = fit_detector(train)
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(record, indent=1))
    fabric.barrier()
    transform = json.loads(path.read_text())["transform"]
    return BoxTransform.from_dict(transform) if transform else None


def _stage(run: Run, name: str) -> None:
    """Train one network, unless it is done."""
    if run.model(name).is_file():
        return
    stage: Stage = getattr(run.recipe, name)
    torch.manual_seed(run.recipe.seed)
    net = LandmarkNet(_architecture(run, stage))
    if stage.weights in STAGES:
        net.load_state_dict(_earlier(run, stage, name))
    else:
        networks.load_backbone(net, stage.weights)
        if stage.mean_start:
            net.start_at(_mean_shape(run))
    train, val = run.train, run.val
    if name == "tolerant":
        train, val = Faces(train.frames, run.soft[0], train.boxes), Faces(val.frames, run.soft[1], val.boxes)
    # The baseline sees the student's fixed views too, so that the teachers are all that differs.
    views = run.recipe.teaching.fixed_views(stage.epochs) if name in ("student", "baseline") else None
    guidance = _guidance(run, views) if stage.loss == "kd" else None
    net.to(run.fabric.device)
    summary = fit(
        run.fabric, net, stage, train, val, run.augmenter(), run.augmenter(varied=False), run.pack.markup,
        run.folder / name, guidance, views,
    )  # fmt: skip
    if run.first:
        with atomic(run.folder / name / "summary.json") as temporary:
            temporary.write_text(json.dumps(summary, indent=1))
        about = About(**vars(run.about) | {"recipe": {"stage": name, **run.recipe.published()}})
        networks.save(net, about, run.model(name))
    run.fabric.barrier()


def _architecture(run: Run, stage: Stage) -> Architecture:
    return Architecture(
        backbone=stage.backbone,
        head=stage.head,
        points=run.pack.markup.count,
        size=run.recipe.input.size,
        dropout=stage.dropout,
        sigma=stage.sigma > 0,
        standardise=stage.standardise,
    )


def _earlier(run: Run, stage: Stage, name: str) -> dict[str, torch.Tensor]:
    """Return the weights of an earlier stage of the same architecture."""
    net, _ = networks.load(run.model(stage.weights))
    if net.architecture != _architecture(run, stage):
        raise RecipeError(
            f"{name}.weights is {stage.weights}, which is another network; give both one backbone and head"
        )
    return net.state_dict()


def _mean_shape(run: Run) -> torch.Tensor:
    """Return the mean training shape (N, 2), normalised."""
    size = run.recipe.input.size
    shapes = apply(crop_matrix(run.train.boxes, size, run.recipe.input.scale), run.train.points)
    return torch.from_numpy((shapes.mean(axis=0) - (size - 1) / 2) / size).float()


def _guidance(run: Run, views: int | None) -> Guidance:
    """Return the teachers, asked online or, where there are fixed views, once for each of them."""
    nets = {name: networks.load(run.model(name))[0] for name in ("tough", "tolerant")}
    if views is None:
        return OnlineTeachers(nets["tough"], nets["tolerant"], run.fabric)
    said = [
        look(net, run.train, run.augmenter(), views, run.folder / "cache" / f"{name}_{views}.npy", run.fabric, name)
        for name, net in nets.items()
    ]
    return ViewedTeachers(said[0], said[1], run.fabric.device)


def _evaluate(run: Run) -> None:
    """Measure all four networks on the test set, and write evaluation.json and the report."""
    path = run.folder / "evaluation.json"
    if path.is_file() and (run.folder / "report" / "index.html").is_file():
        return
    test = run.pack.select("test")
    boxes = [kind for kind in run.recipe.evaluation.boxes if kind == "truth" or run.about.detector]
    results = []
    for kind in boxes:
        for name in STAGES:
            model = TorchModel.load(run.model(name), device=str(run.fabric.device))
            results.append(
                protocol.evaluate(
                    model, test, kind, YuNet().detect if kind == "detector" else None,
                    model=name, bootstrap=run.recipe.evaluation.bootstrap,
                )
            )  # fmt: skip
    stages = {name: json.loads((run.folder / name / "summary.json").read_text()) for name in STAGES}
    record = {
        "recipe": run.recipe.published(),
        "facekd": __version__,
        "stages": stages,
        "results": [result.to_json() for result in results],
    }
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1))
    report.write(
        run.folder / "report",
        results,
        title=f"facekd distill: {run.recipe.name}",
        notes=[_about_the_run(run, test)],
        wall_times={name: stage["seconds"] for name, stage in stages.items()},
        curves={name: _curve(run.folder / name / "log.jsonl") for name in STAGES},
    )


def _about_the_run(run: Run, test: Pack) -> str:
    r = run.recipe
    options = " ".join([r.student.loss, *(f"{key} {value}" for key, value in r.student.loss_options.items())])
    return (
        f"{len(run.train)} training faces, {len(run.val)} for validation, {len(test)} for the test; {r.input.size} px; "
        f"teachers {r.tough.backbone}, student {r.student.backbone}; student with teachers: {options}, "
        f"without: {r.baseline.loss}, both {r.student.epochs} epochs; seed {r.seed}."
    )


def _curve(path: Path) -> dict[str, list[float]]:
    """Return the validation error by epoch of a stage's log."""
    records = journal.read(path)
    return {"epoch": [r["epoch"] for r in records], "validation NME, %": [r["val_nme"] for r in records]}
