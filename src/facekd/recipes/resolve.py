"""From a recipe's names to stages: sizes, views, starts and teachers decided, once and for all that follows.

What trains a network takes a `TrainStage` and asks no recipe. A stage holds the stages it starts from and learns from,
so that to train one is to train, first, those.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from facekd.errors import ModelError
from facekd.losses.objective import TeacherTerm
from facekd.losses.registry import Loss
from facekd.networks.backbone import check_backbone
from facekd.recipes.averages import AverageSettings
from facekd.recipes.groups import Augment, Input, Network, Optimisation, Shape
from facekd.recipes.schema import Recipe, TrainSettings
from facekd.runtime.names import bundled, given_file

Part = TypeVar("Part", Network, Optimisation)


@dataclass(frozen=True)
class HardLandmarks:
    """A network learns the labels (paper: Hard-landmarks)."""


@dataclass(frozen=True)
class SoftLandmarks:
    """A network learns the labels' projections on a shape model (paper: Soft-landmarks)."""

    shape: Shape


@dataclass(frozen=True)
class TimmWeights:
    """A backbone starts from timm's hub."""


@dataclass(frozen=True)
class RandomWeights:
    """A network starts from scratch."""


@dataclass(frozen=True)
class WeightFile:
    """A network starts from a file: one of ours, whole or as far as its points go, or a backbone with timm's names."""

    path: Path


@dataclass(frozen=True, eq=False)
class TeacherStage:
    """A stage that teaches, and how its predictions enter the loss."""

    stage: Stage
    term: TeacherTerm


@dataclass(frozen=True, eq=False)
class TrainStage:
    """A network and all that decides what it becomes, but for the faces.

    Attributes:
        name: of the stage.
        network: backbone and head.
        optimisation: epochs, rates and so on.
        loss: settings of the loss between landmarks.
        nll_weight, heatmap_weight: of the terms beside it.
        frame: what it sees.
        augment: how its training views vary.
        views: how many fixed views there are of each face; 0: each epoch has new ones.
        targets: what it learns.
        start: where its weights come from.
        teachers: whom it learns from.
        warp_predictions: whether teachers see the plain crop, and their predictions are warped with each view.
        mirror_teachers: whether teachers of landmarks and heatmaps also see the mirrored view.
        train_on: the splits it learns from.
        exclude_subsets: subsets of the training faces that it does not learn from.
        use_unlabelled: whether it learns from faces without labels where a teacher makes that possible.
        rare_shape_fraction: share of the views drawn by how far a face's shape is from the mean shape.
        shape_prior: whether its landmarks may become the posterior mean under a shape prior.
        seed: of initialisation, order and dropout.
        view_seed: of the views.
        precision: "auto", "32" or "bf16".
        visibility_weight: of the term of visibility; above 0 the network has such an output.
        occluded_weight: how much the losses of an occluded point count.
    """

    name: str
    network: Network
    optimisation: Optimisation
    loss: Loss
    nll_weight: float
    heatmap_weight: float
    frame: Input
    augment: Augment
    views: int
    targets: HardLandmarks | SoftLandmarks
    start: Start
    teachers: tuple[TeacherStage, ...]
    warp_predictions: bool
    mirror_teachers: bool
    train_on: tuple[Literal["train", "val"], ...]
    exclude_subsets: tuple[str, ...]
    use_unlabelled: bool
    rare_shape_fraction: float
    shape_prior: bool
    seed: int
    view_seed: int
    precision: str
    visibility_weight: float = 0.0
    occluded_weight: float = 1.0

    @property
    def learns_visibility(self) -> bool:
        """Return whether it takes labels of visibility."""
        return bool(self.visibility_weight) or self.occluded_weight != 1

    @property
    def needs(self) -> tuple[Stage, ...]:
        """Return the stages that have to be trained before: its start and its teachers, each once."""
        start = (self.start,) if isinstance(self.start, TrainStage | AverageStage) else ()
        return tuple(dict.fromkeys((*start, *(teacher.stage for teacher in self.teachers))))

    @property
    def learns_unlabelled(self) -> bool:
        """Return whether faces without labels, if there are any, are among those it learns from."""
        return self.use_unlabelled and any(not teacher.term.needs_labels for teacher in self.teachers)

    @property
    def sees_val(self) -> bool:
        """Return whether it learns from the validation faces too, so that nothing is left to choose by them."""
        return "val" in self.train_on

    @property
    def val_seen_before(self) -> Stage | None:
        """Return the stage, of those that it starts from, whose network has learned the validation faces."""
        return _with_val(self.start) if isinstance(self.start, TrainStage | AverageStage) else None

    def describe(self) -> str:
        """Describe the network for a report.

        Returns:
            A few words: name, backbone and how it is trained.
        """
        options = {k: v for k, v in self.loss.model_dump(exclude_defaults=True).items() if k != "name"}
        loss = " ".join([self.loss.name, *(f"{key} {value}" for key, value in options.items())])
        network, epochs = self.network, self.optimisation.num_epochs
        return f"{self.name} ({network.backbone}, {network.head}, {loss}, {self.frame.size} px, {epochs} epochs)"

    def identity(self) -> dict[str, Any]:
        """Collect every setting that decides what the network becomes.

        Settings at their defaults are left out of their groups, so that an option that is added later changes no
        identity. What faces there are is for the caller to add.

        Returns:
            Plain values; two stages of one identity, on one pack, are the same network.
        """
        groups = {
            "network": self.network,
            "optimisation": self.optimisation,
            "loss": self.loss,
            "frame": self.frame,
            "augment": self.augment,
        }
        teachers = [
            {"of": teacher.stage.identity(), "role": teacher.term.role, "weight": teacher.term.weight}
            for teacher in self.teachers
        ]
        asked = {"warp": self.warp_predictions} if teachers else {}
        if any(not teacher.term.needs_labels for teacher in self.teachers):  # the others see no mirrored view
            asked["mirror"] = self.mirror_teachers
        excluded = {"exclude_subsets": sorted(self.exclude_subsets)} if self.exclude_subsets else {}
        visibility = {"visibility": [self.visibility_weight, self.occluded_weight]} if self.learns_visibility else {}
        soft = self.targets.shape.model_dump() if isinstance(self.targets, SoftLandmarks) else None
        return {name: group.model_dump(mode="json", exclude_defaults=True) for name, group in groups.items()} | {
            "name_of_loss": self.loss.name,
            "weights": [self.nll_weight, self.heatmap_weight],
            "views": self.views,
            "soft": soft,
            "start": _identity_of(self.start),
            "teachers": teachers,
            "asked": asked,
            "train_on": list(self.train_on),
            "unlabelled": self.learns_unlabelled,
            "rare": self.rare_shape_fraction,
            "shape_prior": self.shape_prior,
            "seeds": [self.seed, self.view_seed],
            "precision": self.precision,
            **excluded,
            **visibility,
        }


