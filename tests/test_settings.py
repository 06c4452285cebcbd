"""Settings from YAML: every mistake is one sentence with the place, what is wrong and what is allowed."""

from __future__ import annotations

import copy
from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import Discriminator, Field, model_validator

from facekd.errors import RecipeError
from facekd.settings import Integer, Number, Settings, changed, checked, pairs, read_yaml
from facekd.study.config import Row


class Square(Settings):
    """A shape with a side."""

    kind: Literal["square"] = "square"
    side: Number = Field(1.0, gt=0, le=10)
    corners: Literal["round", "sharp"] = "sharp"

    renamed: ClassVar[dict[str, str]] = {"length": "side"}


class Circle(Settings):
    """A shape with a radius."""

    kind: Literal["circle"]
    radius: Number


class Page(Settings):
    """What is drawn."""

    title: str
    copies: Integer = Field(1, ge=1)
    frame: Square = Square()
    border: Square | None = None
    shapes: dict[str, Annotated[Square | Circle, Discriminator("kind")]] = Field(default_factory=dict)
    layers: tuple[Square, ...] = ()
    colours: tuple[Literal["red", "green"], ...] = ("red",)
    either: Literal[4, 8] = 4

    renamed: ClassVar[dict[str, str]] = {"heading": "title", "sides": "a frame's own"}

    @model_validator(mode="after")
    def _check(self) -> Page:
        if self.copies > 9 and self.title == "long":
            raise ValueError("long pages have up to 9 copies; lower copies")
        return self


def test_values_become_settings_with_every_default() -> None:
    page = checked(Page, {"title": "a", "shapes": {"c": {"kind": "circle", "radius": "1e-1"}}}, "page p")
    assert page == Page(title="a", shapes={"c": Circle(kind="circle", radius=0.1)}) and page.frame.side == 1
    assert checked(Page, {"title": "a", "copies": "3"}, "page p").copies == 3


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"titl": "a"},
            "unknown key 'titl'; did you mean 'title'? allowed: title, copies, frame, border, shapes, layers",
        ),
        ({"frame": {"sid": 1}}, "unknown key 'frame.sid'; did you mean 'side'? allowed: kind, side, corners"),
        ({"border": {"sid": 1}}, "unknown key 'border.sid'; did you mean 'side'? allowed: kind, side, corners"),
        ({"layers": [{}, {"sid": 1}]}, "unknown key 'layers.1.sid'; did you mean 'side'? allowed: kind, side, corners"),
        (
            {"shapes": {"c": {"kind": "circle", "radus": 1, "radius": 1}}},
            "unknown key 'shapes.c.radus'; did you mean 'radius'? allowed: kind, radius",
        ),
        # A key of the user's own that is called like a kind.
        ({"shapes": {"square": {"kind": "square", "sid": 1}}}, "unknown key 'shapes.square.sid'; did you mean 'side'?"),
        ({"shapes": {"c": {"kind": "circle"}}}, "'shapes.c.radius' is missing"),
        ({"shapes": {"c": {"radius": 1}}}, "'shapes.c.kind' is missing"),
        (
            {"shapes": {"c": {"kind": "cirle"}}},
            "shapes.c.kind = 'cirle'; did you mean 'circle'? allowed: square, circle",
        ),
        ({"shapes": {"c": 3}}, "shapes.c = 3: it must hold keys and values"),
        ({"shapes": [3]}, "shapes: it must hold keys and values"),
        ({"frame": None}, "frame = None: it must hold keys and values"),
        ({"layers": "all"}, "layers = 'all': it must be a list"),
        ({"frame": {"side": 0}}, "frame.side = 0: Input should be greater than 0"),
        ({"frame": {"side": 11}}, "frame.side = 11: Input should be less than or equal to 10"),
        ({"frame": {"side": "wide"}}, "frame.side = 'wide': Input should be a valid number, unable to parse string"),
        ({"frame": {"side": True}}, "frame.side = True: it must be a number"),
        (
            {"shapes": {"c": {"kind": "circle", "radius": float("nan")}}},
            "shapes.c.radius = nan: Input should be a finite",
        ),
        ({"shapes": {"c": {"kind": "circle", "radius": False}}}, "shapes.c.radius = False: it must be a number"),
        ({"copies": True}, "copies = True: it must be a number"),
        ({"copies": 1.5}, "copies = 1.5: Input should be a valid integer"),
        ({"copies": [1]}, "copies: Input should be a valid integer"),
        ({"frame": {"corners": "shrp"}}, "frame.corners = 'shrp'; did you mean 'sharp'? allowed: round, sharp"),
        ({"colours": ["red", "gren"]}, "colours.1 = 'gren'; did you mean 'green'? allowed: red, green"),
        ({"either": 7}, "either = 7; allowed: 4, 8"),
        ({"title": 3}, "title = 3: Input should be a valid string"),
        ({"title": "long", "copies": 12}, "page p: long pages have up to 9 copies; lower copies"),
        # Names of another version, at the top, in a group, in a list, in a union.
        ({"heading": "a"}, "page p: 'heading' is of an earlier version; it is now title"),
        ({"sides": 4}, "'sides' is of an earlier version; it is now a frame's own"),
        ({"frame": {"length": 4}}, "'frame.length' is of an earlier version; it is now side"),
        ({"border": {"length": 4}}, "'border.length' is of an earlier version; it is now side"),
        ({"layers": [{"length": 4}]}, "'layers.0.length' is of an earlier version; it is now side"),
        (
            {"shapes": {"a": {"kind": "square", "length": 4}}},
            "'shapes.a.length' is of an earlier version; it is now side",
        ),
        ({"length": 4}, "unknown key 'length'"),  # what is renamed in one group is unknown in another
        (
            {"shapes": {"c": {"kind": "circle", "radius": 1, "length": 4}}},
            "unknown key 'shapes.c.length'; allowed: kind",
        ),
    ],
)
def test_each_mistake_is_one_sentence_with_its_place(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RecipeError) as caught:
        checked(Page, {"title": "a"} | values, "page p")
    told = str(caught.value)
    assert told.startswith("page p: ") and sentence in told and "\n" not in told and "pydantic" not in told


