"""The attended region of each image, enlarged: four pixels are read and one is written."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from agcnn_models.kernels.layout import launched_beside

__all__ = ["crop"]


@launched_beside
def crop(images: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Return what `attention.crop` does, up to rounding: float32 [B, C, H, W], int64 [B, 4] -> [B, C, size, size]."""
    images, boxes = images.contiguous(), boxes.contiguous()
    batch, channels, height, width = images.shape
    out = torch.empty((batch, channels, size, size), dtype=images.dtype, device=images.device)
    _crop[batch * channels, triton.cdiv(size, 4)](
        images,
        boxes,
        out,
        channels,
        height,
        width,
        size,
        block_down=4,
        block_across=triton.next_power_of_2(size),
        num_warps=4,
    )
    return out


@triton.jit
def _crop(images, boxes, out, channels, height, width, size, block_down: tl.constexpr, block_across: tl.constexpr):
    plane = tl.program_id(0).to(tl.int64)
    boxes += plane // channels * 4
    images += plane * height * width
    down = tl.program_id(1) * block_down + tl.arange(0, block_down)
    across = tl.arange(0, block_across)
    above, below, rows_weight = _neighbours(down, tl.load(boxes + 1), tl.load(boxes + 3), size)
    left, right, columns_weight = _neighbours(across, tl.load(boxes), tl.load(boxes + 2), size)
    real = (down[:, None] < size) & (across[None, :] < size)
    above, below = above[:, None] * width, below[:, None] * width
    left, right = left[None, :], right[None, :]
    upper_left = tl.load(images + above + left, mask=real)
    upper_right = tl.load(images + above + right, mask=real)
    on_left = upper_left + rows_weight[:, None] * (tl.load(images + below + left, mask=real) - upper_left)
    on_right = upper_right + rows_weight[:, None] * (tl.load(images + below + right, mask=real) - upper_right)
    value = on_left + columns_weight[None, :] * (on_right - on_left)
    tl.store(out + plane * size * size + down[:, None] * size + across[None, :], value, mask=real)


@triton.jit
def _neighbours(place, first, last, size):
    # As attention._sample: the two pixels beside each place of a resampled line, and the weight of the second.
    length = last - first + 1
    position = tl.maximum(length.to(tl.float32) / size * (place.to(tl.float32) + 0.5) - 0.5, 0.0)
    lower = tl.minimum(position.to(tl.int64), length - 1)
    upper = tl.minimum(lower + 1, length - 1)
    return lower + first, upper + first, position - lower.to(tl.float32)
