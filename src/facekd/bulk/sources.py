"""Where photos of a bulk run come from: folders, patterns, Parquet files and WebDataset tars, here or at a URL."""

from __future__ import annotations

import fnmatch
import os
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from facekd.errors import InputError
from facekd.files import expand
from facekd.images import photo_suffixes

_IMAGES = ("image", "jpg", "png", "photo", "img", "bytes", "content")  # columns of Parquet files, first choice first
_NAMES = ("photo", "name", "file_name", "filename", "path", "key", "__key__", "id")
_GLOB = "*?["
KINDS = ("files", "parquet", "tar")  # of parts
_DAMAGE = (OSError, ValueError, tarfile.TarError, pa.ArrowException, zlib.error)


@dataclass(frozen=True)
class Part:
    """Photos that are processed and written together.

    Attributes:
        kind: "files", "parquet" or "tar".
        files: paths of the photos; or the one file that holds them.
        group: of a Parquet file, which row group.
        column: of a Parquet file, which column holds the photos.
    """

    kind: str
    files: tuple[str, ...]
    group: int = 0
    column: str = ""


def open_location(location: str) -> tuple[pafs.FileSystem, str]:
    """Find the file system of a path or URL.

    Args:
        location: a local path ("~" is the home folder), or a URL that pyarrow or fsspec opens: s3://, gs://, ...

    Returns:
        The file system, and the path within it.

    Raises:
        InputError: nothing opens such a URL.
    """
    if "://" not in location:
        return pafs.LocalFileSystem(), os.path.abspath(expand(location))
    try:
        system, path = pafs.FileSystem.from_uri(location)
        return system, path
    except (pa.ArrowInvalid, OSError) as error:
        why = error
    try:
        import fsspec

        other, path = fsspec.core.url_to_fs(location)
    except (ImportError, ValueError, OSError) as error:
        raise InputError(
            f"nothing here opens {location} ({error or why}); install the fsspec package for it"
        ) from error
    return pafs.PyFileSystem(pafs.FSSpecHandler(other)), path


def find_parts(location: str, size: int, column: str = "", known: Sequence[Part] = ()) -> Iterator[Part]:
    """Find the photos of a source, those left out that an earlier run found.

    Args:
        location: a folder with all below it, a pattern, a Parquet file or folder, a .tar file or a folder of them; or
            a URL of those.
        size: most photos of a part of single files.
        column: of Parquet files, which one holds the photos; "": found by its name.
        known: the parts of an earlier run.

    Yields:
        The parts that are new, in natural order of their files.

    Raises:
        InputError: nothing is there, or it holds no photos.
    """
    system, path = open_location(location)
    names = list(_listed(system, path))
    if not names:
        raise InputError(f"{location} holds no photos, no .parquet and no .tar files")
    seen = {(name, part.group) for part in known for name in part.files}
    photos = []
    for name in names:
        if name.lower().endswith(".parquet"):
            yield from (part for part in _parquet_parts(system, name, column) if (name, part.group) not in seen)
        elif name.lower().endswith(".tar"):
            if (name, 0) not in seen:
                yield Part("tar", (name,))
        elif (name, 0) not in seen:
            photos.append(name)
    for start in range(0, len(photos), size):
        yield Part("files", tuple(photos[start : start + size]))


def _parquet_parts(system: pafs.FileSystem, name: str, column: str) -> list[Part]:
    """Return the parts of a Parquet file; of a damaged one, one that says so when it is read."""
    try:
        with system.open_input_file(name) as file:
            parquet = pq.ParquetFile(file)
            schema, groups = parquet.schema_arrow, parquet.num_row_groups
    except _DAMAGE:
        return [Part("parquet", (name,), 0, column)]
    chosen = _column(schema, column, name)
    return [Part("parquet", (name,), group, chosen) for group in range(groups)]


def _listed(system: pafs.FileSystem, path: str) -> Iterator[str]:
    """Yield the files of a source that may hold photos, sorted."""
    suffixes = (*photo_suffixes(), ".parquet", ".tar")
    pattern = ""
    if any(sign in path for sign in _GLOB) and system.get_file_info(path).type == pafs.FileType.NotFound:
        pattern, path = path, str(PurePosixPath(*_before_pattern(path)))
    info = system.get_file_info(path)
    if info.type == pafs.FileType.NotFound:
        raise InputError(f"there is nothing at {path}")
    if info.type == pafs.FileType.File:
        yield path
        return
    if isinstance(system, pafs.LocalFileSystem):
        files = _walk(path)
    else:
        found = system.get_file_info(pafs.FileSelector(path, recursive=True))
        files = (each.path for each in found if each.type == pafs.FileType.File)
    for name in sorted(files):
        hidden = any(part[0] in "._" for part in PurePosixPath(name).relative_to(path).parts)
        fits = fnmatch.fnmatchcase(name, pattern) if pattern else not hidden
        if fits and name.lower().endswith(suffixes):
            yield name


