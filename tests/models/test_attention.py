"""Each step of the attention against a slow, obvious reference."""

from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from agcnn_models.attention import binary_mask, crop, heat_map, largest_region, rescale, upsample
from agcnn_models.settings import HeatScale, Statistic, Threshold

# Eighths are exact in binary, so that a mean has one value however it is summed.
EIGHTHS = st.integers(0, 8).map(lambda n: n / 8)
HEAT_MAPS = arrays(np.float32, array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=9), elements=EIGHTHS)
ACTIVATIONS = st.floats(-4, 4, width=32)


def reference_region(mask, heat):
    """Flood every region of one image cell by cell; take the largest, then hottest, then first."""
    height, width = len(mask), len(mask[0])
    seen, best, best_merit = set(), None, None
    for start in product(range(height), range(width)):
        if not mask[start[0]][start[1]] or start in seen:
            continue
        seen.add(start)
        region, front = [], [start]
        while front:
            row, column = front.pop()
            region.append((row, column))
            for cell in product((row - 1, row, row + 1), (column - 1, column, column + 1)):
                inside = 0 <= cell[0] < height and 0 <= cell[1] < width
                if inside and mask[cell[0]][cell[1]] and cell not in seen:
                    seen.add(cell)
                    front.append(cell)
        merit = (len(region), sum(heat[row][column] for row, column in region) / len(region))
        if best_merit is None or merit > best_merit:
            best, best_merit = region, merit
    if best is None:
        return [0, 0, width - 1, height - 1]
    rows, columns = zip(*best, strict=True)
    return [min(columns), min(rows), max(columns), max(rows)]


def reference_crop(image, box, size):
    """Sample one channel pixel by pixel, never looking outside the box."""
    x_min, y_min, x_max, y_max = box

    def neighbours(index, first, last):
        position = max((index + 0.5) * (last - first + 1) / size - 0.5, 0.0)
        lower = int(position)
        return first + lower, min(first + lower + 1, last), position - lower

    result = [[0.0] * size for _ in range(size)]
    for row, column in product(range(size), range(size)):
        top, bottom, down = neighbours(row, y_min, y_max)
        left, right, across = neighbours(column, x_min, x_max)
        upper = image[top][left] * (1 - across) + image[top][right] * across
        lower = image[bottom][left] * (1 - across) + image[bottom][right] * across
        result[row][column] = upper * (1 - down) + lower * down
    return result


@st.composite
def boxed_images(draw):
    """Draw images [B, C, H, W] in [0, 1], a box within each, and a size to bring it to."""
    shape = draw(array_shapes(min_dims=4, max_dims=4, min_side=1, max_side=9))
    images = draw(arrays(np.float32, shape, elements=st.floats(0, 1, width=32)))
    boxes = []
    for _ in range(shape[0]):
        x_min, y_min = draw(st.integers(0, shape[3] - 1)), draw(st.integers(0, shape[2] - 1))
        x_max, y_max = draw(st.integers(x_min, shape[3] - 1)), draw(st.integers(y_min, shape[2] - 1))
        boxes.append([x_min, y_min, x_max, y_max])
    return torch.from_numpy(images), boxes, draw(st.integers(1, 12))


@given(
    arrays(np.float32, array_shapes(min_dims=4, max_dims=4, max_side=5), elements=ACTIVATIONS),
    st.sampled_from(Statistic),
)
def test_a_heat_map_equals_a_loop_over_positions(features, statistic):
    """Every position has the statistic of its own channels, and of no other's."""
    batch, channels, height, width = features.shape
    heat = heat_map(torch.from_numpy(features), statistic)
    assert heat.shape == (batch, height, width)
    for image, row, column in product(range(batch), range(height), range(width)):
        values = [abs(float(features[image, channel, row, column])) for channel in range(channels)]
        expected = {
            Statistic.MAX: max(values),
            Statistic.L1: sum(values) / channels,
            Statistic.L2: sum(value**2 for value in values) ** 0.5 / channels,
        }[statistic]
        assert heat[image, row, column].item() == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_a_heat_map_of_half_precision_is_float32():
    """The squares of L2 overflow in float16 from 256 on, so the sums must not be made there."""
    heat = heat_map(torch.full((1, 4, 2, 2), 300.0, dtype=torch.float16), Statistic.L2)
    assert heat.dtype == torch.float32
    assert heat.unique().tolist() == [150.0]


