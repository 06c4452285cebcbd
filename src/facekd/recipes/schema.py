"""A recipe: every setting of a run, typed and checked; one YAML file per run that is known to work.

`facekd.recipes` holds those that come with the package. A run keeps its own, in full, as RUN/recipe.yaml.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from facekd.errors import RecipeError, nearest

STAGES = ("tough", "tolerant", "baseline", "expert", "student")  # in the order they are trained
TEACHERS = ("tough", "tolerant", "expert")
Checked = TypeVar("Checked", bound="Settings")
# Copies of a network, whose weights are averaged, differ in how they train, not in what they are or who teaches them.
_OF_A_COPY = (
    "seed", "learn_val", "augment", "rare", "sigma", "heatmap", "epochs", "stop", "lr", "weight_decay", "clip", "ema",
)  # fmt: skip


class Settings(BaseModel):
    """A group of settings that refuses names it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Input(Settings):
    """What a network sees: a square frame around the face."""

    size: int = Field(128, ge=32, le=1024, description="side of the frame in pixels")
    scale: float = Field(1.2, ge=1, le=3, description="side of the square crop / larger side of the tight landmark box")


class Shape(Settings):
    """The active shape model behind the soft-landmarks (paper: soft-landmarks)."""

    variance: float = Field(90, gt=0, le=100, description="percent of the variance that soft-landmarks keep")
    clip: float = Field(3, gt=0, description="each coefficient is clipped to +- this many standard deviations")
    procrustes: bool = Field(False, description="align shapes before the components are found (released code: no)")


class Augment(Settings):
    """Random views of a training face: one similarity warp, then colour, blur, noise and cut-out."""

    rotation: float = Field(30, ge=0, le=180, description="degrees, uniform in +-")
    scale: float = Field(0.15, ge=0, lt=1, description="log of the size, uniform in +-")
    shift: float = Field(0.05, ge=0, le=1, description="share of the crop's side, uniform in +-, x and y")
    mirror: bool = Field(True, description="half of the views are mirrored")
    brightness: float = Field(0.2, ge=0, le=1, description="added to pixels in [0, 1], uniform in +-")
    contrast: float = Field(0.3, ge=0, lt=1, description="log of the gain, uniform in +-")
    saturation: float = Field(0.4, ge=0, le=1, description="most that a colour moves to or from grey")
    tint: float = Field(0.1, ge=0, lt=1, description="log of a gain per colour channel, uniform in +-")
    blur: float = Field(0.2, ge=0, le=1, description="share of views that are blurred")
    noise: float = Field(0.03, ge=0, le=1, description="largest standard deviation of pixel noise; half of the views")
    cutout: float = Field(0.3, ge=0, le=1, description="share of views with a rectangle painted over")


