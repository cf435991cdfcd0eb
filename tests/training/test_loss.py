"""Eq. 2 and its rivals, worked by hand and against slow references; what is unknown costs nothing."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from agcnn_models.labels import LABELS
from agcnn_training.loss import (
    Further,
    LabelLoss,
    asymmetric,
    binary_cross_entropy,
    class_balanced,
    label_loss,
    smoothed,
    stage_loss,
)
from agcnn_training.recipe import AsymmetricRecipe, Loss, PhaseRecipe

LOSSES = [label_loss(PhaseRecipe(loss=loss)) for loss in Loss]
SIZES = st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(0, 2**31))


def batch(films: int, labels: int, seed: int, unknown: float = 0.3) -> tuple[Tensor, Tensor]:
    """Random logits, and targets of which a share is unknown."""
    random = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(films, labels, generator=random)
    targets = (torch.rand(films, labels, generator=random) < 0.3).float()
    return logits, torch.where(torch.rand(films, labels, generator=random) < unknown, torch.nan, targets)


def test_loss_is_the_papers_formula() -> None:
    """Two labels with p~ = 1/2 and 3/4: L = -1/2 (ln 1/2 + ln 1/4)."""
    logits = torch.tensor([[0.0, math.log(3)]])
    targets = torch.tensor([[1.0, 0.0]])
    assert binary_cross_entropy(logits, targets).item() == pytest.approx(-(math.log(1 / 2) + math.log(1 / 4)) / 2)


@pytest.mark.parametrize("loss", LOSSES, ids=list(Loss))
def test_a_loss_is_stable_where_the_sigmoid_is_not(loss: LabelLoss) -> None:
    """Logits of 1000 on the wrong side have a finite loss and a finite gradient."""
    logits = torch.tensor([[1000.0, -1000.0, 1000.0, -1000.0]], requires_grad=True)
    value = loss(logits, torch.tensor([[0.0, 1.0, 1.0, 0.0]]))
    value.backward()
    assert math.isfinite(value.item())
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert binary_cross_entropy(torch.tensor([[1000.0]]), torch.tensor([[0.0]])).item() == pytest.approx(1000)


@pytest.mark.parametrize("loss", LOSSES, ids=list(Loss))
@settings(max_examples=30)
@given(sizes=SIZES)
def test_unknown_targets_cost_nothing(loss: LabelLoss, sizes: tuple[int, int, int]) -> None:
    """Known targets have no slope against them, unknown ones none at all, and their logits are never looked at."""
    logits, targets = batch(*sizes)
    logits.requires_grad_()
    value = loss(logits, targets)
    value.backward()
    assert logits.grad is not None
    assert value.item() >= 0
    assert (logits.grad[targets.isnan()] == 0).all()
    assert (logits.grad[targets == 1] <= 0).all()
    assert (logits.grad[targets == 0] >= 0).all()
    other = torch.where(targets.isnan(), 9.0, logits.detach())
    assert loss(other, targets).item() == pytest.approx(value.item(), rel=1e-6)


@pytest.mark.parametrize("loss", LOSSES, ids=list(Loss))
def test_nothing_known_is_no_loss(loss: LabelLoss) -> None:
    """A batch without any known target adds 0, not NaN."""
    logits = torch.ones(2, 3, requires_grad=True)
    value = loss(logits, torch.full((2, 3), torch.nan))
    value.backward()
    assert value.item() == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


@settings(max_examples=30)
@given(SIZES)
def test_class_balanced_is_the_published_formula(sizes: tuple[int, int, int]) -> None:
    """A slow sum over single targets with beta_P and beta_N, also where one side is empty."""
    logits, targets = batch(*sizes)
    pairs = [
        (1 / (1 + math.exp(-x)), y)
        for x, y in zip(logits.double().flatten().tolist(), targets.flatten().tolist(), strict=True)
        if not math.isnan(y)
    ]
    positives, negatives = sum(y == 1 for _, y in pairs), sum(y == 0 for _, y in pairs)
    slow = 0.0
    for p, y in pairs:
        slow += len(pairs) / positives * -math.log(p) if y else len(pairs) / negatives * -math.log(1 - p)
    assert class_balanced(logits, targets).item() == pytest.approx(slow / max(len(pairs), 1), rel=1e-4, abs=1e-6)


def test_class_balanced_is_twice_eq_2_where_both_sides_are_equal() -> None:
    """As many positives as negatives: beta_P = beta_N = 2."""
    logits = torch.tensor([[0.3, -2.0], [1.5, 0.7]])
    targets = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert class_balanced(logits, targets).item() == pytest.approx(2 * binary_cross_entropy(logits, targets).item())


@settings(max_examples=30)
@given(SIZES, st.floats(0, 3), st.floats(0, 5), st.floats(0, 0.4))
def test_asymmetric_is_the_published_formula(
    sizes: tuple[int, int, int], gamma_positive: float, gamma_negative: float, clip: float
) -> None:
    """A slow sum over single targets."""
    logits, targets = batch(*sizes)
    total, known = 0.0, 0
    for x, y in zip(logits.double().flatten().tolist(), targets.flatten().tolist(), strict=True):
        if math.isnan(y):
            continue
        known += 1
        p = 1 / (1 + math.exp(-x))
        shifted = max(p - clip, 0)
        total -= (1 - p) ** gamma_positive * math.log(p) if y else shifted**gamma_negative * math.log(1 - shifted)
    recipe = AsymmetricRecipe(gamma_positive=gamma_positive, gamma_negative=gamma_negative, clip=clip)
    found = asymmetric(logits, targets, recipe).item()
    assert found == pytest.approx(total / max(known, 1), rel=1e-3, abs=1e-6)


@settings(max_examples=20)
@given(SIZES)
def test_asymmetric_without_asymmetry_is_eq_2(sizes: tuple[int, int, int]) -> None:
    """Both gammas and the clip at 0; torch's own loss is off by the rounding of the logit, of which it subtracts."""
    logits, targets = batch(*sizes)
    recipe = AsymmetricRecipe(gamma_positive=0, gamma_negative=0, clip=0)
    assert asymmetric(logits, targets, recipe).item() == pytest.approx(
        binary_cross_entropy(logits, targets).item(), rel=1e-5, abs=1e-6
    )


