"""A run in the making: its faces, its views, and each of a recipe's networks trained once.

A network is trained in a folder of its own, its home:

    HOME/model.safetensors          the network; there when it is done
    HOME/summary.json  log.jsonl    what training it took; tensorboard/ beside it
    HOME/copy-0 ...                 where a stage has copies: each of them; the log above is the first's
    HOME/checkpoint.pt              where a broken run goes on; gone when it is done
    HOME/shape.npz  shape.png       of the tolerant teacher: the shape model its soft-landmarks come from
"""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from lightning.fabric import Fabric

from facekd.data.pack import Pack
from facekd.errors import InputError, RecipeError
from facekd.evaluation import protocol
from facekd.evaluation import shapes as pictures
from facekd.evaluation.metrics import inter_ocular
from facekd.evaluation.protocol import Result
from facekd.files import write_text
from facekd.geometry import BoxTransform, apply, crop_matrix, invert, normalise, tight_box, warp
from facekd.markup import convert, convertible
from facekd.networks import checkpoint as networks
from facekd.networks.architecture import Architecture
from facekd.networks.backbone import load_backbone
from facekd.networks.checkpoint import ModelMetadata
from facekd.networks.network import LandmarkNet, Prediction, cost
from facekd.networks.predictor import TorchModel
from facekd.pipeline.boxes import fit_detector
from facekd.pipeline.calibration import calibrate
from facekd.pipeline.shape_prior import fit_shape_prior
from facekd.recipes.schema import STAGES, Recipe, Stage
from facekd.runtime.card import sha256
from facekd.runtime.detector import YuNet
from facekd.shape import ShapeModel
from facekd.training.augment import Augmenter
from facekd.training.faces import ConcatenatedFrames, Faces, sampling_weights
from facekd.training.loop import CHECKPOINT, Guidance, face_errors, fit, validate
from facekd.training.teachers import (
    MovedTeachers,
    OnlineTeachers,
    Says,
    ViewedTeachers,
    expert_says,
    landmarks_of,
    look,
)

MODEL = "model.safetensors"
_SHAPE_VIEWS = 8  # of each training face: what a shape prior is fitted to
_CONFIDENT = 0.05  # of the inter-ocular distance: within it a point counts as right


