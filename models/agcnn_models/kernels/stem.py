"""Around a served network's first convolution: see `agcnn_models.stem`, which says what blocks are and why."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from agcnn_models.kernels.layout import empty_features, launched_beside, positions

__all__ = ["in_blocks", "pooled_blocks"]


@launched_beside
def in_blocks(images: Tensor, dtype: torch.dtype) -> Tensor:
    """Return `F.pixel_unshuffle(images, 4)` in other numbers: [B, C, H, W] -> [B, 16 C, H / 4, W / 4], channels_last.

    Height and width are multiples of 4.
    """
    images = images.contiguous()
    channels, height, width = images.shape[1], images.shape[2] // 4, images.shape[3] // 4
    out = empty_features(images, 16 * channels, (height, width), dtype)
    rows = positions(out)
    _in_blocks[triton.cdiv(rows, 64),](
        images,
        out,
        rows,
        channels,
        height,
        width,
        block_rows=64,
        block_channels=triton.next_power_of_2(16 * channels),
        num_warps=4,
    )
    return out


@launched_beside
def pooled_blocks(features: Tensor) -> Tensor:
    """Return the maximum over 3x3 pixels at every other one, of features that are not negative.

    features: [B, 4 C, H, W], channels_last, of 2 H x 2 W pixels: channel (2 a + b) C + c at (y, x) is channel c of
    pixel (2 y + a, 2 x + b). Returns [B, C, H, W]: `F.max_pool2d(..., 3, 2, 1)` of those pixels.
    """
    channels, (height, width) = features.shape[1] // 4, features.shape[2:]
    out = empty_features(features, channels, (height, width))
    rows = positions(out)
    _pooled_blocks[triton.cdiv(rows, 32),](
        features,
        out,
        rows,
        channels,
        height,
        width,
        block_rows=32,
        block_channels=triton.next_power_of_2(channels),
        num_warps=4,
    )
    return out


@triton.jit(do_not_specialize=["rows"])
def _in_blocks(images, out, rows, channels, height, width, block_rows: tl.constexpr, block_channels: tl.constexpr):
    row = tl.program_id(0) * block_rows + tl.arange(0, block_rows)
    k = tl.arange(0, block_channels)
    image, down, across = row // (height * width), row % (height * width) // width, row % width
    channel, y, x = k // 16, k % 16 // 4, k % 4
    plane = image.to(tl.int64)[:, None] * channels + channel[None, :]
    at = (plane * (4 * height) + 4 * down[:, None] + y[None, :]) * (4 * width) + 4 * across[:, None] + x[None, :]
    real = (row[:, None] < rows) & (k[None, :] < 16 * channels)
    value = tl.load(images + at, mask=real, other=0.0)
    out += row.to(tl.int64)[:, None] * (16 * channels) + k[None, :]
    tl.store(out, value.to(out.dtype.element_ty), mask=real)


@triton.jit(do_not_specialize=["rows"])
def _pooled_blocks(
    features, out, rows, channels, height, width, block_rows: tl.constexpr, block_channels: tl.constexpr
):
    row = tl.program_id(0) * block_rows + tl.arange(0, block_rows)
    c = tl.arange(0, block_channels)
    down, across = row % (height * width) // width, row % width
    features += row.to(tl.int64)[:, None] * (4 * channels) + c[None, :]
    best = tl.zeros((block_rows, block_channels), dtype=out.dtype.element_ty)
    for tap in tl.static_range(9):
        # Pixels -1, 0 and 1 of a block's first: the last of the block before it, its own first and its own last.
        dy, dx = tap // 3 - 1, tap % 3 - 1
        up, left = -1 if dy < 0 else 0, -1 if dx < 0 else 0
        phase = (0 if dy == 0 else 2) + (0 if dx == 0 else 1)
        inside = (row < rows) & (down + up >= 0) & (across + left >= 0)
        at = ((up * width + left) * 4 + phase) * channels
        value = tl.load(features + at, mask=inside[:, None] & (c[None, :] < channels), other=0.0)
        best = tl.maximum(best, value)
    out += row.to(tl.int64)[:, None] * channels + c[None, :]
    tl.store(out, best.to(out.dtype.element_ty), mask=(row[:, None] < rows) & (c[None, :] < channels))
