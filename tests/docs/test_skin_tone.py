"""The benchmark by skin tone: colours have the angles of the literature, faces fall into the right third."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from facekd.synthetic.head import MEAN

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
POINTS = MEAN * 40 + [100, 100]


@pytest.fixture(scope="module")
def skin_tone() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module("skin_tone")


class Faces:
    """What is asked of a pack."""

    def __init__(self, photos: list[np.ndarray]) -> None:
        self.image, self.points = photos.__getitem__, np.repeat(POINTS[None], len(photos), axis=0)

    def __len__(self) -> int:
        return len(self.points)


def photo(*colour: float) -> np.ndarray:
    return np.full((200, 200, 3), colour, np.uint8)


def test_angle_of_a_known_colour(skin_tone: ModuleType) -> None:
    """Yellow of sRGB has L* 97.14 and b* 94.48."""
    angle = np.degrees(np.arctan2(97.14 - 50, 94.48))
    assert skin_tone.typology_angle(photo(255, 255, 0), POINTS) == pytest.approx(angle, abs=0.1)


def test_the_lighter_cheek_counts_and_greys_have_no_tone(skin_tone: ModuleType) -> None:
    half = photo(220, 170, 140)
    half[:, :100] = 90, 60, 40  # one side in the shade
    assert skin_tone.typology_angle(half, POINTS) == skin_tone.typology_angle(photo(220, 170, 140), POINTS) > 0
    assert skin_tone.typology_angle(photo(90, 60, 40), POINTS) < 0
    assert np.isnan(skin_tone.typology_angle(photo(150, 150, 150), POINTS))


def test_faces_fall_into_thirds_by_tone(skin_tone: ModuleType) -> None:
    tones = [200, 120, 0, 160, 80, 240, 100]  # 0: grey
    photos = [photo(*((value, 0.75 * value, 0.6 * value) if value else (9, 9, 9))) for value in tones]
    thirds, ranges = skin_tone.groups(Faces(photos))
    assert {name: [index for index, *_ in members] for name, members in thirds.items()} == {
        "darkest third": [4, 6],
        "middle third": [1, 3],
        "lightest third": [0, 5],
    }
    assert ranges["darkest third"][1] < ranges["middle third"][0] < ranges["lightest third"][1]