@given(HEAT_MAPS, st.sampled_from(HeatScale))
def test_a_rescaled_map_lies_between_zero_and_one(heat, scale):
    """Each map with contrast reaches 1; with min-max it reaches 0 too."""
    scaled = rescale(torch.from_numpy(heat), scale)
    assert scaled.min() >= 0
    assert scaled.max() <= 1
    for before, after in zip(heat, scaled, strict=True):
        if before.max() > before.min():
            assert after.max() == 1
            assert after.min() == (0 if scale is HeatScale.MIN_MAX else before.min() / before.max())


def test_maps_are_rescaled_each_by_itself():
    """A faint film's attention does not depend on its neighbours in the batch."""
    faint, strong = torch.tensor([[0.0, 0.5, 1.0]]), torch.tensor([[10.0, 15.0, 20.0]])
    scaled = rescale(torch.stack((faint, strong)))
    assert scaled.tolist() == [[[0.0, 0.5, 1.0]], [[0.0, 0.5, 1.0]]]
    assert rescale(strong[None], HeatScale.DIVIDE_BY_MAX).tolist() == [[[0.5, 0.75, 1.0]]]


@pytest.mark.parametrize("value", [0.0, 3.0])
@pytest.mark.parametrize("scale", HeatScale)
def test_a_flat_map_attends_to_the_whole_image(value, scale):
    """Without contrast there is no division by zero, and the local branch sees everything."""
    heat = rescale(torch.full((2, 5, 4), value), scale)
    assert torch.isfinite(heat).all()
    boxes = largest_region(binary_mask(heat, 0.7), heat)
    assert boxes.tolist() == [[0, 0, 3, 4]] * 2


def test_upsampling_puts_pixel_centres_at_halves():
    """Two cells become four pixels with centres a quarter of a cell apart from the middle."""
    wide = upsample(torch.tensor([[[0.0, 1.0], [0.0, 1.0]]]), 4)
    assert wide.shape == (1, 4, 4)
    assert wide[0, 0].tolist() == [0.0, 0.25, 0.75, 1.0]


def test_the_mask_is_strictly_above_tau():
    """Eq. 4 says "larger than": heat equal to tau is outside."""
    heat = torch.tensor([[[0.25, 0.5, 0.75]]])
    assert binary_mask(heat, 0.5).tolist() == [[[False, False, True]]]


def test_a_quantile_threshold_is_of_each_image():
    """A quarter of each image lies above its 0.75-quantile, however hot it is."""
    heat = torch.arange(16.0).reshape(1, 4, 4).repeat(2, 1, 1)
    heat[1] *= 100
    mask = binary_mask(heat, 0.75, Threshold.QUANTILE)
    assert mask.sum(dim=(1, 2)).tolist() == [4, 4]
    assert mask[:, 3].all()


def test_a_quantile_threshold_is_strict():
    """As Eq. 4 is: cells as hot as the quantile itself are outside."""
    heat = torch.tensor([[[0.0, 0.5, 0.5, 0.5, 1.0]]])
    assert binary_mask(heat, 0.5, Threshold.QUANTILE).tolist() == [[[False] * 4 + [True]]]


@given(HEAT_MAPS, EIGHTHS)
@settings(max_examples=300)
def test_the_largest_region_equals_a_flood_fill(heat, tau):
    """Over random maps, with many ties, the box is the reference's."""
    tensor = torch.from_numpy(heat)
    mask = binary_mask(tensor, tau)
    boxes = largest_region(mask, tensor)
    assert boxes.dtype == torch.int64
    assert boxes.tolist() == [reference_region(m, h) for m, h in zip(mask.tolist(), heat.tolist(), strict=True)]


def _region(rows, heat=None):
    """Return the box found in a drawing, where # is inside; its heat is 1 unless told."""
    mask = torch.tensor([[cell == "#" for cell in row] for row in rows])[None]
    return largest_region(mask, torch.ones(mask.shape) if heat is None else torch.tensor([heat])).tolist()[0]


def test_cells_that_touch_at_a_corner_are_one_region():
    """Eight neighbours, not four: the diagonal of three beats the pair."""
    assert _region(["#.....", ".#....", "..#...", "......", "....##"]) == [0, 0, 2, 2]
    assert _region(["#....#", ".#..#.", "..##..", "......", "#####."]) == [0, 0, 5, 2]


