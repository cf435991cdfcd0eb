"""The first steps of a served network: its convolution of 7x7, BatchNorm, ReLU and the pooling after it.

A convolution with stride 2 over three channels is what GPUs are worst at: cuDNN spends a fifth of a ResNet-50 on it.
There it is done on blocks of 4x4 pixels instead, which are one position of 48 channels each (`F.pixel_unshuffle`). A
block holds 2x2 of the convolution's outputs, and all that these see lies in the block and its eight neighbours: so it
is a convolution of 3x3 with stride 1 and four times the outputs, with the same weights and zeros between them.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agcnn_models.fused import FusedConvolution, normed
from agcnn_models.gpu import kernels_for

__all__ = ["ServedStem", "weight_on_blocks"]

_BLOCK = 4


class ServedStem(nn.Module):
    """From standardised images to what the first block sees: [B, C, H, W] -> [B, out, H / 4, W / 4], channels_last.

    Args:
        convolution: of 7x7, stride 2, padding 3.
        norm: the BatchNorm after it.
        dtype: of the weights and the result.
    """

    def __init__(self, convolution: nn.Conv2d, norm: nn.BatchNorm2d, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.plain = normed(convolution, norm, dtype)
        self._kernels = kernels_for(convolution.weight, dtype)
        if self._kernels is not None:
            ins, outs = _BLOCK**2 * convolution.in_channels, 4 * convolution.out_channels
            geometry = nn.Conv2d(ins, outs, 3, padding=1, device="meta")
            weight = weight_on_blocks(self.plain.weight.double())
            bias = cast("Tensor", self.plain.bias).double().repeat(4)
            self.on_blocks = FusedConvolution(geometry, weight, bias, relu=True, dtype=dtype)

    def forward(self, images: Tensor) -> Tensor:
        """Compute on blocks where there are kernels for that and 4 divides both sides."""
        kernels = self._kernels
        if kernels is not None and images.shape[2] % _BLOCK == images.shape[3] % _BLOCK == 0:
            pooled: Tensor = kernels.pooled_blocks(self.on_blocks(kernels.in_blocks(images, self.dtype)))
            return pooled
        seen = self.plain(images.to(self.dtype, memory_format=torch.channels_last))  # [B, out, H / 2, W / 2]
        return F.max_pool2d(seen, 3, 2, 1)


def weight_on_blocks(weight: Tensor) -> Tensor:
    """Return the weight on blocks that stands for one of 7x7, stride 2: [out, in, 7, 7] -> [4 out, 16 in, 3, 3].

    Output (2 a + b) out + o at a block is output o of the convolution at the block's pixel (2 a, 2 b).
    """
    outs, ins = weight.shape[:2]
    # Seen from a block's first pixel, an output at pixel 2 a has its taps at pixels 2 a - 3 to 2 a + 3, of which block
    # -1 holds -4 to -1, block 0 holds 0 to 3, and block 1 holds 4 to 7.
    on_blocks = weight.new_zeros(2, 2, outs, ins, _BLOCK, _BLOCK, 3, 3)
    for a, b in ((0, 0), (0, 1), (1, 0), (1, 1)):
        for tap in range(49):
            y, x = 2 * a + tap // 7 - 3, 2 * b + tap % 7 - 3
            place = y % _BLOCK, x % _BLOCK, y // _BLOCK + 1, x // _BLOCK + 1
            on_blocks[(a, b, slice(None), slice(None), *place)] = weight[:, :, tap // 7, tap % 7]
    return on_blocks.reshape(4 * outs, _BLOCK**2 * ins, 3, 3)
