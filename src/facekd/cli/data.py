"""`facekd prepare` and `facekd inspect`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from facekd.errors import InputError

if TYPE_CHECKING:
    from facekd.data.dataset import Dataset, Item
    from facekd.data.folder import Options
    from facekd.data.pack import Pack
    from facekd.data.prepare import Summary
    from facekd.markup import MarkUp

# As `facekd.data.formats.registry` has them, whose import takes too long for --help.
_FORMATS = ("pts", "csv", "coco", "dlib", "labelme", "cvat", "via", "yolo-pose", "wflw")
# As `facekd.data.pseudo_labels` has them.
MAX_SPREAD, MIN_POINTS = 0.02, 0.5
_SHOWN = 20  # problems printed; the file has all


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the application.

    Args:
        app: the application.
    """
    app.command()(prepare)
    app.command("pseudo-label")(pseudo_label)
    app.command()(merge)
    app.command()(inspect)
    app.command()(clean)


def prepare(
    dataset: str = typer.Argument(help="300w, wflw, cofw, folder (own photos), unlabelled, synthetic or rotated."),
    paths: list[Path] = typer.Argument(
        metavar="[SRC] OUT", help="The dataset's folder (rotated: a pack; synthetic: none), and the .parquet to write."
    ),
    markup: str = typer.Option("", help="folder: what the points are: ibug68, wflw98, cofw29, five5 or a YAML file."),
    label_format: str = typer.Option(
        "auto", "--format", help=f"folder: of the labels: {', '.join(['auto', *_FORMATS])}; auto finds out."
    ),
    val_list: Path | None = typer.Option(None, help="folder: a text file that lists the validation photos."),
    test_list: Path | None = typer.Option(None, help="folder: a text file that lists the test photos."),
    boxes: Path | None = typer.Option(
        None, help="unlabelled: a CSV file of file, x0, y0, x1, y1 that says where the faces are; default: found."
    ),
    missing: list[str] = typer.Option(
        [],
        metavar="X,Y",
        help="folder: a position in the label files that means that a point is missing: 0,0 or -1,-1.",
    ),
    stored_pixels: bool | None = typer.Option(
        None,
        "--stored-pixels/--upright",
        help="folder: labels count in the stored pixels of a photo that EXIF turns, or in the upright ones that viewers"
        " show; by default as the format does.",
    ),
    size: int | None = typer.Option(None, help="Largest side of a stored crop in pixels; default: 448 at margin 2."),
    margin: float | None = typer.Option(
        None,
        help="Side of the crop / larger side of the tight landmark box, or of the face's box where the mark-up says "
        "crop: face; default: 2, or as much as holds the face if the points are a small part of it.",
    ),
    quality: int = typer.Option(92, help="JPEG quality, 1 to 100."),
    jobs: int | None = typer.Option(None, help="Processes; default one per core."),
    strict: bool = typer.Option(False, help="Stop at the first problem instead of leaving that face out."),
    count: int = typer.Option(2000, min=1, help="synthetic, rotated: how many faces."),
    seed: int = typer.Option(0, min=0, help="synthetic, rotated: the same seed gives the same faces."),
) -> None:
    """Pack a dataset's faces, cropped generously, with their labels into one Parquet file."""
    from facekd.data import folder, registry, unlabelled

    source = registry.get(dataset, unlabelled.DATASET)
    if len(paths) != (1 if source.generated else 2):
        raise InputError(f"{dataset} takes {'only OUT' if source.generated else 'SRC and OUT'}, got {len(paths)} paths")
    points = _points(source, markup)
    if not (source.generated or source.packed) and not paths[0].is_dir():
        raise InputError(f"there is no folder {paths[0]} to read {dataset} from")
    how = _folder_options(label_format, val_list, test_list, missing, stored_pixels)
    if source is not folder.DATASET and how != folder.Options():
        raise InputError(f"--format, --val-list, --test-list, --missing, --stored-pixels are for folder, not {dataset}")
    if source is not unlabelled.DATASET and boxes is not None:
        raise InputError(f"--boxes is for unlabelled, not {dataset}")
    if source.generated or source.packed:
        items, total = source.read(*paths[:-1], count=count, seed=seed), count
    else:
        more: dict[str, tuple[Any, ...]] = {folder.DATASET.name: (points, how), unlabelled.DATASET.name: (boxes,)}
        listed = list(source.read(paths[0], *more.get(source.name, ())))
        items, total = iter(listed), len(listed)
    settings = {"margin": margin, "size": size, "jpeg_quality": quality, "jobs": jobs, "strict": strict}
    summary = _with_bar(items, paths[-1], points, total, dataset=dataset, terms=_terms(source, paths[0]), **settings)
    _print_summary(summary, paths[-1])