@dataclass(frozen=True, eq=False)
class AverageStage:
    """The mean of the weights of networks that start from one trained network (model soup).

    Such networks end in one valley of the loss, and their mean lies lower in it.
    Source: Wortsman et al., "Model soups", ICML 2022; with the start, "Robust fine-tuning of zero-shot models", 2022.

    Attributes:
        name: of the stage.
        members: the stages whose weights are averaged.
        shape_prior: as of a `TrainStage`.
        start_weight: how much the network that they started from counts, each member counting 1.
        start: that network, where it is an earlier one than the members' own start.
    """

    name: str
    members: tuple[TrainStage, ...]
    shape_prior: bool
    start_weight: float = 0.0
    start: Stage | None = None

    @property
    def needs(self) -> tuple[Stage, ...]:
        """Return the stages that have to be trained before."""
        return (*self.members, *((self.start,) if self.start else ()))

    @property
    def frame(self) -> Input:
        """Return what the network sees."""
        return self.members[0].frame

    @property
    def learns_unlabelled(self) -> bool:
        """Return whether a member learns from faces without labels."""
        return any(member.learns_unlabelled for member in self.members)

    @property
    def sees_val(self) -> bool:
        """Return False: what is fitted on those faces is fitted to the mean of members that do not see them."""
        return False

    @property
    def val_seen_before(self) -> Stage | None:
        """Return the stage, of those that it or such members start from, that has learned the validation faces."""
        before = [_with_val(self.start)] if self.start else []
        before += [member.val_seen_before for member in self.members if not member.sees_val]
        return next((stage for stage in before if stage), None)

    @property
    def precision(self) -> str:
        """Return the precision its members are trained with."""
        return self.members[0].precision

    def describe(self) -> str:
        """Describe the network for a report.

        Returns:
            A few words: name, backbone and how it is trained.
        """
        names = [member.name for member in self.members]
        if self.start_weight:
            start = self.start.name if self.start else "their start"
            names.append(start if self.start_weight == 1 else f"{self.start_weight:g} times {start}")
        return f"{self.name} (the mean of {', '.join(names)})"

    def identity(self) -> dict[str, Any]:
        """Collect every setting that decides what the network becomes.

        Returns:
            Plain values, as of `TrainStage.identity`.
        """
        found = {"mean_of": [member.identity() for member in self.members], "shape_prior": self.shape_prior}
        start = {"start": self.start.identity()} if self.start else {}
        weight = {"start_weight": self.start_weight} if self.start_weight else {}  # studies of before have none
        return found | start | weight


