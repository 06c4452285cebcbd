"""Writing files so that a partial one is never taken for whole."""

from __future__ import annotations

import errno
import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def expand(path: str | os.PathLike[str]) -> Path:
    """Turn what a user gives as a path into one.

    Args:
        path: a text or any path-like object; "~" at its start stands for the home folder, unless there is a file or
            folder of that name.

    Returns:
        The path.
    """
    plain = Path(path)
    if not plain.parts or plain.parts[0][0] != "~" or os.path.lexists(plain):
        return plain
    return Path(os.path.expanduser(plain))  # of an unknown user's "~name" it is left as it is


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Write a file whole or not at all: under a temporary name until the block ends without an error.

    The temporary name keeps the suffix (libraries choose formats by it) and carries the process id, so that two
    processes do not write into each other's file; a long one is cut, so that it fits too. On an error it is removed
    and `path` stays as it was.

    Args:
        path: the file; its folder is made if it is not there.

    Yields:
        The temporary path beside it, to write to.

    Raises:
        OSError: nothing can be written there; at once if `path` is a folder.
    """
    target = Path(path)
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = f"{zlib.crc32(os.fsencode(target.name)):08x}"
    temporary = target.with_name(f".{target.stem[:40]}.{digest}.{os.getpid()}{target.suffix}")
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Write a folder whole or not at all: under a temporary name until the block ends without an error.

    Args:
        path: the folder; one that is there is replaced, and stays as it was on an error.

    Yields:
        The temporary folder beside it, empty, to write into.

    Raises:
        OSError: nothing can be written there, or `path` is a file.
    """
    target = Path(path)
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.stem[:40]}.", dir=target.parent) as room:
        temporary, before = Path(room) / target.name, Path(room) / "before"
        temporary.mkdir()
        yield temporary
        if target.exists():
            os.replace(target, before)
        os.replace(temporary, target)


def write_text(path: str | Path, text: str) -> None:
    """Write a text whole or not at all, the same on every system: UTF-8, and lines end as they are given.

    Args:
        path: the file.
        text: what to write.
    """
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