def _walk(folder: str) -> Iterator[str]:
    """Yield the files below a folder; links to folders are followed unless they lead back."""
    start = Path(folder).resolve()
    above = {folder: frozenset(map(str, (start, *start.parents)))}  # the folders that the way to each leads through
    for root, folders, names in os.walk(folder, followlinks=True):
        through = above.pop(root)
        below = {name: os.path.realpath(os.path.join(root, name)) for name in folders}
        folders[:] = [name for name in folders if below[name] not in through]
        above.update((os.path.join(root, name), through | {below[name]}) for name in folders)
        for path in (Path(root, name) for name in names):
            if path.is_file():
                try:
                    os.fsencode(path).decode()
                except UnicodeDecodeError as error:
                    raise InputError(
                        f"{os.fsencode(path)!r} is no UTF-8 text, as names must be for facekd bulk; rename it, or use "
                        "facekd detect"
                    ) from error
                yield path.as_posix()


def _before_pattern(path: str) -> list[str]:
    """Return the parts of a path before the first that is a pattern."""
    parts: list[str] = []
    for part in PurePosixPath(path).parts:
        if any(sign in part for sign in _GLOB):
            break
        parts.append(part)
    return parts


def _column(schema: pa.Schema, wanted: str, name: str) -> str:
    """Return which column of a Parquet file holds photos."""
    if wanted:
        if wanted not in schema.names:
            raise InputError(f"{name} has no column '{wanted}'; it has {', '.join(schema.names)}")
        return wanted
    fitting = [field.name for field in schema if _holds_bytes(field.type)]
    for column in (*_IMAGES, *fitting):
        if column in fitting:
            return column
    raise InputError(f"{name} has no column of photos (binary, or a struct with 'bytes'); it has {schema.names}")


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):  # as the package datasets writes images
        return any(kind.field(i).name == "bytes" for i in range(kind.num_fields))
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def read_part(system: pafs.FileSystem, part: Part) -> Iterator[tuple[str, bytes | InputError]]:
    """Read the photos of a part.

    Args:
        system: where its files are.
        part: of the source.

    Yields:
        Each photo's name and the bytes of its file, or why they cannot be read.
    """
    if part.kind == "files":
        for name in part.files:
            yield name, _read(system, name)
        return
    try:
        yield from _read_parquet(system, part) if part.kind == "parquet" else _read_tar(system, part.files[0])
    except _DAMAGE as error:  # a row says so, and the run goes on
        yield part.files[0], InputError(f"{part.files[0]} is damaged: {str(error).partition(chr(10))[0]}")
    except InputError as error:
        yield part.files[0], error


def _read(system: pafs.FileSystem, name: str) -> bytes | InputError:
    try:
        with system.open_input_stream(name) as file:
            content: bytes = file.read()
            return content
    except OSError as error:
        return InputError(f"photo {name} cannot be read: {error}")


def _read_parquet(system: pafs.FileSystem, part: Part) -> Iterator[tuple[str, bytes | InputError]]:
    (name,) = part.files
    with system.open_input_file(name) as file:
        parquet = pq.ParquetFile(file)
        if part.group >= parquet.num_row_groups or part.column not in parquet.schema_arrow.names:
            raise InputError(f"{name} has not the rows of column '{part.column}' that it had when the run began")
        title = next((each for each in _NAMES if each in parquet.schema_arrow.names), None)
        columns = [part.column, *([title] if title and title != part.column else [])]
        first = sum(parquet.metadata.row_group(i).num_rows for i in range(part.group))
        for batch in parquet.iter_batches(64, [part.group], columns):
            for row in batch.to_pylist():
                value: Any = row[part.column]
                inner = value if isinstance(value, dict) else {"bytes": value}
                given = row.get(title) if title else None
                shown = given if isinstance(given, str | int) else inner.get("path")
                label = f"{name}#{first}" if shown is None else str(shown)
                first += 1
                content = inner.get("bytes")
                if isinstance(content, bytes) and content:
                    yield label, content
                else:
                    yield label, InputError(f"row {first - 1} of {name} holds no bytes")


def _read_tar(system: pafs.FileSystem, name: str) -> Iterator[tuple[str, bytes | InputError]]:
    suffixes = photo_suffixes()
    with system.open_input_stream(name) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            if member.isfile() and member.name.lower().endswith(suffixes):
                file = archive.extractfile(member)
                yield f"{name}/{member.name}", file.read() if file else InputError(f"{member.name} cannot be read")
