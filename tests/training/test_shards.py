"""Several threads on one batch give the gradient of their shares' mean."""

import torch
from torch import Tensor, nn

from agcnn_training.shards import Shards


def loss(module: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error."""
    return (module(images) - targets).square().mean()


def make_module(*, norm: bool) -> nn.Module:
    """A small network, with BatchNorm or without."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5) if norm else nn.Tanh(), nn.Linear(5, 2))


def gradients(module: nn.Module, count: int) -> list[Tensor]:
    """The gradients that so many shards leave."""
    torch.manual_seed(1)
    images, targets = torch.randn(12, 6), torch.randn(12, 2)
    with Shards(module, count) as shards:
        shards.backward(loss, images, targets)
    return [parameter.grad.clone() for parameter in module.parameters() if parameter.grad is not None]


def test_without_batchnorm_shards_change_nothing() -> None:
    """Three shards leave the gradient of the whole batch."""
    module = make_module(norm=False)
    for one, three in zip(gradients(module, 1), gradients(module, 3), strict=True):
        assert torch.allclose(one, three, atol=1e-6)


def test_batchnorm_sees_its_share() -> None:
    """With BatchNorm the gradient is the mean over the shares, each normalised by itself."""
    module = make_module(norm=True)
    sharded = gradients(module, 2)
    torch.manual_seed(1)
    images, targets = torch.randn(12, 6), torch.randn(12, 2)
    module.zero_grad()
    for part in range(2):
        (loss(module, images[part::2], targets[part::2]) / 2).backward()
    for parameter, gradient in zip(module.parameters(), sharded, strict=True):
        assert torch.allclose(parameter.grad, gradient, atol=1e-6)


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
    assert len(gradients(module, 2)) == 2