def test_a_region_of_one_pixel_has_a_box_of_one_pixel():
    """Both ends are inclusive."""
    assert _region(["...", "..#", "..."]) == [2, 1, 2, 1]


def test_of_two_equal_regions_the_hotter_one_is_taken():
    """Size first, then mean heat."""
    assert _region(["##.##"], [[0.75, 0.75, 0.0, 0.75, 1.0]]) == [3, 0, 4, 0]


def test_of_two_regions_equal_in_size_and_heat_the_first_is_taken():
    """Reading order decides the rest, so that a film always has the same box."""
    assert _region(["##.##"]) == [0, 0, 1, 0]
    assert _region(["...##", ".....", "##..."]) == [3, 0, 4, 0]


def test_cells_without_heat_are_cells_of_their_region():
    """The mask alone says what is inside."""
    assert _region(["###.#"], [[0.0, 0.0, 0.0, 0.5, 1.0]]) == [0, 0, 2, 0]


def test_regions_of_two_images_never_join():
    """A region at the same place in the next image is another one."""
    mask = torch.zeros(2, 3, 3, dtype=torch.bool)
    mask[0, 1, 1] = mask[1, 1, 1] = mask[1, 1, 2] = True
    assert largest_region(mask, torch.ones(2, 3, 3)).tolist() == [[1, 1, 1, 1], [1, 1, 2, 1]]


@given(boxed_images())
def test_a_crop_equals_sampling_pixel_by_pixel(drawn):
    """Over random images and boxes, the batch gives what a loop in plain Python gives."""
    images, boxes, size = drawn
    crops = crop(images, torch.tensor(boxes), size)
    assert crops.shape == (*images.shape[:2], size, size)
    for image, channel in product(range(images.shape[0]), range(images.shape[1])):
        expected = reference_crop(images[image, channel].tolist(), boxes[image], size)
        torch.testing.assert_close(crops[image, channel], torch.tensor(expected), rtol=0, atol=1e-5)


def test_a_crop_equals_torch_interpolation_of_the_cut_out_box():
    """At the network's real size, for wide, tall, tiny and whole boxes."""
    generator = torch.Generator().manual_seed(5)
    boxes = [[0, 0, 223, 223], [3, 40, 200, 47], [100, 0, 103, 223], [17, 91, 17, 91], [222, 222, 223, 223]]
    images = torch.rand(len(boxes), 3, 224, 224, generator=generator)
    crops = crop(images, torch.tensor(boxes), 224)
    for image, (x_min, y_min, x_max, y_max), found in zip(images, boxes, crops, strict=True):
        cut_out = image[None, :, y_min : y_max + 1, x_min : x_max + 1]
        expected = F.interpolate(cut_out, size=224, mode="bilinear", align_corners=False)[0]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_the_crop_of_the_whole_image_is_the_image():
    """Bit for bit, so that an image without attention loses nothing."""
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(6))
    assert torch.equal(crop(images, torch.tensor([[0, 0, 63, 63]] * 2), 64), images)


def test_nothing_outside_the_box_leaks_into_the_crop():
    """A pacemaker beside the box must not brighten the crop's edge."""
    images = torch.full((1, 1, 10, 10), 1e6)
    images[:, :, 2:5, 3:8] = 0.5
    assert crop(images, torch.tensor([[3, 2, 7, 4]]), 32).unique().tolist() == [0.5]


def test_a_crop_has_no_gradient():
    """The local branch must not teach the global one through the pixels."""
    images = torch.rand(1, 3, 8, 8, requires_grad=True)
    assert not crop(images, torch.tensor([[0, 0, 3, 3]]), 8).requires_grad


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: heat_map(torch.zeros(3, 2, 2)), "features"),
        (lambda: rescale(torch.zeros(2, 2)), "heat"),
        (lambda: largest_region(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2)), "mask"),
        (lambda: largest_region(torch.zeros(1, 2, 2, dtype=torch.bool), torch.zeros(1, 3, 3)), "mask"),
        (lambda: crop(torch.zeros(2, 3, 4, 4), torch.zeros(1, 4, dtype=torch.int64), 4), "boxes"),
    ],
)
def test_a_wrong_shape_is_refused_by_name(call, named):
    """A mistake says which argument it is in."""
    with pytest.raises(ValueError, match=named):
        call()
