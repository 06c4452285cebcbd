"""How many processor cores this process may use, which in a container is fewer than there are."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def usable_cores(groups: Path = _CGROUPS, own: Path = _OWN) -> int:
    """Return how many cores this process may use: those it may run on, or the quota of its control group (cgroup v2).

    Args:
        groups: where the control groups are mounted.
        own: the file that names the group of this process.

    Returns:
        The count, at least 1; a part of a core counts as one.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, math.ceil(_quota(groups, own))))


def _quota(groups: Path, own: Path) -> float:
    """Return the cores' worth of time that a group, and those it is in, may use; 1e9 without a limit."""
    try:
        names = [line[3:] for line in own.read_text("utf-8").splitlines() if line.startswith("0::")]
    except OSError:  # not Linux
        return 1e9
    least = 1e9
    for name in names:
        path = groups / name.lstrip("/")
        for group in (path, *path.parents):
            try:
                quota, period = (group / "cpu.max").read_text("utf-8").split()
                least = min(least, int(quota) / int(period))
            except (OSError, ValueError):  # no such file, or "max": no limit
                continue
    return least
