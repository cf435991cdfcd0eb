"""How kernels are launched, and how they see what is channels_last: as rows of channels, one for each position."""

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor

__all__ = ["empty_features", "launched_beside", "positions", "stride"]

P = ParamSpec("P")
T = TypeVar("T")


def launched_beside(function: Callable[Concatenate[Tensor, P], T]) -> Callable[Concatenate[Tensor, P], T]:
    """Have a function's kernels run on the GPU of its first tensor: Triton launches on the current one."""

    @functools.wraps(function)
    def launching(first: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with torch.cuda.device_of(first):
            return function(first, *args, **kwargs)

    return launching


def positions(features: Tensor) -> int:
    """How many there are: [B, C, H, W] -> B H W."""
    return features.shape[0] * features.shape[2] * features.shape[3]


def stride(features: Tensor) -> int:
    """From a position to the next one, in elements: more than C where `features` are some channels of a wider tensor.

    Raises ValueError for a tensor that is not channels_last.
    """
    batch, _, height, width = features.shape
    step = features.stride(3)
    steps_down, steps_on = features.stride(2), features.stride(0)
    if features.stride(1) != 1 or steps_down != width * step or (batch > 1 and steps_on != height * width * step):
        raise ValueError(f"a kernel needs channels_last, not the strides {features.stride()}")
    return step


def empty_features(like: Tensor, channels: int, size: tuple[int, int], dtype: torch.dtype | None = None) -> Tensor:
    """Return an unset tensor [B, channels, *size], channels_last, on the device of `like` [B, ...]."""
    return torch.empty(
        (len(like), channels, *size),
        dtype=dtype or like.dtype,
        device=like.device,
        memory_format=torch.channels_last,
    )
