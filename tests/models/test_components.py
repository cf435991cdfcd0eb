"""The regions found on a device are those found on the host, which `test_attention.py` holds against a flood fill."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from agcnn_models.attention import binary_mask, largest_region, rescale, upsample
from agcnn_models.components import boxes_on_device, boxes_on_host

# Eighths are exact in binary, so that a mean has one value in whatever order it is summed.
HEAT_MAPS = arrays(
    np.float32,
    array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=12),
    elements=st.integers(0, 8).map(lambda n: n / 8),
)


@given(HEAT_MAPS, st.integers(0, 8).map(lambda n: n / 8))
@settings(max_examples=300)
def test_both_ways_find_the_same_regions(heat, tau):
    """Over random batches with many ties, and masks that are empty."""
    tensor = torch.from_numpy(heat)
    mask = binary_mask(tensor, tau)
    found = boxes_on_device(mask, tensor)
    assert found.dtype == torch.int64
    assert torch.equal(found, boxes_on_host(mask, tensor))


def spiral(side: int) -> torch.Tensor:
    """Return a path of one pixel's width to the middle of an image [side, side], a pixel apart from itself."""
    mask = torch.zeros(side, side, dtype=torch.bool)
    row = column = 0
    down, right = 0, 1
    mask[0, 0] = True
    left = side - 1
    for length in [left] + [n for n in range(left, 1, -2) for _ in range(2)]:
        for _ in range(length):
            row, column = row + down, column + right
            mask[row, column] = True
        down, right = right, -down
    return mask


def comb(side: int) -> torch.Tensor:
    """Return teeth that only the last row joins: in reading order each begins as a region of its own."""
    mask = torch.zeros(side, side, dtype=torch.bool)
    mask[:, ::2] = mask[-1] = True
    return mask


@pytest.mark.parametrize("drawing", [spiral(41), spiral(41).T.flip(0), comb(41), comb(41).flip(0), comb(41).T])
def test_a_region_is_whole_however_it_winds(drawing):
    """A long way and many beginnings: the box is that of all of it."""
    mask = drawing[None]
    assert boxes_on_device(mask, torch.ones(mask.shape)).tolist() == [[0, 0, 40, 40]]


def attended(maps: int, device: str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    """Return masks and heat [maps, 224, 224] of random feature maps of 7 x 7 cells."""
    heat = torch.rand(maps, 7, 7, generator=torch.Generator().manual_seed(maps)).to(device)
    grid = upsample(rescale(heat), 224)
    return binary_mask(grid, 0.5), grid


def test_the_regions_of_upsampled_maps_are_the_same():
    """At the network's real size, with several regions in an image."""
    mask, heat = attended(4)
    assert torch.equal(boxes_on_device(mask, heat), boxes_on_host(mask, heat))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_finds_what_the_host_finds():
    """The boxes stay on the GPU, and are those of the same masks on the host."""
    mask, heat = attended(64, "cuda")
    found = largest_region(mask, heat)
    assert found.is_cuda
    assert torch.equal(found.cpu(), boxes_on_host(mask.cpu(), heat.cpu()))