@dataclass
class Run:
    """What a recipe's networks share while they are trained.

    Attributes:
        recipe, pack, fabric: as given; the fabric is launched.
        folder: holds detector.json and cache/ (decoded frames, the teachers' views), which may be deleted at any time.
        home: maps a network's name to its folder.
        unlabelled: more faces, whose points only say where they are; a network with an expert is trained on them too.
        learn_val: the validation faces are learned from too, and nothing is measured or fitted on them.
    """

    recipe: Recipe
    pack: Pack
    folder: Path
    fabric: Fabric
    home: Callable[[str], Path]
    unlabelled: Pack | None = None
    learn_val: bool = False

    @property
    def first(self) -> bool:
        """Return whether this is the process that writes."""
        return self.fabric.global_rank == 0

    def train(self, size: int) -> Faces:
        """Return the faces to train a network of that size on. Raises InputError when the pack has none."""
        if not (self.pack.splits == "train").any():
            raise InputError(f"{self.pack.path} has no faces to train on (split train)")
        train = self._faces(self.pack, "train", size)
        return _joined(train, self._faces(self.pack, "val", size)) if self.learn_val else train

    def val(self, size: int) -> Faces:
        """Return the faces to validate a network of that size on; there may be none."""
        return self._faces(self.pack, None if self.learn_val else "val", size)

    @property
    def test(self) -> Pack:
        """Return the faces to test on."""
        return self.pack.select("test")

    @property
    def mirror(self) -> torch.Tensor | None:
        """Return what each point (N,) is in a mirrored face; None where the mark-up does not say."""
        markup = self.pack.markup
        return torch.tensor(markup.mirror) if markup.mirrors else None

    def model(self, name: str) -> Path:
        """Return where a network lies once it is done."""
        return self.home(name) / MODEL

    def augmenter(self, name: str, size: int, varied: bool = True) -> Augmenter:
        """Return what makes a network's training views, the same at any size; not varied: the plain crop."""
        settings = self.recipe.augmentation(name) if varied else None
        frame = self.recipe.input.model_copy(update={"size": size})
        return Augmenter(settings, frame, self.pack.markup, self.recipe.seed, self.fabric.device)

    def network(self, name: str) -> Path:
        """Train a network, and first those that it learns from, unless they are done; return its file.

        Raises:
            InputError: the pack has no training faces.
            RecipeError: a network cannot start from the weights of the stage it names.
            ModelError: a backbone or its weights cannot be had.
            TrainingError: a loss is no longer a number.
        """
        if self.model(name).is_file():
            return self.model(name)
        for other in self.recipe.needs(name):
            self.network(other)
        stage = self.recipe.stage(name)
        if stage.copies:
            net, held_out, summary = self._averaged(name)
        else:
            net, summary = self._trained(name)
            held_out = net
        # By all processes: what this needs to make, one makes and the others wait for.
        about = self._about(name)
        about = about if self.learn_val else self._tuned(held_out, about, name)
        if self.first:
            summary["parameters"], summary["macs"] = cost(net)
            write_text(self.home(name) / "summary.json", json.dumps(summary, indent=1))
            networks.save(net, about, self.model(name))
            (self.home(name) / CHECKPOINT).unlink(missing_ok=True)
        self.fabric.barrier()
        return self.model(name)

    def _trained(self, name: str) -> tuple[LandmarkNet, dict[str, Any]]:
        """Return a network trained as its stage says, and what that took."""
        stage, size = self.recipe.stage(name), self.recipe.size(name)
        torch.manual_seed(self.recipe.seed + stage.seed)
        net = self._untrained(name, stage)
        train, val = self._soft(size) if name == "tolerant" else (self._taught(stage, size), self.val(size))
        if stage.rare:
            train = replace(train, sampling_weights=sampling_weights(train.points, stage.rare))
        # The baseline sees the student's fixed views too, so that the teachers are all that differs.
        views = self.recipe.fixed_views(name)
        guidance = self._guidance(name, train, size, views) if stage.teachings else None
        net.to(self.fabric.device)
        summary = fit(
            self.fabric, net, stage, train, val, self.augmenter(name, size), self.augmenter(name, size, varied=False),
            self.pack.markup, self.home(name), guidance, views, title=name, seed=self.recipe.seed + stage.seed,
        )  # fmt: skip
        return net, summary

    def _averaged(self, name: str) -> tuple[LandmarkNet, LandmarkNet, dict[str, Any]]:
        """Return the mean of a network's copies, that of those the validation faces are new to, and what they took.

        The copies stay in HOME/copy-0, ... The validation error is that of the second mean.
        Copies that start from the same trained network end in one valley of the loss, and their mean lies lower in it.
        Source: Wortsman et al., "Model soups", ICML 2022.
        """
        stage, home, size = self.recipe.stage(name), self.home(name), self.recipe.size(name)
        copies = [stage.copy_of(number) for number in range(len(stage.copies))]
        nets, summaries = [], []
        for number, own in enumerate(copies):
            run = replace(
                self,
                recipe=self.recipe.model_copy(update={"seed": self.recipe.seed + own.seed, name: own.stage}),
                home=partial(_instead, name, home / f"copy-{number}", self.home),
                learn_val=own.learn_val,
            )
            nets.append(networks.load(run.network(name))[0])
            summaries.append(json.loads((run.home(name) / "summary.json").read_text(encoding="utf-8")))
        net = _mean(nets).to(self.fabric.device)
        held_out = _mean([each for each, own in zip(nets, copies, strict=True) if not own.learn_val])
        held_out.to(self.fabric.device)
        if self.first:  # the curve that is shown is the first copy's
            shutil.copyfile(home / "copy-0" / "log.jsonl", home / "log.jsonl")
        summary = summaries[0] | {"seconds": round(sum(summary["seconds"] for summary in summaries), 1)}
        val, plain = self.val(size), self.augmenter(name, size, varied=False)
        if len(val):
            summary["val_nme"] = validate(self.fabric, held_out, val, plain, self.pack.markup, stage.batch)
        return net, held_out, summary

    def evaluate(self, name: str) -> list[Result]:
        """Measure a network that is done on the test set, with each kind of boxes that the recipe asks for."""
        model = TorchModel.load(self.model(name), device=str(self.fabric.device))
        settings = self.recipe.evaluation
        kinds = [kind for kind in settings.boxes if kind == "truth" or model.detector]
        return [
            protocol.evaluate(
                model, self.test, kind, YuNet().detect if kind == "detector" else None,
                model=name, bootstrap=settings.bootstrap,
            )
            for kind in kinds
        ]  # fmt: skip

    def _faces(self, pack: Pack, split: str | None, size: int, name: str | None = None) -> Faces:
        """Return the faces of a split, decoded for networks of a size; name: of the cache's file, None: the split's.

        split: None for no faces.
        """
        scale = self.recipe.input.scale
        # Stored crops reach further than the network's: at this size one frame pixel is about one network pixel.
        px = min(self.pack.meta["size"], 8 * round(size * self.pack.meta["margin"] / scale / 8))
        if not (pack.splits == split).any():
            return Faces(np.empty((0, px, px, 3), np.uint8), pack.points[:0], pack.boxes[:0])
        path, view = self.folder / "cache" / f"{name or split}_{px}.npy", pack.select(split)
        self._once(path, lambda: view.frames(path, px))
        frames, points = view.frames(path, px)
        return Faces(frames, points, tight_box(points))

    def _taught(self, stage: Stage, size: int) -> Faces:
        """Return the faces a network is trained on: with an expert, those without labels too."""
        if self.unlabelled is None or not stage.needs_no_labels:
            return self.train(size)
        a, b = self.train(size), self._faces(self.unlabelled, "train", size, "unlabelled")
        own, other = self.pack.markup, self.unlabelled.markup
        if own.name != other.name and not convertible(other, own):
            raise InputError(
                f"{self.unlabelled.path} has points of {other.name}, which cannot say where a face of {own.name} is: "
                "prepare unlabelled faces for that mark-up"
            )
        points = convert(b.points, other, own)
        both = _joined(a, Faces(b.frames, points, tight_box(points)))
        return replace(both, labelled=np.arange(len(both)) < len(a))

    def _once(self, path: Path, make: Callable[[], object]) -> None:
        """Let one process make a file, unless it is there, while others wait: of this run, and of other runs."""
        if self.first:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{path}.lock"):
                make()
        self.fabric.barrier()

    def _shapes(self, faces: Faces, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the faces' shapes (n, N, 2), normalised, and the matrices (n, 2, 3) from frame to input."""
        matrices = crop_matrix(faces.boxes, size, self.recipe.input.scale)
        return (apply(matrices, faces.points) - (size - 1) / 2) / size, matrices

    def _soft(self, size: int) -> tuple[Faces, Faces]:
        """Return the faces for training and for validation with soft-landmarks (paper) in place of the hard ones."""
        s, home = self.recipe.shape, self.home("tolerant")
        model = ShapeModel.fit(self._shapes(self.train(size), size)[0], s.variance, s.clip, s.procrustes)
        if self.first:
            home.mkdir(parents=True, exist_ok=True)
            model.save(home / "shape.npz")
            pictures.modes(model, home / "shape.png", self.pack.markup)

        def soften(faces: Faces) -> Faces:
            if not len(faces):
                return faces
            shapes, matrices = self._shapes(faces, size)
            points = apply(invert(matrices), model.soft(shapes) * size + (size - 1) / 2).astype(np.float32)
            return Faces(faces.frames, points, faces.boxes)

        return soften(self.train(size)), soften(self.val(size))

    def _untrained(self, name: str, stage: Stage) -> LandmarkNet:
        """Return a network with the weights it starts from."""
        architecture = Architecture(
            backbone=stage.backbone,
            head=stage.head,
            points=self.pack.markup.count,
            size=self.recipe.size(name),
            dropout=stage.dropout,
            stride=stage.stride,
            sigma=stage.sigma > 0,
            standardise=stage.standardise,
        )
        net = LandmarkNet(architecture)
        if stage.weights in STAGES:
            earlier, _ = networks.load(self.model(stage.weights))
            # Weights fit whatever size and dropout are.
            if replace(earlier.architecture, size=architecture.size, dropout=architecture.dropout) != architecture:
                raise RecipeError(
                    f"{name}.weights is {stage.weights}, which is another network; give both one backbone, head, "
                    "stride and standardise, and sigma to both or to none"
                )
            net.load_state_dict(earlier.state_dict())
            return net
        load_backbone(net.backbone, stage.backbone, stage.weights, f"{name}.weights")
        if stage.mean_start:
            size = architecture.size
            net.start_at(torch.from_numpy(self._shapes(self.train(size), size)[0].mean(axis=0)).float())
        return net

    def _guidance(self, student: str, train: Faces, size: int, views: int | None) -> Guidance:
        """Return a network's teachers, asked as the recipe says; train, size, views: what the network sees."""
        stage = self.recipe.stage(student)
        moved = self.recipe.teaching.mode == "moved"
        mirror = self.mirror if self.recipe.teaching.mirror else None
        teachers: dict[str, Says] = {}
        for name in stage.teachings:
            net = networks.load(self.model(name))[0].requires_grad_(False).to(self.fabric.device)
            net = net.to(memory_format=torch.channels_last)
            teachers[name] = expert_says(net, mirror) if name == "expert" else landmarks_of(net)
        if views is None and not moved:
            return OnlineTeachers(teachers, self.fabric)
        said: dict[str, np.ndarray] = {}
        for name, says in teachers.items():
            own = self.recipe.size(name)  # a teacher sees the same view at its own size
            seen, eye = self._taught(stage, own), self.augmenter(student, own, varied=not moved)
            path = self.folder / "cache" / f"{name}_{views or 'plain'}_{self._looked(name, eye, train)}.npy"
            self._once(path, partial(look, says, seen, eye, views or 1, path, self.fabric, name))
            said[name] = np.load(path, mmap_mode="r")
        if moved:
            plain = {name: known[0] for name, known in said.items()}
            return MovedTeachers(plain, train, self.augmenter(student, size))
        return ViewedTeachers(said, self.fabric.device)

    def _looked(self, name: str, eye: Augmenter, train: Faces) -> str:
        """Return a digest of all that decides what a teacher says: who it is, the faces, and what it sees of them."""
        made_of = {
            "teacher": sha256(self.model(name)),
            "mirror": name == "expert" and self.recipe.teaching.mirror,
            "pack": self.pack.meta["sha256"],
            "unlabelled": train.labelled is not None and self.unlabelled and self.unlabelled.meta["sha256"],
            "learn_val": self.learn_val,
            "frame": eye.frame.model_dump(),
            "views": eye.settings and [eye.settings.model_dump(), eye.seed],
        }
        return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:10]

    def _about(self, name: str) -> ModelMetadata:
        """Return what is saved with a network."""
        more = [self.unlabelled] if self.unlabelled and self.recipe.stage(name).needs_no_labels else []
        packs = [self.pack, *more]
        return ModelMetadata(
            markup=self.pack.markup,
            scale=self.recipe.input.scale,
            detector=self._detector(),
            confidence_radius=self._confident(self.recipe.size(name)),
            data=[{"name": pack.meta["dataset"], "terms": pack.meta["terms"]} for pack in packs],
            recipe={"stage": name, **self.recipe.published()},
        )

    def _confident(self, size: int) -> float:
        """Return 5 % of the mean inter-ocular distance (of the half diagonal, without eyes), normalised."""
        shapes, _ = self._shapes(self.train(size), size)
        eyes = self.pack.markup.inter_ocular is not None
        distance = (
            inter_ocular(shapes, self.pack.markup) if eyes else 0.5 * np.linalg.norm(np.ptp(shapes, axis=1), axis=-1)
        )
        return float(_CONFIDENT * distance.mean())

    def _tuned(self, net: LandmarkNet, about: ModelMetadata, name: str) -> ModelMetadata:
        """Return what is saved with a network, its shape prior and calibration fitted on the validation faces.

        They are cut and read as the runtime does: of training's frames the last tenth of a pixel may be another.
        """
        stage, size = self.recipe.stage(name), net.architecture.size
        if not (self.pack.splits == "val").any() or not (stage.refine or stage.sigma):
            return about
        faces = self.pack.select("val")
        matrices = crop_matrix(faces.boxes, size, about.scale)
        truth = normalise(torch.from_numpy(apply(matrices, faces.points.astype(np.float64))).float(), size)
        frames = np.stack([warp(faces.image(row), matrix, size) for row, matrix in enumerate(matrices)])
        model = TorchModel(net, about, str(self.fabric.device))
        parts = [model.predict_raw(frames[i : i + stage.batch]) for i in range(0, len(frames), stage.batch)]
        said = torch.cat([part.landmarks.cpu() for part in parts])
        sigmas = [part.log_sigma.cpu() for part in parts if part.log_sigma is not None]
        log_sigma = torch.cat(sigmas) if sigmas else None
        if stage.refine:
            train, views = self.train(size), self.augmenter(name, size)
            points, rows = torch.from_numpy(train.points), np.arange(len(train))
            shapes = torch.cat([views.move(points, train.boxes, rows, view).cpu() for view in range(_SHAPE_VIEWS)])
            error = partial(face_errors, markup=self.pack.markup, size=size)
            about = replace(about, shape_prior=fit_shape_prior(shapes, said, log_sigma, truth, self.mirror, error))
        if log_sigma is not None:
            distance = (about.landmarks(Prediction(said, log_sigma)) - truth).norm(dim=-1)
            about = replace(about, calibration=calibrate(log_sigma, distance, about.confidence_radius))
        return about

    def _detector(self) -> BoxTransform | None:
        """Return how the face detector's boxes become tight landmark boxes, fitted once and kept in the folder."""
        path = self.folder / "detector.json"

        def fitted() -> None:
            if not path.is_file():
                record = fit_detector(self.pack.select("train"))
                write_text(path, json.dumps(record, indent=1))

        self._once(path, fitted)
        transform = json.loads(path.read_text(encoding="utf-8"))["transform"]
        return BoxTransform.from_dict(transform) if transform else None


def _instead(name: str, folder: Path, home: Callable[[str], Path], other: str) -> Path:
    """Return the home of a network, which of one name is a folder of its own."""
    return folder if other == name else home(other)


def _joined(a: Faces, b: Faces) -> Faces:
    """Return the faces of both, labelled alike."""
    sources = [*_sources(a.frames), *_sources(b.frames)]
    return Faces(ConcatenatedFrames(*sources), np.concatenate([a.points, b.points]), np.concatenate([a.boxes, b.boxes]))


def _sources(frames: np.ndarray | ConcatenatedFrames) -> tuple[np.ndarray, ...]:
    return frames.sources if isinstance(frames, ConcatenatedFrames) else (frames,)


def _mean(nets: list[LandmarkNet]) -> LandmarkNet:
    """Return a network with the mean of the weights of networks; of whole numbers, which only count, the first's."""
    mean, states = copy.deepcopy(nets[0]), [net.state_dict() for net in nets]
    mean.load_state_dict(
        {
            key: torch.stack([state[key] for state in states]).mean(0) if value.is_floating_point() else value
            for key, value in states[0].items()
        }
    )
    return mean