class Stage(Settings):
    """One network and how it is trained."""

    backbone: str = Field(description="a model name of timm")
    weights: str = Field("timm", description="none, timm (its hub), a .safetensors file, or an earlier stage: tough")
    size: int | None = Field(None, ge=32, le=1024, description="side of its frame in pixels; none: input.size")
    head: Literal["coordinate", "spatial"] = "coordinate"
    stride: Literal[4, 8, 16] = Field(8, description="spatial head: input pixels per cell of its heatmaps")
    dropout: float = Field(0, ge=0, lt=1, description="before the coordinate head")
    mean_start: bool = Field(True, description="the head starts at the mean training shape")
    standardise: bool = Field(True, description="pixels by the backbone's mean and deviation; false: pixel / 255")
    augment: Augment | None = Field(None, description="how its views vary; none: as the recipe's augment says")
    rare: float = Field(
        0, ge=0, le=1, description="share of the views that go to faces as their shapes are far from the mean one"
    )
    seed: int = Field(0, ge=0, description="added to the recipe's: this network's start, order, dropout; views stay")
    loss: str = Field("l1", description="l2, l1, smooth_l1, wing or kd")
    loss_options: dict[str, Any] = Field(default_factory=dict, description="for kd: preset and its overrides")
    teachers: tuple[Literal["tough", "tolerant"], ...] = Field(
        ("tough", "tolerant"), description="kd: whose landmarks it sees"
    )
    sigma: float = Field(0, ge=0, description="weight of the likelihood of each point's spread; 0: no confidence")
    heatmap: float = Field(0, ge=0, description="spatial head: weight of the cross-entropy with a Gaussian")
    expert: float = Field(0, ge=0, description="weight of the L1 distance to the expert's landmarks")
    expert_heatmap: float = Field(0, ge=0, description="spatial head: weight of the divergence from its heatmaps")
    unlabelled: bool = Field(True, description="with an expert: also learns from faces without labels, where given")
    epochs: int = Field(30, ge=1)
    stop: int | None = Field(
        None, ge=1, description="epochs after which it ends early; the rates are those of `epochs`"
    )
    batch: int = Field(32, ge=1, description="faces per step, over all devices")
    optimiser: Literal["adam", "adamw"] = "adamw"
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    schedule: Literal["cosine", "paper"] = Field("cosine", description="paper: lr / (1 + 1e-4 step)")
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps over which the rate rises to lr")
    clip: float = Field(1.0, ge=0, description="largest norm of the gradient; 0: no limit")
    ema: float = Field(0.999, ge=0, lt=1, description="decay of the averaged weights that are kept; 0: no average")
    refine: bool = Field(
        False, description="its landmarks are drawn towards likely shapes, as far as helps on validation faces"
    )
    copies: tuple[dict[str, Any], ...] = Field(
        (),
        description="trained once for each, with these settings changed, from another seed; the mean is kept. "
        "learn_val: true: that one learns from the validation faces too",
    )

    @model_validator(mode="after")
    def _check(self) -> Stage:
        for term in ("heatmap", "expert_heatmap"):
            if getattr(self, term) and self.head != "spatial":
                raise ValueError(f"{term} is a term of head: spatial; set head or drop {term}")
        if self.stop is not None and self.stop > self.epochs:
            raise ValueError(f"stop = {self.stop} lies beyond epochs = {self.epochs}; lower it or leave it out")
        if self.loss == "kd" and (not self.teachers or len(set(self.teachers)) < len(self.teachers)):
            raise ValueError("kd needs teachers: [tough, tolerant], or one of them")
        copies = [self.copy_of(copy) for copy in range(len(self.copies))]
        if copies and all(copy.learn_val for copy in copies):
            raise ValueError("all copies have learn_val; one must not, for what is fitted on the validation faces")
        if copies and self.weights not in STAGES:
            raise ValueError(
                f"copies need a trained network to start from, or their mean is none; weights is {self.weights}, "
                f"set it to an earlier stage"
            )
        if any(bool(copy.stage.sigma) != bool(self.sigma) for copy in copies):
            raise ValueError("sigma must be 0 for all copies and the stage itself, or for none")
        return self

    def copy_of(self, copy: int) -> Copy:
        """Return one of the copies. Raises ValueError: it changes what all copies share."""
        changes = dict(self.copies[copy])
        for key in changes:
            if key not in _OF_A_COPY:
                raise ValueError(f"copies cannot differ in {key}, only in {', '.join(_OF_A_COPY)}")
        own = {"seed": copy} | {key: changes.pop(key) for key in ("seed", "learn_val") if key in changes}
        return Copy.model_validate(own | {"stage": self.model_dump(exclude={"copies", "refine"}) | changes})

    @property
    def length(self) -> int:
        """Return how many epochs it is trained for."""
        return self.stop or self.epochs

    @property
    def teachings(self) -> tuple[str, ...]:
        """Return the names of the networks whose predictions it is trained with."""
        expert = ("expert",) if self.expert or self.expert_heatmap else ()
        return (*expert, *(self.teachers if self.loss == "kd" else ()))

    @property
    def needs_no_labels(self) -> bool:
        """Return whether faces without labels, if there are any, are among those it learns from."""
        return "expert" in self.teachings and self.unlabelled


class Copy(Settings):
    """One of a stage's copies.

    What is fitted on the validation faces when training is done, is fitted to the mean of the copies without learn_val.
    """

    stage: Stage
    seed: int = Field(ge=0, description="added to the recipe's; its number by default")
    learn_val: bool = Field(
        False, description="learns from the validation faces too, once nothing is left to choose by them"
    )


class Teaching(Settings):
    """How the teachers' predictions reach the student: of the view it sees, or moved there from the plain crop."""

    mode: Literal["online", "views", "moved"] = Field(
        "views",
        description="views: predicted once on fixed views per face; moved: once per face, and moved with each view",
    )
    views: int = Field(
        8, ge=1, le=1000, description="number of fixed views per face (the paper's offline augmentation)"
    )
    mirror: bool = Field(True, description="the expert also looks at the mirrored view, and says the mean")


class Evaluation(Settings):
    """What is measured at the end of a run."""

    boxes: tuple[Literal["truth", "detector"], ...] = ("truth",)
    bootstrap: int = Field(1000, ge=100, description="resamples behind each 95 % interval")