def _points(source: Dataset, markup: str) -> MarkUp:
    """Return what a dataset's points are; raise InputError if that is said twice or not at all."""
    from facekd import markup as markups

    if bool(markup) == bool(source.markup):
        wants = "the points' meaning: --markup ibug68 or a YAML file" if not markup else "no --markup, it has its own"
        raise InputError(f"{source.name} needs {wants}")
    return source.markup or markups.get(markup)


def _terms(source: Dataset, src: Path) -> str:
    """Return the terms of what is made: for a dataset made of a pack those of the pack, too."""
    from facekd.data.pack import Pack

    return f"{Pack.open(src).meta['terms']} {source.terms}" if source.packed else source.terms


def _folder_options(
    label_format: str, val_list: Path | None, test_list: Path | None, missing: list[str], stored_pixels: bool | None
) -> Options:
    """Return how a folder is to be read; raise InputError if `missing` holds anything but pairs of numbers."""
    from facekd.data.folder import Options

    positions = []
    for text in missing:
        try:
            x, y = map(float, text.split(","))
        except ValueError:
            raise InputError(f"--missing takes a position such as 0,0 or -1,-1, got '{text}'") from None
        positions.append((x, y))
    return Options(label_format, stored_pixels, val_list, test_list, tuple(positions))


def _print_summary(summary: Summary, out: Path) -> None:
    """Print what is in the pack and what is not."""
    from facekd.data.crop import MARGIN

    splits = ", ".join(f"{split} {count}" for split, count in sorted(summary.splits.items()))
    typer.echo(f"{out}: {summary.faces} faces ({splits}), {out.stat().st_size / 1e6:.1f} MB")
    if summary.margin > MARGIN:
        typer.echo(f"crops are {summary.margin:g} times as wide as the boxes they are cut by, to hold the whole face")
    if summary.faces_outside:
        typer.echo(f"{summary.faces_outside} of them have points outside their photo, kept as they are")
    shares = [("missing", summary.missing), ("occluded", summary.occluded or 0)]
    if said := [f"{100 * count / summary.points:.1f} % {word}" for word, count in shares if count]:
        typer.echo(f"of {summary.points} points {', '.join(said)}")
    for problem in summary.problems[:_SHOWN]:
        typer.echo(f"left out: {problem}")
    kinds = Counter(problem.kind for problem in summary.problems if problem.kind)
    if summary.problems:
        among = f", among them {' and '.join(f'{count} {kind}' for kind, count in kinds.items())}" if kinds else ""
        typer.echo(f"left out {len(summary.problems)} in all{among}, listed in {out}.problems.txt")


