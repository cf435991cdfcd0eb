"""A picture is made small without torch, and as torchvision would."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as transforms

from agcnn_models.shrinking import centre_margin, square


@pytest.mark.parametrize("shape", [(700, 500), (64, 90), (20, 30)])
def test_it_is_torchvisions_antialiased_bilinear_resizing(shape):
    """Films that shrink, that nearly stay, and that grow: to the rounding of float32."""
    picture = np.random.default_rng(1).random(shape, np.float32)
    expected = transforms.resize(torch.from_numpy(picture)[None], [64, 64], antialias=True)[0]
    np.testing.assert_allclose(square(picture, 64), expected.numpy(), rtol=0, atol=5e-6)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 40))
def test_a_film_of_one_grey_stays_one_grey_and_inside_the_range(height, width, side):
    """Weights that do not sum to 1 would brighten, darken, or leave the range."""
    for value in (0.0, 0.3, 1.0):
        shrunk = square(np.full((height, width), value, np.float32), side)
        assert shrunk.shape == (side, side)
        assert np.abs(shrunk - np.float32(value)).max() < 1e-6
        assert 0 <= shrunk.min() <= shrunk.max() <= 1


@given(st.integers(1, 300), st.integers(1, 300))
def test_the_margin_is_torchvisions(resize, crop):
    """Training crops with torchvision, serving by the margin: the same pixels."""
    resize, crop = max(resize, crop), min(resize, crop)
    image = torch.arange(resize).expand(1, resize, resize)
    cropped = transforms.center_crop(image, [crop, crop])
    assert int(cropped[0, 0, 0]) == centre_margin(resize, crop)


@pytest.mark.parametrize("picture", [np.zeros((3, 4, 4), np.float32), np.zeros((0, 4), np.float32), np.zeros((4, 4))])
def test_what_is_no_picture_is_refused(picture):
    """Three dimensions, no pixels, doubles."""
    with pytest.raises(ValueError, match="a picture"):
        square(picture, 8)