Stage = TrainStage | AverageStage
Start = RandomWeights | TimmWeights | WeightFile | Stage


def resolve(recipe: Recipe) -> dict[str, Stage]:
    """Return a recipe's stages by name, in the order they are trained.

    Args:
        recipe: as `facekd.recipes.load.load` reads it.

    Returns:
        The stages, each with those it starts from and learns from.

    Raises:
        ModelError: timm has no such backbone, or a file of weights is not there.
    """
    stages: dict[str, Stage] = {}
    for name, settings in recipe.stages.items():
        if isinstance(settings, AverageSettings):
            members = tuple(stage for other in settings.of if isinstance(stage := stages[other], TrainStage))
            start = stages[settings.start] if settings.start else None
            stages[name] = AverageStage(name, members, settings.shape_prior, settings.start_weight, start)
        else:
            stages[name] = _trained(recipe, name, settings, stages)
    return stages


def closure(*stages: Stage) -> Iterator[Stage]:
    """Yield stages and all that have to be trained before them.

    Args:
        stages: of one recipe.

    Yields:
        Each stage once, after those it needs.
    """
    seen: set[int] = set()

    def visit(stage: Stage) -> Iterator[Stage]:
        if id(stage) not in seen:
            seen.add(id(stage))
            for other in stage.needs:
                yield from visit(other)
            yield stage

    for stage in stages:
        yield from visit(stage)


def _trained(recipe: Recipe, name: str, settings: TrainSettings, before: dict[str, Stage]) -> TrainStage:
    check_backbone(settings.backbone)
    terms = [
        TeacherTerm(teacher.stage, recipe.role_of(teacher) if teacher.how == "kd" else teacher.how, teacher.weight)
        for teacher in settings.teachers
    ]
    return TrainStage(
        name=name,
        network=_part(Network, settings),
        optimisation=_part(Optimisation, settings),
        loss=settings.loss,
        nll_weight=settings.nll_weight,
        heatmap_weight=settings.heatmap_weight,
        frame=recipe.input.model_copy(update={"size": settings.size or recipe.input.size}),
        augment=settings.augment or recipe.augment,
        views=min(settings.views, settings.num_epochs),
        targets=SoftLandmarks(recipe.shape) if settings.targets == "soft" else HardLandmarks(),
        start=_start(name, settings.init, before),
        teachers=tuple(TeacherStage(before[term.name], term) for term in terms),
        warp_predictions=settings.teacher_view == "plain",
        mirror_teachers=settings.teacher_mirror,
        train_on=settings.train_on,
        exclude_subsets=settings.exclude_subsets,
        use_unlabelled=settings.use_unlabelled,
        rare_shape_fraction=settings.rare_shape_fraction,
        shape_prior=settings.shape_prior,
        seed=recipe.seed + settings.seed,
        view_seed=recipe.seed + settings.view_seed,
        precision=recipe.precision,
        visibility_weight=settings.visibility_weight,
        occluded_weight=settings.occluded_weight,
    )


def _part(kind: type[Part], settings: TrainSettings) -> Part:
    """Return one group of a stage's settings."""
    return kind.model_validate({key: getattr(settings, key) for key in kind.model_fields})


def _start(name: str, init: str, before: dict[str, Stage]) -> Start:
    if init in before:
        return before[init]
    if init in ("none", "timm"):
        return RandomWeights() if init == "none" else TimmWeights()
    path = given_file(init)
    if not os.path.isfile(path):
        path = bundled().get(init, path)
    if not os.path.isfile(path):
        raise ModelError(f"there is no file {path}; correct its path: --set {name}.init=FILE")
    return WeightFile(path)


def _with_val(stage: Stage) -> Stage | None:
    """Return the stage if its network has learned the validation faces, or else the one before it that has."""
    own = stage.members if isinstance(stage, AverageStage) else (stage,)
    return stage if any(one.sees_val for one in own) else stage.val_seen_before


def _identity_of(start: Start) -> Any:
    """Return what tells starts apart: a stage by its identity, a file by its content."""
    if isinstance(start, TrainStage | AverageStage):
        return start.identity()
    return _digest(start.path) if isinstance(start, WeightFile) else type(start).__name__


@functools.cache
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
