"""Training on faces whose labels lack points, and on labels of what is visible."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from test_face_calibration import faces as sample_faces  # noqa: F401

from facekd.data.face import LabelledFace
from facekd.data.pack import Pack, PackWriter
from facekd.errors import InputError
from facekd.geometry import tight_box
from facekd.markup import FIVE, IBUG68
from facekd.networks.checkpoint import load
from facekd.networks.predictor import TorchModel
from facekd.pipeline.calibration import calibrate
from facekd.pipeline.face_calibration import fit_face_calibration
from facekd.pipeline.faces import labelled_faces, training_data
from facekd.pipeline.finish import _completed, _view_shapes, metadata
from facekd.pipeline.shape_prior import error_statistics, fit_shape_prior
from facekd.pipeline.stages import evaluate_stage, train_stage
from facekd.pipeline.start import initial_network
from facekd.recipes.resolve import resolve
from facekd.recipes.schema import Evaluation
from facekd.training import logger, loop
from facekd.training.faces import sampling_weights
from facekd.training.loop import face_errors
from tiny_run import SHAPE, SPATIAL, STAGE, context, recipe

SEEING = {"visibility_weight": 0.1, "occluded_weight": 0.5}
SPLITS = {"train": 24, "val": 12, "test": 12}


def write_partial(path: Path, share: float = 0.3, flags: bool = True) -> Pack:
    """Write faces of five dots; a share of the labels is missing, and of the rest one in five is under a grey square.

    The first faces of each split lack nothing.
    """
    rng = np.random.default_rng(0)
    with PackWriter(path, FIVE, dataset="tiny", margin=2.0, size=96, jpeg_quality=95, terms="Made up.") as writer:
        for split, count in SPLITS.items():
            for i in range(count):
                points = SHAPE + rng.normal(0, 2, SHAPE.shape)
                hidden = rng.random(5) < 0.2
                missing = (rng.random(5) < share) & (i >= 4)
                missing[rng.permutation(5)[:3]] = False
                image = np.full((96, 96, 3), 90, np.uint8)
                for point, covered in zip(points, hidden, strict=True):
                    x, y = np.round(point).astype(int)
                    if covered:
                        image[y - 4 : y + 5, x - 4 : x + 5] = 160
                    else:
                        cv2.circle(image, (int(x), int(y)), 3, (250, 250, 250), -1)
                labels = np.where(missing[:, None], np.nan, points)
                visible = ~hidden if flags else None
                writer.add(
                    LabelledFace(image, labels, f"{split}{i}.jpg", split, visible=visible, box=tight_box(points))
                )
    return Pack.open(path)


@pytest.mark.slow
def test_a_run_on_partial_labels_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both teachers, KD-Loss, sigma, heatmaps, visibility and rare shapes; nothing anywhere is not a number."""
    asked = []
    objective = loop.Objective

    def watched(*args: Any) -> loop.Objective:
        made = objective(*args)
        asked.append((made.visibility_weight, made.occluded_weight))
        return made

    monkeypatch.setattr(loop, "Objective", watched)
    pack = write_partial(tmp_path / "faces.parquet")
    both = SPATIAL | SEEING | {"nll_weight": 0.02, "rare_shape_fraction": 0.3}
    settings = recipe(
        {
            "tough": both,
            "tolerant": SPATIAL | {"targets": "soft"},
            "student": both | {"loss": "kd", "teachers": ["tough", "tolerant"], "shape_prior": True},
            "pupil": STAGE | {"teachers": [{"stage": "tough", "how": "landmarks"}], "teacher_view": "plain"},
        },
        shape={"procrustes": True},
    )
    shared, stages = context(pack, tmp_path / "run", settings), resolve(settings)
    for stage in stages.values():
        train_stage(shared, stage)
        (record, *_) = logger.read(tmp_path / "run" / stage.name / "log.jsonl")
        assert all(np.isfinite(value) for value in record.values() if isinstance(value, float)), stage.name
        net, about = load(shared.model(stage))
        assert all(value.isfinite().all() for value in net.state_dict().values())
        assert np.isfinite([about.confidence_radius, *about.calibration]).all()
    assert record.keys() & {"visibility"} == set()  # the last one does not learn it
    assert asked == [(0.1, 0.5), (0, 1), (0.1, 0.5), (0, 1)]
    assert record["val_faces"] == 12 - np.isnan(pack.select("val").points[:, :2]).any(axis=(1, 2)).sum()
    assert "visibility" in logger.read(tmp_path / "run" / "student" / "log.jsonl")[0]
    (result,) = evaluate_stage(shared, stages["student"], Evaluation(bootstrap=100))
    written = json.loads(json.dumps(result.to_json(), allow_nan=False))
    lacking = np.isnan(pack.select("test").points[:, :2]).any(axis=(1, 2)).sum()
    assert written["left_out"] == lacking > 0 and written["subsets"]["full"]["count"] == 12 - lacking
    assert 0 < written["visibility"]["ap_occluded"] <= 100
    (result,) = evaluate_stage(shared, stages["pupil"], Evaluation(bootstrap=100))
    assert result.visibility is None and result.visible is None


