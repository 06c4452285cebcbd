"""The routes of the server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from facekd.errors import FacekdError, nearest
from facekd.serve.engine import Engine, Pool, Wanted, busy, timed
from facekd.serve.front import Front, Status
from facekd.serve.metrics import Metrics
from facekd.serve.problems import ClientGoneError, RequestError, problem, problem_body, status_of
from facekd.serve.schemas import BatchAnswer, ErrorAnswer, FacesAnswer, FacesQuery, HealthAnswer, ModelsAnswer
from facekd.serve.settings import ServeSettings
from facekd.serve.uploads import Budget, Upload, receive_photos
from facekd.version import __version__

Found = dict[str, Any] | FacekdError  # what is known of a photo: its faces, or why there are none

PAGE = Path(__file__).with_name("page")
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_SAMPLE = Path(__file__).parents[1] / "weights" / "sample.jpg"
_FILE = {"type": "string", "format": "binary"}
_FORM = {"type": "object", "properties": {"photo": _FILE}, "required": ["photo"]}
_FORMS = {"type": "object", "properties": {"photos": {"type": "array", "items": _FILE}}, "required": ["photos"]}
_DESCRIPTION = (
    "Finds faces and their landmarks in photos. Points are x, y in pixels of the upright photo, the centre of the "
    "top-left pixel being (0, 0); boxes are x0, y0, x1, y1; angles are degrees. Nothing of a photo is written or "
    "logged."
)
_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorAnswer, "description": "The form is broken."},
    401: {"model": ErrorAnswer, "description": "The token is missing or wrong."},
    408: {"model": ErrorAnswer, "description": "The body came too slowly."},
    413: {"model": ErrorAnswer, "description": "The photo has too many bytes or pixels."},
    415: {"model": ErrorAnswer, "description": "That is no photo."},
    422: {"model": ErrorAnswer, "description": "The photo is damaged, or the query is wrong."},
    500: {"model": ErrorAnswer, "description": "The server's fault."},
    503: {"model": ErrorAnswer, "description": "The queue is full, or the server stops: see Retry-After."},
}


class Service:
    """What the routes share.

    Args:
        settings: of the server.

    Raises:
        ModelError: a network cannot be loaded.
        InputError: two networks have the same name.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self.settings, self.status = settings, Status()
        self.engine = Engine(settings)
        self.pool = Pool(settings.threads, settings.queue)
        self.metrics = Metrics(self.pool)
        self.budget = Budget(settings.max_held)

    async def photos(self, request: Request, wanted: Wanted, most: int) -> list[tuple[str, Found]]:
        """Receive the photos of a request and find their faces.

        Args:
            request: whose body holds them.
            wanted: what it asks for.
            most: how many photos there may be.

        Returns:
            Per photo its name, and its faces or why there are none.

        Raises:
            FacekdError: the request as a whole cannot be answered.
            ClientGoneError: the client left.
        """
        self.engine.check(wanted)
        if self.pool.full:
            raise busy()  # before the body is received
        with self.budget.share() as share:
            uploads = await receive_photos(request, share, most, self.settings.max_bytes)
            jobs = [timed(partial(self._find, upload, wanted), self.metrics.photo) for upload in uploads]
            found = await _unless_gone(request, self.pool.submit(jobs))
        for each in found:
            if isinstance(each, FacekdError):
                self.metrics.failed()
            else:
                self.metrics.found(each["model"], len(each["faces"]))
        return [(upload.name, each) for upload, each in zip(uploads, found, strict=True)]

    def _find(self, upload: Upload, wanted: Wanted) -> Found:
        """Find the faces of a photo; its error is a result, too."""
        try:
            if upload.too_large:
                raise RequestError(413, f"a photo may have {self.settings.max_mb:g} MiB here; send a smaller one")
            return self.engine.faces(bytes(upload.content), wanted)
        except FacekdError as error:
            return error

    def models(self) -> dict[str, Any]:
        """List the networks and mark-ups.

        Returns:
            Plain values, as `ModelsAnswer` describes them.
        """
        engine, markups, models = self.engine, {}, []
        for name, landmarker in engine.landmarkers.items():
            own = engine.markups(name)
            markups.update(own)
            card = getattr(landmarker.model, "card", None)
            meaning = getattr(card, "confidence", None)
            models.append(
                {"name": name, "default": name == engine.default, "confidence": meaning, "markups": list(own)}
            )
        shown = [
            {key: value for key, value in markup.to_dict().items() if key in ("name", "count", "contours")}
            for markup in markups.values()
        ]
        settings = self.settings
        limits = {"max_mb": settings.max_mb, "max_mpx": settings.max_mpx, "photos": settings.max_batch}
        return {"models": models, "markups": shown, "limits": limits}