class Recipe(Settings):
    """Every setting of a run: the student, and what of the other networks is wanted.

    The paper's are the two teachers and, to compare, the baseline: the student without teachers. The expert is ours: a
    strong network whose landmarks and heatmaps the student imitates, also on faces without labels. A network may start
    from an earlier one of its kind, also of another size: with the baseline at 128 px as the expert's start at 224,
    most epochs cost a third.
    """

    name: str
    seed: int = Field(0, ge=0)
    precision: Literal["auto", "32", "bf16"] = Field("auto", description="auto: bf16 where the hardware has it")
    input: Input = Input()
    shape: Shape = Shape()
    augment: Augment = Augment()
    expert: Stage | None = None
    tough: Stage | None = None
    tolerant: Stage | None = None
    student: Stage
    baseline: Stage | None = None
    teaching: Teaching = Teaching()
    evaluation: Evaluation = Evaluation()

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        for name in (*TEACHERS, "baseline"):
            if name in self.stages and self.stage(name).teachings:
                raise ValueError(
                    f"{name} has loss kd or an expert, which needs teachers: only the student can have them"
                )
        for index, name in enumerate(STAGES):
            if name not in self.stages:
                continue
            stage, size = self.stage(name), self.size(name)
            if stage.head == "spatial" and size % stage.stride:
                raise ValueError(
                    f"{name} reads heatmaps of a {size} px frame; set size to a multiple of {stage.stride}"
                )
            for other in self.needs(name):
                if other in STAGES[index:]:
                    raise ValueError(
                        f"{name}.weights is {other}: a network starts from an earlier one, not from {other}"
                    )
                if other not in self.stages:
                    raise ValueError(f"{name} needs the network {other}, which the recipe does not have")
        if self.student.expert_heatmap and self.stage("expert").head != "spatial":
            raise ValueError("student.expert_heatmap needs heatmaps; set expert.head to spatial")
        return self

    @property
    def stages(self) -> tuple[str, ...]:
        """Return the names of the networks that the recipe has, in the order they are trained."""
        return tuple(name for name in STAGES if getattr(self, name) is not None)

    def stage(self, name: str) -> Stage:
        """Return a network's settings. Raises RecipeError when the recipe does not have it."""
        stage = getattr(self, name)
        if not isinstance(stage, Stage):
            raise RecipeError(f"recipe {self.name} has no network {name}; it has {', '.join(self.stages)}")
        return stage

    def size(self, name: str) -> int:
        """Return the side of a network's frame in pixels."""
        return self.stage(name).size or self.input.size

    def augmentation(self, name: str) -> Augment:
        """Return how the views that a network is trained on vary."""
        return self.stage(name).augment or self.augment

    def needs(self, name: str) -> list[str]:
        """Return the networks that have to be there before one can be trained: its start and its teachers."""
        stage = self.stage(name)
        start = [stage.weights] if stage.weights in STAGES else []
        return list(dict.fromkeys([*start, *stage.teachings]))

    def fixed_views(self, name: str) -> int | None:
        """Return how many fixed views a network is trained on; None: each epoch draws new ones."""
        fixed = self.teaching.mode == "views" and name not in TEACHERS
        return min(self.teaching.views, self.stage(name).length) if fixed else None

    def identity(self, name: str) -> dict[str, Any]:
        """Return every setting that decides what a network becomes: two of one identity, on one pack, are the same.

        Settings at their defaults are left out, so that an option that is added later changes no identity. What faces
        there are is for the caller to add: the pack and, where the stage `needs_no_labels`, those without.
        """
        stage = self.stage(name)
        frame = self.input.model_copy(update={"size": self.size(name)})
        groups: dict[str, Settings] = {"input": frame, "augment": self.augmentation(name), "stage": stage}
        if name == "tolerant":
            groups["shape"] = self.shape
        identity: dict[str, Any] = {
            key: group.model_dump(mode="json", exclude_defaults=True) for key, group in groups.items()
        }
        identity["stage"]["weights"] = _weights(stage.weights)
        for decided_elsewhere in ("size", "augment", "unlabelled"):
            identity["stage"].pop(decided_elsewhere, None)
        if stage.loss != "kd":
            identity["stage"].pop("teachers", None)
        if "expert" in stage.teachings:
            identity["mirror"] = self.teaching.mirror
        if stage.teachings and self.teaching.mode == "moved":
            identity["moved"] = True
        needed = {other: self.identity(other) for other in self.needs(name)}
        return identity | {
            "soft": name == "tolerant",
            "seed": self.seed,
            "precision": self.precision,
            "views": self.fixed_views(name),
            "needs": needed,
        }

    def published(self) -> dict[str, Any]:
        """Return plain values for cards and reports: files of weights by their names, not by where they lie."""
        values = self.model_dump(mode="json")
        for stage in self.stages:
            values[stage]["weights"] = Path(values[stage]["weights"]).name
        return values

    def to_yaml(self) -> str:
        """Return the recipe in full, with every default."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


@functools.cache
def _weights(start: str) -> str:
    """Return what tells weights to start from apart: a name as it is, a file by its content."""
    path = Path(start)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else path.name


def bundled() -> list[str]:
    """Return the names of the recipes that come with the package."""
    return sorted(p.name[:-5] for p in resources.files("facekd.recipes").iterdir() if p.name.endswith(".yaml"))


def load(name: str | Path, changes: Iterable[str] | Mapping[str, Any] = ()) -> Recipe:
    """Read a recipe and change settings in it.

    Args:
        name: a bundled recipe (`quick` or `quick.yaml`) or a YAML file.
        changes: "student.epochs=20" and so on, values being read as YAML; or {"student.epochs": 20}.
    Raises:
        RecipeError: no such recipe, not YAML, an unknown key or a bad value; with the names or values allowed.
    """
    values = _read(name)
    for key, value in (dict(changes) if isinstance(changes, Mapping) else pairs(changes)).items():
        values = _with(values, key, value)
    return parse(values, str(name))


def parse(values: dict[str, Any], where: str) -> Recipe:
    """Check plain values; `where` names them in errors. Raises RecipeError."""
    return checked(Recipe, values, f"recipe {where}")


def checked(kind: type[Checked], values: dict[str, Any], where: str) -> Checked:
    """Return plain values as settings of a kind. Raises RecipeError: which key is wrong, why, and what is allowed."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        sentences = [_sentence(detail, kind) for detail in error.errors(include_url=False)]
        raise RecipeError(f"{where}: " + "; ".join(sentences)) from None


