"""CPU threads of training."""

from __future__ import annotations

import os

from facekd.cores import usable_cores
from facekd.errors import InputError

_POLICY = "OMP_WAIT_POLICY"


def set_threads(count: int | None = None) -> None:
    """Set how many CPU threads train; to be called before torch is imported.

    OpenMP's threads wait for each other by spinning, which keeps those they wait for from running where cores are
    shared: of two trainings side by side on two cores each had 1 to 3 images/s, and 120 with threads that sleep. OpenMP
    reads that when torch loads it. A value of the user's own stays.

    Args:
        count: 1 or more; None: as many as the cores that this process may use, or as OMP_NUM_THREADS says.

    Raises:
        InputError: `count` is below 1.
    """
    if count is not None and count < 1:
        raise InputError(f"threads must be 1 or more, got {count}")
    os.environ.setdefault(_POLICY, "PASSIVE")
    import cv2
    import torch

    torch.set_num_threads(count or min(torch.get_num_threads(), usable_cores()))
    if count:
        cv2.setNumThreads(count)