async def _unless_gone(request: Request, futures: Sequence[Future[Any]]) -> list[Any]:
    """Wait for jobs; if the client leaves first, those that wait in the queue give their places back."""
    results = [asyncio.wrap_future(future) for future in futures]
    every, gone = asyncio.ensure_future(asyncio.wait(results)), asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait((every, gone), return_when=asyncio.FIRST_COMPLETED)
        if not every.done():
            raise ClientGoneError
        return [result.result() for result in results]
    finally:
        for waited in (every, gone, *results):
            waited.cancel()


def create_app(service: Service) -> FastAPI:
    """Make the application.

    Args:
        service: what its routes share.

    Returns:
        The application.
    """
    settings = service.settings

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        service.pool.close()

    app = FastAPI(
        title="facekd",
        version=__version__,
        description=_DESCRIPTION,
        docs_url=None,  # FastAPI's pages load scripts from elsewhere; ours is page/docs.html
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
        lifespan=lifespan,
    )
    _add_faces(app, service)
    _add_state(app, service)
    _add_page(app)
    _add_errors(app)
    paths = frozenset(route.path for route in app.routes if hasattr(route, "path"))
    guarded = frozenset(path for path in paths if path.startswith("/v1/") or path == "/metrics")
    app.add_middleware(
        Front,
        paths=paths,
        guarded=guarded,
        token=settings.token,
        status=service.status,
        metrics=service.metrics,
    )
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", "x-request-id"],
            expose_headers=["x-request-id", "retry-after"],
        )
    return app


def _add_faces(app: FastAPI, service: Service) -> None:
    """Add the routes that take photos."""

    @app.post(
        "/v1/faces",
        tags=["faces"],
        summary="Find the faces of a photo",
        description="The photo is the body itself, of any content type, or the one file of a multipart form.",
        responses={200: {"model": FacesAnswer, "description": "The faces."}, **_ERRORS},
        response_model=None,
        openapi_extra=_body({"multipart/form-data": _FORM, "image/*": _FILE, "application/octet-stream": _FILE}),
    )
    async def faces(request: Request, query: Annotated[FacesQuery, Query()]) -> Response:
        ((_, found),) = await service.photos(request, query.wanted(), 1)
        if isinstance(found, FacekdError):
            raise found
        return _json(found)

    @app.post(
        "/v1/faces:batch",
        tags=["faces"],
        summary="Find the faces of several photos",
        description=f"The photos are the files of a multipart form, at most {service.settings.max_batch}. A photo that "
        "cannot be used has its error in its place, and the others their faces.",
        responses={200: {"model": BatchAnswer, "description": "The faces of each photo, or its error."}, **_ERRORS},
        response_model=None,
        openapi_extra=_body({"multipart/form-data": _FORMS}),
    )
    async def batch(request: Request, query: Annotated[FacesQuery, Query()]) -> Response:
        found = await service.photos(request, query.wanted(), service.settings.max_batch)
        request_id = request.state.request_id
        photos = []
        for name, one in found:
            if isinstance(one, FacekdError):
                one = problem(status_of(one), str(one), request_id)
            photos.append({"photo": name, **one})
        return _json({"photos": photos})


