"""`facekd serve`."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the command that serves.

    Args:
        app: the application.
    """
    app.command()(serve)


def serve(
    host: str = typer.Option("127.0.0.1", help="Address to listen on; others than loopback need a token."),
    port: int = typer.Option(8000, min=0, max=65535, help="0: a free one."),
    model: list[str] = typer.Option(
        [], "--model", "-m", help="A bundled name, an .onnx file or a run; repeatable, the first is the default one."
    ),
    token: str = typer.Option(
        "", envvar="FACEKD_TOKEN", show_envvar=False, help="What clients have to send; default: $FACEKD_TOKEN."
    ),
    no_token: bool = typer.Option(False, "--no-token", help="Let everybody in who reaches the address."),
    workers: int | None = typer.Option(None, min=1, help="Photos processed at once, one thread each; default: cores."),
    queue: int = typer.Option(64, min=1, help="Photos that may wait; beyond that the answer is 503."),
    max_mb: float = typer.Option(10.0, min=0.001, help="Largest file in MiB."),
    max_mpx: float = typer.Option(40.0, min=0.001, help="Most megapixels of a photo."),
    cors: list[str] = typer.Option([], help="Origin of web pages that may use the API, or '*'; repeatable."),
    provider: list[str] = typer.Option(["cpu"], help="Where the networks run: cpu, cuda, coreml, ...; repeatable."),
    log: bool = typer.Option(True, help="A line per request on stderr, with nothing of the photo."),
) -> None:
    """Serve landmarks over HTTP: a page at /, an API that /docs describes.

    Ctrl-C or SIGTERM ends it: requests that were accepted are answered, and the exit code is 0. Nothing of a photo is
    written or logged, and no request leaves the machine.
    """
    from facekd.errors import InputError
    from facekd.runtime.trial import tried
    from facekd.serve.server import serve as run
    from facekd.serve.settings import ServeSettings

    if token and no_token:
        raise InputError("--token and --no-token exclude each other; give one of them")
    for each in model:
        tried(each)
    settings = ServeSettings(
        models=tuple(model),
        token=token or None,
        workers=workers,
        queue=queue,
        max_mb=max_mb,
        max_mpx=max_mpx,
        origins=tuple(cors),
        providers=tuple(provider),
        log=log,
    )
    run(
        settings,
        host,
        port,
        open_to_all=no_token,
        started=lambda url: typer.echo(f"facekd: {url} is ready; Ctrl-C ends it", err=True),
    )
