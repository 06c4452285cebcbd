"""The photos below a data set's folder, found by the names that label files give them."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import ExifTags, Image

from facekd.errors import InputError
from facekd.images import photo_suffixes

_SHOWN = 3  # names in a message


@dataclass(frozen=True)
class Header:
    """What a photo's file says of it before its pixels are read.

    Attributes:
        size: width and height of the stored pixels.
        orientation: as EXIF counts it; 1 is upright.
    """

    size: tuple[int, int]
    orientation: int = 1

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height once the photo is turned upright."""
        return self.size[::-1] if self.orientation in (5, 6, 7, 8) else self.size


def read_header(path: Path) -> Header | None:
    """Read a photo's size and orientation, not its pixels.

    Args:
        path: the file.

    Returns:
        What it says; None if it is no photo that can be read, of which `facekd.images.read_image` says more.
    """
    try:
        with Image.open(path) as image:
            if image.format == "PNG" and "exif" not in image.info:
                return Header(image.size)  # Pillow would decode all pixels in search of it
            return Header(image.size, int(image.getexif().get(ExifTags.Base.Orientation, 1)))
    except Exception:  # damage can make a decoder raise anything
        return None


class Photos:
    """All photos below a folder.

    Labels name photos as the tool or the computer had them on which they were made: with backslashes, with folders that
    are not there any more, without a suffix. Folders in front of a name are dropped as long as the data set has no
    folder of that name, so that `train/1.jpg` never becomes `test/1.jpg`.

    Args:
        source: the data set's folder.

    Attributes:
        source: the same.
        files: all files below the folder, hidden ones left out, in the order of their names.
        photos: those that are photos, as names relative to it.
    """

    def __init__(self, source: Path) -> None:
        self.source, suffixes = source, photo_suffixes()
        self.files: list[Path] = []
        for root, folders, names in os.walk(source):
            folders[:] = [folder for folder in folders if folder[0] != "."]
            self.files += [Path(root, name) for name in names if name[0] != "."]
        self.files.sort()
        self.photos = [path.relative_to(source).as_posix() for path in self.files if _is_photo(path.name, suffixes)]
        self._by_tail: defaultdict[str, list[str]] = defaultdict(list)  # by their last parts, with and without suffix
        self._folders = {part.lower() for name in self.photos for part in PurePosixPath(name).parts[:-1]}
        self._suffixes = suffixes
        for name in self.photos:
            parts = name.lower().split("/")
            for start in range(len(parts)):
                tail = "/".join(parts[start:])
                self._by_tail[tail].append(name)
                self._by_tail[tail.rsplit(".", 1)[0]].append(name)

    def find(self, written: str, folder: Path) -> Path:
        """Find a photo.

        Args:
            written: its name in a label file, perhaps without a suffix.
            folder: of the label file, from where a relative name is looked up first.

        Returns:
            Its path.

        Raises:
            InputError: there is none, or there are several.
        """
        name = written.strip().strip("\"'").replace("\\", "/").removeprefix("file://")
        if not name:
            raise InputError("no photo is named")
        has_suffix = _is_photo(name, self._suffixes)
        for base in (folder, self.source):
            path = Path(os.path.normpath(base / name))
            if has_suffix and os.path.isfile(path):
                return path
            if path.is_relative_to(self.source):
                whole = path.relative_to(self.source).as_posix()
                exact = [photo for photo in self._by_tail.get(whole.lower(), ()) if self._is(photo, whole)]
                if exact:
                    return self._only(exact, name)
        parts = [part for part in name.lower().split("/") if part not in ("", ".", "..")]
        for start in range(len(parts)):
            if found := self._by_tail.get("/".join(parts[start:]), []):
                return self._only(found, name)
            if parts[start] in self._folders:
                break
        raise InputError(f"there is no photo '{name}'")

    def name_of(self, path: Path) -> str:
        """Return a photo's name.

        Args:
            path: as `find` returned it.

        Returns:
            Its path relative to the data set's folder; of a photo elsewhere the whole.
        """
        return path.relative_to(self.source).as_posix() if path.is_relative_to(self.source) else path.as_posix()

    def _is(self, photo: str, whole: str) -> bool:
        """Whether a photo's name is this one from the data set's folder on, but for capitals and suffix."""
        return photo.lower() == whole.lower() or photo.lower().rsplit(".", 1)[0] == whole.lower()

    def _only(self, found: list[str], name: str) -> Path:
        if len(set(found)) > 1:
            several = ", ".join(found[:_SHOWN]) + (", ..." if len(found) > _SHOWN else "")
            raise InputError(f"several photos are called '{name}': {several}; give the path from {self.source} on")
        return self.source / found[0]


def _is_photo(name: str, suffixes: tuple[str, ...]) -> bool:
    return re.sub(r".*(?=\.)", "", name.lower()) in suffixes
