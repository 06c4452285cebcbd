"""The settings of a recipe, typed and checked: an ordered mapping of stages, and what they share.

A stage trains one network (`TrainSettings`) or averages the weights of several (`AverageSettings`). It may start from
any earlier stage and learn from any earlier one; `facekd.recipes.resolve` turns the names into stages.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import BeforeValidator, Discriminator, Field, model_validator

from facekd.errors import nearest
from facekd.files import expand
from facekd.losses.distance import L1Settings
from facekd.losses.registry import LossSettings
from facekd.recipes.averages import AverageSettings
from facekd.recipes.groups import Augment, Input, Network, Optimisation, Shape
from facekd.runtime.names import bundled
from facekd.settings import Integer, Number, Settings

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
RESERVED = ("cache", "report", "networks", "runs", "none", "timm")  # other things beside stages, and other starts


class Teacher(Settings):
    """An earlier stage whose predictions a network learns from."""

    stage: str = Field(description="an earlier stage")
    how: Literal["kd", "landmarks", "heatmaps"] = Field(
        "kd",
        description="kd: KD-Loss listens to its landmarks; landmarks: the L1 distance to them counts; heatmaps: the "
        "cross-entropy with a Gaussian of its heatmaps' mean and covariance does (spatial heads). The last two also "
        "teach faces without labels",
    )
    role: Literal["tough", "tolerant"] | None = Field(
        None, description="kd: which teacher of the paper it is; default: tolerant if its targets are soft, else tough"
    )
    weight: Number = Field(1.0, ge=0, description="landmarks, heatmaps: of the term beside the loss")

    @model_validator(mode="after")
    def _check(self) -> Teacher:
        if self.how == "kd" and self.weight != 1:
            raise ValueError(
                f"a teacher of how: kd has no weight; KD-Loss has its own: see loss, and leave {self.weight} out"
            )
        if self.how != "kd" and self.role is not None:
            raise ValueError(f"a teacher of how: {self.how} has no role; leave {self.role} out")
        return self


def _teacher(value: Any) -> Any:
    """Let a teacher be given by its stage alone."""
    return {"stage": value} if isinstance(value, str) else value


class TrainSettings(Network, Optimisation):
    """A stage that trains one network."""

    kind: Literal["train"] = "train"
    init: str = Field(
        "timm",
        description="start: none, timm (its hub), an earlier stage, a bundled network (facekd-68), a run's folder, an "
        "exported .onnx file or a .safetensors file; a network of other points gives all but what is of its own points",
    )
    targets: Literal["hard", "soft"] = Field(
        "hard", description="what it learns: the labels (paper: hard-landmarks), or their soft-landmarks (see shape)"
    )
    size: Integer | None = Field(None, ge=32, le=1024, description="side of its frame in pixels; default: input.size")
    augment: Augment | None = Field(None, description="how its views vary; default: the recipe's augment")
    views: Integer = Field(
        0, ge=0, le=1000, description="fixed views per face (the paper's offline augmentation); 0: new ones each epoch"
    )
    train_on: tuple[Literal["train", "val"], ...] = Field(
        ("train",), description="splits it learns from; with val, nothing of it is measured or fitted on those faces"
    )
    exclude_subsets: tuple[str, ...] = Field(
        (),
        description="subsets of the training faces that it does not learn from: rotated; a pack without them is fine",
    )
    use_unlabelled: bool = Field(
        True, description="with a teacher of landmarks or heatmaps: also learns from faces without labels, where given"
    )
    rare_shape_fraction: Number = Field(
        0, ge=0, le=1, description="share of the views drawn by how far a face's shape is from the mean shape"
    )
    seed: Integer = Field(0, ge=0, description="added to the recipe's: initialisation, order and dropout; views stay")
    view_seed: Integer = Field(0, ge=0, description="added to the recipe's: the views")
    loss: LossSettings = Field(
        L1Settings(), description="l1, l2, smooth_l1, wing or kd; with options: {name: kd, preset: released}"
    )
    teachers: tuple[Annotated[Teacher, BeforeValidator(_teacher)], ...] = Field(
        (), description="earlier stages it learns from: a name (KD-Loss), or {stage:, how:, weight:}"
    )
    teacher_view: Literal["same", "plain"] = Field(
        "same",
        description="same: teachers see the very view; plain: they see the plain crop once, and their predictions are "
        "warped with each view",
    )
    teacher_mirror: bool = Field(
        True, description="teachers of landmarks and heatmaps also see the mirrored view, and the mean counts"
    )
    nll_weight: Number = Field(
        0, ge=0, description="weight of the negative log-likelihood of each point's sigma; 0: no confidence per point"
    )
    heatmap_weight: Number = Field(
        0, ge=0, description="spatial head: weight of the cross-entropy with a Gaussian at the label"
    )
    shape_prior: bool = Field(
        False, description="its landmarks become the posterior mean under a shape prior, where validation gains by it"
    )
    visibility_weight: Number = Field(
        0,
        ge=0,
        description="weight of the binary cross-entropy of each point's visibility, for packs that say which points "
        "are occluded; 0: no visibility per point",
    )
    occluded_weight: Number = Field(
        1, ge=0, le=1, description="how much an occluded point counts in the losses of landmarks and heatmaps"
    )

    renamed: ClassVar[Mapping[str, str]] = {
        "weights": "init",
        "loss_options": "loss: {name: NAME, OPTION: VALUE}",
        "rare": "rare_shape_fraction",
        "sigma": "nll_weight",
        "heatmap": "heatmap_weight",
        "expert": "teachers: [{stage: NAME, how: landmarks, weight: NUMBER}]",
        "expert_heatmap": "teachers: [{stage: NAME, how: heatmaps, weight: NUMBER}]",
        "unlabelled": "use_unlabelled",
        "stop": "stop_epoch",
        "clip": "clip_grad",
        "refine": "shape_prior",
        "copies": "a stage of its own: {kind: weight_average, of: [STAGE, STAGE]}",
        "learn_val": "train_on: [train, val]",
    }

    @model_validator(mode="after")
    def _check(self) -> TrainSettings:
        if self.heatmap_weight and self.head != "spatial":
            raise ValueError("heatmap_weight is a term of head: spatial; set head to spatial or heatmap_weight to 0")
        if not self.epochs and (self.init in ("none", "timm") or self.teachers):
            raise ValueError(
                "epochs = 0 keeps the network of init as it is; set init to a trained one and leave teachers out, or "
                "set epochs to 1 or more"
            )
        if self.stop_epoch is not None and self.stop_epoch > self.epochs:
            raise ValueError(
                f"stop_epoch = {self.stop_epoch} lies beyond epochs = {self.epochs}; lower it or leave it out"
            )
        if "train" not in self.train_on or len(set(self.train_on)) < len(self.train_on):
            raise ValueError("train_on must be [train] or [train, val]")
        pairs = [(teacher.stage, teacher.how) for teacher in self.teachers]
        for stage, how in pairs:
            if pairs.count((stage, how)) > 1:
                raise ValueError(f"teachers name {stage} twice with how: {how}; leave one out")
        has_kd = any(teacher.how == "kd" for teacher in self.teachers)
        if self.loss.needs_teachers and not has_kd:
            raise ValueError("loss kd needs teachers, such as teachers: [tough, tolerant]")
        if has_kd and not self.loss.needs_teachers:
            raise ValueError(
                f"loss {self.loss.name} does not listen to the teachers of how: kd; set loss to kd, leave them out, or "
                "give each a how of landmarks or heatmaps"
            )
        if self.head != "spatial" and any(teacher.how == "heatmaps" for teacher in self.teachers):
            raise ValueError("a teacher of how: heatmaps needs head: spatial in its student too")
        return self

    @property
    def uses(self) -> list[str]:
        """Return the names of the stages it learns from, and of what it starts from."""
        return [self.init, *(teacher.stage for teacher in self.teachers)]


def _kind(value: Any) -> Any:
    """Let a stage without a kind be one that trains."""
    return {"kind": "train"} | value if isinstance(value, dict) else value


StageSettings = Annotated[Annotated[TrainSettings | AverageSettings, Discriminator("kind")], BeforeValidator(_kind)]


class Evaluation(Settings):
    """What is measured at the end of a run."""

    boxes: tuple[Literal["truth", "detector"], ...] = Field(
        ("truth",), min_length=1, description="how test faces are cut out: by their labels, by the face detector"
    )
    bootstrap: Integer = Field(1000, ge=100, description="resamples behind each 95 % interval")
    stages: tuple[str, ...] = Field((), description="stages that are measured on the test set; default: all")


class Recipe(Settings):
    """Every setting of a run."""

    name: str = Field(description="for titles and model cards")
    seed: Integer = Field(0, ge=0, description="of all randomness")
    precision: Annotated[Literal["auto", "32", "bf16"], BeforeValidator(str)] = Field(
        "auto", description="auto: bf16 where the hardware has it"
    )
    input: Input = Field(Input(), description="what networks see")
    shape: Shape = Field(Shape(), description="the shape model behind soft-landmarks")
    augment: Augment = Field(Augment(), description="how training views vary")
    stages: dict[str, StageSettings] = Field(
        min_length=1, description="what is trained, in this order; the names are yours"
    )
    result: str = Field("", description="the stage that is exported and used; default: the last")
    evaluation: Evaluation = Field(Evaluation(), description="what is measured at the end")

    renamed: ClassVar[Mapping[str, str]] = {
        **{name: f"stages: {{{name}: ...}}" for name in ("tough", "tolerant", "baseline", "expert", "student")},
        "teaching": "a stage's own: views, teacher_view and teacher_mirror",
    }

    @model_validator(mode="before")
    @classmethod
    def _named(cls, values: Any) -> Any:
        """Let a stage set to null be none, and the last stage be the result."""
        if not isinstance(values, dict) or not isinstance(values.get("stages"), dict):
            return values
        stages = {str(name): stage for name, stage in values["stages"].items() if stage is not None}
        result = values.get("result") or next(reversed(stages), "")
        return values | {"stages": stages, "result": result}

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        known: list[str] = []
        for name, stage in self.stages.items():
            taken = (*RESERVED, *Recipe.model_fields, *(other.lower() for other in known))
            if not _NAME.fullmatch(name) or name.lower() in taken:
                raise ValueError(
                    f"a stage cannot be called '{name}': a name has letters, digits, - and _, is not there twice, and "
                    f"is none of {', '.join((*RESERVED, *Recipe.model_fields))}"
                )
            self._check_names(name, stage, known)
            if isinstance(stage, AverageSettings):
                self._check_average(name, stage)
            else:
                self._check_stage(name, stage)
            known.append(name)
        for key, names in (("result", [self.result]), ("evaluation.stages", self.evaluation.stages)):
            for name in names:
                if name not in self.stages:
                    raise ValueError(f"{key}: no stage '{name}'; {nearest(name, self.stages)}")
        return self

    def _check_names(self, name: str, stage: TrainSettings | AverageSettings, known: list[str]) -> None:
        """Refuse a stage that uses what is not there before it."""
        for place, other in enumerate(stage.uses):
            is_start = place == 0 and isinstance(stage, TrainSettings)
            if is_start and _is_weights(other, self.stages):
                continue
            if other in self.stages and other not in known:
                what = "itself" if other == name else f"'{other}', which comes after it"
                raise ValueError(f"stage {name} uses {what}; a stage uses earlier ones only: change the order")
            if other not in known:
                allowed, file = (known, "")
                if is_start:
                    allowed = [*known, "none", "timm", *bundled()]
                    file = ", or a run's folder, a .safetensors or an .onnx file"
                raise ValueError(f"stage {name}: no earlier stage '{other}'; {nearest(other, allowed)}{file}")

    def _check_stage(self, name: str, stage: TrainSettings) -> None:
        size = stage.size or self.input.size
        if stage.teachers and stage.teacher_view == "plain" and (stage.augment or self.augment).close_eyes:
            raise ValueError(
                f"{name}: teachers that see the plain crop see open eyes; set teacher_view to same or close_eyes to 0"
            )
        if stage.head == "spatial" and size % stage.stride:
            raise ValueError(f"{name} reads heatmaps of a {size} px frame; set size to a multiple of {stage.stride}")
        roles = [self.role_of(teacher) for teacher in stage.teachers if teacher.how == "kd"]
        if len(set(roles)) < len(roles):
            raise ValueError(
                f"{name} has two {roles[0]} teachers; KD-Loss takes one tough (targets: hard) and one tolerant "
                "(targets: soft): leave one out, or give it a role"
            )
        for teacher in stage.teachers:
            if teacher.how == "heatmaps" and self.trained(teacher.stage).head != "spatial":
                raise ValueError(
                    f"{name} learns the heatmaps of {teacher.stage}, which has none; set its head to spatial"
                )

    def _check_average(self, name: str, stage: AverageSettings) -> None:
        members = [self.stages[other] for other in stage.of]
        if len(set(stage.of)) < len(stage.of):
            raise ValueError(f"{name} names a stage twice: {', '.join(stage.of)}")
        if not all(isinstance(member, TrainSettings) for member in members):
            raise ValueError(f"{name} averages trained stages only, not other averages")
        if len(stage.of) < 2 and not stage.start_weight:
            raise ValueError(f"{name} is the mean of one network; give of another, or set start_weight to 1")
        trained = [self.trained(other) for other in stage.of]
        known = trained[0].init in self.stages or (stage.start_weight and trained[0].init not in ("none", "timm"))
        if stage.start:
            self._check_start(name, stage)
        if len({one.init for one in trained}) > 1 or not known:
            raise ValueError(
                f"{name}: the mean of networks is none unless they start from one trained network; set init of "
                f"{', '.join(stage.of)} to the same earlier stage"
            )
        kinds = {
            (*network, one.size or self.input.size, bool(one.nll_weight), bool(one.visibility_weight))
            for one in [*trained, *([self.trained(stage.start)] if stage.start else [])]
            for network in [(one.backbone, one.head, one.stride, one.standardise)]
        }
        if len(kinds) > 1:
            raise ValueError(
                f"{name}: {', '.join(stage.of)} must be one network: backbone, head, stride, standardise and size "
                "alike, and nll_weight and visibility_weight 0 for all or none"
            )
        if all("val" in one.train_on for one in trained):
            raise ValueError(
                f"{name}: one of {', '.join(stage.of)} must not have val in train_on, for what is fitted on those faces"
            )

    def _check_start(self, name: str, stage: AverageSettings) -> None:
        assert stage.start is not None
        before, init = [], self.trained(stage.of[0]).init
        while init in self.stages:
            before.append(init)
            init = self.trained(init).init
        if stage.start not in before:
            raise ValueError(
                f"{name}: {stage.of[0]} does not come from {stage.start}; {nearest(stage.start, before)}, or leave "
                "start out"
            )
        if not stage.start_weight:
            raise ValueError(f"{name}: start = {stage.start} does not count; set start_weight to 1, or leave start out")

    def trained(self, name: str) -> TrainSettings:
        """Return the settings of a stage's network: of an average those of its first member.

        Args:
            name: of a stage of this recipe.

        Returns:
            The settings it was trained with.
        """
        stage = self.stages[name]
        return self.trained(stage.of[0]) if isinstance(stage, AverageSettings) else stage

    def role_of(self, teacher: Teacher) -> Literal["tough", "tolerant"]:
        """Return which of the paper's teachers a teacher of KD-Loss is.

        Args:
            teacher: of a stage of this recipe.

        Returns:
            Its role, or, if it has none, what its targets say.
        """
        soft = self.trained(teacher.stage).targets == "soft"
        return teacher.role or ("tolerant" if soft else "tough")

    def published(self) -> dict[str, Any]:
        """Describe the recipe for cards and reports.

        Returns:
            Plain values; files of weights by their names, not by where they lie.
        """
        values = self.model_dump(mode="json")
        for stage in values["stages"].values():
            if "init" in stage and stage["init"] not in self.stages:
                stage["init"] = Path(stage["init"]).name
        return values

    def to_yaml(self) -> str:
        """Write the recipe in full.

        Returns:
            YAML with every default, which `facekd.recipes.load.load` reads back.
        """
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def _is_weights(init: str, stages: Iterable[str]) -> bool:
    """Return whether a start is none of the stages but weights from elsewhere."""
    if init in stages:
        return False
    path = expand(init)
    return init in ("none", "timm", *bundled()) or path.suffix in (".safetensors", ".onnx") or os.path.isdir(path)
