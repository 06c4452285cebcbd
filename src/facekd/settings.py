"""Typed settings from YAML: the base class, and one sentence for whatever is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from facekd.documents import parse_yaml
from facekd.errors import RecipeError, nearest

Checked = TypeVar("Checked", bound="Settings")


class Settings(BaseModel):
    """A group of settings that refuses names it does not know.

    Attributes:
        renamed: names of earlier versions, and what to write in their place.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    renamed: ClassVar[Mapping[str, str]] = {}


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("it must be a number")
    return value


# Finite numbers; YAML reads 1e-1 as a text, which is taken, and `yes` as a truth value, which is not.
Number = Annotated[float, BeforeValidator(_no_bool), Field(allow_inf_nan=False)]
Integer = Annotated[int, BeforeValidator(_no_bool)]

_PLAIN = {  # what YAML calls pydantic's types, by pydantic's name of the error
    "tuple_type": "it must be a list",
    "dict_type": "it must hold keys and values",
    "model_type": "it must hold keys and values",
    "model_attributes_type": "it must hold keys and values",
}


def checked(kind: type[Checked], values: Mapping[str, Any], where: str) -> Checked:
    """Return plain values as settings.

    Args:
        kind: the class of the settings.
        values: keys and values, as YAML has them.
        where: names them in messages, such as "recipe quick".

    Returns:
        The settings, with every default filled in.

    Raises:
        RecipeError: which keys are wrong, why, and what is allowed.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        details = error.errors(include_url=False)
        old = [detail for detail in details if _new_name(detail, kind)]  # of another version: what is missing follows
        sentences = dict.fromkeys(_sentence(detail, kind) for detail in old or details)
        raise RecipeError(f"{where}: " + "; ".join(sentences)) from None


def read_yaml(text: str, where: str) -> dict[str, Any]:
    """Return the keys and values of a YAML text.

    Args:
        text: the YAML.
        where: names it in messages.

    Returns:
        Keys and values; nested ones are plain values too.

    Raises:
        RecipeError: it is not YAML, or no keys and values.
    """
    values = parse_yaml(text, where, RecipeError)
    if not isinstance(values, dict):
        raise RecipeError(f"{where} must hold keys and values, such as name and stages")
    return values


def pairs(changes: Iterable[str]) -> dict[str, Any]:
    """Return changes given as text.

    Args:
        changes: "a.b=value" each, the value being read as YAML.

    Returns:
        The values by their path, {"a.b": value}.

    Raises:
        RecipeError: one has no "=", or its value is not YAML.
    """
    found = {}
    for change in changes:
        path, equals, text = change.partition("=")
        if not equals or not path:
            raise RecipeError(f"--set {change}: write it as key=value, for example --set student.epochs=20")
        found[path] = parse_yaml(text, f"--set {change}: the value", RecipeError)
    return found


def changed(values: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return nested values with another one at "a.b"; those given stay, for YAML's aliases may share them.

    Args:
        values: keys and values.
        path: the keys that lead to the value, joined by dots.
        value: the new one.

    Returns:
        The changed copy.

    Raises:
        RecipeError: on the way lies a value where keys should be.
    """
    *groups, last = path.split(".")
    result = here = dict(values)
    for group in groups:
        inner = here.get(group)
        if group == "loss" and isinstance(inner, str):  # loss: kd is short for loss: {name: kd}
            inner = {"name": inner}
        if not isinstance(inner, dict | None):
            raise RecipeError(f"{path}: {group} is a value, it has no setting '{last}'")
        here[group] = dict(inner or {})
        here = here[group]
    here[last] = value
    return result


def _sentence(detail: Any, kind: type[BaseModel]) -> str:
    """Turn one pydantic error into words: which key, what is wrong, what is allowed."""
    path, group = _place(detail, kind)
    where = ".".join(path) or kind.__name__.lower()
    if new := _new_name(detail, kind):
        return f"'{where}' is of an earlier version; it is now {new}"
    if detail["type"] == "extra_forbidden":
        return f"unknown key '{where}'; {nearest(path[-1], _keys(group))}"
    if detail["type"] == "missing":
        return f"'{where}' is missing"
    if detail["type"] == "union_tag_not_found":  # such as a loss with options and no name
        return "'{}.{}' is missing".format(where, detail["ctx"]["discriminator"].strip("'"))
    if detail["type"] in ("literal_error", "union_tag_invalid"):
        context = detail["ctx"]
        given = context.get("tag", detail["input"])
        if context.get("discriminator") == "'kind'":  # of a loss, whose name may stand alone, the key is not named
            where += ".kind"
        expected = context.get("expected") or context["expected_tags"]
        allowed = [word.strip("' ") for word in expected.replace(" or ", ",").split(",")]
        return f"{where} = {given!r}; {nearest(str(given), allowed)}"
    if detail["type"] == "too_short":
        return f"{where} needs at least {detail['ctx']['min_length']}, not {detail['ctx']['actual_length']}"
    message = _PLAIN.get(detail["type"]) or detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "value_error" and not path:
        return message
    shown = f" = {detail['input']!r}" if not isinstance(detail["input"], dict | list | tuple) else ""
    return f"{where}{shown}: {message}"


def _new_name(detail: Any, kind: type[BaseModel]) -> str | None:
    """Return what a key of an earlier version is called now; None for any other error."""
    if detail["type"] != "extra_forbidden":
        return None
    path, groups = _place(detail, kind)
    names = (group.renamed.get(path[-1]) for group in groups if issubclass(group, Settings))
    return next((name for name in names if name), None)


def _place(detail: Any, kind: type[BaseModel]) -> tuple[list[str], list[type[BaseModel]]]:
    """Return the keys that lead to an error, without the names pydantic gives to kinds, and the groups they are in."""
    here: Any = kind
    shown, groups = [], [kind]
    for part in detail["loc"]:
        models = list(_models(here))
        tagged = [model for model in models if part in _tags(model)]
        if len(models) > 1 and tagged:
            here, groups = tagged[0], tagged
            continue
        shown.append(str(part))
        groups = models or groups
        fields = [model.model_fields[part].annotation for model in models if part in model.model_fields]
        inner = get_args(_bare(here))
        here = fields[0] if fields else inner[-1 if get_origin(_bare(here)) is dict else 0] if inner else None
    return shown, groups


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the groups of settings that an annotation allows."""
    annotation = _bare(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, UnionType):
        for option in get_args(annotation):
            yield from _models(option)


def _tags(model: type[BaseModel]) -> set[Any]:
    """Return the values by which a union tells this group from the others: those of its fields with one value."""
    annotations = (field.annotation for field in model.model_fields.values())
    literals = [get_args(annotation) for annotation in annotations if get_origin(annotation) is Literal]
    return {values[0] for values in literals if len(values) == 1}


def _keys(groups: Iterable[type[BaseModel]]) -> list[str]:
    return list(dict.fromkeys(key for group in groups for key in group.model_fields))
