"""AG-CNN as the clinic runs it: the same network, made of fewer passes over memory.

What a trained network computes stays, up to rounding: BatchNorm is folded into convolutions, a DenseNet's block
writes into one buffer instead of concatenating anew in each layer, and a transition averages before its convolution
of 1x1 instead of after it, which is the same since both are linear. On a GPU, what stands before and after a
convolution is done with it, as one operation of cuDNN's or a kernel of our own. Nothing here can be trained.
"""

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import DenseNet, ResNet
from torchvision.models.densenet import _DenseBlock, _DenseLayer, _Transition
from torchvision.models.resnet import Bottleneck

from agcnn_models.agcnn import AGCNN, Diagnosis
from agcnn_models.backbones import Branch
from agcnn_models.fused import FusedConvolution, NormRelu, affine, normed
from agcnn_models.gpu import kernels_for
from agcnn_models.precision import FLOAT32, NumberFormats
from agcnn_models.stem import ServedStem

__all__ = ["read_within_memory", "serve"]


@torch.no_grad()
def serve(model: AGCNN, formats: NumberFormats = FLOAT32) -> AGCNN:
    """Return the served form of a model in eval mode, on its device; the model itself stays as it is.

    It takes the same images and gives the same readings: equal up to rounding in float32, and to the rounding
    of bfloat16 in a branch that computes in it. Raises RuntimeError in training mode.
    """
    if model.training:
        raise RuntimeError("call eval() first: what is folded are the statistics of inference")
    global_branch = _served(model.global_branch, formats.global_branch)
    served = AGCNN(global_branch, _served(model.local_branch, formats.local_branch), model.settings)
    served.fusion = model.fusion
    return served.eval()


def read_within_memory(read: Callable[[Tensor], Diagnosis], images: Tensor) -> Diagnosis:
    """Diagnose images [B, 3, D S, D S] by `read`; where the device's memory does not suffice, in halves, and so on.

    Raises torch.OutOfMemoryError when a single image is too large.
    """
    try:
        return read(images)
    except torch.OutOfMemoryError:
        if len(images) == 1:
            raise
    # Outside the except clause: the exception would keep the failed pass's tensors alive.
    if images.is_cuda:
        torch.cuda.empty_cache()
    middle = len(images) // 2
    halves = [read_within_memory(read, half) for half in (images[:middle], images[middle:])]
    return Diagnosis(*(torch.cat(parts) for parts in zip(*halves, strict=True)))


def _served(branch: Branch, dtype: torch.dtype) -> "_Served":
    if isinstance(branch, ResNet):
        return _ServedResNet(branch, dtype)
    if isinstance(branch, DenseNet):
        return _ServedDenseNet(branch, dtype)
    raise TypeError(f"{type(branch).__name__} has no served form")


class _Served(Branch):
    """What the served branches share: the pooling and the classifier of the branch that they were made from."""

    def __init__(self, branch: Branch) -> None:
        super().__init__()
        self.pooling, self.feature_channels = branch.pooling, branch.feature_channels
        self.classifier_name = branch.classifier_name
        self.classifier = cast("nn.Linear", branch.get_submodule(branch.classifier_name))

    def classify(self, pooled: Tensor) -> Tensor:
        logits: Tensor = self.classifier(pooled)
        return logits


class _ServedResNet(_Served):
    def __init__(self, branch: Branch, dtype: torch.dtype) -> None:
        super().__init__(branch)
        net = cast("ResNet", branch)
        self.stem = ServedStem(net.conv1, net.bn1, dtype)
        layers = (net.layer1, net.layer2, net.layer3, net.layer4)
        self.blocks = nn.Sequential(*(_ServedBottleneck(block, dtype) for layer in layers for block in layer))

    def feature_map(self, x: Tensor) -> Tensor:
        features: Tensor = self.blocks(self.stem(x))  # [B, 64, H/4, W/4] -> [B, 2048, H/32, W/32]
        return features.float()


