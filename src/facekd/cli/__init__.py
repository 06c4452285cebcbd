"""The `facekd` command. Each module of this package registers its commands; heavy libraries load inside them."""

from __future__ import annotations

import errno
import io
import os
import sys
import warnings

import typer

from facekd.cli import crash
from facekd.errors import FacekdError
from facekd.version import __version__

# Modules that another extra than "train" brings.
EXTRAS = dict.fromkeys(("fastapi", "starlette", "uvicorn", "h11", "python_multipart", "prometheus_client"), "serve")
EXTRAS |= {"ray": "bulk"}
_FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))


def build() -> typer.Typer:
    """Make the command line application.

    Returns:
        The application with every command registered.
    """
    from facekd.cli import bulk, data, detect, evaluate, serve, train

    app = typer.Typer(
        name="facekd",
        help="Small, fast face-landmark networks, distilled from large ones.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )

    @app.callback(invoke_without_command=True)
    def root(
        version: bool = typer.Option(False, "--version", help="Print the version and leave."),
        debug: bool = typer.Option(False, "--debug", help="Show the traceback of an unexpected error."),  # see `main`
    ) -> None:
        if version:
            typer.echo(f"facekd {__version__}")
            raise typer.Exit()

    for module in (data, train, evaluate, detect, serve, bulk):
        module.register(app)
    return app


def main() -> None:
    """Run the command line; an error of the user's or the system's becomes one sentence on stderr and exit code 1.

    Any other is a fault of ours: one sentence that names a log of it, and exit code 70.
    """
    warnings.filterwarnings("ignore", module="PIL")  # of damage that it can read past
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a minus sign is no reason to fail where a console lacks it
    debug = "--debug" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    code = 1
    try:
        build()()
    except BrokenPipeError:  # who read the output, such as `head`, has enough of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else Python says so again when it closes stdout
        sys.exit(1)
    except FacekdError as error:
        sentence = str(error)
    except OSError as error:
        place = error.filename2 or error.filename  # of a renaming, the user knows the new name
        why = error.strerror or str(error)
        sentence = f"{place} cannot be used: {why}" if place else f"reading or writing failed: {why}"
        if error.errno in _FULL:
            sentence += "; free some space, or give another place for the output"
    except MemoryError:
        sentence = "there is not enough memory; give fewer or smaller photos, or fewer --jobs or --workers"
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("facekd"):
            raise
        missing = (error.name or "").partition(".")[0]
        extra = EXTRAS.get(missing, "bulk" if sys.argv[1:2] == ["bulk"] else "train")  # both bring pyarrow
        sentence = f"this command needs '{error.name}'; pip install 'facekd[{extra}]'"
    except Exception as error:
        if debug:
            raise
        sentence, code = crash.sentence(error), crash.EXIT_CODE
    typer.secho(f"facekd: {sentence}", fg=typer.colors.RED, err=True)
    sys.exit(code)
