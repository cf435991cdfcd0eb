"""The largest connected region of each mask of a batch: found on the host, or on a device without leaving it.

On a CPU a labelling of scipy's is quickest. It takes 2 ms for a film of 224 x 224 pixels, which no GPU could wait for:
there a flood in steps of whole tensors finds the same.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

__all__ = ["boxes_on_device", "boxes_on_host"]


def boxes_on_host(mask: Tensor, heat: Tensor) -> Tensor:
    """The boxes of `attention.largest_region`, after one copy for the whole batch: bool, float [B, H, W] -> [B, 4]."""
    # Heat is never negative, so -1 can say "outside the mask", and mask and heat travel as one copy.
    masked = torch.where(mask, heat.float().clamp(min=0), -1.0).cpu().numpy()  # [B, H, W]
    return torch.from_numpy(_largest_boxes(masked)).to(mask.device)


def boxes_on_device(mask: Tensor, heat: Tensor) -> Tensor:
    """The boxes of `attention.largest_region`, without a copy to the host: bool, float [B, H, W] -> int64 [B, 4]."""
    _, height, width = mask.shape
    regions = _flooded(mask)
    best = _best(regions, heat)  # [B]
    # An empty mask has no region but what lies outside: its box is the whole image.
    chosen = regions == best[:, None, None]
    columns, rows = (chosen.any(dim=dim).int() for dim in (1, 2))  # [B, W], [B, H]
    # argmax gives the first of equals.
    return torch.stack(
        (
            columns.argmax(dim=1),
            rows.argmax(dim=1),
            width - 1 - columns.flip(1).argmax(dim=1),
            height - 1 - rows.flip(1).argmax(dim=1),
        ),
        dim=1,
    )


def _flooded(mask: Tensor) -> Tensor:
    """Number the regions of each mask, 8-connected: bool [B, H, W] -> float32 [B, H, W], whole numbers, 0 outside.

    Each pixel is numbered against the reading order, the last one 1, and a region gets the highest number in it, which
    is that of its first pixel. In a round each pixel looks one pixel around; where it sees a number above its own, it
    tells the pixel that its own number came from; and then each takes over what that pixel has been told. So parts
    that meet join whole, as in Shiloach and Vishkin, "An O(log n) parallel connectivity algorithm" (1982): ten rounds
    do for upsampled heat maps of 7 x 7 cells, twelve for a spiral through 5,201 pixels.
    """
    batch, height, width = mask.shape
    count = height * width  # float32 holds whole numbers up to 2 ** 24, of an image of 4096 x 4096 pixels
    inside = mask.flatten(1).float()
    own = torch.arange(count, device=mask.device)  # number n stands at count - n
    regions = inside * (count - own)
    while True:
        seen = F.max_pool2d(regions.view(batch, 1, height, width), 3, stride=1, padding=1).view(batch, count) * inside
        told = torch.where(seen > regions, (count - regions).long(), own)
        # Each that has nothing to tell tells itself what it knows: so not all of them meet at one place.
        known = seen.scatter_reduce(1, told, seen, "amax")
        further = known.gather(1, (count - known).clamp_(max=count - 1).long()) * inside
        if torch.equal(further, regions):
            return regions.view_as(mask)
        regions = further


def _best(regions: Tensor, heat: Tensor) -> Tensor:
    """The number of the largest region, of equals the hottest, of those the first: [B, H, W] -> int64 [B]; 0: none."""
    batch, height, width = regions.shape
    of_pixels = regions.flatten(1).long()
    inside = (of_pixels > 0).double()
    totals = inside.new_zeros(2, batch, height * width + 1)  # by region's number
    sizes = totals[0].scatter_add_(1, of_pixels, inside)
    # In float64 the sum of a region's float32 heats comes out the same in whatever order they are added, nearly always.
    heats = totals[1].scatter_add_(1, of_pixels, inside * heat.float().clamp(min=0).flatten(1).double())
    largest = (sizes > 0) & (sizes == sizes.amax(dim=1, keepdim=True))
    mean = torch.where(largest, heats / sizes, -1.0)
    hottest = largest & (mean == mean.amax(dim=1, keepdim=True))
    numbers = torch.arange(height * width + 1, device=regions.device)
    return torch.where(hottest, numbers, 0).amax(dim=1)


def _largest_boxes(masked: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the boxes int64 [B, 4] of heat maps [B, H, W] that are negative outside their mask."""
    batch, height, width = masked.shape
    boxes = np.tile(np.array([0, 0, width - 1, height - 1], dtype=np.int64), (batch, 1))

    # One labelling for the batch: 8-connected within an image, unconnected between images.
    neighbours = np.zeros((3, 3, 3), dtype=bool)
    neighbours[1] = True
    regions, count = ndimage.label(masked >= 0, structure=neighbours)  # [B, H, W], 0 outside
    if count == 0:
        return boxes
    inside = regions > 0
    sizes = np.bincount(regions[inside], minlength=count + 1)
    heats = np.bincount(regions[inside], weights=masked[inside], minlength=count + 1)
    slices = ndimage.find_objects(regions)  # of region 1, 2, ...

    best: dict[int, tuple[int, float]] = {}
    for region, (image_slice, rows, columns) in enumerate(slices, start=1):
        image, size = image_slice.start, int(sizes[region])
        merit = (size, float(heats[region]) / size)
        # Regions are numbered in reading order, so "strictly better" keeps the first of equals.
        if image not in best or merit > best[image]:
            best[image] = merit
            boxes[image] = (columns.start, rows.start, columns.stop - 1, rows.stop - 1)
    return boxes
