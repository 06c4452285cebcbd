"""What `import facekd` gives beside the classes: find, measure, export and train networks. The commands call these.

Torch and what else training needs are imported when a function needs them, not before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facekd.documents import read_text
from facekd.errors import InputError, ModelError
from facekd.files import claim
from facekd.run_folder import BOX_TRANSFORM, EVALUATION, MODEL, read_results, result_stage
from facekd.runtime import model as models
from facekd.runtime.card import ModelCard
from facekd.runtime.model import Predictor
from facekd.runtime.names import DEFAULT, ENGINES, bundled, resolve_model
from facekd.runtime.ort import Providers, split_providers

if TYPE_CHECKING:
    from facekd.data.pack import Pack
    from facekd.evaluation.protocol import Result
    from facekd.exporters.onnx import Parity
    from facekd.runtime.detector import Detector


@dataclass(frozen=True)
class BundledModel:
    """A landmark network that comes with the package.

    Attributes:
        name: what `Landmarker` takes.
        path: its .onnx file.
    """

    name: str
    path: Path

    @cached_property
    def card(self) -> ModelCard:
        """What it is: mark-up, input, training data and their terms, measured errors. Raises ModelError if damaged."""
        return ModelCard.load(self.path)


@dataclass(frozen=True)
class ExportResult:
    """What an export wrote.

    Attributes:
        path: the file.
        card: its model card, which lies beside an .onnx file as .json, and inside others.
        parity: how far it is from the network it came from; None where this machine cannot run the file.
        int8: the file in 8 bits, or None.
        int8_lost: by how much the NME of the 8-bit file is larger, in percent; None if that was not measured.
        bundle: the folder of what an app needs, or None.
    """

    path: Path
    card: ModelCard
    parity: Parity | None
    int8: Path | None = None
    int8_lost: float | None = None
    bundle: Path | None = None


def list_models() -> list[BundledModel]:
    """List the landmark networks that come with the package.

    Returns:
        Each with its name, file and card.
    """
    return [BundledModel(name, path) for name, path in bundled().items()]


def load_model(
    model: str | Path = DEFAULT,
    threads: int | None = None,
    providers: Providers | None = None,
    engine: str = "auto",
) -> Predictor:
    """Load a network of any kind, for `Landmarker` or `evaluate`.

    Args:
        model: as for `resolve_model`. An .onnx file runs in ONNX Runtime, a .tflite file in LiteRT, a .safetensors file
            in torch.
        threads: CPU threads of the network; None: all cores.
        providers: where it runs, as for `Landmarker`; None: a file on the CPU, a checkpoint on a GPU if it can.
        engine: as for `Landmarker`.

    Returns:
        The network.

    Raises:
        ModelError: the file cannot be used, or is not there.
    """
    file = resolve_model(model, engine, providers)
    if file.suffix in ENGINES.values():
        return models.load(file, threads, providers)
    if engine != "auto":
        raise ModelError(f"engine '{engine}' does not run {file}, a checkpoint; facekd export makes a file for it")
    import torch

    from facekd.networks.predictor import TorchModel

    available = ["cuda", "cpu"] if torch.cuda.is_available() else ["cpu"]
    wanted = split_providers(providers or available)
    for name, _ in wanted:
        if name not in available:
            raise ModelError(
                f"a checkpoint cannot run on '{name}' (torch has {', '.join(available)}); facekd export makes an .onnx "
                "file of it for other providers"
            )
    if threads is not None:
        torch.set_num_threads(threads)
    name, options = wanted[0]
    return TorchModel.load(file, device=f"{name}:{options['device_id']}" if "device_id" in options else name)


def read_pack(path: str | Path) -> Pack:
    """Open a pack of faces, as `facekd prepare` writes it.

    Args:
        path: the .parquet file.

    Returns:
        The pack; photos are decoded when they are asked for.

    Raises:
        InputError: there is no such file, or it is no pack.
    """
    from facekd.data.pack import Pack

    return Pack.open(path)


def evaluate(
    model: str | Path | Predictor,
    data: Pack | str | Path,
    *,
    boxes: str = "truth",
    split: str | None = "test",
    batch: int = 64,
    detector: Detector | None = None,
    name: str | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> Result:
    """Measure a network on labelled faces: NME, failure rate and AUC per subset, with 95 % intervals.

    Args:
        model: a bundled model's name, an .onnx, .tflite or .safetensors file, a run's folder (its result), or a
            `Predictor`.
        data: a pack or its file.
        boxes: how faces are cut out: "truth", by the box of the true landmarks; or "detector", by what a face detector
            finds, as a user would.
        split: "train", "val" or "test"; None: all faces of the pack.
        batch: faces per call of the network.
        detector: finds the faces with boxes="detector"; default `YuNet()`.
        name: what the model is called in the result; default: the name of its file or folder.
        bootstrap: resampled test sets behind each interval.
        seed: of the resampling.
        progress: called after each batch with the number of its faces.

    Returns:
        The figures, and what they were computed from: `Result.to_json()`, `facekd.evaluation.report.write`.

    Raises:
        InputError: no faces, unknown boxes, mark-ups that cannot be converted, or `batch` or `bootstrap` below 1.
        ModelError: the model cannot be used, or has no box transform for a detector's boxes.
    """
    from facekd.evaluation import protocol
    from facekd.runtime.detector import YuNet

    for setting, value in {"batch": batch, "bootstrap": bootstrap}.items():
        if value < 1:
            raise InputError(f"{setting} must be 1 or more, got {value}")
    faces = _pack(data) if split is None else _pack(data).select(split)
    if isinstance(model, str | Path):
        predictor, shown = load_model(model), _shown(Path(model or DEFAULT).resolve())
    else:
        predictor, shown = model, "model"
    finder = (detector or YuNet()) if boxes == "detector" else None
    return protocol.evaluate(
        predictor,
        faces,
        boxes,
        finder,
        model=name or shown,
        batch=batch,
        bootstrap=bootstrap,
        seed=seed,
        progress=progress,
    )


def export(
    model: str | Path,
    out: str | Path,
    *,
    name: str | None = None,
    precision: str | None = None,
    batch: int | None = None,
    int8_data: Pack | str | Path | None = None,
    bundle: str | Path | None = None,
    without_detector: bool = False,
) -> ExportResult:
    """Write a trained network as ONNX, LiteRT or Core ML, checked against torch, with its model card.

    Args:
        model: a run's folder (its result, with what the run measured of it on the card), a .safetensors file; or, in
            another format, a bundled model's name or an .onnx file.
        out: the file to write; its suffix, .onnx, .tflite or .mlpackage, says the format.
        name: of the model, for its card; default: the file's stem.
        precision: of the numbers stored: "float32" or "float16" of a .tflite file, "float16", "float32" or "palette8"
            of an .mlpackage; default: the first of them.
        batch: faces per call of a .tflite file; default: 1. An .onnx file takes any number, an .mlpackage one.
        int8_data: a pack or its file; then OUT-int8 is written, too, calibrated on its training faces. Of a .tflite
            file the loss is measured on the validation faces, and must be below an NME of 0.05 %.
        bundle: a folder to write, too: the files, the mark-up, and a photo with the points that an app must find.
        without_detector: write a network, too, of which it is not known how a face detector's boxes become its own: it
            is for boxes that are given.

    Returns:
        What was written, and how far it is from the network it came from.

    Raises:
        ModelError: there is no network, the face detector found too few of its training faces, the format lacks
            something that is asked for or its converter, or the file does not compute what torch does.
        InputError: `int8_data` has no training faces or another mark-up, or another process writes one of the outputs.
    """
    out, checkpoint = Path(out), resolve_model(model, "onnx")
    if checkpoint.suffix == out.suffix:
        raise ModelError(f"{model} is exported already; give a finished run's folder or a .safetensors file")
    from facekd.exporters import bundle as bundles
    from facekd.exporters import formats

    chosen = formats.of(out, precision, batch, int8_data is not None)
    _check_detector(checkpoint, without_detector, bundle is not None)
    faces = None if int8_data is None else _pack(int8_data).readable()
    if faces is not None:  # before the minutes that a conversion may take
        faces.select("train")
        _check_markup(checkpoint, faces)
    figures = ModelCard.load(checkpoint).figures if checkpoint.suffix == ".onnx" else _figures(Path(model))
    options: dict[str, Any] = {} if precision in (None, chosen.precisions[0]) else {"precision": precision}
    options |= {} if batch is None else {"batch": batch}
    folder = None if bundle is None else Path(bundle)
    small = None if faces is None else out.with_name(f"{out.stem}-int8{out.suffix}")
    with ExitStack() as stack:
        for path in filter(None, (out, small, folder)):
            stack.enter_context(claim(path))
        parity = chosen.load().export(checkpoint, out, name=name, figures=figures, **options)
        lost = formats.quantise(out, small, faces) if small and faces else None
        if folder:
            bundles.write(checkpoint, [file for file in (out, small) if file], folder)
    return ExportResult(out, formats.read_card(out), parity, small, lost, folder)


def train(
    recipe: str | Path,
    *,
    data: Pack | str | Path,
    out: str | Path,
    set: Mapping[str, Any] | Iterable[str] | None = None,
    unlabelled: Pack | str | Path | None = None,
    accelerator: str = "auto",
    threads: int | None = None,
) -> Path:
    """Train the networks of a recipe, each stage after those it needs, and evaluate them; the same call goes on.

    Args:
        recipe: a bundled recipe's name ("quick", "paper", ...) or a YAML file.
        data: a pack or its file: faces to train, validate and test on.
        out: folder of the run.
        set: settings to change: {"student.epochs": 20}, or ["student.epochs=20"], whose values are read as YAML.
        unlabelled: a pack or its file: more faces for stages that need no labels.
        accelerator: "auto", "cpu" or "cuda".
        threads: CPU threads; None: as many as the cores that this process may use.

    Returns:
        The run's folder; `load_model`, `evaluate` and `export` take it.

    Raises:
        RecipeError: the recipe or a setting is wrong, or the folder holds a run of other settings.
        InputError: a pack cannot be used, or is not the one that the run began with.
        ModelError: a backbone or its weights cannot be had.
        TrainingError: a loss is no longer a number.
    """
    from facekd.training.threads import set_threads

    set_threads(threads)  # before torch is imported
    from facekd.pipeline.distill import distill
    from facekd.recipes.load import load

    settings = load(recipe, set or ())
    more = None if unlabelled is None else _pack(unlabelled)
    return distill(settings, _pack(data), out, accelerator, more)


def _check_detector(checkpoint: Path, without_detector: bool, bundle: bool) -> None:
    """Refuse a network that cannot be used with a face detector, unless that is what is wanted."""
    from facekd.networks.exported import read_metadata
    from facekd.pipeline.boxes import DetectorBoxes, not_found

    if read_metadata(checkpoint).box_transform is not None:
        return
    record = checkpoint.parents[1] / BOX_TRANSFORM
    if not without_detector and record.is_file():
        raise ModelError(not_found(DetectorBoxes.from_json(read_text(record, "box transform"))))
    if not without_detector:
        raise ModelError(
            f"{checkpoint} does not say how a face detector's boxes become those it was trained on; export it for "
            "boxes of your own alone (without_detector)"
        )
    if bundle:
        raise ModelError("a bundle's photo takes a face detector, and this network is without one; leave bundle out")


def _check_markup(checkpoint: Path, faces: Pack) -> None:
    """Refuse faces to calibrate on whose points are others than the network's: they would be cut out by other boxes."""
    from facekd.networks.exported import read_metadata

    own, given = read_metadata(checkpoint).markup, faces.markup
    if (own.name, own.count) != (given.name, given.count):
        raise InputError(
            f"{faces.path} has {given.count} points of '{given.name}', and the network finds {own.count} of "
            f"'{own.name}'; calibrate int8 on a pack like that it was trained on"
        )


def _pack(data: Pack | str | Path) -> Pack:
    return read_pack(data) if isinstance(data, str | Path) else data


def _shown(path: Path) -> str:
    """Return the name to show for a model: a run's or a stage's folder, a file, or the bundled name itself."""
    return path.parent.name if path.name == MODEL else path.name


def _figures(run: Path) -> dict[str, object]:
    """Return what a run measured of its result, for the card: NME in percent per subset, by data set and boxes."""
    path = run / EVALUATION
    if not path.is_file():
        return {}
    stage = result_stage(run)
    figures: dict[str, object] = {}
    for result in read_results(run):
        if result["model"] == stage:
            name = f"{result['dataset']} {result['split']}, NME {result['normaliser']} in %, boxes: {result['boxes']}"
            key = f"nme_{result['normaliser']}"
            known = {subset: f for subset, f in result["subsets"].items() if f[key] is not None}
            figures[name] = {f"{subset} ({f['count']})": round(f[key], 2) for subset, f in known.items()}
    return figures