def read_yaml(text: str, where: str) -> dict[str, Any]:
    """Return the keys and values of a YAML text; `where` names it in errors. Raises RecipeError."""
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"{where} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise RecipeError(f"{where} must hold keys and values (name, student, tough, ...)")
    return values


def _read(name: str | Path) -> dict[str, Any]:
    path = Path(name)
    if path.is_file():
        text = path.read_text(encoding="utf-8")
    elif path.name == str(name) and path.name.removesuffix(".yaml") in bundled():
        text = resources.files("facekd.recipes").joinpath(path.name.removesuffix(".yaml") + ".yaml").read_text("utf-8")
    else:
        raise RecipeError(f"no recipe '{name}'; {nearest(path.name, bundled())}, or a YAML file of your own")
    return read_yaml(text, f"recipe {name}")


def pairs(changes: Iterable[str]) -> dict[str, Any]:
    """Return "a.b=value" texts as {"a.b": value}, values being read as YAML. Raises RecipeError."""
    found = {}
    for change in changes:
        path, equals, text = change.partition("=")
        if not equals or not path:
            raise RecipeError(f"--set {change}: write it as key=value, for example --set student.epochs=20")
        try:
            found[path] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise RecipeError(f"--set {change}: the value is not YAML") from None
    return found


def _with(values: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return nested values with another one at "a.b"; those given stay: YAML's aliases may share them."""
    *groups, last = path.split(".")
    changed = here = dict(values)
    for group in groups:
        inner = here.get(group, {})
        if not isinstance(inner, dict):
            raise RecipeError(f"{path}: {group} is a value, it has no setting '{last}'")
        here[group] = dict(inner)
        here = here[group]
    here[last] = value
    return changed


def _sentence(detail: Any, kind: type[BaseModel]) -> str:
    """Turn one pydantic error into words: which key, what is wrong, what is allowed."""
    path = [str(part) for part in detail["loc"]]
    where = ".".join(path) or kind.__name__.lower()
    if detail["type"] == "extra_forbidden":
        return f"unknown key '{where}'; {nearest(path[-1], _allowed(path[:-1], kind))}"
    if detail["type"] == "missing":
        return f"'{where}' is missing"
    if detail["type"] == "literal_error":
        allowed = [word.strip("' ") for word in detail["ctx"]["expected"].replace(" or ", ",").split(",")]
        return f"{where} = {detail['input']!r}; {nearest(str(detail['input']), allowed)}"
    message = detail["msg"].removeprefix("Value error, ")
    return f"{where} = {detail['input']!r}: {message}" if path and detail["type"] != "value_error" else message


def _allowed(path: list[str], group: type[BaseModel]) -> list[str]:
    """Return the keys of the group of settings at `path`; places in a list are passed over."""
    for part in path:
        field = group.model_fields.get(part)
        kinds = (field.annotation, *get_args(field.annotation)) if field else ()
        group = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), group)
    return list(group.model_fields)
