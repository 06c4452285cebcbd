"""JSON and YAML of files as data: read safely, bounded, and checked field by field before any of it is used."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from facekd.errors import FacekdError, InputError

MAX_BYTES = 64_000_000  # of a text file; cards, mark-ups, recipes and records are of some kB
MAX_POINTS = 10_000  # of a face; the densest mark-ups in use have some hundreds
_SHOWN = 60  # characters of a wrong value that a message shows
_HUGE = 1e300
_NEEDED: Any = object()

T = TypeVar("T")


def read_text(path: str | Path, what: str, error: type[FacekdError] = InputError) -> str:
    """Read a text file.

    Args:
        path: the file.
        what: names it in messages, such as "model card".
        error: of which kind they are.

    Returns:
        The text.

    Raises:
        FacekdError: of the given kind; it cannot be read, is no UTF-8, or longer than MAX_BYTES.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as reason:  # ValueError: a path with a null byte
        raise error(f"{what} {path} cannot be read: {getattr(reason, 'strerror', None) or reason}") from reason
    if len(content) > MAX_BYTES:
        raise error(f"{what} {path} is longer than {MAX_BYTES // 1_000_000} MB, which none is; is it the right file?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as reason:
        raise error(
            f"{what} {path} is no UTF-8 text (byte {reason.start + 1}); save it as UTF-8, or give the right file"
        ) from reason


def parse_json(text: str | bytes, where: str, error: type[FacekdError] = InputError, advice: str = "") -> Any:
    """Read a JSON text; NaN and infinity, which JSON does not have, are refused.

    Args:
        text: the JSON.
        where: names it in messages.
        error: of which kind they are.
        advice: what to do about it, the end of each message.

    Returns:
        Plain values.

    Raises:
        FacekdError: of the given kind; it is not JSON, or too deep.
    """

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no JSON number")

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as reason:
        raise error(f"{where} is damaged, it is not JSON ({_short(reason)}){'; ' * bool(advice)}{advice}") from reason


def read_json(path: str | Path, what: str, error: type[FacekdError] = InputError, advice: str = "") -> Any:
    """Read a JSON file.

    Args:
        path: the file.
        what: names it in messages.
        error: of which kind they are.
        advice: what to do about a damaged one, the end of each message.

    Returns:
        Plain values.

    Raises:
        FacekdError: of the given kind; as `read_text` and `parse_json`.
    """
    return parse_json(read_text(path, what, error), f"{what} {path}", error, advice)


def parse_yaml(text: str, where: str, error: type[FacekdError] = InputError) -> Any:
    """Read a YAML text.

    Args:
        text: the YAML.
        where: names it in messages.
        error: of which kind they are.

    Returns:
        Plain values.

    Raises:
        FacekdError: of the given kind; it is not YAML, too deep, or has a key twice.
    """
    import yaml  # only those with YAML files pay for it

    class Loader(yaml.SafeLoader):
        """YAML's safe loader, which takes the last of two equal keys, made to refuse them."""

        def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
            node = super().compose_mapping_node(anchor)
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            for place, key in enumerate(keys):
                if key in keys[:place]:
                    mark = node.value[place][0].start_mark
                    raise yaml.MarkedYAMLError(problem=f"the key '{key}' is there twice", problem_mark=mark)
            return node

    try:
        return yaml.load(text, Loader)  # noqa: S506  (a SafeLoader)
    except (yaml.YAMLError, RecursionError, ArithmeticError, LookupError, ValueError, TypeError, AttributeError) as bad:
        # PyYAML raises Python's own errors for tags with values that they cannot have, such as `!!timestamp x`.
        raise error(f"{where} is not YAML: {_short(bad)}") from bad


class Fields:
    """Keys and values of a file, each checked when it is taken: its type, that it is finite, and its range.

    Args:
        values: what the file holds there.
        where: names the file in messages.
        error: of which kind they are.
        path: of the keys that lead there, joined by dots; "" at the top.
        advice: what to do about a wrong file, the end of each message.
    """

    def __init__(
        self,
        values: Any,
        where: str,
        error: type[FacekdError] = InputError,
        path: str = "",
        advice: str = "give the file as it was written",
    ) -> None:
        self.where, self.error, self.path, self.advice = where, error, path, advice
        if not isinstance(values, Mapping) or not all(isinstance(key, str) for key in values):
            self._refuse(path, values, "keys and values")
        self.values: Mapping[str, Any] = values

    def refuse(self, key: str, expected: str) -> NoReturn:
        """Raise the error that a value is wrong.

        Args:
            key: of the value.
            expected: what it must be.

        Raises:
            FacekdError: always.
        """
        self._refuse(self._at(key), self.values.get(key, "missing"), expected)

    def has(self, key: str) -> bool:
        """Return whether there is a value, and not null.

        Args:
            key: of the value.

        Returns:
            Whether it can be taken.
        """
        return self.values.get(key) is not None

    def text(self, key: str, default: Any = _NEEDED, most: int = 10_000) -> Any:
        """Take a text; a whole number, which is what YAML makes of a name of digits, is taken as one.

        Args:
            key: of the value.
            default: where there is none or null; without it one must be there.
            most: characters it may have.

        Returns:
            The text, or the default.
        """

        def fits(value: Any) -> bool:
            return (isinstance(value, str) and len(value) <= most) or (_is_integer(value) and abs(value) < 10**9)

        found = self._take(key, default, f"a text of at most {most} characters", fits)
        return str(found) if _is_integer(found) else found

    def number(self, key: str, low: float = -1e9, high: float = 1e9, default: Any = _NEEDED) -> Any:
        """Take a finite number.

        Args:
            key: of the value.
            low: the lowest it may be.
            high: the highest.
            default: where there is none or null; without it one must be there.

        Returns:
            The number as float, or the default.
        """
        wanted = f"a number from {low:g} to {high:g}"
        found = self._take(key, default, wanted, lambda value: is_finite(value) and low <= value <= high)
        return float(found) if is_finite(found) else found

    def integer(self, key: str, low: int, high: int, default: Any = _NEEDED) -> Any:
        """Take a whole number.

        Args:
            key: of the value.
            low: the lowest it may be.
            high: the highest.
            default: where there is none or null; without it one must be there.

        Returns:
            The number, or the default.
        """
        wanted = f"a whole number from {low} to {high}"
        return self._take(key, default, wanted, lambda value: _is_integer(value) and low <= value <= high)

    def boolean(self, key: str, default: bool = False) -> bool:
        """Take a truth value.

        Args:
            key: of the value.
            default: where there is none or null.

        Returns:
            The value.
        """
        return bool(self._take(key, default, "true or false", lambda value: isinstance(value, bool)))

    def list(self, key: str, kind: Callable[[Any], bool], wanted: str, most: int, default: Any = _NEEDED) -> Any:
        """Take a list.

        Args:
            key: of the value.
            kind: tells whether one entry is as it must be.
            wanted: what the entries must be, such as "texts".
            most: entries it may have.
            default: where there is none or null; without it one must be there.

        Returns:
            The list, or the default.
        """
        return self._list(key, lambda values: all(map(kind, values)), wanted, most, default)

    def numbers(self, key: str, most: int, default: Any = _NEEDED) -> Any:
        """Take a list of finite numbers.

        Args:
            key: of the value.
            most: numbers it may have.
            default: where there is none or null; without it one must be there.

        Returns:
            The list, or the default.
        """
        return self._list(key, _all_finite, "finite numbers", most, default)

    def points(self, key: str, most: int) -> Any:
        """Take a list of points x, y.

        Args:
            key: of the value.
            most: points it may have.

        Returns:
            The list; both values of each point are finite.
        """

        def pairs(found: Sequence[Any]) -> bool:
            return {list, tuple}.issuperset(map(type, found)) and {2}.issuperset(map(len, found))

        return self._list(key, lambda v: pairs(v) and _all_finite([*chain(*v)]), "points x, y", most, _NEEDED)

    def indices(self, key: str, count: int, default: Any = _NEEDED) -> Any:
        """Take a list of the numbers of points.

        Args:
            key: of the value.
            count: how many points there are, counted from 0.
            default: where there is none or null; without it one must be there.

        Returns:
            The numbers as a tuple, or the default.
        """
        numbers = f"whole numbers from 0 to {count - 1}"
        found = self.list(key, lambda value: is_index(value, count), numbers, MAX_POINTS, default)
        return tuple(found) if isinstance(found, list) else found

    def group(self, key: str, default: Any = _NEEDED) -> Any:
        """Take keys and values within.

        Args:
            key: of the group.
            default: where there is none or null; without it one must be there.

        Returns:
            Its fields, or the default.
        """
        there = self.has(key) or default is _NEEDED
        return self.inner(self.values.get(key), key) if there else default

    def inner(self, values: Any, key: str) -> Fields:
        """Return values found within as fields of the same file.

        Args:
            values: keys and values.
            key: that leads there.

        Returns:
            The fields.
        """
        return Fields(values, self.where, self.error, self._at(key), self.advice)

    def _at(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def _list(self, key: str, fit: Callable[[Any], bool], wanted: str, most: int, default: Any) -> Any:
        wanted = f"a list of at most {most} {wanted}"
        return self._take(key, default, wanted, lambda v: isinstance(v, list | tuple) and len(v) <= most and fit(v))

    def _take(self, key: str, default: Any, wanted: str, fits: Callable[[Any], bool]) -> Any:
        value = self.values.get(key)
        if value is None and default is not _NEEDED:
            return default
        if value is None or not fits(value):
            self.refuse(key, wanted)
        return value

    def _refuse(self, path: str, value: Any, wanted: str) -> NoReturn:
        raise self.error(
            f"{self.where}:{f' {path}' if path else ''} must be {wanted}, got {_short(value)}; {self.advice}"
        )


def is_group(value: Any) -> bool:
    """Return whether a value holds keys and values.

    Args:
        value: any.

    Returns:
        Whether it does.
    """
    return isinstance(value, dict)


def is_index(value: Any, count: int) -> bool:
    """Return whether a value is the number of a point.

    Args:
        value: any.
        count: how many points there are, counted from 0.

    Returns:
        Whether it is a whole number from 0 to count - 1.
    """
    return _is_integer(value) and 0 <= value < count


def is_finite(value: Any) -> bool:
    """Return whether a value is a number that a float can hold.

    Args:
        value: any.

    Returns:
        Whether it is one, and neither infinite nor NaN.
    """
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _HUGE


def _all_finite(values: Sequence[Any]) -> bool:
    """Return whether `is_finite` holds of each value."""
    try:  # most are plain numbers, of which the sum tells at once
        plain = {int, float}.issuperset(map(type, values)) and sum(map(abs, values)) < _HUGE
    except OverflowError:  # a huge whole number beside a fraction
        plain = False
    return plain or all(map(is_finite, values))


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _short(value: Any) -> str:
    """Return a value as one line of some characters."""
    try:
        if isinstance(value, int) and abs(value) > 10**_SHOWN:
            return "a huge number"
        text = " ".join((str(value) if isinstance(value, Exception | str) else repr(value)).split())
    except (RecursionError, ValueError):
        return type(value).__name__
    return text if len(text) <= _SHOWN or isinstance(value, Exception) else f"{text[:_SHOWN]}..."
