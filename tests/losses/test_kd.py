"""KD-Loss against the gradient table of the specification, hand-computed values and finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from facekd.errors import RecipeError
from facekd.losses.kd import PRESETS, KDLoss, KDSettings

TOUGH, TOLERANT = -0.01, 0.03  # teachers of the gradient table: the tough one on the other side of the ground truth
GRADIENTS = {
    "released": {0.0005: 6.0, 0.003: 6.45, 0.006: 6.85, 0.02: 8.3, 0.05: 3.9, 0.2: 4.5},
    "paper": {0.0005: 1 / 6, 0.003: 1.0, 0.006: 2.25, 0.02: 4.0, 0.05: 4.5, 0.2: 4.5},
}


def scalar(value: float) -> torch.Tensor:
    """One coordinate as a (1, 1, 1) tensor: then the mean reduction changes nothing."""
    return torch.tensor([[[value]]], dtype=torch.float64)


def gradient(
    loss: torch.nn.Module, pred: float, gt: float = 0.0, tough: float = TOUGH, tolerant: float = TOLERANT
) -> float:
    """Derivative of the loss by the student's coordinate."""
    student = scalar(pred).requires_grad_()
    loss(student, scalar(gt), scalar(tough), scalar(tolerant)).total.backward()
    assert student.grad is not None
    return student.grad.item()


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize(
    ("preset", "error", "expected"), [(p, e, g) for p, row in GRADIENTS.items() for e, g in row.items()]
)
def test_gradient_table(preset: str, error: float, expected: float, side: int) -> None:
    assert gradient(KDLoss(preset), side * error) == pytest.approx(side * expected, abs=1e-9)


@pytest.mark.parametrize("preset", ["paper", "released"])
@given(error=st.floats(1e-4, 0.5), gt=st.floats(-0.5, 0.5), tough=st.floats(0, 0.2), tolerant=st.floats(0, 0.2))
def test_only_distances_to_the_ground_truth_count(
    preset: str, error: float, gt: float, tough: float, tolerant: float
) -> None:
    """A teacher may be on either side of the ground truth, and so may the student: the reflection removes the side."""
    loss, values = KDLoss(preset), []
    for student_side, tough_side, tolerant_side in [(1, 1, 1), (-1, 1, 1), (1, -1, 1), (1, 1, -1)]:
        points = [gt + student_side * error, gt, gt + tough_side * tough, gt + tolerant_side * tolerant]
        values.append(loss(*map(scalar, points)).total.item())
    # rounding of gt +- T may move a coordinate over the step of the released preset at e = beta T
    if all(abs(error - 0.15 * teacher) > 1e-9 for teacher in (tough, tolerant)):
        assert values == pytest.approx([values[0]] * 4, abs=1e-9)


@pytest.mark.parametrize(
    ("preset", "error", "main", "tough", "tolerant"),
    [
        # low influence of both: ramps 0.0005/0.004 and 0.0005/0.012
        ("paper", 0.0005, 2.5 * 0.0005, -0.5 * 0.125 * 0.0095, -0.5 * (0.0005 / 0.012) * 0.0295),
        ("paper", 0.02, 2.5 * 0.02, 0.01, -0.5 * 0.01),
        ("paper", 0.7, 2.5 * (0.49 + 0.25), 0.69, 0.67),
        ("released", 0.0005, 6 * 0.0005, 0.0, 0.0),
        ("released", 0.006, 6 * 0.006, -0.45 * 0.004, -0.40 * 0.024),
        ("released", 0.05, 2 * (0.0025 + 0.09 - 0.0009), 1.9 * 0.04, 1.8 * 0.02),
    ],
)
def test_values_by_hand(preset: str, error: float, main: float, tough: float, tolerant: float) -> None:
    terms = KDLoss(preset)(scalar(error), scalar(0), scalar(TOUGH), scalar(TOLERANT))
    assert [part.item() for part in terms] == pytest.approx([main + tough + tolerant, main, tough, tolerant], abs=1e-12)


