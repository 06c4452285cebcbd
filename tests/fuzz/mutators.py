"""How files are damaged: their bytes, their text, and the values they hold. All is drawn from the generator given."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from random import Random
from typing import Any

import yaml

Mutator = Callable[[bytes, Random], bytes]

# Numbers that readers forget.
_NUMBERS: list[Any] = [
    0,
    -1,
    1,
    2,
    255,
    65536,
    2**31,
    -(2**31),
    2**63,
    10**30,
    10**400,
    0.5,
    -0.0,
    1e-320,
    1e38,
    -1e300,
]
_NUMBERS += [float("inf"), float("-inf"), float("nan")]
_TEXTS = [
    "",
    " ",
    "x",
    "nan",
    "../../x",
    "/",
    "C:\\x",
    "a\nb",
    "\0",
    "\u202e",
    "\U0001f600",
    "%s",
    "{x}",
    "<b>",
    "0" * 5000,
]
_ODD: list[Any] = [None, True, False, [], {}, [[]], [None], {"x": None}, [1, "x"], *_NUMBERS, *_TEXTS]
_TOKEN = re.compile(r"[A-Za-z_]+|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|[^\sA-Za-z0-9]")


def damaged(content: bytes, rng: Random) -> bytes:
    """Flip, overwrite, zero, insert, remove or double bytes, or cut the end off, some times."""
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        place = rng.randrange(len(found) + 1)
        length = min(rng.choice((1, 1, 2, 4, 16, 200)), len(found) - place)
        match rng.randrange(8):
            case 0 | 1 if length:
                found[place] ^= 1 << rng.randrange(8)
            case 2:
                found[place : place + length] = rng.randbytes(length)
            case 3:
                found[place : place + length] = rng.choice((b"\0", b"\xff")) * length
            case 4:
                found[place:place] = rng.randbytes(rng.choice((1, 4, 50)))
            case 5:
                del found[place : place + length]
            case 6:
                found[place:place] = found[place : place + length] * rng.choice((1, 2, 20))
            case 7:
                del found[place:]
    return bytes(found)


def text(content: bytes, rng: Random) -> bytes:
    """Replace words, numbers and signs of a text, or remove, double, swap and empty its lines."""
    lines = content.decode("utf-8", "replace").split("\n")
    for _ in range(rng.choice((1, 1, 2, 5))):
        place = rng.randrange(len(lines))
        match rng.randrange(8):
            case 0:
                del lines[place]
            case 1:
                lines.insert(place, lines[rng.randrange(len(lines))])
            case 2:
                other = rng.randrange(len(lines))
                lines[place], lines[other] = lines[other], lines[place]
            case 3:
                lines[place] = rng.choice(("", " ", "\t", "#", "\ufeff"))
            case _:
                lines[place] = _other_token(lines[place], rng)
        lines = lines or [""]
    return "\n".join(lines).encode("utf-8", "replace")


def _other_token(line: str, rng: Random) -> str:
    tokens = list(_TOKEN.finditer(line))
    if not tokens:
        return rng.choice(_TEXTS)
    token = rng.choice(tokens)
    other = rng.choice(("", token.group() * 2, str(rng.choice([*_NUMBERS, "nan", "inf"])), rng.choice(_TEXTS)))
    return line[: token.start()] + other + line[token.end() :]


def value(given: Any, rng: Random) -> Any:
    """Change plain values somewhere: drop, rename, double, retype, nest; a text that is JSON is changed within."""
    places = places_of(given)
    if not places:
        return odd(rng)
    group, key = rng.choice(places)
    here = group[key]
    match rng.randrange(12):
        case 0 if isinstance(group, dict):
            del group[key]
        case 1 if isinstance(group, dict):
            group[rng.choice(("x", "", f"{key}s", rng.choice(_TEXTS)))] = group.pop(key)
        case 0 if isinstance(group, list):
            del group[key]
        case 1 if isinstance(group, list):
            group.insert(key, copied(here))
        case 2:
            group[key] = [copied(here) for _ in range(rng.choice((0, 1, 2, 40)))]
        case 3:
            group[key] = {rng.choice(("x", str(key))): here}
        case 4:
            group[key] = str(here)
        case 5:
            other, place = rng.choice(places)
            group[key] = copied(other[place])
        case 6 | 7 if isinstance(here, int | float) and not isinstance(here, bool):
            group[key] = rng.choice((-here, here * 10**9, here + 1, here // 3, rng.choice(_NUMBERS)))
        case 8 if isinstance(here, list | dict):
            group[key] = type(here)()
        case _:
            group[key] = odd(rng)
    return given


def odd(rng: Random) -> Any:
    """Return a value that readers forget."""
    return copied(rng.choice(_ODD))


def copied(given: Any) -> Any:
    """Return plain values that share nothing with those given."""
    if isinstance(given, dict):
        return {key: copied(each) for key, each in given.items()}
    return [copied(each) for each in given] if isinstance(given, list) else given


def places_of(given: Any) -> list[tuple[Any, Any]]:
    """Return groups and keys of the values below; of very many, the first and some of the others."""
    found: list[tuple[Any, Any]] = []
    waiting = [given]
    while waiting:
        here = waiting.pop()
        pairs = (
            list(here.items()) if isinstance(here, dict) else list(enumerate(here)) if isinstance(here, list) else []
        )
        found += [(here, key) for key, _ in pairs]
        waiting += [each for _, each in pairs]
    return found if len(found) < 200 else found[:100] + found[100 :: len(found) // 100]


def values(given: Any, rng: Random) -> Any:
    """Change plain values in one to three places."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        given = value(given, rng)
    return given


def json_values(content: bytes, rng: Random) -> bytes:
    """Change the values of a JSON text; damage its bytes where it is none."""
    try:
        given = json.loads(content)
    except ValueError:
        return damaged(content, rng)
    return json.dumps(values(given, rng)).encode("utf-8", "surrogatepass")


def json_lines(content: bytes, rng: Random) -> bytes:
    """Change the values of a line of JSON, or damage, remove, double or swap lines."""
    lines = content.split(b"\n")
    place = rng.randrange(len(lines))
    match rng.randrange(6):
        case 0:
            del lines[place]
        case 1:
            lines.insert(place, lines[rng.randrange(len(lines))])
        case 2:
            lines[place] = damaged(lines[place], rng)
        case _:
            lines[place] = json_values(lines[place], rng) if lines[place] else b"{}"
    return b"\n".join(lines)


def yaml_values(content: bytes, rng: Random) -> bytes:
    """Change the values of a YAML text."""
    try:
        given = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError):
        return text(content, rng)
    try:
        return yaml.safe_dump(values(given, rng), sort_keys=False, allow_unicode=True).encode("utf-8", "replace")
    except (yaml.YAMLError, RecursionError):
        return text(content, rng)


def csv_cells(content: bytes, rng: Random) -> bytes:
    """Change cells and columns of a CSV table."""
    rows = list(csv.reader(io.StringIO(content.decode("utf-8", "replace"))))
    if not rows or not max(map(len, rows)):
        return text(content, rng)
    for _ in range(rng.choice((1, 2, 5))):
        row, column = rng.choice(rows), rng.randrange(max(map(len, rows)))
        match rng.randrange(5):
            case 0:
                for each in rows:
                    del each[column : column + 1]
            case 1:
                rows.append(list(row))
            case 2:
                row.append("7")
            case _ if row:
                row[min(column, len(row) - 1)] = str(odd(rng))
        if not max(map(len, rows)):
            break
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue().encode("utf-8", "replace")
