"""The training loop as it runs: each setting of the paper reaches the step it is about, with worked-out values."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from facekd.geometry import tight_box
from facekd.losses.objective import TeacherKey
from facekd.markup import FIVE
from facekd.networks.heads import CoordinateHead
from facekd.networks.network import Prediction
from facekd.recipes.groups import Augment
from facekd.recipes.load import parse
from facekd.recipes.resolve import TrainStage, resolve
from facekd.run_folder import CHECKPOINT
from facekd.training import distributed as parallel
from facekd.training import loop
from facekd.training.augment import Augmenter
from facekd.training.faces import Faces
from facekd.training.logger import read
from facekd.training.loop import TrainingData, face_errors, fit, validate

STILL = dict.fromkeys(Augment.model_fields, 0)  # views that do not vary
PLAIN = {"optimiser": "adamw", "lr": 1e-3, "weight_decay": 0, "warmup": 0, "clip_grad": 0, "ema": 0}


def make_stage(**settings: Any) -> TrainStage:
    """A stage of four steps per epoch on the faces below, as plain as can be but for these settings."""
    stage = {"backbone": "mobilenetv2_035", "init": "none", "loss": "l2", "batch": 4, "epochs": 4} | PLAIN | settings
    values = {"name": "x", "precision": "32", "input": {"size": 32}, "augment": STILL, "stages": {"net": stage}}
    resolved = resolve(parse(values | {"result": "net"}, "x"))["net"]
    assert isinstance(resolved, TrainStage)
    return resolved


class TinyNet(nn.Module):
    """A convolution with batch normalisation under the paper's head: all that the loop can get wrong, and quick."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 5, stride=2, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.head = CoordinateHead(8, 5, dropout, sigma=False)
        self.head.start_at(torch.zeros(5, 2))

    def forward(self, images: Tensor) -> Prediction:
        return Prediction(*self.head(self.backbone(images).mean((2, 3))))


def make_net(stage: TrainStage) -> TinyNet:
    torch.manual_seed(0)
    return TinyNet(stage.network.dropout)


def make_faces(count: int) -> Faces:
    rng = np.random.default_rng(count)
    points = rng.uniform(12, 36, (count, 5, 2)).astype(np.float32)
    return Faces(rng.integers(0, 256, (count, 48, 48, 3), np.uint8), points, tight_box(points))


def make_data(stage: TrainStage, val: int = 0) -> TrainingData:
    augmenters = [Augmenter(settings, stage.frame, FIVE) for settings in (stage.augment, None)]
    return TrainingData(make_faces(16), make_faces(val), *augmenters, FIVE)


@dataclass
class Steps:
    """What the optimiser was given, step by step; and the network's state after each step, the first before any."""

    rates: list[list[float]] = field(default_factory=list)
    gradients: list[dict[str, Tensor]] = field(default_factory=list)
    states: list[dict[str, Tensor]] = field(default_factory=list)

    def norms(self) -> list[float]:
        return [float(torch.stack([g.norm() for g in step.values()]).norm()) for step in self.gradients]


