"""A dense block's layers and transitions: each reads its input once and writes where the next one reads.

What stands before a convolution of 1x1 (`fused.NormRelu`: a channel is held between two bounds) happens while the input
is loaded, and what stands after it before the output is stored.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from agcnn_models.kernels.layout import empty_features, launched_beside, positions, stride

__all__ = ["bounded_mean", "bounded_pointwise", "grow"]


@launched_beside
def bounded_pointwise(x: Tensor, bounds: Tensor | None, weight: Tensor, bias: Tensor, *, relu: bool) -> Tensor:
    """Return a convolution of 1x1 of x, each channel held between its bounds: [B, C, H, W] -> [B, out, H, W].

    Args:
        x: channels_last, or some channels of such a tensor.
        bounds: [2, C], lowest and highest; None for none.
        weight: [out, C, 1, 1].
        bias: [out].
        relu: whether there is one at the end.
    """
    rows, out_channels = positions(x), len(weight)
    out = empty_features(x, out_channels, (x.shape[2], x.shape[3]))
    block = 128, min(128, max(16, triton.next_power_of_2(out_channels))), 64
    _pointwise[triton.cdiv(rows, block[0]) * triton.cdiv(out_channels, block[1]),](
        x,
        weight,
        bias,
        bias if bounds is None else bounds,
        out,
        rows,
        out_channels,
        x.shape[1],
        stride(x),
        stride(out),
        bounded=bounds is not None,
        relu=relu,
        block_rows=block[0],
        block_out=block[1],
        block_in=block[2],
        num_warps=4,
        num_stages=3,
    )
    return out


@launched_beside
def grow(x: Tensor, weight: Tensor, out: Tensor) -> None:
    """Write a convolution of 3x3, padded by 1, without bias: x [B, C, H, W] -> out [B, growth, H, W].

    Args:
        x: channels_last.
        weight: [growth, C, 3, 3], channels_last.
        out: what is written, some channels of a channels_last tensor.

    Raises ValueError when x or out are not channels_last.
    """
    rows, (growth, channels) = positions(x), weight.shape[:2]
    if stride(x) != channels:
        raise ValueError(f"x must have the {channels} channels of the weight and no others beside them in memory")
    block = 256, min(64, max(16, triton.next_power_of_2(growth))), 64
    _convolution_3x3[triton.cdiv(rows, block[0]) * triton.cdiv(growth, block[1]),](
        x,
        weight.contiguous(memory_format=torch.channels_last),
        out,
        rows,
        x.shape[2],
        x.shape[3],
        channels,
        growth,
        stride(out),
        block_rows=block[0],
        block_out=block[1],
        block_in=block[2],
        num_warps=8,
        num_stages=3,
    )


@launched_beside
def bounded_mean(x: Tensor, bounds: Tensor) -> Tensor:
    """Return the mean of each 2x2 positions of x, each channel held between its bounds first.

    x: [B, C, H, W], channels_last; bounds: [2, C], lowest and highest -> [B, C, H // 2, W // 2].
    """
    channels, (height, width) = x.shape[1], (x.shape[2] // 2, x.shape[3] // 2)
    out = empty_features(x, channels, (height, width))
    rows = positions(out)
    block = 16, 128
    _mean_2x2[triton.cdiv(rows, block[0]), triton.cdiv(channels, block[1])](
        x,
        bounds,
        out,
        rows,
        channels,
        height,
        width,
        x.shape[3],
        x.shape[2] * x.shape[3],
        stride(x),
        block_rows=block[0],
        block_channels=block[1],
        num_warps=4,
    )
    return out


@triton.jit(do_not_specialize=["rows"])
def _pointwise(
    x,
    weight,
    bias,
    bounds,
    out,
    rows,
    outs,
    ins,
    x_stride,
    out_stride,
    bounded: tl.constexpr,
    relu: tl.constexpr,
    block_rows: tl.constexpr,
    block_out: tl.constexpr,
    block_in: tl.constexpr,
):
    # Programs that share rows follow each other, so that their rows are still in the cache.
    blocks = tl.cdiv(outs, block_out)
    row = (tl.program_id(0) // blocks) * block_rows + tl.arange(0, block_rows)
    o = (tl.program_id(0) % blocks) * block_out + tl.arange(0, block_out)
    i = tl.arange(0, block_in)
    x += row.to(tl.int64)[:, None] * x_stride + i[None, :]
    weight += o[None, :] * ins + i[:, None]
    real, known = row[:, None] < rows, o[None, :] < outs
    total = tl.zeros((block_rows, block_out), dtype=tl.float32)
    for first in range(0, ins, block_in):
        left = ins - first
        a = tl.load(x, mask=real & (i[None, :] < left), other=0.0)
        w = tl.load(weight, mask=known & (i[:, None] < left), other=0.0)
        if bounded:
            lowest = tl.load(bounds + first + i, mask=i < left, other=0.0)
            highest = tl.load(bounds + ins + first + i, mask=i < left, other=0.0)
            a = tl.minimum(tl.maximum(a, lowest[None, :]), highest[None, :]).to(w.dtype)
        total = tl.dot(a, w, total)
        x += block_in
        weight += block_in
    total += tl.load(bias + o, mask=o < outs, other=0.0).to(tl.float32)[None, :]
    if relu:
        total = tl.maximum(total, 0.0)
    out += row.to(tl.int64)[:, None] * out_stride + o[None, :]
    tl.store(out, total.to(out.dtype.element_ty), mask=real & known)


@triton.jit(do_not_specialize=["rows"])
def _convolution_3x3(
    x,
    weight,
    out,
    rows,
    height,
    width,
    ins,
    outs,
    out_stride,
    block_rows: tl.constexpr,
    block_out: tl.constexpr,
    block_in: tl.constexpr,
):
    blocks = tl.cdiv(outs, block_out)
    row = (tl.program_id(0) // blocks) * block_rows + tl.arange(0, block_rows)
    o = (tl.program_id(0) % blocks) * block_out + tl.arange(0, block_out)
    i = tl.arange(0, block_in)
    down, across = row % (height * width) // width, row % width
    x += row.to(tl.int64)[:, None] * ins + i[None, :]
    weight += o[None, :] * (9 * ins) + i[:, None]
    total = tl.zeros((block_rows, block_out), dtype=tl.float32)
    parts = tl.cdiv(ins, block_in)
    # One loop over taps and parts of the channels, which Triton overlaps with the loads of the rounds to come.
    for step in range(9 * parts):
        tap, first = step // parts, (step % parts) * block_in
        dy, dx = tap // 3 - 1, tap % 3 - 1
        inside = (down + dy >= 0) & (down + dy < height) & (across + dx >= 0) & (across + dx < width) & (row < rows)
        left = ins - first
        a = tl.load(x + (dy * width + dx) * ins + first, mask=inside[:, None] & (i[None, :] < left), other=0.0)
        w = tl.load(weight + tap * ins + first, mask=(o[None, :] < outs) & (i[:, None] < left), other=0.0)
        total = tl.dot(a, w, total)
    out += row.to(tl.int64)[:, None] * out_stride + o[None, :]
    tl.store(out, total.to(out.dtype.element_ty), mask=(row[:, None] < rows) & (o[None, :] < outs))


@triton.jit(do_not_specialize=["rows"])
def _mean_2x2(
    x,
    bounds,
    out,
    rows,
    channels,
    height,
    width,
    x_width,
    x_size,
    x_stride,
    block_rows: tl.constexpr,
    block_channels: tl.constexpr,
):
    row = tl.program_id(0) * block_rows + tl.arange(0, block_rows)
    c = tl.program_id(1) * block_channels + tl.arange(0, block_channels)
    image, down, across = row // (height * width), row % (height * width) // width, row % width
    first = image.to(tl.int64) * x_size + 2 * down * x_width + 2 * across
    real = (row[:, None] < rows) & (c[None, :] < channels)
    lowest = tl.load(bounds + c, mask=c < channels, other=0.0)[None, :]
    highest = tl.load(bounds + channels + c, mask=c < channels, other=0.0)[None, :]
    total = tl.zeros((block_rows, block_channels), dtype=tl.float32)
    for tap in tl.static_range(4):
        at = first + (tap // 2) * x_width + tap % 2
        value = tl.load(x + at[:, None] * x_stride + c[None, :], mask=real, other=0.0)
        total += tl.minimum(tl.maximum(value, lowest), highest).to(tl.float32)
    out += row.to(tl.int64)[:, None] * channels + c[None, :]
    tl.store(out, (total * 0.25).to(out.dtype.element_ty), mask=real)
