"""The `facekd` command. Each module of this package registers its commands; heavy libraries load inside them."""

from __future__ import annotations

import sys

import typer

from facekd import __version__
from facekd.errors import FacekdError


def build() -> typer.Typer:
    """Return the command line application with every command registered."""
    from facekd.cli import data, detect, evaluate, train

    app = typer.Typer(
        name="facekd",
        help="Small, fast face-landmark networks, distilled from large ones.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )

    @app.callback(invoke_without_command=True)
    def root(version: bool = typer.Option(False, "--version", help="Print the version and leave.")) -> None:
        if version:
            typer.echo(f"facekd {__version__}")
            raise typer.Exit()

    for module in (data, train, evaluate, detect):
        module.register(app)
    return app


def main() -> None:
    """Run the command line; an error of the user's becomes one sentence on stderr and exit code 1."""
    try:
        build()()
    except FacekdError as error:
        typer.secho(f"facekd: {error}", fg=typer.colors.RED, err=True)
        sys.exit(1)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("facekd"):
            raise
        typer.secho(f"facekd: this command needs '{error.name}'; pip install 'facekd[train]'", fg="red", err=True)
        sys.exit(1)
