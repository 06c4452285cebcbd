"""Fields of files: each value is checked when it is taken."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facekd.documents import Fields, is_finite
from facekd.errors import InputError

VALUES = st.one_of(
    st.floats(-10, 10),
    st.floats(),
    st.integers(),
    st.sampled_from([True, None, "1", [1.0], 10**300, 10**400, -(10**400), 1e300, 9e299, -9e299]),
)
POINTS = st.one_of(
    st.lists(VALUES, max_size=3), st.tuples(VALUES, VALUES), st.sampled_from([None, 5, "xy", {1: 2, 3: 4}])
)


def accepted(take: Any, *arguments: Any) -> bool:
    try:
        take(*arguments)
    except InputError as error:
        assert "file: a must be a list of at most" in str(error)
        return False
    return True


@given(st.lists(VALUES, max_size=6))
def test_numbers_are_those_that_are_finite_one_by_one(values: list) -> None:
    # Of several near the largest that a float holds, the sum is none: they are looked at one by one.
    expected = len(values) <= 5 and all(map(is_finite, values))
    assert accepted(Fields({"a": values}, "file").numbers, "a", 5) == expected


@given(st.lists(POINTS, max_size=4))
def test_points_are_pairs_of_finite_numbers(values: list) -> None:
    pairs = all(isinstance(each, list | tuple) and len(each) == 2 and all(map(is_finite, each)) for each in values)
    assert accepted(Fields({"a": values}, "file").points, "a", 3) == (len(values) <= 3 and pairs)


def test_a_list_that_may_be_missing() -> None:
    assert Fields({"a": None}, "file").numbers("a", 5, (1.0,)) == (1.0,)
    with pytest.raises(InputError, match="file: a must be a list of at most 5 finite numbers, got missing"):
        Fields({}, "file").numbers("a", 5)
