"""What Prometheus is told."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from facekd.serve.engine import Pool

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Metrics:
    """Counters of one server.

    Args:
        pool: whose queue is shown.

    Attributes:
        content_type: of `text`.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, pool: Pool) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter("facekd_requests", "Requests answered.", ["path", "status"], registry=registry)
        what = "From a request's head to the end of its answer."
        self._latency = Histogram("facekd_request_seconds", what, ["path"], buckets=_SECONDS, registry=registry)
        self._photos = Counter("facekd_photos", "Photos processed.", ["outcome"], registry=registry)
        self._faces = Counter("facekd_faces", "Faces found.", ["model"], registry=registry)
        self._waited = Histogram(
            "facekd_queue_seconds", "How long photos waited for a worker.", buckets=_SECONDS, registry=registry
        )
        self._ran = Histogram(
            "facekd_photo_seconds", "From a photo's file to its faces.", buckets=_SECONDS, registry=registry
        )
        Gauge("facekd_queue_length", "Photos that wait for a worker.", registry=registry).set_function(
            lambda: pool.waiting
        )
        Gauge("facekd_busy_workers", "Workers that process a photo.", registry=registry).set_function(
            lambda: pool.running
        )

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count a request.

        Args:
            path: of the API, not as the client wrote it.
            status: of the answer.
            seconds: it took.
        """
        self._requests.labels(path, str(status)).inc()
        self._latency.labels(path).observe(seconds)

    def photo(self, waited: float, ran: float) -> None:
        """Tell how long a photo took.

        Args:
            waited: seconds in the queue.
            ran: seconds of work.
        """
        self._waited.observe(waited)
        self._ran.observe(ran)

    def found(self, model: str, faces: int) -> None:
        """Count a photo that was processed.

        Args:
            model: the network's name.
            faces: how many it has.
        """
        self._photos.labels("ok").inc()
        self._faces.labels(model).inc(faces)

    def failed(self) -> None:
        """Count a photo that could not be used."""
        self._photos.labels("error").inc()

    def text(self) -> bytes:
        """Write what Prometheus reads.

        Returns:
            Its text format.
        """
        return generate_latest(self._registry)
