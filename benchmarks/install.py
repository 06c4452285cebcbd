"""What the base install weighs and how long its import takes: a fresh environment, then detection without network.

    python benchmarks/install.py [--out docs/benchmarks]

Writes install.json and, from it, install.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUNS = 5
IMPORTS = {
    "import facekd": "import facekd",
    "import facekd; facekd.Landmarker": "import facekd; facekd.Landmarker",
    "facekd.Landmarker()": "import facekd; facekd.Landmarker()",
}
# Any connection from here on is an error.
OFFLINE = """
import socket, sys
def refuse(*_): raise OSError("no network")
socket.socket.connect = socket.getaddrinfo = refuse
import facekd
from facekd.cli import main
sys.argv = ["facekd", "demo", "--out", sys.argv[1]]
try: main()
except SystemExit as left: assert not left.code
heavy = [name for name in ("torch", "pyarrow", "matplotlib", "scipy") if name in sys.modules]
assert not heavy, heavy
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        venv.create(Path(folder) / "base", with_pip=True)
        python = str(Path(folder) / "base" / "bin" / "python")
        site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"))
        before = size(site)
        # A copy, since setuptools leaves a build folder behind, whose stale files the next build would pack.
        source = Path(folder) / "source"
        shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, source)
        run(python, "-m", "pip", "install", "-q", str(source))
        packages = {path.name: size(path) for path in site.iterdir()}
        demo = run(python, "-c", OFFLINE, str(Path(folder) / "demo"))
        result = {
            "command": "python benchmarks/install.py",
            "python": sys.version.split()[0],
            "megabytes": (size(site) - before) / 1e6,
            "largest": {
                name: packages[name] / 1e6 for name in sorted(packages, key=packages.__getitem__, reverse=True)[:6]
            },
            "seconds": {name: seconds(python, code) for name, code in IMPORTS.items()},
            "offline_demo": demo.splitlines()[0].split(";")[0],
        }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "install.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "install.md").write_text(table(result))
    print(table(result))


def run(*command: str) -> str:
    """Run a command and return what it printed; its errors are shown and stop the benchmark."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def size(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder."""
    return (
        path.stat().st_size
        if path.is_file()
        else sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
    )


def seconds(python: str, code: str) -> float:
    """Return the median time of some code in a fresh interpreter, without the interpreter's own start."""
    timed = f"import time; start = time.perf_counter(); {code}; print(time.perf_counter() - start)"
    return statistics.median(float(run(python, "-c", timed)) for _ in range(RUNS))


def table(result: dict) -> str:
    """Return the figures as a page."""
    largest = ", ".join(f"{name} {megabytes:.0f} MB" for name, megabytes in result["largest"].items())
    lines = [
        "# The base install",
        "",
        f"`{result['command']}`, Python {result['python']}: `pip install .` into a fresh environment, then",
        f"`facekd demo` with every network call refused: {result['offline_demo']}.",
        "",
        f"Size: {result['megabytes']:.0f} MB with all dependencies (largest: {largest}).",
        "",
        f"| in a fresh interpreter, median of {RUNS} | seconds |",
        "|---|---|",
        *(f"| `{name}` | {value:.2f} |" for name, value in result["seconds"].items()),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
