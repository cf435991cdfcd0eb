"""Eq. 2, worked by hand."""

import math

import pytest
import torch

from agcnn_training.loss import binary_cross_entropy, masked_cross_entropy, smoothed


def test_loss_is_the_papers_formula() -> None:
    """Two labels with p~ = 1/2 and 3/4: L = -1/2 (ln 1/2 + ln 1/4)."""
    logits = torch.tensor([[0.0, math.log(3)]])
    targets = torch.tensor([[1.0, 0.0]])
    assert binary_cross_entropy(logits, targets).item() == pytest.approx(-(math.log(1 / 2) + math.log(1 / 4)) / 2)


def test_loss_is_stable_where_the_sigmoid_is_not() -> None:
    """A logit of 1000 for a film without the finding costs 1000, not infinity."""
    assert binary_cross_entropy(torch.tensor([[1000.0]]), torch.tensor([[0.0]])).item() == pytest.approx(1000)


def test_unknown_targets_cost_nothing() -> None:
    """The masked loss is Eq. 2 over what is known, and sends no gradient to what is not."""
    logits = torch.tensor([[0.3, -2.0], [1.5, 0.7]], requires_grad=True)
    targets = torch.tensor([[1.0, torch.nan], [0.0, torch.nan]])
    loss = masked_cross_entropy(logits, targets)
    loss.backward()
    assert loss.item() == pytest.approx(binary_cross_entropy(logits[:, :1], targets[:, :1]).item())
    assert logits.grad is not None
    assert (logits.grad[:, 1] == 0).all()


def test_nothing_known_is_no_loss() -> None:
    """A batch without any known target adds 0, not NaN."""
    assert masked_cross_entropy(torch.ones(2, 3), torch.full((2, 3), torch.nan)).item() == 0


def test_smoothing_moves_both_ends() -> None:
    """0 and 1 become s and 1 - s; unknown stays unknown."""
    result = smoothed(torch.tensor([0.0, 1.0, torch.nan]), 0.1)
    assert result[:2].tolist() == pytest.approx([0.1, 0.9])
    assert torch.isnan(result[2])