class _ServedBottleneck(nn.Module):
    def __init__(self, block: Bottleneck, dtype: torch.dtype) -> None:
        super().__init__()
        self.reduce = normed(block.conv1, block.bn1, dtype)
        self.look = normed(block.conv2, block.bn2, dtype)
        self.shortcut: FusedConvolution | None = None
        shift: Tensor | float = 0.0
        if block.downsample is not None:
            convolution, norm = block.downsample
            scale, shift = affine(norm)
            weight = convolution.weight.double() * scale[:, None, None, None]
            self.shortcut = FusedConvolution(convolution, weight, None, relu=False, dtype=dtype)
        # Its ReLU comes after the sum; so its shift may bring the shortcut's along.
        self.widen = normed(block.conv3, block.bn3, dtype, further=shift)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.widen(self.look(self.reduce(x)), x if self.shortcut is None else self.shortcut(x))
        return result


class _ServedDenseNet(_Served):
    def __init__(self, branch: Branch, dtype: torch.dtype) -> None:
        super().__init__(branch)
        parts = dict(cast("nn.Sequential", branch.get_submodule("features")).named_children())
        self.stem = ServedStem(cast("nn.Conv2d", parts["conv0"]), cast("nn.BatchNorm2d", parts["norm0"]), dtype)
        steps: list[nn.Module] = []
        for part in parts.values():
            if isinstance(part, _DenseBlock):
                steps.append(_ServedBlock(part, dtype))
            elif isinstance(part, _Transition):
                steps.append(_ServedTransition(part, dtype))
        self.steps = nn.Sequential(*steps)
        scale, shift = affine(cast("nn.BatchNorm2d", parts["norm5"]))
        self.scale, self.shift = (each.float()[None, :, None, None] for each in (scale, shift))

    def feature_map(self, x: Tensor) -> Tensor:
        features: Tensor = self.steps(self.stem(x))  # [B, 64, H/4, W/4] -> [B, 1024, H/32, W/32]
        return torch.addcmul(self.shift, features.float(), self.scale).relu_()


class _ServedBlock(nn.Module):
    """A dense block in one buffer: each layer reads the channels before its own and writes its own."""

    def __init__(self, block: _DenseBlock, dtype: torch.dtype) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_ServedLayer(layer, dtype) for layer in block.values())
        self.growth = next(iter(block.values())).conv2.out_channels

    def forward(self, x: Tensor) -> Tensor:
        known = x.shape[1]
        size = (len(x), known + self.growth * len(self.layers), *x.shape[2:])
        features = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
        features[:, :known] = x
        for layer in self.layers:
            layer(features[:, :known], features[:, known : known + self.growth])
            known += self.growth
        return features


class _ServedLayer(nn.Module):
    def __init__(self, layer: _DenseLayer, dtype: torch.dtype) -> None:
        super().__init__()
        self.before = NormRelu(layer.norm1, dtype)
        gain, shift = affine(layer.norm2)
        weight, bias = self.before.folded(layer.conv1.weight.double(), dtype, gain)
        self.reduce = FusedConvolution(layer.conv1, weight, bias + shift, relu=True, dtype=dtype)
        self.look = FusedConvolution(layer.conv2, layer.conv2.weight, None, relu=False, dtype=dtype)
        self._kernels = kernels_for(layer.conv1.weight, dtype)

    def forward(self, x: Tensor, out: Tensor) -> None:
        """Write what the layer adds into `out` [B, growth, H, W]."""
        if self._kernels is None:
            out.copy_(self.look(self.reduce(self.before(x))))
            return
        reduce = self.reduce
        seen = self._kernels.bounded_pointwise(x, self.before.bounds, reduce.weight, reduce.bias, relu=True)
        self._kernels.grow(seen, self.look.weight, out)


class _ServedTransition(nn.Module):
    def __init__(self, transition: _Transition, dtype: torch.dtype) -> None:
        super().__init__()
        self.before = NormRelu(transition.norm, dtype)
        weight, bias = self.before.folded(transition.conv.weight.double(), dtype)
        self.narrow = FusedConvolution(transition.conv, weight, bias, relu=False, dtype=dtype)
        self._kernels = kernels_for(transition.conv.weight, dtype)

    def forward(self, x: Tensor) -> Tensor:
        # The mean first: a quarter of the pixels is left for the convolution.
        result: Tensor
        if self._kernels is None:
            result = self.narrow(F.avg_pool2d(self.before(x), 2))
        else:
            mean = self._kernels.bounded_mean(x, self.before.bounds)
            result = self._kernels.bounded_pointwise(mean, None, self.narrow.weight, self.narrow.bias, relu=False)
        return result
