"""The two steps that a served network is made of: a convolution with what follows it, and BatchNorm with ReLU.

Both are made once from trained modules, in float64, and rounded at the end. Tensors are channels_last.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agcnn_models.gpu import fuses_convolutions

__all__ = ["FusedConvolution", "NormRelu", "affine", "normed"]


def affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return a BatchNorm in eval mode as scale and shift, float64 [C] each: it gives scale x + shift.

    Raises ValueError for one without weights or statistics of its own.
    """
    if norm.running_mean is None or norm.running_var is None or not norm.affine:
        raise ValueError("a BatchNorm can only be folded with its weights and running statistics")
    scale = norm.weight.detach().double() / torch.sqrt(norm.running_var.double() + norm.eps)
    return scale, norm.bias.detach().double() - norm.running_mean.double() * scale


class FusedConvolution(nn.Module):
    """relu(convolution(x) + bias [+ other]), or the same without the ReLU.

    Args:
        geometry: the convolution whose stride and padding are taken; neither dilated nor grouped.
        weight: float64 [out, in, k, k], instead of the convolution's.
        bias: float64 [out]; None for none.
        relu: whether there is one at the end.
        dtype: of weights, inputs and outputs.
    """

    def __init__(
        self, geometry: nn.Conv2d, weight: Tensor, bias: Tensor | None, *, relu: bool, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.stride, self.padding = list(geometry.stride), [int(side) for side in geometry.padding]
        self.relu = relu
        self.weight = weight.detach().to(dtype).contiguous(memory_format=torch.channels_last)
        self.bias = None if bias is None else bias.detach().to(dtype)
        self._in_one = relu and fuses_convolutions(weight.device)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """Return [B, out, H', W'] of x [B, in, H, W] and other [B, out, H', W']."""
        if self._in_one:
            # On a GPU each step by itself would read and write the whole result once more.
            how = self.bias, self.stride, self.padding, [1, 1], 1
            if other is None:
                return torch.cudnn_convolution_relu(x, self.weight, *how)
            return torch.cudnn_convolution_add_relu(x, self.weight, other, 1.0, *how)
        result = F.conv2d(x, self.weight, self.bias, self.stride, self.padding)
        if other is not None:
            result += other
        return result.relu_() if self.relu else result


def normed(
    convolution: nn.Conv2d, norm: nn.BatchNorm2d, dtype: torch.dtype, *, further: Tensor | float = 0.0
) -> FusedConvolution:
    """Return a convolution without bias, the BatchNorm after it and a ReLU as one.

    further: float64 [out], what is added to the shift before the ReLU.
    """
    scale, shift = affine(norm)
    weight = convolution.weight.double() * scale[:, None, None, None]
    return FusedConvolution(convolution, weight, shift + further, relu=True, dtype=dtype)


class NormRelu(nn.Module):
    """A BatchNorm and ReLU before a convolution of 1x1, of which one pass over the features is left.

    With scale a and shift b, relu(a x + b) = a max(x, t) + b where a > 0 and a min(x, t) + b where a < 0, with
    t = -b / a. Only max or min is done here; `folded` moves a and b into the convolution, which is linear.

    Args:
        norm: the BatchNorm, of C channels.
        dtype: of the features.
    """

    def __init__(self, norm: nn.BatchNorm2d, dtype: torch.dtype) -> None:
        super().__init__()
        scale, shift = affine(norm)
        threshold = -shift / scale
        flat = ~torch.isfinite(threshold.float())  # a is nothing beside b: the output is relu(b), whatever x
        self._scale = scale.masked_fill(flat, 0.0)
        self._constant = torch.where(flat, shift.clamp(min=0), 0.0)
        self.threshold = threshold.masked_fill(flat, 0.0).to(dtype)[None, :, None, None]
        falling = self._scale < 0
        self.falling = torch.nonzero(falling).flatten()
        endless = torch.tensor(torch.inf, dtype=dtype, device=threshold.device)
        flat_threshold = self.threshold.flatten()
        # What `forward` does, as the lowest and the highest value of each channel: [2, C].
        self.bounds = torch.stack(
            (torch.where(falling, -endless, flat_threshold), torch.where(falling, flat_threshold, endless))
        )

    def folded(self, weight: Tensor, dtype: torch.dtype, gain: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return weight and bias, float64, of the convolution that reads what `forward` gives.

        weight: float64 [out, C, 1, 1] of the convolution that read relu(norm(x)). dtype: what the result will be
        rounded to. gain: float64 [out], by which the outputs are multiplied as well.
        """
        constant = (weight.flatten(1) * self._constant).sum(dim=1)  # [out]
        weight = weight * self._scale[:, None, None]
        if gain is not None:
            weight, constant = weight * gain[:, None, None, None], constant * gain
        # From the rounded numbers, so that where the ReLU is shut the two still cancel.
        shut = (weight.to(dtype).double() * self.threshold.double()).flatten(1).sum(dim=1)
        return weight, constant - shut

    def forward(self, x: Tensor) -> Tensor:
        """Return max(x, t), or min for channels with a negative scale: [B, C, H, W] -> [B, C, H, W]."""
        result = torch.maximum(x, self.threshold)
        if len(self.falling):
            channels = self.falling
            result[:, channels] = torch.minimum(x[:, channels], self.threshold[:, channels])
        return result
