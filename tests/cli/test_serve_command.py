"""`facekd serve`: what it refuses before it listens, and what it tells a user without the extra."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest

from facekd import cli

pytest.importorskip("fastapi")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["facekd", "serve", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as left:
        return int(left.code or 0)
    return 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--host", "0.0.0.0"), "other machines reach http://0.0.0.0:"),
        (("--host", "no.such.host.invalid"), "no address 'no.such.host.invalid'"),
        (("--model", "facekd-86"), "no model 'facekd-86'"),
        (("--token", "a", "--no-token"), "exclude each other"),
        (("--token", " "), "the token is empty"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], sentence: str
) -> None:
    assert run(monkeypatch, "--port", 0, *arguments) == 1
    err = capsys.readouterr().err
    assert sentence in err and err.count("\n") == 1


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in [name for name in sys.modules if name.startswith("facekd.serve")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert run(monkeypatch, "--port", 0) == 1
    assert "pip install 'facekd[serve]'" in capsys.readouterr().err


def test_modules_of_other_extras_are_those_of_the_project() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    for module in ("fastapi", "uvicorn", "python_multipart", "prometheus_client", "ray"):
        name = module.replace("_", "-")
        assert any(each.startswith(name) for each in extras[cli.EXTRAS[module]]), module


def test_a_host_that_others_reach_is_served_with_a_token_or_without_on_purpose(monkeypatch: pytest.MonkeyPatch) -> None:
    from facekd.serve import server

    ran = []
    monkeypatch.setattr(server.Server, "run", lambda self, sockets: ran.append(self))
    for options in (("--no-token",), ("--token", "secret")):
        assert (
            run(monkeypatch, "--port", 0, "--host", "0.0.0.0", "--model", "facekd-68-lite", "--no-log", *options) == 0
        )
    assert len(ran) == 2
