"""The API's questions and answers, as its OpenAPI schema shows them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from facekd.serve.engine import Wanted


class FacesQuery(BaseModel):
    """What a request asks for."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(None, description="name of the network; default: the first of GET /v1/models")
    markup: str | None = Field(None, description="convert the points to this mark-up; default: the network's own")
    min_score: float = Field(
        0.6, ge=0, le=1, allow_inf_nan=False, description="lowest detector score that counts as a face"
    )
    max_faces: int | None = Field(None, ge=1, description="most faces, the largest; default: all")
    draw: bool = Field(False, description="add the photo with the faces drawn in, as a JPEG file in base64")

    def wanted(self) -> Wanted:
        """Turn the query into what the engine takes.

        Returns:
            The same values.
        """
        return Wanted(**self.model_dump())


class FacePose(BaseModel):
    """Which way a head is turned, in degrees."""

    yaw: float = Field(description="positive to the image's right")
    pitch: float = Field(description="positive up")
    roll: float = Field(description="positive clockwise as seen")


class FaceJson(BaseModel):
    """A face, as `Face.to_dict` writes it."""

    model_config = ConfigDict(extra="allow")

    box: list[float] = Field(min_length=4, max_length=4, description="x0, y0, x1, y1 in pixels of the upright photo")
    score: float = Field(ge=0, le=1, description="the detector's")
    face_confidence: float | None = Field(
        ge=0, le=1, description="probability that the landmarks are right; null if the network was not calibrated"
    )
    points: list[list[float]] = Field(
        description="x, y of each landmark in pixels; the centre of the top-left pixel is (0, 0)"
    )
    confidence: list[float] | None = Field(description="of each landmark, in [0, 1]; null if the network gives none")
    visible: list[float] | None = Field(
        description="probability that each landmark is visible, not occluded; null if the network did not learn it"
    )
    pose: FacePose | None = Field(description="null for a mark-up that cannot tell it")


class FacesAnswer(BaseModel):
    """The faces of a photo."""

    width: int = Field(description="of the photo in pixels, once upright as its EXIF data says")
    height: int
    model: str = Field(description="the network that found the landmarks")
    markup: str = Field(description="what the points are; GET /v1/models explains it")
    milliseconds: float = Field(description="from the file to the faces, without the wait for a worker")
    faces: list[FaceJson] = Field(description="best score first, or with max_faces largest first")
    drawing: str | None = Field(None, description="with draw: a JPEG file in base64")


class ErrorDetail(BaseModel):
    """What went wrong."""

    code: str = Field(description="a word for programs, such as too_large, not_a_photo, unusable, busy")
    message: str = Field(description="a sentence for people")
    request_id: str = Field(description="the same as in the header X-Request-ID")


class ErrorAnswer(BaseModel):
    """The one shape of every error."""

    error: ErrorDetail


class NamedFaces(FacesAnswer):
    """The faces of a photo of a batch."""

    photo: str = Field(description="name of the file in the form")


class NamedError(ErrorAnswer):
    """Why a photo of a batch could not be used."""

    photo: str = Field(description="name of the file in the form")


class BatchAnswer(BaseModel):
    """The faces of several photos."""

    photos: list[NamedFaces | NamedError] = Field(description="in the order of the form")


class MarkUpJson(BaseModel):
    """What the points of a mark-up are."""

    name: str
    count: int = Field(description="number of points")
    contours: list[dict[str, Any]] = Field(description="name, points (indices from 0) and closed, for drawing")


class ModelJson(BaseModel):
    """A network of this server."""

    name: str
    default: bool = Field(description="whether it runs where a request names none")
    confidence: str | None = Field(description="what the confidence of a point means")
    markups: list[str] = Field(description="what its points can be given in, its own first")


class ModelsAnswer(BaseModel):
    """The networks of this server, and the mark-ups of their answers."""

    models: list[ModelJson]
    markups: list[MarkUpJson]
    limits: dict[str, float] = Field(description="max_mb and max_mpx of a photo, photos of a batch")


class HealthAnswer(BaseModel):
    """How the server is."""

    status: str = Field(description="ok, or stopping")