def test_crops_of_partial_faces_are_those_of_the_whole(tmp_path: Path) -> None:
    whole, lacking = (write_partial(tmp_path / f"{share}.parquet", share) for share in (0.0, 0.4))
    settings = recipe({"a": STAGE | {"targets": "soft"}, "b": STAGE})
    data = {}
    for pack in (whole, lacking):
        shared = context(pack, tmp_path / pack.path.stem, settings)
        data[pack.path.stem] = [training_data(shared, stage) for stage in resolve(settings).values()]
    for before, after in zip(data["0.0"], data["0.4"], strict=True):
        np.testing.assert_allclose(after.train.boxes, before.train.boxes, atol=1e-4)
        missing = np.isnan(lacking.select("train").points)
        assert np.array_equal(np.isnan(after.train.points), missing) and missing.any()
        assert not np.isnan(before.train.points).any()
        np.testing.assert_array_equal(after.train.visible, lacking.select("train").visible)
    # Hard labels are the same; soft ones nearly, for each face's is its projection.
    difference = np.abs(data["0.4"][0].train.points - data["0.0"][0].train.points)
    assert np.nanmean(difference) < 0.5


def test_what_cannot_be_learnt_is_refused(tmp_path: Path) -> None:
    pack = write_partial(tmp_path / "faces.parquet", flags=False)
    for change in ({"visibility_weight": 0.1}, {"occluded_weight": 0.5}):
        settings = recipe({"a": STAGE | change})
        with pytest.raises(InputError, match=r"does not say which points are occluded; set a\.visibility_weight=0"):
            training_data(context(pack, tmp_path, settings), resolve(settings)["a"])
    settings = recipe({"a": STAGE})
    pack.points[:, 3] = np.nan
    with pytest.raises(InputError, match="point 3 is missing from all training faces"):
        training_data(context(pack, tmp_path, settings), resolve(settings)["a"])


def test_shape_priors_know_whole_shapes(tmp_path: Path) -> None:
    whole, lacking = (write_partial(tmp_path / f"{share}.parquet", share) for share in (0.0, 0.4))
    settings = recipe({"a": STAGE})
    stage = resolve(settings)["a"]
    faces, partly = (
        labelled_faces(context(pack, tmp_path / pack.path.stem, settings), stage, stage.frame)
        for pack in (whole, lacking)
    )
    filled = _completed(partly, stage.frame)
    there = ~np.isnan(partly.points)
    assert np.array_equal(filled[there], partly.points[there]) and _completed(faces, stage.frame) is faces.points
    # The dots are 2 px about their places; what is filled in is not much further.
    assert np.abs(filled - faces.points)[~there].mean() < 2.5 * faces.frames.shape[1] / 96
    shared = context(lacking, tmp_path / "0.4", settings)
    assert _view_shapes(shared, stage).isfinite().all()


def test_a_network_starts_at_the_mean_of_what_is_there(tmp_path: Path) -> None:
    pack = write_partial(tmp_path / "faces.parquet")
    settings = recipe({"a": STAGE | SEEING})
    shared, stage = context(pack, tmp_path, settings), resolve(settings)["a"]
    net = initial_network(shared, stage)
    assert net.architecture.visibility
    mean = net.head.linear.bias[:10].detach().reshape(5, 2)
    expected = (SHAPE - [48, 51]) / (22 * 1.3)  # about the box's centre, of a side of 22 px
    np.testing.assert_allclose(mean, expected, atol=0.08)
    # Eyes are missing from some faces; the rest says how far they are apart.
    assert metadata(shared, stage).confidence_radius == pytest.approx(0.05 * 20 / (26 * 1.3), rel=0.15)


