"""What a server is told when it starts."""

from __future__ import annotations

from dataclasses import dataclass

from facekd.cores import usable_cores
from facekd.errors import InputError
from facekd.runtime.ort import Providers

MOST_PHOTOS = 32  # of a batch
_MEBI = 2**20


@dataclass(frozen=True)
class ServeSettings:
    """Settings of a server.

    Attributes:
        models: what `facekd.api.load_model` takes, the default one first; empty: the bundled networks.
        token: what clients have to send as `Authorization: Bearer TOKEN`; None: nothing.
        workers: photos processed at the same time, each on one CPU thread; None: as many as there are cores.
        queue: photos that may wait for a worker; beyond that the answer is 503.
        max_mb: largest file in MiB.
        max_mpx: most pixels of a photo in megapixels; larger ones are refused before they are decoded.
        origins: web pages of other origins that may use the API, such as "https://example.org"; "*": all.
        providers: where the networks run, as for `Landmarker`.
        log: write a line per request to stderr; it has nothing of the photo or of the query.

    Raises:
        InputError: a number is out of its range.
    """

    models: tuple[str, ...] = ()
    token: str | None = None
    workers: int | None = None
    queue: int = 64
    max_mb: float = 10.0
    max_mpx: float = 40.0
    origins: tuple[str, ...] = ()
    providers: Providers = "cpu"
    log: bool = True

    def __post_init__(self) -> None:
        for name in ("workers", "queue", "max_mb", "max_mpx"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name} must be above 0, got {value}")
        if self.token is not None and not self.token.strip():
            raise InputError("the token is empty; give a long random one, such as `openssl rand -hex 16` prints")

    @property
    def threads(self) -> int:
        """How many workers there are."""
        return self.workers or usable_cores()

    @property
    def max_bytes(self) -> int:
        """Largest file in bytes."""
        return int(self.max_mb * _MEBI)

    @property
    def max_pixels(self) -> int:
        """Most pixels of a photo."""
        return int(self.max_mpx * 1e6)

    @property
    def max_batch(self) -> int:
        """Most photos of a batch: no more than may wait."""
        return min(MOST_PHOTOS, self.queue)

    @property
    def max_held(self) -> int:
        """Bytes of photos that may be received or wait at the same time; it bounds the memory."""
        return 2 * MOST_PHOTOS * self.max_bytes
