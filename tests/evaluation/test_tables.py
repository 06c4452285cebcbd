import numpy as np
import pytest

from facekd.data.pack import Pack
from facekd.errors import InputError
from facekd.evaluation import tables
from facekd.evaluation.protocol import evaluate
from facekd.geometry import BoxTransform
from tiny_faces import Detects, Oracle

# Errors of 1, 1, 1 and 9 % of the inter-ocular distance; common is the first three.
PIXELS = (0.32, 0.32, 0.32, 2.88)
NEAR = (0.32, 0.32, 0.32, 2.24)  # the last one 7 %: so near that the face is not cut again


def test_rows_hold_every_figure_with_intervals(pack: Pack) -> None:
    heading, *lines = tables.rows(evaluate(Oracle(pack, PIXELS), pack).to_json())
    assert heading == ["%", "full (4)", "common (3)", "challenge (1)"]
    figures = {line[0]: line[1:] for line in lines}
    assert "NME inter-pupil" not in figures  # the triangle has no pupils
    assert figures["NME inter-ocular"][0].startswith("3.00 [1.00, ")
    assert figures["NME inter-ocular"][1:] == ["1.00 [1.00, 1.00]", "9.00 [9.00, 9.00]"]
    assert figures["NME box diagonal"][1] == "0.80 [0.80, 0.80]"
    assert figures["FR@8"][1:] == ["0.00 [0.00, 0.00]", "100.00 [100.00, 100.00]"]
    assert figures["faces missed"] == ["0", "0", "0"]


def test_caption_names_normaliser_and_boxes(pack: Pack) -> None:
    caption = tables.caption(evaluate(Oracle(pack, PIXELS), pack).to_json())
    assert "tiny, test split" in caption
    assert "inter-ocular distance" in caption
    assert "boxes: ground truth" in caption


def test_markdown_has_a_row_per_model_and_the_counts(pack: Pack) -> None:
    def found(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        boxes = np.array([[30, 36, 62, 68]] if image[0, 0, 0] > 60 else []).reshape(-1, 4)
        return boxes, np.ones(len(boxes))

    oracle, near = (Oracle(pack, pixels, box_transform=BoxTransform()) for pixels in (PIXELS, NEAR))
    results = [
        evaluate(oracle, pack, model="student").to_json(),
        evaluate(near, pack, "detector", Detects(found), model="student").to_json(),
    ]
    lines = tables.markdown_table(results, ["common", "challenge"]).splitlines()
    assert lines[0] == "| model | boxes | common (3) | challenge (1) | FR@8 | AUC@8 |"
    assert lines[2].startswith("| student | ground truth | 1.00 [1.00, 1.00] | 9.00 [9.00, 9.00] | 25.00 | ")
    assert lines[3].startswith("| student | detector, 1 missed | 1.00 [1.00, 1.00] | 7.00 [7.00, 7.00] | 25.00 | ")
    assert "inter-ocular" in lines[-1] and "95 %" in lines[-1]


def test_markdown_refuses_results_on_other_faces(pack: Pack) -> None:
    both = [evaluate(Oracle(pack, PIXELS), faces).to_json() for faces in (pack, pack.select(indices=[0, 3]))]
    with pytest.raises(InputError, match="different faces"):
        tables.markdown_table(both)


def test_a_missing_figure_is_a_dash() -> None:
    assert (
        tables.with_interval({"nme_inter_ocular": None, "nme_inter_ocular_interval": None}, "nme_inter_ocular") == "–"
    )