def _add_state(app: FastAPI, service: Service) -> None:
    """Add the routes that tell of the server."""

    @app.get(
        "/v1/models",
        tags=["server"],
        summary="List the networks and mark-ups",
        responses={200: {"model": ModelsAnswer, "description": "The networks."}, 401: _ERRORS[401]},
        response_model=None,
    )
    async def models() -> Response:
        return _json(service.models())

    @app.get(
        "/health/live",
        tags=["server"],
        summary="Whether the process answers",
        responses={200: {"model": HealthAnswer, "description": "It does."}},
        response_model=None,
    )
    async def live() -> Response:
        return _json({"status": "ok"})

    @app.get(
        "/health/ready",
        tags=["server"],
        summary="Whether new requests are accepted",
        responses={
            200: {"model": HealthAnswer, "description": "They are."},
            503: {"model": ErrorAnswer, "description": "The server stops."},
        },
        response_model=None,
    )
    async def ready() -> Response:
        if service.status.stopping:
            raise RequestError(503, "the server is stopping")
        return _json({"status": "ok"})

    @app.get(
        "/metrics",
        tags=["server"],
        summary="Counters for Prometheus",
        responses={
            200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "The counters."},
            401: _ERRORS[401],
        },
        response_class=Response,
    )
    async def metrics() -> Response:
        return Response(service.metrics.text(), headers={"content-type": service.metrics.content_type})


def _add_page(app: FastAPI) -> None:
    """Add the page's files, read now: no path of a client's ever becomes one of the file system's."""
    files = {f"/page/{path.name}": (path.read_bytes(), _TYPES[path.suffix]) for path in sorted(PAGE.iterdir())}
    files["/"], files["/docs"] = files.pop("/page/index.html"), files.pop("/page/docs.html")
    files["/page/sample.jpg"] = (_SAMPLE.read_bytes(), "image/jpeg")
    for path, (content, kind) in files.items():
        app.add_route(path, partial(_file, content, kind), methods=["GET"], include_in_schema=False)


async def _file(content: bytes, kind: str, _request: Request) -> Response:
    return Response(content, media_type=kind, headers={"cache-control": "no-cache"})


def _add_errors(app: FastAPI) -> None:
    """Say every error in the one shape."""

    def refuse(request: Request, status: int, message: str, headers: Any = None) -> Response:
        body = problem_body(status, message, request.state.request_id)
        return Response(body, status, headers, media_type="application/json")

    async def known(request: Request, error: Any) -> Response:
        return refuse(request, status_of(error), str(error), getattr(error, "headers", None))

    async def http(request: Request, error: Any) -> Response:
        sentences = {
            404: "there is no such address here; GET /docs lists those there are",
            405: "this address does not know the method; GET /docs lists those it knows",
        }
        return refuse(request, error.status_code, sentences.get(error.status_code, str(error.detail)), error.headers)

    async def query(request: Request, error: Any) -> Response:
        return refuse(request, 422, _query_sentence(error.errors()[0]))

    app.add_exception_handler(FacekdError, known)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, query)


def _query_sentence(error: dict[str, Any]) -> str:
    """Say what is wrong with a query."""
    name = str(error["loc"][-1])[:40]
    if error["type"] == "extra_forbidden":
        return f"the query has no setting {json.dumps(name)}; {nearest(name, FacesQuery.model_fields)}"
    said = str(error["msg"]).removeprefix("Input ")
    return f"{name} {said[:1].lower()}{said[1:]}"


def _body(contents: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Describe a body that the routes read themselves."""
    return {"requestBody": {"required": True, "content": {kind: {"schema": one} for kind, one in contents.items()}}}


def _json(values: Any) -> Response:
    return Response(json.dumps(values), media_type="application/json")
