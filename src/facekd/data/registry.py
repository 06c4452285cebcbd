"""The datasets that `facekd prepare` knows, by name."""

from __future__ import annotations

from facekd.data import cofw, folder, rotated, synthetic, w300, wflw
from facekd.data.dataset import Dataset
from facekd.errors import InputError, nearest

DATASETS = {module.DATASET.name: module.DATASET for module in (w300, wflw, cofw, folder, synthetic, rotated)}


def get(name: str, *more: Dataset) -> Dataset:
    """Return a dataset by its name.

    Args:
        name: as given to `facekd prepare`.
        *more: datasets beside those of this package, whose readers need what it must not import.

    Returns:
        The dataset.

    Raises:
        InputError: there is none of this name; gives the nearest one.
    """
    datasets = DATASETS | {dataset.name: dataset for dataset in more}
    if name not in datasets:
        raise InputError(f"no dataset '{name}'; {nearest(name, datasets)}")
    return datasets[name]
