"""A batch in pieces gives the gradient of the whole batch, whatever the loss and however it is cut."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from agcnn_training.loss import binary_cross_entropy
from agcnn_training.shards import Criterion, Shards


def read(module: nn.Module, images: Tensor) -> Tensor:
    """The module's outputs."""
    return module(images)


def weighted(logits: Tensor, targets: Tensor) -> Tensor:
    """A loss whose weights come from the targets of the whole batch, as a class-balanced one has them."""
    positive = targets.sum() / targets.numel()
    return ((logits - targets).square() * torch.where(targets > 0.5, 1 / positive, 1 / (1 - positive))).mean()


def make_module(*, norm: bool) -> nn.Module:
    """A small network, with BatchNorm or without."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5) if norm else nn.Tanh(), nn.Linear(5, 2))


def a_batch(films: int) -> tuple[Tensor, Tensor]:
    """Inputs, and targets of which some are unknown."""
    torch.manual_seed(1)
    targets = (torch.rand(films, 2) < 0.4).float()
    targets[0] = torch.tensor([1.0, 0.0])
    return torch.randn(films, 6), targets


def gradients(
    module: nn.Module, count: int, accumulate: int = 1, films: int = 12, loss: Criterion = binary_cross_entropy
) -> tuple[float, list[Tensor]]:
    """The loss and the gradients that so many shards leave."""
    images, targets = a_batch(films)
    if loss is binary_cross_entropy:
        targets[1:5, 0] = torch.nan
    with Shards(module, count) as shards:
        value = shards.backward(read, loss, images, targets, accumulate=accumulate)
    return float(value), [parameter.grad.clone() for parameter in module.parameters() if parameter.grad is not None]


@given(count=st.integers(1, 3), accumulate=st.integers(1, 4), films=st.integers(12, 17), balanced=st.booleans())
@settings(max_examples=25)
def test_without_batchnorm_pieces_change_nothing(count: int, accumulate: int, films: int, balanced: bool) -> None:
    """Threads and micro-batches, of unequal sizes and with unknown targets, leave the batch's loss and gradient."""
    loss = weighted if balanced else binary_cross_entropy
    whole, expected = gradients(make_module(norm=False), 1, films=films, loss=loss)
    value, cut = gradients(make_module(norm=False), count, accumulate, films, loss)
    assert value == pytest.approx(whole, abs=1e-6)
    for one, other in zip(expected, cut, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_batchnorm_sees_its_piece() -> None:
    """With BatchNorm the gradient is that of the same loss, each piece normalised by itself."""
    module = make_module(norm=True)
    _, sharded = gradients(module, 2, loss=weighted)
    images, targets = a_batch(12)
    module.zero_grad()
    logits = torch.empty(12, 2)
    logits[0::2], logits[1::2] = module(images[0::2]), module(images[1::2])
    weighted(logits, targets).backward()
    for parameter, gradient in zip(module.parameters(), sharded, strict=True):
        assert torch.allclose(parameter.grad, gradient, atol=1e-6)


def test_accumulation_moves_batchnorm_once_a_piece() -> None:
    """The running statistics move with each micro-batch: that is what accumulation changes."""
    module = make_module(norm=True)
    gradients(module, 1, accumulate=3)
    assert module[1].num_batches_tracked == 3


def test_torch_gets_its_threads_back() -> None:
    """After the shards have gone torch has as many threads as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        gradients(make_module(norm=False), 2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_fixed_parameters_get_no_gradient() -> None:
    """What does not require a gradient is left without one."""
    module = make_module(norm=False)
    module[0].requires_grad_(requires_grad=False)
    assert len(gradients(module, 2)[1]) == 2


def test_what_a_loss_does_not_use_has_no_gradient() -> None:
    """A head that the loss leaves out rests: weight decay must not move it either."""
    module = make_module(norm=False)
    module.unused = nn.Linear(2, 2)
    module.forward = lambda images: module[2](module[1](module[0](images)))
    gradients(module, 1, accumulate=2)
    assert module.unused.weight.grad is None
