"""What is declared and shipped: a requirement for every import, the files of the wheel, an install without torch."""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "facekd"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# Packages whose modules have another name.
DISTRIBUTIONS = {
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "yaml": "pyyaml",
    "huggingface_hub": "huggingface-hub",
    "lightning_fabric": "lightning-fabric",
    "prometheus_client": "prometheus-client",
    "python_multipart": "python-multipart",
    "starlette": "fastapi",  # FastAPI is a layer on it, and fixes its version
    "h11": "uvicorn",  # likewise
    "ai_edge_litert": "ai-edge-litert",
    "ai_edge_quantizer": "ai-edge-quantizer",
    "litert_torch": "litert-torch",
    "PyInstaller": "pyinstaller",
}
# Detection, which the base dependencies are for. Commands and the API import the rest within functions.
DETECTION = ("drawing", "errors", "files", "geometry", "images", "markup", "pts", "runtime", "weights")
FRONT = ("__init__", "api", "cli")
# Converters to libraries that a user has or has not, each of which says what to install; and plugins of Pillow.
OPTIONAL = {"supervision", "pillow_heif", "ai-edge-litert", "ai-edge-quantizer", "litert-torch", "coremltools"}
EXTRAS = {
    "serve": "serve",
    "bulk": "bulk",
    "results": "bulk",
    "__pyinstaller": "dev",
}  # rooms with an extra of their own
UNSEEN = {
    "scikit-learn": "coremltools imports it",
    "torchvision": "timm imports it",
    "tensorboard": "torch.utils.tensorboard imports it",
}
NO_NETWORK = re.compile(
    r"NewConnectionError|NameResolutionError|ConnectTimeout|Temporary failure in name resolution|"
    r"Network is unreachable|Connection refused|Connection broken|ProxyError|Could not fetch URL"
)


def name_of(requirement: str) -> str:
    """Return the name in a requirement, as "opencv-python-headless" in "opencv-python-headless>=4.8"."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found, requirement
    return found[0].lower()


def declared(extra: str = "") -> set[str]:
    """Return the names of the base dependencies, or of an extra's."""
    requirements = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    return {name_of(requirement) for requirement in requirements}


def imported(tree: ast.AST, at_once: bool = True) -> Iterator[tuple[str, bool]]:
    """Yield the packages that a file imports, and whether at once or within a function; not for type checkers alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        yield from ((name.partition(".")[0], at_once) for name in names)
        within = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from imported(node, at_once and not within)


@functools.cache
def third_party() -> dict[str, list[tuple[str, bool]]]:
    """Return, for each distribution that the source imports, the files that do, and whether they do it at once."""
    found = defaultdict(list)
    for path in sorted(SOURCE.rglob("*.py")):
        for name, at_once in imported(ast.parse(path.read_text(encoding="utf-8"))):
            if name not in sys.stdlib_module_names and name != "facekd":
                distribution = DISTRIBUTIONS.get(name, name).lower()
                found[distribution].append((path.relative_to(SOURCE).as_posix(), at_once))
    return found


def test_imports_are_seen_wherever_they_are() -> None:
    source = (
        "import a.b, c\nfrom d.e import f\nif TYPE_CHECKING:\n    import g\n"
        "def h():\n    import i\nclass J:\n    import k\n"
    )
    expected = [("a", True), ("c", True), ("d", True), ("i", False), ("k", True)]
    assert list(imported(ast.parse(source))) == expected


def test_every_import_is_declared_where_it_is_used() -> None:
    base, wrong = declared(), []
    for distribution, uses in third_party().items():
        for file, at_once in uses:
            room = file.split("/")[0].removesuffix(".py")
            detection = room in DETECTION or (room in FRONT and at_once)
            optional = distribution in OPTIONAL and not at_once
            extra = EXTRAS.get(room, "train")
            if distribution not in (base if detection else base | declared(extra)) and not optional:
                wrong.append(f"{file} imports {distribution}, which {'the base' if detection else extra} lacks")
    assert wrong == []


def test_every_requirement_is_imported() -> None:
    found = set(third_party())
    assert declared() - found == set()
    for extra in {"train", *EXTRAS.values()} - {"dev"}:
        assert declared(extra) - found - set(UNSEEN) == set()
    assert declared("export") | declared("litert") <= found | set(UNSEEN) | {"facekd"}


def test_requirements_of_users_have_lower_bounds() -> None:
    """The minimal install of the workflow takes them at their word."""
    assert [each for each in PROJECT["dependencies"] if not re.search(r">=\d", each)] == []


def run(*command: object, folder: Path, succeeds: bool = True) -> str:
    """Run a command in a folder, with nothing of this checkout on its path; return its stdout, or stderr if it fails.

    The test is skipped if the command fails for want of a network.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )
    if done.returncode and NO_NETWORK.search(done.stderr):
        pytest.skip(f"no package index can be reached: {done.stderr.strip().splitlines()[-1]}")
    assert (done.returncode == 0) == succeeds, done.stdout + done.stderr
    return done.stdout if succeeds else done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy, for setuptools leaves its own files beside the source."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(SOURCE, folder / "src" / "facekd", ignore=shutil.ignore_patterns("__pycache__"))
    options = ["--no-deps", "--quiet", "--disable-pip-version-check", "--retries", "1"]
    if importlib.util.find_spec("setuptools") and int(importlib.metadata.version("setuptools").split(".")[0]) >= 77:
        options.append("--no-build-isolation")  # then it needs no network
    run(sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", folder / "dist", folder, folder=folder)
    (file,) = (folder / "dist").glob("facekd-*.whl")
    return file


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_source_and_the_licence(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    source = {
        f"facekd/{path.relative_to(SOURCE).as_posix()}"
        for path in SOURCE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if name.startswith("facekd/")} == source
    kinds = ("py.typed", "weights/facekd-68.onnx", "weights/facekd-68.json", "recipes/quick.yaml")
    assert {f"facekd/{name}" for name in kinds} <= source and any(name.endswith(".j2") for name in source)
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_detection_works_in_a_fresh_environment_without_torch(wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", "--without-pip", "fresh", folder=tmp_path)  # this pip installs, for time's sake
    here = tmp_path / "fresh" / ("Scripts" if os.name == "nt" else "bin")
    python, facekd = here / "python", here / "facekd"
    options = ["--no-compile", "--quiet", "--disable-pip-version-check", "--retries", "1"]
    run(sys.executable, "-m", "pip", "--python", python, "install", *options, wheel, folder=tmp_path)
    code = (
        "import importlib.util, pathlib, sys, facekd; facekd.Landmarker(); "
        "print(pathlib.Path(facekd.__file__).is_relative_to(sys.prefix), importlib.util.find_spec('torch'))"
    )
    assert run(python, "-c", code, folder=tmp_path).split() == ["True", "None"]
    listed = run(facekd, "models", folder=tmp_path)
    assert "facekd-68: 68 points" in listed and "facekd-68-lite" in listed and "YuNet" in listed
    assert "6 faces" in run(facekd, "demo", "--out", "found", folder=tmp_path)
    assert (tmp_path / "found" / "sample.landmarks.jpg").stat().st_size > 10_000
    told = run(facekd, "distill", "demo", "--data", "x.parquet", "--out", "run", folder=tmp_path, succeeds=False)
    assert "pip install 'facekd[train]'" in told and "Traceback" not in told