def test_asymmetric_forgives_easy_negatives() -> None:
    """A negative below the clip has no loss and no slope; a hard one has nearly Eq. 2's."""
    logits = torch.tensor([[-4.0, 6.0]], requires_grad=True)
    asymmetric(logits, torch.zeros(1, 2), AsymmetricRecipe()).backward()
    assert logits.grad is not None
    assert logits.grad[0, 0] == 0
    assert logits.grad[0, 1] > 0


@pytest.mark.parametrize("loss", LOSSES, ids=list(Loss))
def test_a_batch_can_be_computed_in_parts(loss: LabelLoss) -> None:
    """The gradient of a film does not depend on what the network says of the others."""
    logits, targets = batch(6, 4, 5)
    whole = logits.clone().requires_grad_()
    loss(whole, targets).backward()
    part = logits[:2].clone().requires_grad_()
    loss(torch.cat((part, torch.zeros(4, 4))), targets).backward()
    assert whole.grad is not None
    assert part.grad is not None
    torch.testing.assert_close(whole.grad[:2], part.grad)


def test_a_stages_loss_is_the_sum_over_its_outputs() -> None:
    """Two branches at logits of zero cost 2 ln 2; columns behind them count with their weight, by their targets."""
    targets = torch.zeros(4, len(LABELS) + 3)
    logits = torch.zeros(4, 2 * len(LABELS) + 3)
    further = (Further(2, 0.5), Further(1, 0.25))
    value = stage_loss(logits, targets, binary_cross_entropy, 2, further)
    assert value.item() == pytest.approx((2 + 0.5 + 0.25) * math.log(2))
    without = stage_loss(logits, targets[:, : len(LABELS)], binary_cross_entropy, 2)
    assert without.item() == pytest.approx(2 * math.log(2))
    logits[:, -1] = 1000.0
    assert stage_loss(logits, targets, binary_cross_entropy, 2, further).item() == pytest.approx(
        2.5 * math.log(2) + 250
    )
    targets[:, -1] = 1.0
    assert stage_loss(logits, targets, binary_cross_entropy, 2, further).item() == pytest.approx(2.5 * math.log(2))


def test_smoothing_moves_both_ends() -> None:
    """0 and 1 become s and 1 - s; unknown stays unknown."""
    result = smoothed(torch.tensor([0.0, 1.0, torch.nan]), 0.1)
    assert result[:2].tolist() == pytest.approx([0.1, 0.9])
    assert torch.isnan(result[2])
