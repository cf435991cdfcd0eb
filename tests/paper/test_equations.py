"""The paper's equations worked by hand, on numbers small enough to check on paper (Section III)."""

import math

import pytest
import torch

from agcnn_models.attention import binary_mask, crop, heat_map, largest_region, rescale
from agcnn_models.settings import AttentionSettings, Backbone, Preprocessing, Statistic

# Two channels on a grid of 2 x 2, with both signs.
FEATURES = torch.tensor([[[[3.0, -1.0], [0.0, 2.0]], [[-4.0, 1.0], [0.0, -0.5]]]])


def test_equation_3_is_the_largest_absolute_value_over_channels():
    """|3| and |-4| give 4, |-1| and |1| give 1, |2| and |-0.5| give 2."""
    assert heat_map(FEATURES, Statistic.MAX).tolist() == [[[4.0, 1.0], [0.0, 2.0]]]


def test_the_l1_statistic_is_the_mean_of_absolute_values():
    """(3 + 4) / 2, (1 + 1) / 2, 0, (2 + 0.5) / 2."""
    assert heat_map(FEATURES, Statistic.L1).tolist() == [[[3.5, 1.0], [0.0, 1.25]]]


def test_the_l2_statistic_is_the_norm_over_k_as_printed():
    """1/K stands outside the root: 5 / 2 and not 5 / sqrt(2)."""
    heat = heat_map(FEATURES, Statistic.L2)
    expected = [[[2.5, math.sqrt(2) / 2], [0.0, math.sqrt(4.25) / 2]]]
    torch.testing.assert_close(heat, torch.tensor(expected))


@pytest.mark.parametrize("factor", [0.001, 1.0, 1000.0])
def test_tau_means_the_same_however_strong_the_activations_are(factor):
    """Rescaled to [0, 1], the map of a faint film and of a strong one have one mask."""
    heat = rescale(heat_map(FEATURES * factor))
    torch.testing.assert_close(heat, torch.tensor([[[1.0, 0.25], [0.0, 0.5]]]))
    assert binary_mask(heat, 0.4).tolist() == [[[True, False], [False, True]]]


def test_equation_4_leaves_out_what_only_equals_tau():
    """M is 1 where H > tau, and 0 otherwise."""
    heat = torch.tensor([[[0.6999, 0.7, 0.7001]]])
    assert binary_mask(heat, 0.7).tolist() == [[[False, False, True]]]


@pytest.mark.parametrize(
    ("tau", "box"), [(0.1, [1, 0, 4, 3]), (0.5, [2, 1, 4, 3]), (0.7, [2, 1, 3, 2]), (0.9, [3, 2, 3, 2])]
)
def test_a_larger_tau_leads_to_a_smaller_region(tau, box):
    """Section III-B, on a map of 6 x 5 drawn by hand."""
    heat = torch.tensor(
        [
            [
                [0.0, 0.2, 0.0, 0.2, 0.0, 0.0],
                [0.0, 0.2, 0.8, 0.8, 0.0, 0.0],
                [0.0, 0.0, 0.8, 1.0, 0.6, 0.0],
                [0.0, 0.0, 0.6, 0.6, 0.6, 0.0],
                [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
            ]
        ]
    )
    assert largest_region(binary_mask(heat, tau), heat).tolist() == [box]


def test_the_attended_region_is_cut_out_and_resized_to_the_size_of_the_image():
    """A box of 2 x 1 pixels with the values 0 and 8 becomes rows of 0, 2, 6, 8."""
    image = torch.full((1, 1, 4, 4), 99.0)
    image[0, 0, 2, 1:3] = torch.tensor([0.0, 8.0])
    assert crop(image, torch.tensor([[1, 2, 2, 2]]), 4).tolist() == [[[[0.0, 2.0, 6.0, 8.0]] * 4]]


def test_the_papers_settings_are_the_defaults():
    """Eq. 3's maximum, tau 0.7 (Section IV-B), 256 and 224 pixels, two backbones."""
    assert AttentionSettings().statistic is Statistic.MAX
    assert AttentionSettings().tau == 0.7
    assert (Preprocessing().resize, Preprocessing().crop) == (256, 224)
    assert list(Backbone) == ["resnet50", "densenet121"]
