"""Docstrings in Google's style: every parameter is named under Args, what comes back under Returns or Yields."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import facekd

SOURCE = Path(facekd.__file__).parent
# Commands document their options by `help=`; properties read as attributes; validators are called by pydantic only.
EXEMPT = {
    "property",
    "cached_property",
    "setter",
    "overload",
    "field_validator",
    "model_validator",
    "field_serializer",
    "model_serializer",
    "validator",
}
NOTHING = {"None", "NoReturn", "Never"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def public(tree: ast.AST) -> Iterator[tuple[str, ast.ClassDef | Function]]:
    """Yield every public class, function and method by its dotted name; nothing nested within functions."""

    def visit(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, ast.ClassDef | Function]]:
        for node in body:
            if isinstance(node, ast.ClassDef | Function) and not node.name.startswith("_"):
                yield prefix + node.name, node
                if isinstance(node, ast.ClassDef):
                    yield from visit(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.If | ast.Try):
                yield from visit(node.body + node.orelse, prefix)

    yield from visit(getattr(tree, "body", []), "")


def decorators(node: Function) -> set[str]:
    """Return the last part of each decorator's name: `model_validator` for `@pydantic.model_validator(mode=...)`."""
    names = (d.func if isinstance(d, ast.Call) else d for d in node.decorator_list)
    return {d.attr if isinstance(d, ast.Attribute) else d.id for d in names if isinstance(d, ast.Attribute | ast.Name)}


def is_command(node: Function) -> bool:
    """Whether typer calls it: a default or an annotation is made by `typer.Option` or `typer.Argument`."""
    return any(f"typer.{kind}(" in ast.unparse(node.args) for kind in ("Option", "Argument"))


def parameters(node: Function, method: bool) -> list[str]:
    """Return the names of the parameters, but for `self` and `cls` and those that start with an underscore."""
    arguments = node.args
    positional = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
    if method and "staticmethod" not in decorators(node):
        positional = positional[1:]
    more = [argument.arg for argument in (arguments.vararg, *arguments.kwonlyargs, arguments.kwarg) if argument]
    return [name for name in (*positional, *more) if not name.startswith("_")]


def section(text: str, *names: str) -> str | None:
    """Return what is indented under the first of these headings, or None if there is no such heading."""
    lines = text.splitlines()
    for start, line in enumerate(lines):
        if line.strip().rstrip(":") in names and line.rstrip().endswith(":"):
            depth = len(line) - len(line.lstrip())
            inside = []
            for other in lines[start + 1 :]:
                if other.strip() and len(other) - len(other.lstrip()) <= depth:
                    break
                inside.append(other)
            return "\n".join(inside)
    return None


def faults(node: ast.ClassDef | Function, method: bool = False) -> list[str]:
    """Return what a docstring lacks, one sentence each."""
    text = ast.get_docstring(node)
    if not text:
        return ["no docstring"]
    if isinstance(node, ast.ClassDef):
        return []
    found, names = [], parameters(node, method)
    named = section(text, "Args")
    if names and named is None:
        found.append("no Args")
    elif missing := [name for name in names if not re.search(rf"^ *\**{name}\b.*:", named or "", re.MULTILINE)]:
        found.append(f"Args lacks {', '.join(missing)}")
    comes_back = ast.unparse(node.returns) if node.returns else "None"
    if comes_back not in NOTHING and section(text, "Returns", "Yields") is None:
        found.append("no Returns")
    return found


def faults_of(source: str) -> dict[str, list[str]]:
    """Return what the docstrings of a file lack, by the dotted name of what has them."""
    result = {}
    for name, node in public(ast.parse(source)):
        exempt = not isinstance(node, ast.ClassDef) and (decorators(node) & EXEMPT or is_command(node))
        if not exempt and (found := faults(node, method="." in name)):
            result[name] = found
    return result


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(): ...", ["no docstring"]),
        ("def f() -> None:\n    'Do it.'", []),
        ("def _f(x): ...", []),
        ("def f(x: int) -> None:\n    'Do it.'", ["no Args"]),
        ("def f(x: int) -> None:\n    '''Do it.\n\n    Args:\n        x: a number.\n    '''", []),
        ("def f(x, y) -> None:\n    '''Do it.\n\n    Args:\n        x: not y.\n    '''", ["Args lacks y"]),
        ("def f(*x, **y) -> None:\n    '''Do it.\n\n    Args:\n        *x: some.\n        **y: more.\n    '''", []),
        ("def f() -> int:\n    'Do it.'", ["no Returns"]),
        ("def f() -> int:\n    '''Do it.\n\n    Returns:\n        A number.\n    '''", []),
        ("def f() -> Iterator[int]:\n    '''Do it.\n\n    Yields:\n        A number.\n    '''", []),
        ("def f(x: int = typer.Option(1)) -> int:\n    'Do it.'", []),
        ("def f():\n    'Do it.'\n    def g(x): ...", []),
    ],
)
def test_what_a_functions_docstring_lacks(source: str, expected: list[str]) -> None:
    assert faults_of(source) == ({"f": expected} if expected else {})


def test_methods_are_asked_for_all_but_self_and_properties_for_nothing() -> None:
    source = '''
class A:
    """A."""
    def f(self, x) -> int:
        """Do it."""
    @classmethod
    def g(cls) -> None:
        """Do it."""
    @staticmethod
    def h(x) -> None:
        """Do it."""
    @property
    def i(self) -> int:
        """A number."""
    @pydantic.field_validator("x")
    def j(cls, value): ...
    def __len__(self): ...
class B: ...
'''
    assert faults_of(source) == {"A.f": ["no Args", "no Returns"], "A.h": ["no Args"], "B": ["no docstring"]}


def test_public_names_have_whole_docstrings() -> None:
    lacking = [
        f"{path.relative_to(SOURCE).as_posix()}: {name}: {fault}"
        for path in sorted(SOURCE.rglob("*.py"))
        for name, found in faults_of(path.read_text(encoding="utf-8")).items()
        for fault in found
    ]
    assert not lacking, f"{len(lacking)} docstrings lack something:\n" + "\n".join(lacking)
