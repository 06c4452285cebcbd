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

from facekd.errors import InputError

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
    with _temporary_folder(target) as room:
        temporary, before = room / target.name, room / "before"
        temporary.mkdir()
        yield temporary
        if target.exists():
            os.replace(target, before)
        os.replace(temporary, target)


@contextmanager
def scratch_folder(name: str) -> Iterator[Path]:
    """Make a folder among the system's temporary ones, for as long as the block lasts.

    Args:
        name: of its purpose; what killed processes left of the same purpose is removed.

    Yields:
        The folder, empty.

    Raises:
        OSError: none can be made.
    """
    with _temporary_folder(Path(tempfile.gettempdir(), name)) as folder:
        yield folder


@contextmanager
def claim(path: str | Path, wait: bool = False) -> Iterator[None]:
    """Be the only process that writes an output, from before what is there is looked at until all is written.

    The claim is a lock of the system's: it ends with the process, however that ends. It is that of an empty hidden file
    beside the output, removed at the end; one that a killed process left is taken over. On Windows, and on a file
    system without locks, nobody is refused: what is written there is still whole, and of the one who ends last.

    Args:
        path: the file, or a folder that is replaced as a whole; the folder it lies in is made if it is not there.
        wait: until another process has ended, rather than to be refused.

    Yields:
        Nothing.

    Raises:
        InputError: another process writes it.
        OSError: nothing can be written there.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    file = target.with_name(f"{_prefix(target)}lock{target.suffix}")
    lock = _lock(file, os.O_RDWR | os.O_CREAT, 0 if wait else fcntl.LOCK_NB)
    if lock is None:
        raise _claimed(target)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
        os.close(lock)


@contextmanager
def claim_folder(path: str | Path) -> Iterator[None]:
    """Be the only process that writes into a folder, as `claim`; the lock is the folder's own, and leaves no file.

    Args:
        path: the folder; it is made if it is not there.

    Yields:
        Nothing.

    Raises:
        InputError: another process writes into it.
        OSError: nothing can be written there, or `path` is a file.
    """
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    lock = _lock(folder, os.O_RDONLY, fcntl.LOCK_NB)
    if lock is None:
        raise _claimed(folder)
    try:
        yield
    finally:
        os.close(lock)


def _claimed(path: Path) -> InputError:
    return InputError(f"another process is writing {path}; wait until it has ended, or give another output")


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


@contextmanager
def _temporary_folder(target: Path) -> Iterator[Path]:
    """Make a folder beside another path, locked and removed at the end; remove what killed processes left of such."""
    _remove_abandoned(target)
    made = tempfile.TemporaryDirectory(
        prefix=_prefix(target), suffix=target.suffix, dir=target.parent, ignore_cleanup_errors=True
    )
    with made as folder, _locked(Path(folder)):
        yield Path(folder)


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


def _lock(path: Path, flags: int, how: int) -> int | None:
    """Open a file or folder and lock it.

    flags: for opening.
    how: LOCK_NB: not to wait; or 0.

    Returns:
        The descriptor, which holds the lock until it is closed or the process ends; None: another process has it.
    """
    while True:
        lock = os.open(path, flags, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | how)
            if os.path.samestat(os.fstat(lock), os.stat(path)):
                return lock
        except BlockingIOError:
            os.close(lock)
            return None
        except FileNotFoundError:
            pass  # its process has just ended, or another one took it for abandoned
        except OSError:  # a file system without locks
            return lock
        os.close(lock)


def _temporary_file(target: Path) -> tuple[Path, int]:
    """Make the file that stands for another one until it is whole, or take over one that was left.

    Returns:
        Its path, and the descriptor that holds its lock until it is closed or the process ends.
    """
    first, own = (target.with_name(f"{_prefix(target)}{name}{target.suffix}") for name in (0, os.getpid()))
    flags = os.O_RDWR | os.O_CREAT
    if fcntl is None:
        return own, os.open(own, flags, 0o666)
    path, lock = first, _lock(first, flags, fcntl.LOCK_NB)
    if lock is None:  # another process writes there
        path, lock = own, _lock(own, flags, 0)
    assert lock is not None  # it waits
    os.ftruncate(lock, 0)
    return path, lock


def write_text(path: str | Path, text: str) -> None:
    """Write a text whole or not at all, the same on every system: UTF-8, and lines end as they are given.

    Bytes of a file's name that are no UTF-8 are written as escapes.

    Args:
        path: the file.
        text: what to write.
    """
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