def test_rare_shapes_of_partial_faces() -> None:
    rng = np.random.default_rng(0)
    points = SHAPE + rng.normal(0, 1, (20, 5, 2))
    points[3] += [[0, 0], [0, 9], [9, 0], [0, 0], [0, 0]]
    whole = sampling_weights(points, 0.5)
    points[::4, 0], points[6, 1:] = np.nan, np.nan
    weights = sampling_weights(points, 0.5)
    assert weights.argmax() == whole.argmax() == 3 and np.isfinite(weights).all()
    assert weights[6] == pytest.approx(1.0, abs=0.05) and weights.mean() == pytest.approx(1.0)


def test_calibration_leaves_missing_points_out() -> None:
    generator = torch.Generator().manual_seed(0)
    log_sigma = torch.randn(200, 5, generator=generator) - 3
    distance = torch.randn(200, 5, generator=generator).abs() * log_sigma.exp() * 2
    partial_distance = distance.clone()
    partial_distance[::2] = torch.nan
    assert calibrate(log_sigma, partial_distance, 0.05) == calibrate(log_sigma[1::2], distance[1::2], 0.05)


def test_confidence_in_faces_leaves_faces_without_a_normaliser_out(sample_faces: Pack) -> None:  # noqa: F811
    model = TorchModelOfTheSample()
    before = fit_face_calibration(model, sample_faces.select(indices=[1, 2, 3, 4, 5]))
    sample_faces.points[0, IBUG68.inter_ocular[0]] = np.nan
    try:
        assert fit_face_calibration(model, sample_faces) == before
    finally:
        sample_faces.points[0, IBUG68.inter_ocular[0]] = 0


def TorchModelOfTheSample() -> Any:  # noqa: N802
    from facekd.runtime.model import OnnxModel

    return OnnxModel("facekd-68-lite", threads=1)


def test_error_statistics_are_over_the_points_that_are_there() -> None:
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(6, 6, generator=generator)
    truth = torch.randn(4000, 3, 2, generator=generator)
    said = truth + (torch.randn(4000, 6, generator=generator) @ root).view(-1, 3, 2) * 0.01 + 0.02
    ratio = torch.ones(4000, 3).double()
    whole, bias = error_statistics(said, truth, ratio, None)
    lacking = torch.where(torch.rand(4000, 3, 1, generator=generator) < 0.3, torch.nan, truth)
    partly, partly_bias = error_statistics(said, lacking, ratio, None)
    torch.testing.assert_close(partly, whole, atol=0.1 * float(whole.abs().max()), rtol=0)
    torch.testing.assert_close(partly_bias, bias, atol=2e-3, rtol=0)
    errors = (said - truth).double()  # with nothing missing it is what it was, bit for bit
    typical = ((errors - 0.8 * errors.mean(0)) / ratio[..., None]).flatten(1)
    covariance = typical.T @ typical / len(typical)
    assert torch.equal(whole, (covariance + covariance.diag().diag()) / 2)
    assert torch.equal(bias, 0.8 * errors.mean(0).flatten())


def test_a_shape_prior_is_fitted_on_faces_that_have_an_error() -> None:
    generator = torch.Generator().manual_seed(1)
    shapes = torch.tensor(SHAPE / 96 - 0.5).float() + 0.05 * torch.randn(300, 1, 2, generator=generator)
    shapes = shapes + 0.005 * torch.randn(300, 5, 2, generator=generator)
    truth, said = shapes[:80].clone(), shapes[:80] + 0.03 * torch.randn(80, 5, 2, generator=generator)
    truth[::5, 0] = torch.nan  # an eye: such faces have no inter-ocular distance
    truth[1::5, 4] = torch.nan
    error = partial(face_errors, markup=FIVE, size=96)
    errors = error(said, truth)
    assert errors.isnan().sum() == 16 and errors[1::5].isfinite().all()
    prior = fit_shape_prior(shapes, said, None, truth, None, error)
    assert prior is not None
    assert error(prior(said), truth).nanmean() < 0.8 * errors.nanmean()


def test_networks_of_partial_packs_are_usable(tmp_path: Path) -> None:
    """A predictor without visibility gives none; `TorchModel` says what the network has."""
    settings = recipe({"a": STAGE | SEEING, "b": STAGE})
    pack = write_partial(tmp_path / "faces.parquet")
    shared = context(pack, tmp_path, settings)
    for stage, seen in zip(resolve(settings).values(), (True, False), strict=True):
        model = TorchModel(initial_network(shared, stage), metadata(shared, stage))
        assert (model(np.zeros((2, 32, 32, 3), np.uint8)).visible is not None) == seen
