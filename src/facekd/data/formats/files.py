"""Text, JSON and XML files, whoever wrote them, or one clear sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facekd.errors import InputError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


def read_text(path: Path) -> str:
    """Read a text in UTF-8, in UTF-16 as spreadsheets write it, or else in Windows' Western encoding.

    Args:
        path: the file.

    Returns:
        The text, without a byte order mark.

    Raises:
        InputError: it cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"label file {path} cannot be read: {error.strerror}") from error
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", errors="replace")
    if content[1:200:2].count(0) > len(content[:200]) / 4:  # UTF-16 without a mark; small files of Windows
        return content.decode("utf-16-le", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Args:
        path: the file.

    Returns:
        What it holds.

    Raises:
        InputError: it cannot be read, or is no JSON.
    """
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"label file {path} is no JSON: {error}") from error


def read_xml(path: Path) -> Element:
    """Read an XML file; entities that would blow up or reach for other files are refused.

    Args:
        path: the file.

    Returns:
        Its root.

    Raises:
        InputError: it cannot be read, or is no XML.
    """
    from xml.etree.ElementTree import ParseError

    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import parse

    try:
        root: Element = parse(path).getroot()
        return root
    except (OSError, ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise InputError(f"label file {path} is no XML that can be read: {error}") from error


def holds(path: Path, word: bytes) -> bool:
    """Say whether a file holds a word, before it is parsed.

    Args:
        path: the file.
        word: what its format cannot do without.

    Returns:
        False also if it cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return word in content or word.decode().encode("utf-16-le") in content