@pytest.mark.parametrize(
    ("preset", "error", "expected"),
    [
        # one teacher is moved far away, so that the other's boundary shows alone
        ("paper", 0.01, 2.5 + 0.5),  # e = T is still the negative assistant
        ("paper", 0.004, 2.5 + 0.5),  # e = beta T already is
        ("released", 0.01, 6 + 0.45),
    ],
)
def test_boundaries_belong_to_the_negative_assistant(preset: str, error: float, expected: float) -> None:
    """A tolerant teacher at 1 (released: low influence, 0) or absent leaves main and the tough teacher."""
    student = scalar(error).requires_grad_()
    KDLoss(preset)(student, scalar(0), tough=scalar(0.01)).total.backward()
    assert student.grad is not None
    assert student.grad.item() == pytest.approx(expected, abs=1e-9)


def test_break_of_the_released_main_term_is_the_tolerant_error() -> None:
    """At e = T_tol the slope is still 3; beyond it is 2e, and the value goes on without a step."""
    loss = KDLoss("released", assistance=0.0)
    assert gradient(loss, 0.03) == pytest.approx(6.0)
    assert gradient(loss, 0.0300001) == pytest.approx(4 * 0.03, abs=1e-5)
    values = [loss(scalar(e), scalar(0), scalar(TOUGH), scalar(TOLERANT)).main.item() for e in (0.03, 0.03 + 1e-9)]
    assert values[0] == pytest.approx(values[1], abs=1e-8)


def test_assistance_scales_the_teachers_only() -> None:
    """The paper's second figure: weights times 0.9, the main term as it was."""
    points = scalar(0.02), scalar(0), scalar(TOUGH), scalar(TOLERANT)
    full, scaled = KDLoss("paper")(*points), KDLoss("paper", assistance=0.9)(*points)
    assert scaled.main == full.main
    assert scaled.tough.item() == pytest.approx(0.9 * full.tough.item())
    assert gradient(KDLoss("paper", assistance=0.9), 0.05) == pytest.approx(2.5 + 0.9 + 0.9)


@pytest.mark.parametrize("preset", ["paper", "released"])
def test_gradient_flows_into_the_student_only(preset: str) -> None:
    torch.manual_seed(0)
    points = [(0.1 * torch.randn(2, 5, 2)).requires_grad_() for _ in range(4)]
    KDLoss(preset)(*points).total.backward()
    assert points[0].grad is not None and points[0].grad.abs().min() > 0
    assert all(tensor.grad is None for tensor in points[1:])


@pytest.mark.parametrize("preset", ["paper", "released"])
def test_gradient_agrees_with_finite_differences(preset: str) -> None:
    """Random points sit on no boundary, and there the detached pieces are constant: autograd must be exact."""
    generator = torch.Generator().manual_seed(1)
    pred, target, tough, tolerant = (
        torch.rand(2, 7, 2, generator=generator, dtype=torch.float64) - 0.5 for _ in range(4)
    )
    loss = KDLoss(preset)
    assert torch.autograd.gradcheck(lambda p: loss(p, target, tough, tolerant).total, pred.requires_grad_(), eps=1e-7)


@pytest.mark.parametrize("preset", ["paper", "released"])
def test_perfect_teacher_and_student_give_finite_gradients(preset: str) -> None:
    """T = 0 makes the ramp 0 / 0; e = 0 has no side."""
    target = torch.zeros(1, 3, 2)
    for pred in (torch.zeros(1, 3, 2), torch.full((1, 3, 2), 0.1)):
        pred.requires_grad_()
        KDLoss(preset)(pred, target, target, target).total.backward()
        assert pred.grad is not None and torch.isfinite(pred.grad).all()