Runner = Callable[..., tuple[Steps, TinyNet, dict[str, Any]]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """Return a function that trains a tiny network as a stage says and returns its steps, itself and its summary."""
    build = loop.build_optimiser

    def runner(
        stage: TrainStage, data: TrainingData | None = None, folder: str = "net", *, zero: bool = False, **more: Any
    ) -> tuple[Steps, TinyNet, dict[str, Any]]:
        steps, net = Steps(), make_net(stage)

        def state() -> dict[str, Tensor]:
            return {key: value.detach().clone() for key, value in net.state_dict().items()}

        def before(optimiser: torch.optim.Optimizer, *_: Any) -> None:
            steps.rates.append([group["lr"] for group in optimiser.param_groups])
            for _, parameter in net.named_parameters():
                if zero and parameter.grad is not None:
                    parameter.grad.zero_()
            steps.gradients.append({n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None})

        def watched(*arguments: Any) -> torch.optim.Optimizer:
            optimiser: torch.optim.Optimizer = build(*arguments)
            steps.states.append(state())
            optimiser.register_step_pre_hook(before)
            optimiser.register_step_post_hook(lambda *_: steps.states.append(state()))
            return optimiser

        monkeypatch.setattr(loop, "build_optimiser", watched)
        fabric = parallel.fabric("32", "cpu")
        return steps, net, fit(fabric, net, stage, data or make_data(stage), tmp_path / folder, **more)

    return runner


def test_the_rate_rises_over_the_warm_up_and_falls_as_a_cosine(run: Runner) -> None:
    """Four of sixteen steps rise by a fifth each; then half a cosine, down to what is left one step before its end."""
    steps, _, summary = run(make_stage(lr=1e-3, warmup=0.25, schedule="cosine"))
    rates = [rate for rate, _ in steps.rates]
    assert rates == [other for _, other in steps.rates] and len(rates) == 16
    np.testing.assert_allclose(rates[:5], [2e-4, 4e-4, 6e-4, 8e-4, 1e-3])
    np.testing.assert_allclose(rates[10], 5e-4)  # half-way through the other twelve
    np.testing.assert_allclose(rates[7], 1e-3 * (2 + math.sqrt(2)) / 4)  # a quarter: cos 45 degrees
    np.testing.assert_allclose(rates[15], 1e-3 * (1 - math.cos(math.pi / 12)) / 2)
    assert summary["lr"] == pytest.approx(rates[15])


def test_the_papers_rate_is_divided_by_one_and_a_ten_thousandth_per_step(run: Runner) -> None:
    steps, _, _ = run(make_stage(lr=1e-3, warmup=0, schedule="paper"))
    np.testing.assert_allclose([rate for rate, _ in steps.rates], [1e-3 / (1 + 1e-4 * k) for k in range(16)])
    np.testing.assert_allclose(steps.rates[10], 1e-3 / 1.001, rtol=1e-9)


def test_a_stage_that_stops_early_keeps_the_rates_of_the_whole_schedule(run: Runner) -> None:
    steps, _, summary = run(make_stage(warmup=0, epochs=4, stop_epoch=2))
    assert len(steps.rates) == 8 and summary["epochs"] == 2
    np.testing.assert_allclose(steps.rates[-1], [1e-3 * (1 + math.cos(7 * math.pi / 16)) / 2] * 2)


def test_the_weights_kept_are_the_moving_average(run: Runner) -> None:
    """By hand, in double precision: a decay of 1/10, 2/11, ... at first, never above the one that is set (here 0.3)."""
    stage = make_stage(ema=0.3, epochs=2, lr=1e-2)
    steps, net, _ = run(stage)
    kept, last = net.state_dict(), steps.states[-1]
    for key in ("head.linear.weight", "backbone.0.weight", "backbone.1.running_mean"):
        average = steps.states[0][key].double()
        for step, state in enumerate(steps.states[1:]):
            decay = min(0.3, (1 + step) / (10 + step))
            average = decay * average + (1 - decay) * state[key]
        torch.testing.assert_close(kept[key].double(), average, rtol=1e-5, atol=1e-7)
        assert not torch.allclose(kept[key], last[key], rtol=1e-4, atol=1e-6), key


def test_without_a_moving_average_the_last_weights_are_kept(run: Runner) -> None:
    steps, net, _ = run(make_stage(ema=0, epochs=1))
    for key, value in net.state_dict().items():
        torch.testing.assert_close(value, steps.states[-1][key], rtol=0, atol=0)


def test_validation_is_of_the_averaged_weights_and_training_goes_on_with_its_own(run: Runner, tmp_path: Path) -> None:
    stage = make_stage(ema=0.9, epochs=2, lr=0.1)
    data = make_data(stage, val=6)
    steps, net, summary = run(stage, data)
    fabric = parallel.fabric("32", "cpu")
    errors = [record["val_nme"] for record in read(tmp_path / "net" / "log.jsonl")]
    assert errors[-1] == summary["val_nme"]
    kept = validate(fabric, net, data.val, data.plain, FIVE, 4)
    assert errors[-1] == pytest.approx(kept, rel=1e-5)
    net.load_state_dict(steps.states[-1])
    assert errors[-1] != pytest.approx(validate(fabric, net, data.val, data.plain, FIVE, 4), rel=1e-3)
    alone, _, _ = run(stage, make_data(stage), "alone")  # without validation faces
    for key, value in steps.states[-1].items():
        torch.testing.assert_close(value, alone.states[-1][key], rtol=0, atol=0)


def test_gradients_are_clipped_to_the_norm_that_is_set(run: Runner) -> None:
    """Those above it are scaled down to it and keep their direction; those below, and all with 0, stay as they are."""
    free, _, _ = run(make_stage(clip_grad=0, epochs=1), folder="free")
    limit = free.norms()[0] / 3
    clipped, _, _ = run(make_stage(clip_grad=limit, epochs=1), folder="clipped")
    assert clipped.norms()[0] == pytest.approx(limit, rel=1e-4) and max(clipped.norms()) <= limit * (1 + 1e-4)
    for name, gradient in free.gradients[0].items():
        torch.testing.assert_close(clipped.gradients[0][name], gradient / 3, rtol=1e-4, atol=1e-9)
    loose, _, _ = run(make_stage(clip_grad=2 * max(free.norms()), epochs=1), folder="loose")
    assert loose.norms() == free.norms()


def test_weights_decay_and_biases_and_normalisation_do_not(run: Runner) -> None:
    """Without a gradient AdamW does nothing but decay: two steps at rate 0.1 and decay 0.5 leave 0.95^2 of a weight."""
    stage = make_stage(weight_decay=0.5, lr=0.1, epochs=2, batch=16, schedule="paper")
    steps, _, _ = run(stage, zero=True)
    left = 0.95 * (1 - 0.5 * 0.1 / 1.0001)
    (start, _, end), kinds = steps.states, set()
    for name, _ in make_net(stage).named_parameters():
        decays = start[name].ndim > 1
        kinds.add((decays, name.split(".")[-1]))
        torch.testing.assert_close(end[name], start[name] * (left if decays else 1), rtol=1e-5, atol=1e-8, msg=name)
    assert kinds == {(True, "weight"), (False, "weight"), (False, "bias")}  # convolutions, normalisation, biases


def test_each_step_has_its_own_gradient_only(run: Runner) -> None:
    """All faces in each step, and a rate that moves nothing: the gradient stays what it is, instead of adding up."""
    steps, _, _ = run(make_stage(batch=16, lr=1e-12, epochs=3))
    first, _, third = steps.norms()
    assert third == pytest.approx(first, rel=1e-3)


def test_a_step_descends_the_mean_over_its_faces_and_the_log_has_the_mean_over_the_steps(
    run: Runner, tmp_path: Path
) -> None:
    stage = make_stage(lr=1e-12, epochs=1)
    data = make_data(stage)
    run(stage, data)
    net, losses = make_net(stage).train(), []
    for batch in (next(loop.batches(data.train, 4, 0, k, 0, parallel.fabric("32", "cpu"))) for k in range(4)):
        images, target, _ = data.augmenter(batch.frames, batch.points, batch.boxes, batch.faces, batch.view)
        losses.append((net(images).landmarks - target).square().mean().item())
    assert read(tmp_path / "net" / "log.jsonl")[0]["total"] == pytest.approx(np.mean(losses), rel=1e-4)


def test_the_network_trains_with_dropout_and_batch_statistics_in_every_step(
    run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validation at an epoch's end leaves it in evaluation mode; half of the features have to go again in the next."""
    stage = make_stage(dropout=0.5, epochs=2)
    seen: list[tuple[bool, float]] = []
    forward = torch.nn.Dropout.forward

    def watched(self: torch.nn.Dropout, x: Tensor) -> Tensor:
        y = forward(self, x)
        seen.append((self.training, float((y == 0).float().mean())))
        return y

    monkeypatch.setattr(torch.nn.Dropout, "forward", watched)
    _, net, _ = run(stage, make_data(stage, val=4))
    assert [training for training, _ in seen] == [True] * 4 + [False] + [True] * 4 + [False]
    dropped = [share for training, share in seen if training]
    assert 0.4 < np.mean(dropped) < 0.6 and len(set(dropped)) > 2  # another half each time
    assert not net.training


def test_a_broken_run_goes_on_to_the_same_weights(run: Runner, tmp_path: Path) -> None:
    """With Adam's moments, the average, dropout, the faces' order and the rate of the step it stopped at."""
    settings = {"dropout": 0.3, "ema": 0.9, "warmup": 0.3, "clip_grad": 1.0, "weight_decay": 0.1}
    whole = make_stage(**settings)
    half = replace(whole, optimisation=whole.optimisation.model_copy(update={"stop_epoch": 2}))
    expected = run(whole, folder="whole")[1].state_dict()
    run(half, folder="broken")
    assert (tmp_path / "broken" / CHECKPOINT).is_file()
    steps, net, _ = run(whole, folder="broken")
    assert len(steps.rates) == 8
    for key, value in net.state_dict().items():
        torch.testing.assert_close(value, expected[key], rtol=0, atol=0, msg=key)
    assert [record["epoch"] for record in read(tmp_path / "broken" / "log.jsonl")] == [1, 2, 3, 4]


def test_another_seed_is_another_order_and_the_same_seed_the_same_run(run: Runner) -> None:
    runs = [run(make_stage(seed=seed, epochs=1), folder=f"{i}")[0] for i, seed in enumerate((0, 0, 1))]
    first, same, other = (steps.gradients[0]["head.linear.bias"] for steps in runs)
    torch.testing.assert_close(first, same, rtol=0, atol=0)
    assert not torch.allclose(first, other)


def test_teachers_are_asked_for_the_very_views_that_the_student_sees(run: Runner) -> None:
    """And what they answer reaches the loss: the tough teacher, here always at 0, is the one that the log calls so."""
    teacher = {"backbone": "mobilenetv2_035", "init": "none"}
    kd = {"loss": {"name": "kd", "main_break": 9}, "teachers": ["a", "b"]}
    student = teacher | PLAIN | kd | {"batch": 4, "epochs": 2, "views": 2}
    stages = {"a": teacher, "b": teacher | {"targets": "soft"}, "net": student}
    values = {"name": "x", "input": {"size": 32}, "augment": {"rotation": 40}, "stages": stages, "result": "net"}
    stage = resolve(parse(values, "x"))["net"]
    assert isinstance(stage, TrainStage)
    data, asked = make_data(stage), []
    tough, tolerant = TeacherKey("a", "landmarks"), TeacherKey("b", "landmarks")

    def teachers(images: Tensor, faces: np.ndarray, view: np.ndarray) -> dict[TeacherKey, Tensor]:
        frames = torch.from_numpy(data.train.frames[faces])
        again, target, _ = data.augmenter(frames, data.train.points[faces], data.train.boxes[faces], faces, view)
        torch.testing.assert_close(images, again, rtol=0, atol=0)
        asked.extend(zip(faces.tolist(), view.tolist(), strict=True))
        return {tough: torch.zeros_like(target), tolerant: target}  # the tolerant one is always right

    _, _, summary = run(stage, data, teachers=teachers)
    assert sorted(asked) == [(face, view) for face in range(16) for view in (0, 1)]
    assert summary["tough"] != 0
    # Nobody is ahead of a teacher without error: its part is the student's error, of which main is 2.5 times.
    assert summary["tolerant"] == pytest.approx(summary["main"] / 2.5, rel=1e-5)


def test_the_error_of_a_face_by_hand() -> None:
    """Five points, each 3 px right and 4 px down of the truth; the normaliser is the mark-up's own."""
    truth = torch.tensor([[[-0.2, -0.1], [0.2, -0.1], [0.0, 0.0], [-0.15, 0.2], [0.15, 0.2]]])
    off = torch.tensor([3.0, 4.0]) / 64
    eyes = 0.4 * 64
    assert float(face_errors(truth + off, truth, FIVE, 64)) == pytest.approx(5 / eyes, rel=1e-5)


@pytest.fixture
def val_errors(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What validation says, epoch by epoch."""
    errors: list[float] = []
    monkeypatch.setattr(loop, "validate", lambda *_: errors.pop(0))
    return errors


def test_training_ends_when_validation_no_longer_improves_and_keeps_the_best(
    run: Runner, val_errors: list[float]
) -> None:
    """The third epoch is the best; two more have not been better."""
    val_errors += [5.0, 4.0, 3.0, 3.5, 3.2, 1.0, 1.0, 1.0]
    stage = make_stage(epochs=8, patience=2)
    steps, net, summary = run(stage, make_data(stage, val=10))
    assert (summary["epochs"], summary["best_epoch"], summary["val_nme"]) == (5, 3, 3.0)
    for key, value in net.state_dict().items():
        torch.testing.assert_close(value, steps.states[12][key], rtol=0, atol=0)


def test_a_resumed_training_still_knows_its_best(run: Runner, val_errors: list[float]) -> None:
    val_errors += [5.0, 4.0, 3.0, 3.5, 3.2]
    first, part = make_stage(epochs=8, patience=2), make_stage(epochs=8, patience=2, stop_epoch=4)
    before, _, _ = run(part, make_data(part, val=10))
    _, net, summary = run(first, make_data(first, val=10))
    assert (summary["epochs"], summary["best_epoch"], val_errors) == (5, 3, [])
    for key, value in net.state_dict().items():
        torch.testing.assert_close(value, before.states[12][key], rtol=0, atol=0)


def test_few_validation_faces_do_not_end_training(run: Runner, val_errors: list[float]) -> None:
    val_errors += [1.0, 2.0, 3.0, 4.0]
    stage = make_stage(epochs=4, patience=1)
    _, _, summary = run(stage, make_data(stage, val=9))
    assert summary["epochs"] == 4 and summary["val_nme"] == 4.0 and "best_epoch" not in summary
