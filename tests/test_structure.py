"""How the source is cut: no circle between modules, no long file, no long function."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

import facekd
from longest_files import LONGEST

SOURCE = Path(facekd.__file__).parent
MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 60
LONG_FUNCTIONS = {
    "training/loop.py: fit": "what happens in a training step is read in one sitting",
}


def imports() -> dict[str, set[str]]:
    """Return what each module imports, at its top and within functions.

    Imports for type checkers alone count, too, but those of the package's own `__init__`: it names every public
    class for them, while every module may ask it for the version.
    """
    every, run = (
        grimp.build_graph("facekd", exclude_type_checking_imports=excluded, cache_dir=None)
        for excluded in (False, True)
    )
    graph = {module: every.find_modules_directly_imported_by(module) for module in every.modules}
    return graph | {"facekd": run.find_modules_directly_imported_by("facekd")}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the strongly connected components of more than one node, and the nodes that point at themselves."""

    def reachable(start: str) -> set[str]:
        found, left = set(), [start]
        while left:
            new = graph[left.pop()] - found
            found |= new
            left += new
        return found

    reached = {node: reachable(node) for node in graph}
    components = {
        frozenset(other for other in reached[node] if node in reached[other]) for node in graph if node in reached[node]
    }
    return sorted(sorted(component) for component in components)


def functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, int]]:
    """Yield the name and the number of lines of each function, those of classes and of functions among them."""
    for node in ast.iter_child_nodes(tree):
        name = f"{prefix}{getattr(node, 'name', '')}"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield name, node.end_lineno - node.lineno + 1
        named = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        yield from functions(node, f"{name}." if named else prefix)


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        ({"a": {"b", "c"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}, [["b", "c"]]),
        ({"a": {"a"}, "b": {"c"}, "c": {"b"}}, [["a"], ["b", "c"]]),
    ],
)
def test_circles_are_found(graph: dict[str, set[str]], expected: list[list[str]]) -> None:
    assert circles(graph) == expected


def test_functions_are_counted_wherever_they_are() -> None:
    source = "if True:\n    def f():\n        def g():\n            pass\n\nclass A:\n    def h(self): pass\n"
    assert list(functions(ast.parse(source))) == [("f", 3), ("f.g", 2), ("A.h", 1)]


def test_modules_import_each_other_in_no_circle() -> None:
    graph = imports()
    assert "facekd.geometry" in graph["facekd.runtime.landmarker"] and len(graph) > 60
    assert circles(graph) == []


def test_no_file_is_long() -> None:
    lengths = {
        str(path.relative_to(SOURCE)): len(path.read_text(encoding="utf-8").splitlines())
        for path in SOURCE.rglob("*.py")
    }
    assert {name: length for name, length in lengths.items() if length > MOST_LINES_OF_A_FILE} == {}


def test_no_function_is_long_but_for_a_reason() -> None:
    long = {
        f"{path.relative_to(SOURCE).as_posix()}: {name}": length
        for path in SOURCE.rglob("*.py")
        for name, length in functions(ast.parse(path.read_text(encoding="utf-8")))
        if length > MOST_LINES_OF_A_FUNCTION
    }
    assert {name: length for name, length in long.items() if name not in LONG_FUNCTIONS} == {}
    assert set(LONG_FUNCTIONS) <= set(long), "no longer long: take it off the list"


def test_processes_are_started_in_one_place() -> None:
    """There they are made to end with this one; a worker of a killed command would work on for ever."""
    starting, found = {"ProcessPoolExecutor", "Process", "fork", "Popen"}, set()
    for path in SOURCE.rglob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        calls = [node.func for node in nodes if isinstance(node, ast.Call)]
        if starting & {getattr(each, "attr", getattr(each, "id", "")) for each in calls}:
            found.add(path.relative_to(SOURCE).as_posix())
    assert found == {"workers.py", "runtime/trial.py"}  # the second forks, to be quick
    assert "end_with_parent()" in (SOURCE / "runtime" / "trial.py").read_text(encoding="utf-8")


def test_the_files_that_tests_begin_with_are_there() -> None:
    assert [name for name in LONGEST if not (Path(__file__).parents[1] / name).is_file()] == []