def test_what_is_missing_is_named_unless_the_file_is_of_another_version() -> None:
    with pytest.raises(RecipeError, match=r"^page p: 'title' is missing$"):
        checked(Page, {}, "page p")
    with pytest.raises(RecipeError, match=r"^page p: 'heading' is of an earlier version; it is now title$"):
        checked(Page, {"heading": "a"}, "page p")


def test_all_mistakes_are_told_at_once_each_once() -> None:
    with pytest.raises(RecipeError) as caught:
        checked(Page, {"title": 3, "frame": {"side": 0, "sid": 1}}, "page p")
    told = str(caught.value)
    assert all(part in told for part in ("title = 3", "frame.side = 0", "unknown key 'frame.sid'"))
    assert len(told.removeprefix("page p: ").split("; ")) == 4  # a hint has a semicolon of its own


@pytest.mark.parametrize("old", Row.renamed)
def test_a_key_of_an_earlier_study_is_refused_with_what_it_is_now(old: str) -> None:
    with pytest.raises(RecipeError, match=f"'{old}' is of an earlier version; it is now {Row.renamed[old]}$"):
        checked(Row, {"name": "a", old: "tough"}, "study s")
    assert list(Row.renamed) == ["network"] and Row.renamed[old] in Row.model_fields


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Square().side = 3  # type: ignore[misc]


def test_a_change_does_not_touch_what_it_was_given() -> None:
    """YAML's aliases make one mapping of two places."""
    shared = {"side": 1, "inner": {"deep": 1}}
    values = {"a": shared, "b": shared, "list": [1]}
    before = copy.deepcopy(values)
    found = changed(values, "a.inner.deep", 2)
    assert values == before and values["a"] is values["b"]
    assert found == before | {"a": {"side": 1, "inner": {"deep": 2}}} and found["b"] is shared
    assert list(changed(values, "a.side", 3)) == ["a", "b", "list"]  # order is part of a recipe