def _with_bar(
    items: Iterable[Item], out: Path, markup: MarkUp, total: int, *, dataset: str, **settings: Any
) -> Summary:
    """Prepare under a progress bar of `total` faces; settings are those of `facekd.data.prepare.prepare`."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from facekd.data.prepare import prepare as run

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(dataset, total=total)
        return run(items, out, markup, dataset=dataset, advance=lambda: bar.advance(task), **settings)


def pseudo_label(
    faces: Path = typer.Argument(help="Faces without labels, as prepare unlabelled packs them."),
    out: Path = typer.Argument(help="The .parquet file to write."),
    model: list[str] = typer.Option(
        ["facekd-68", "facekd-68-lite"], "--model", "-m", help="A network that is asked; once for each of several."
    ),
    max_spread: float = typer.Option(
        MAX_SPREAD, help="A point on which views differ by more is missing; in sides of the square around the face."
    ),
    min_points: float = typer.Option(MIN_POINTS, help="A face with a smaller share of its points left is left out."),
    threads: int | None = typer.Option(None, min=1, help="CPU threads; default: one per core."),
) -> None:
    """Label faces with what trained networks agree on, looking at each rotated, resized and mirrored."""
    from rich.progress import Progress

    from facekd.data.pack import Pack
    from facekd.data.pseudo_labels import pseudo_label as run
    from facekd.runtime.model import load

    pack = Pack.open(faces).readable()
    models = [load(name, threads, engine="onnx") for name in model]
    with Progress(transient=True) as bar:
        task = bar.add_task("pseudo-label", total=len(pack))
        written, left, missing = run(
            pack, out, models, max_spread=max_spread, min_points=min_points, advance=lambda: bar.advance(task)
        )
    typer.echo(f"{out}: {written} faces, {100 * missing:.1f} % of their points missing; {left} faces left out")


def merge(
    paths: list[Path] = typer.Argument(metavar="PACK PACK... OUT", help="Packs of one mark-up, and the one to write."),
    train_only: bool = typer.Option(
        False, help="Of all but the first take the training faces alone; validation and test stay those of the first."
    ),
) -> None:
    """Put the faces of several packs into one."""
    from facekd.data.merge import merge as run
    from facekd.data.pack import Pack

    if len(paths) < 3:
        raise InputError(f"merge takes two or more packs and OUT, got {len(paths)} paths")
    count = run([Pack.open(path) for path in paths[:-1]], paths[-1], train_only)
    typer.echo(f"{paths[-1]}: {count} faces, {paths[-1].stat().st_size / 1e6:.1f} MB")


def inspect(
    pack: Path = typer.Argument(help="The pack to look at."),
    out: Path | None = typer.Option(None, help="Folder for the sheets; default <PACK>.inspect beside the pack."),
    faces: int = typer.Option(36, min=1, help="Faces per sheet."),
    variance: float = typer.Option(90.0, help="Percent of the variance that the pictured soft-landmarks keep."),
) -> None:
    """Count a pack's faces, look for problems, and draw contact sheets."""
    from facekd.data.inspect import inspect as look
    from facekd.data.pack import Pack

    opened, folder = Pack.open(pack), out or pack.with_suffix(".inspect")
    numbers, found = look(opened, folder, faces, variance)
    _print(opened, numbers)
    for finding in found:
        typer.echo(f"look at: {finding.text}")
    typer.echo(f"{'' if found else 'no problem found; '}sheets and inspect.json are in {folder}")


def _print(pack: Pack, numbers: dict[str, Any]) -> None:
    """Print a pack's statistics as lines a person reads."""
    meta = pack.meta
    typer.echo(f"{pack.path.name}: {numbers['faces']} faces of {meta['dataset']}, {numbers['points']} points each")
    typer.echo(meta["terms"])
    for key in ("split", "subset", "quality"):
        typer.echo(f"{key:>10}  " + "  ".join(f"{name} {count}" for name, count in numbers[key].items()))
    for key, values in numbers.items():
        if isinstance(values, dict) and "median" in values:
            typer.echo(f"{key:>24}  " + "  ".join(f"{name} {value:g}" for name, value in values.items()))
    for kind in ("missing", "occluded"):
        if f"{kind}_percent" in numbers:
            typer.echo(f"{f'{kind} landmarks':>24}  {numbers[f'{kind}_percent']} %")


def clean(folder: Path = typer.Argument(help="Folder to look through, with all below it.")) -> None:
    """Remove the temporary files that killed commands left; what a command still writes stays."""
    from facekd.files import clean as remove_temporary

    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}")
    removed = remove_temporary(folder)
    for path in removed:
        typer.echo(f"removed {path}")
    typer.echo(f"{len(removed)} temporary file(s) and folder(s) removed below {folder}")
