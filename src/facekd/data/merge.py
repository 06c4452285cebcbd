"""Several packs as one: more faces to train on, from other datasets, rendered, or with pseudo-labels."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from facekd.data.pack import Pack, PackWriter
from facekd.errors import InputError
from facekd.files import claim

_LOG = logging.getLogger("facekd")


def merge(packs: Sequence[Pack], out: str | Path, train_only: bool = False) -> int:
    """Write the faces of several packs into one, in order, their images as they are.

    Args:
        packs: two or more of one mark-up.
        out: the Parquet file to write.
        train_only: of all but the first only faces of split "train" are taken, so that validation and test stay those
            of the first.

    Returns:
        How many faces there are.

    Raises:
        InputError: mark-ups differ, no face of one pack is left, or `out` is one of the packs or in use.
    """
    first = packs[0]
    for pack in packs[1:]:
        if pack.markup != first.markup:
            raise InputError(
                f"{pack.path} has the mark-up {pack.markup.name}, {first.path} {first.markup.name}; packs of one "
                "mark-up can be merged"
            )
    if any(pack.path.resolve() == Path(out).resolve() for pack in packs):
        raise InputError(f"{out} is one of the packs; give another file to write")
    taken = [first, *(pack.select("train") if train_only else pack for pack in packs[1:])]
    tell = [pack.visible is not None for pack in taken]
    if any(tell) and not all(tell):
        silent = taken[tell.index(False)].path
        _LOG.warning("%s does not say which points are occluded, so %s does not as a whole", silent, out)

    datasets, terms = (list(dict.fromkeys(str(pack.meta[key]) for pack in taken)) for key in ("dataset", "terms"))
    # Rotated faces say the terms of their photos, too: once is enough.
    terms = [text for text in terms if not any(text != other and text in other for other in terms)]

    with claim(out):
        writer = PackWriter(
            out,
            first.markup,
            dataset=" + ".join(datasets),
            margin=min(pack.meta["margin"] for pack in taken),
            size=max(pack.meta["size"] for pack in taken),
            jpeg_quality=min(pack.meta["jpeg_quality"] for pack in taken),
            terms=" + ".join(terms),
            evaluation_dataset=first.evaluation_dataset if train_only else None,
        )
        with writer:
            for pack in taken:
                for index in range(len(pack)):
                    writer.add(pack.face(index))
    return int(np.sum([len(pack) for pack in taken]))