def test_a_change_makes_what_is_not_there() -> None:
    assert changed({}, "a.b.c", 1) == {"a": {"b": {"c": 1}}}
    assert changed({"a": None}, "a.b", 1) == {"a": {"b": 1}}
    assert changed({"a": {"b": 1}}, "a", {"c": 2}) == {"a": {"c": 2}}
    assert changed({"a": 1}, "a", None) == {"a": None}


def test_a_change_of_an_option_of_a_loss_that_is_a_name() -> None:
    assert changed({"s": {"loss": "kd"}}, "s.loss.beta", 0.2) == {"s": {"loss": {"name": "kd", "beta": 0.2}}}
    assert changed({"s": {}}, "s.loss.beta", 0.2) == {"s": {"loss": {"beta": 0.2}}}
    assert changed({"s": {"loss": "kd"}}, "s.loss", "l1") == {"s": {"loss": "l1"}}


@pytest.mark.parametrize(
    ("values", "path", "sentence"),
    [
        ({"a": 1}, "a.b", "a.b: a is a value, it has no setting 'b'"),
        ({"a": {"b": "text"}}, "a.b.c", "a.b.c: b is a value, it has no setting 'c'"),
        ({"a": [1]}, "a.0", "a.0: a is a value, it has no setting '0'"),
        ({"loss": {"name": "kd"}}, "loss.name.x", "loss.name.x: name is a value, it has no setting 'x'"),
    ],
)
def test_a_value_has_no_settings(values: dict[str, Any], path: str, sentence: str) -> None:
    with pytest.raises(RecipeError) as caught:
        changed(values, path, 1)
    assert str(caught.value) == sentence


def test_changes_are_read_as_yaml() -> None:
    given = ["a.b=3", "c=[x, y]", "d=null", "e=1e-3", "f={k: v}", "g=x=y", "h="]
    assert pairs(given) == {
        "a.b": 3,
        "c": ["x", "y"],
        "d": None,
        "e": "1e-3",  # YAML's number needs a dot; settings take the text
        "f": {"k": "v"},
        "g": "x=y",
        "h": None,
    }
    assert pairs(["a=1", "a=2"]) == {"a": 2} and pairs([]) == {}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("a", "--set a: write it as key=value, for example --set student.epochs=20"),
        ("=3", "--set =3: write it as key=value"),
        ("a={", "--set a={: the value is not YAML"),
        ("a={b: 1, b: 2}", "--set a={b: 1, b: 2}: the value is not YAML"),
    ],
)
def test_a_change_that_is_none_is_refused(change: str, sentence: str) -> None:
    with pytest.raises(RecipeError) as caught:
        pairs([change])
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [", "file f is not YAML: "),
        ("a: 1\n b: 2", "file f is not YAML: "),
        ("", "file f must hold keys and values"),
        ("[1]", "file f must hold keys and values"),
        ("word", "file f must hold keys and values"),
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "file f is not YAML: the key 'c' is there twice"),
        ("a: !!python/object:os.system {}", "file f is not YAML: "),
    ],
)
def test_a_text_that_is_no_yaml_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read_yaml(text, "file f")
    assert str(caught.value).startswith(sentence) and "\n" not in str(caught.value)


def test_a_key_may_come_again_where_yaml_means_it() -> None:
    """A merge is overridden by a key of its own, and a key in one group is not one in another."""
    text = "x: &a {k: 1, l: 1}\ny: &b {<<: *a, k: 2}\nz: {<<: *b, k: 3}\nk: {k: {k: 4}}\n"
    found = read_yaml(text, "file f")
    assert found == {"x": {"k": 1, "l": 1}, "y": {"k": 2, "l": 1}, "z": {"k": 3, "l": 1}, "k": {"k": {"k": 4}}}