@pytest.mark.parametrize("preset", ["paper", "released"])
def test_a_teacher_left_out_adds_nothing(preset: str) -> None:
    student, gt, tough, tolerant = scalar(0.02), scalar(0), scalar(TOUGH), scalar(TOLERANT)
    both = KDLoss(preset)(student, gt, tough, tolerant)
    only_tolerant = KDLoss(preset)(student, gt, tolerant=tolerant)
    assert only_tolerant.tough == 0
    assert only_tolerant.total.item() == pytest.approx((both.main + both.tolerant).item())
    none = KDLoss(preset)(scalar(0.2), gt)
    assert none.total == none.main
    # without a tolerant teacher the released main term has no break: 2 * 3 * 0.2
    assert none.main.item() == pytest.approx({"paper": 0.5, "released": 1.2}[preset])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: KDLoss("relased"), "did you mean 'released'"),
        (lambda: KDLoss(betta=0.2), "did you mean 'beta'.* allowed: .*main_coefficient"),
        (lambda: KDLoss(beta=1.5), "beta = 1.5: Input should be less than 1"),
        (lambda: KDLoss(beta=0), "beta = 0: Input should be greater than 0"),
        (lambda: KDLoss(beta="abc"), "beta = 'abc': .*number"),
        (lambda: KDLoss(beta=True), "beta = True: it must be a number"),
        (lambda: KDLoss(main_slope=math.inf), "main_slope = inf: Input should be a finite number"),
        (lambda: KDLoss(main_break="tough"), "KD-Loss: main_break = 'tough': it must be tolerant or a number$"),
        (lambda: KDLoss(main_break=True), "KD-Loss: main_break = True: it must be tolerant or a number$"),
        (lambda: KDLoss(main_break=math.nan), "main_break = nan: it must be tolerant or a number$"),
        (lambda: KDLoss(low_influence="none"), "low_influence = 'none'; allowed: ramp, zero"),
        (lambda: KDLoss(tough_negative=0.5), "tough_negative = 0.5: Input should be less than or equal to 0"),
        (lambda: KDLoss(main_coefficient=-1), "main_coefficient = -1: Input should be greater than or equal to 0"),
    ],
)
def test_wrong_names_and_values_are_refused_with_what_is_allowed(call: object, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        call()  # type: ignore[operator]


@pytest.mark.parametrize("preset", ["paper", "released"])
def test_settings_build_the_loss_of_their_numbers(preset: str) -> None:
    points = scalar(0.006), scalar(0), scalar(TOUGH), scalar(TOLERANT)
    assert PRESETS[preset].build()(*points) == KDLoss(preset)(*points)
    changed = KDSettings(preset=preset, assistance=0.5).build()(*points)
    assert changed.tough.item() == pytest.approx(0.5 * KDLoss(preset)(*points).tough.item())


def test_the_numbers_of_the_presets() -> None:
    """The paper's figures, and the authors' code; one number changed leaves the preset's others as they are."""
    names = ("main_coefficient", "main_slope", "main_break", "beta", "low_influence")
    weights = ("tough_positive", "tough_negative", "tolerant_positive", "tolerant_negative")
    paper, released = PRESETS["paper"], PRESETS["released"]
    assert [getattr(paper, name) for name in names] == [2.5, 1.0, 0.5, 0.4, "ramp"]
    assert [getattr(paper, name) for name in weights] == [1.0, -0.5, 1.0, -0.5]
    assert [getattr(released, name) for name in names] == [2.0, 3.0, "tolerant", 0.15, "zero"]
    assert [getattr(released, name) for name in weights] == [1.9, -0.45, 1.8, -0.40]
    assert KDSettings(preset="released", beta=0.2) == released.model_copy(update={"beta": 0.2})
    assert KDLoss("released", beta=0.2).settings == KDSettings(preset="released", beta=0.2)


def test_a_number_as_text_is_taken_and_one_far_from_it_is_refused_in_a_sentence() -> None:
    """YAML reads 1e-1 as a text."""
    assert KDLoss(beta="1e-1").settings.beta == 0.1
    assert KDLoss("released", main_break="2e-1").settings.main_break == 0.2
    with pytest.raises(RecipeError) as caught:
        KDLoss(beta="abc", main_break="tough")
    told = str(caught.value)
    assert "main_break = 'tough': it must be tolerant or a number; beta = 'abc': " in told and "\n" not in told
