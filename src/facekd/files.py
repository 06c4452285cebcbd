"""Writing files so that a partial one is never taken for whole."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: what a killed process leaves there stays
    fcntl = None  # type: ignore[assignment]

_LONGEST = 40  # characters of a file's name that its temporary name keeps
_TEMPORARY = re.compile(r"\.(?P<stem>.+)\.(?P<digest>[0-9a-f]{8})\.[0-9a-z_]+(?P<suffix>\.[^.]*)?", re.DOTALL)


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

    The temporary name keeps the suffix, by which libraries choose formats; a long one is cut, so that it fits too. On
    an error the file is removed, and `path` stays as it was. A process that is killed leaves it behind, and whoever
    writes the same file next takes it over: its lock ended with the process. While it is locked, others take a name
    with their process id, so that two processes do not write into each other's file.

    Args:
        path: the file; its folder is made if it is not there.

    Yields:
        The path of an empty file beside it, to write to.

    Raises:
        OSError: nothing can be written there; at once if `path` is a folder.
    """
    target = Path(path)
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary, lock = _temporary_file(target)
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
        os.close(lock)


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
    _remove_abandoned(target)
    made = tempfile.TemporaryDirectory(prefix=_prefix(target), suffix=target.suffix, dir=target.parent)
    with made as room, _locked(Path(room)):
        temporary, before = Path(room) / target.name, Path(room) / "before"
        temporary.mkdir()
        yield temporary
        if target.exists():
            os.replace(target, before)
        os.replace(temporary, target)


def clean(folder: str | Path) -> list[Path]:
    """Remove the temporary files and folders that killed processes left anywhere below a folder.

    They are known by their names, which hold a checksum, and by their locks: what a process still writes stays.

    Args:
        folder: to look through; links are not followed.

    Returns:
        What was removed.
    """
    removed = []
    for root, folders, files in os.walk(folder):
        gone = {name for name in (*folders, *files) if _is_temporary(name) and _removed(Path(root, name))}
        folders[:] = [name for name in folders if name not in gone]
        removed += [Path(root, name) for name in sorted(gone)]
    return removed


def _prefix(target: Path) -> str:
    """Return what the names of a file's temporary files begin with; the checksum is of the whole name."""
    return f".{target.stem[:_LONGEST]}.{zlib.crc32(os.fsencode(target.name)):08x}."


def _is_temporary(name: str) -> bool:
    """Whether a name is one that `atomic` or `atomic_folder` gives."""
    found = _TEMPORARY.fullmatch(name)
    if found is None:
        return False
    stem, suffix = found["stem"], found["suffix"] or ""
    # Of a name that was cut the checksum cannot be computed.
    return len(stem) == _LONGEST or f"{zlib.crc32(os.fsencode(stem + suffix)):08x}" == found["digest"]


def _remove_abandoned(target: Path) -> None:
    """Remove what killed processes left of their work at a folder."""
    prefix = _prefix(target)
    with suppress(OSError):
        for name in os.listdir(target.parent):
            if name.startswith(prefix):
                _removed(target.with_name(name))


def _removed(path: Path) -> bool:
    """Remove a temporary file or folder unless a process holds its lock; returns whether it is gone."""
    if fcntl is None:
        return False
    with suppress(OSError), _locked(path, fcntl.LOCK_NB):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
        return True
    return False


@contextmanager
def _locked(path: Path, how: int = 0) -> Iterator[None]:
    """Hold the lock of a file or folder that is there; OSError if another process has it and `how` is not to wait."""
    if fcntl is None:
        yield
        return
    lock = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | how)
        yield
    finally:
        os.close(lock)


def _temporary_file(target: Path) -> tuple[Path, int]:
    """Make the file that stands for another one until it is whole, or take over one that was left.

    Returns:
        Its path, and the descriptor that holds its lock until it is closed or the process ends.
    """
    first, own = (target.with_name(f"{_prefix(target)}{name}{target.suffix}") for name in (0, os.getpid()))
    flags = os.O_RDWR | os.O_CREAT
    while fcntl is not None:
        for path, how in ((first, fcntl.LOCK_NB), (own, 0)):
            lock = os.open(path, flags, 0o666)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | how)
                if os.path.samestat(os.fstat(lock), os.stat(path)):
                    os.ftruncate(lock, 0)
                    return path, lock
            except (BlockingIOError, FileNotFoundError):
                pass  # another process writes there; or it has just ended or removed what it took for abandoned
            except OSError:  # a file system without locks
                os.close(lock)
                return own, os.open(own, flags, 0o666)
            os.close(lock)
    return own, os.open(own, flags, 0o666)


def write_text(path: str | Path, text: str) -> None:
    """Write a text whole or not at all, the same on every system: UTF-8, and lines end as they are given.

    Args:
        path: the file.
        text: what to write.
    """
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
