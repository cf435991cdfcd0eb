"""The largest connected region of each mask of a batch: one program an image, on the runs of its rows.

A run is a row's pixels without a gap; it is known by its number in reading order. Heat maps of 7x7 cells, enlarged to
224x224 pixels, have some 300 of them an image, where they have 50,176 pixels.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from agcnn_models.kernels.layout import launched_beside

__all__ = ["largest_boxes"]

_NONE = tl.constexpr(2**31 - 1)


@launched_beside
def largest_boxes(mask: Tensor, heat: Tensor) -> Tensor:
    """The boxes of `attention.largest_region`: bool, float32 [B, H, W] -> int64 [B, 4].

    Of regions equally large and equally hot up to the order in which float64 sums are made, the first is taken.
    """
    batch, height, width = mask.shape
    device = mask.device
    most = height * ((width + 1) // 2)  # runs of an image
    spans = torch.empty(3, batch, most, dtype=torch.int32, device=device)  # first and last pixel; row
    regions = torch.empty(2, batch, most, dtype=torch.int32, device=device)  # the region's first run; its size
    heats = torch.empty(2, batch, most, dtype=torch.float64, device=device)  # of a run; of a region
    begins = torch.empty(batch, height + 2, dtype=torch.int32, device=device)  # by row; all; the most of a row
    boxes = torch.empty(batch, 4, dtype=torch.int64, device=device)
    scratch = spans, regions, heats, begins
    sizes = batch, most, height
    _find_runs[batch,](
        mask.contiguous().view(torch.uint8),
        heat.float().contiguous(),
        *scratch,
        *sizes,
        width,
        block_rows=4,
        block_columns=triton.next_power_of_2(width),
        num_warps=4,
    )
    # The loops over runs are not to be overlapped: a round reads what the one before it wrote.
    _join_runs[batch,](*scratch, *sizes, block=512, num_warps=4, num_stages=1)
    _choose_region[batch,](*scratch, boxes, *sizes, width, block=512, num_warps=4, num_stages=1)
    return boxes


@triton.jit(do_not_specialize=["batch"])
def _find_runs(
    mask,
    heat,
    spans,
    regions,
    heats,
    begins,
    batch,
    most,
    height,
    width,
    block_rows: tl.constexpr,
    block_columns: tl.constexpr,
):
    image, others = tl.program_id(0).to(tl.int64), batch.to(tl.int64) * most
    mask, heat = mask + image * height * width, heat + image * height * width
    spans, regions, heats = spans + image * most, regions + image * most, heats + image * most
    begins += image * (height + 2)
    x = tl.arange(0, block_columns)
    count, widest = 0, 0
    for top in range(0, height, block_rows):
        y = top + tl.arange(0, block_rows)
        at = y[:, None] * width + x[None, :]
        real = (y[:, None] < height) & (x[None, :] < width)
        inside = tl.load(mask + at, mask=real, other=0).to(tl.int32)
        before = tl.load(mask + at - 1, mask=real & (x[None, :] > 0), other=0).to(tl.int32)
        after = tl.load(mask + at + 1, mask=real & (x[None, :] < width - 1), other=0).to(tl.int32)
        begin = inside * (1 - before)
        of_row = tl.sum(begin, 1)  # [block_rows]
        earlier = count + tl.cumsum(of_row, 0) - of_row
        run = earlier[:, None] + tl.cumsum(begin, 1) - 1
        is_first, is_last = begin > 0, inside * (1 - after) > 0
        warm = tl.where(inside > 0, tl.maximum(tl.load(heat + at, mask=real, other=0.0), 0.0), 0.0).to(tl.float64)
        upto = tl.cumsum(warm, 1)
        nothing = tl.zeros_like(run)
        tl.store(spans + run, x[None, :] + nothing, mask=is_first)
        tl.store(spans + others + run, x[None, :] + nothing, mask=is_last)
        tl.store(spans + 2 * others + run, y[:, None] + nothing, mask=is_first)
        tl.store(regions + run, run, mask=is_first)
        tl.store(regions + others + run, nothing, mask=is_first)
        # The second place holds what lies before the run in its row, until `_join_runs` has taken it off.
        tl.store(heats + run, upto, mask=is_last)
        tl.store(heats + others + run, upto - warm, mask=is_first)
        tl.store(begins + y, earlier, mask=y < height)
        count += tl.sum(of_row, 0)
        widest = tl.maximum(widest, tl.max(of_row, 0))
    tl.store(begins + height, count)
    tl.store(begins + height + 1, widest)


@triton.jit(do_not_specialize=["batch"])
def _join_runs(spans, regions, heats, begins, batch, most, height, block: tl.constexpr):
    image, others = tl.program_id(0).to(tl.int64), batch.to(tl.int64) * most
    first, last, row = spans + image * most, spans + others + image * most, spans + 2 * others + image * most
    regions += image * most
    heats += image * most
    begins += image * (height + 2)
    count, widest = tl.load(begins + height), tl.load(begins + height + 1)
    lane = tl.arange(0, block)
    # Every run points to an earlier one of its region, at last to the first. In a round each looks at those that it
    # touches, above and below, and has the run that it points to point as far back as the earliest that they point to;
    # then it points where that one points (Shiloach and Vishkin 1982).
    joined = 1
    while joined > 0:
        joined = 0
        for start in range(0, count, block):
            run = start + lane
            real = run < count
            left, right = tl.load(first + run, mask=real, other=0), tl.load(last + run, mask=real, other=0)
            y, own = tl.load(row + run, mask=real, other=0), tl.load(regions + run, mask=real, other=0)
            earliest = own
            for side in tl.static_range(2):
                beside = y - 1 + 2 * side
                is_row = real & (beside >= 0) & (beside < height)
                begin = tl.load(begins + beside, mask=is_row, other=0)
                end = tl.load(begins + beside + 1, mask=is_row, other=0)
                for step in range(widest):
                    other = begin + step
                    some = is_row & (other < end)
                    touches = some & (tl.load(first + other, mask=some, other=0) <= right + 1)
                    touches = touches & (tl.load(last + other, mask=some, other=0) >= left - 1)
                    earliest = tl.minimum(earliest, tl.load(regions + other, mask=touches, other=_NONE))
            earlier = real & (earliest < own)
            tl.atomic_min(regions + own, earliest, mask=earlier)
            joined += tl.sum(earlier.to(tl.int32), 0)
            tl.debug_barrier()
            for _ in tl.static_range(3):
                further = tl.load(regions + tl.load(regions + run, mask=real, other=0), mask=real, other=0)
                tl.debug_barrier()
                tl.store(regions + run, further, mask=real)
                tl.debug_barrier()
    for start in range(0, count, block):
        run = start + lane
        real = run < count
        upto, before = tl.load(heats + run, mask=real, other=0.0), tl.load(heats + others + run, mask=real, other=0.0)
        tl.store(heats + run, upto - before, mask=real)
        tl.store(heats + others + run, tl.zeros_like(upto), mask=real)


@triton.jit(do_not_specialize=["batch"])
def _choose_region(spans, regions, heats, begins, boxes, batch, most, height, width, block: tl.constexpr):
    image, others = tl.program_id(0).to(tl.int64), batch.to(tl.int64) * most
    first, last, row = spans + image * most, spans + others + image * most, spans + 2 * others + image * most
    region, size = regions + image * most, regions + others + image * most
    of_run, of_region = heats + image * most, heats + others + image * most
    count = tl.load(begins + image * (height + 2) + height)
    lane = tl.arange(0, block)
    for start in range(0, count, block):
        run = start + lane
        real = run < count
        belongs = tl.load(region + run, mask=real, other=0)
        length = tl.load(last + run, mask=real, other=0) - tl.load(first + run, mask=real, other=0) + 1
        tl.atomic_add(size + belongs, length, mask=real)
        tl.atomic_add(of_region + belongs, tl.load(of_run + run, mask=real, other=0.0), mask=real)
    tl.debug_barrier()
    # Of regions equally large the sum of the heat decides as its mean does.
    largest, chosen = 0, _NONE
    hottest = tl.full((), -1.0, tl.float64)
    for start in range(0, count, block):
        run = start + lane
        largest = tl.maximum(largest, tl.max(tl.load(size + run, mask=run < count, other=0), 0))
    for start in range(0, count, block):
        run = start + lane
        is_largest = (run < count) & (tl.load(size + run, mask=run < count, other=0) == largest)
        hottest = tl.maximum(hottest, tl.max(tl.load(of_region + run, mask=is_largest, other=-1.0), 0))
    for start in range(0, count, block):
        run = start + lane
        is_largest = (run < count) & (tl.load(size + run, mask=run < count, other=0) == largest)
        is_best = is_largest & (tl.load(of_region + run, mask=is_largest, other=-1.0) == hottest)
        chosen = tl.minimum(chosen, tl.min(tl.where(is_best, run, _NONE), 0))
    # Without a region the box is the whole image.
    none = count == 0
    x_min, y_min = tl.where(none, 0, width), tl.where(none, 0, height)
    x_max, y_max = tl.where(none, width - 1, -1), tl.where(none, height - 1, -1)
    for start in range(0, count, block):
        run = start + lane
        inside = (run < count) & (tl.load(region + run, mask=run < count, other=-1) == chosen)
        x_min = tl.minimum(x_min, tl.min(tl.load(first + run, mask=inside, other=_NONE), 0))
        y_min = tl.minimum(y_min, tl.min(tl.load(row + run, mask=inside, other=_NONE), 0))
        x_max = tl.maximum(x_max, tl.max(tl.load(last + run, mask=inside, other=-1), 0))
        y_max = tl.maximum(y_max, tl.max(tl.load(row + run, mask=inside, other=-1), 0))
    boxes += image * 4
    tl.store(boxes, x_min.to(tl.int64))
    tl.store(boxes + 1, y_min.to(tl.int64))
    tl.store(boxes + 2, x_max.to(tl.int64))
    tl.store(boxes + 3, y_max.to(tl.int64))
