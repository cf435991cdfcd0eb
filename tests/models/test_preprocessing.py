"""From a picture to the network's input and from its boxes back to the picture."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from agcnn_models.preprocessing import (
    Preprocessing,
    box_to_source,
    centre,
    resized,
    standardise,
    to_model_input,
)
from agcnn_models.settings import IMAGENET_MEAN, IMAGENET_STD


def _random_picture(height, width):
    return np.random.default_rng(7).random((height, width), dtype=np.float32)


def _triangle_weights(length, size):
    """Return antialiased bilinear resampling of one axis as a matrix [size, length], from its definition."""
    scale = length / size
    reach = max(scale, 1.0)
    distance = np.abs(np.arange(length) + 0.5 - (np.arange(size)[:, None] + 0.5) * scale)
    weights = np.clip(1 - distance / reach, 0, None)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("height", "width"), [(256, 256), (300, 210), (77, 513)])
def test_a_picture_becomes_a_square_by_antialiased_bilinear_resampling(height, width):
    """Both axes by themselves, enlarging or reducing, equal to the textbook's triangle filter."""
    picture = _random_picture(height, width)
    expected = _triangle_weights(height, 64) @ picture @ _triangle_weights(width, 64).T
    found = resized(picture, Preprocessing(resize=64, crop=48))
    assert found.shape == (1, 64, 64)
    np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-5)


def test_the_default_is_the_papers():
    """Resize to 256, centre crop 224, ImageNet statistics, three equal channels before them."""
    picture = _random_picture(256, 256)
    found = to_model_input(picture, Preprocessing())
    assert found.shape == (3, 224, 224)
    assert found.dtype == torch.float32
    for channel, mean, std in zip(found.numpy(), IMAGENET_MEAN, IMAGENET_STD, strict=True):
        np.testing.assert_allclose(channel, (picture[16:240, 16:240] - mean) / std, atol=1e-5)


def test_eight_bit_pictures_mean_value_over_255():
    """A film in a cache of training films gives the very input that serving gives; as fractions, nearly."""
    film = np.random.default_rng(3).integers(0, 256, (256, 256), dtype=np.uint8)
    from_film = to_model_input(film, Preprocessing())
    cached = torch.from_numpy(film)[None]
    assert torch.equal(from_film, standardise(centre(cached, Preprocessing()), Preprocessing()))
    fractions = to_model_input(film.astype(np.float32) / 255, Preprocessing())
    torch.testing.assert_close(from_film, fractions, rtol=0, atol=1e-6)


def test_the_parts_work_on_batches():
    """Training takes the parts over a whole batch and gets what serving gets film by film."""
    preprocessing = Preprocessing(resize=32, crop=28)
    batch = torch.stack([resized(_random_picture(40, 50), preprocessing), torch.rand(1, 32, 32)])
    together = standardise(centre(batch, preprocessing), preprocessing)
    assert together.shape == (2, 3, 28, 28)
    assert torch.equal(together[0], to_model_input(_random_picture(40, 50), preprocessing))


def test_a_read_only_or_strided_picture_is_taken_as_it_is():
    """Pictures come from decoders, which lend their memory in many forms."""
    picture = _random_picture(60, 60)
    expected = to_model_input(picture.copy(), Preprocessing(resize=32, crop=32))
    mirrored = np.ascontiguousarray(picture[:, ::-1])[:, ::-1]
    picture.flags.writeable = False
    for form in (picture, np.asfortranarray(picture), mirrored):
        assert torch.equal(to_model_input(form, Preprocessing(resize=32, crop=32)), expected)


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4)),
        np.zeros((4, 4), np.uint16),
        np.zeros((0, 4), np.float32),
    ],
    ids=["colour", "float64", "uint16", "empty"],
)
def test_what_is_no_picture_is_refused(picture):
    """Silently scaling sixteen bits as if they were fractions would be a wrong reading."""
    with pytest.raises(ValueError, match="a picture"):
        resized(picture, Preprocessing())


@pytest.mark.parametrize("values", [{"resize": 100, "crop": 101}, {"crop": 0}, {"std": (1.0, 0.0, 1.0)}])
def test_impossible_preprocessing_is_refused(values):
    """A crop that needs padding, an empty one, and a division by zero."""
    with pytest.raises(ValueError, match=r"crop|std"):
        Preprocessing(**values)


@st.composite
def _boxes(draw):
    resize = draw(st.integers(8, 300))
    crop = draw(st.integers(1, resize))
    x_min, y_min = draw(st.integers(0, crop - 1)), draw(st.integers(0, crop - 1))
    box = (x_min, y_min, draw(st.integers(x_min, crop - 1)), draw(st.integers(y_min, crop - 1)))
    return (
        Preprocessing(resize=resize, crop=crop),
        box,
        draw(st.integers(1, 5000)),
        draw(st.integers(1, 5000)),
    )


@given(_boxes())
def test_a_box_comes_back_from_the_source(drawn):
    """Scaling the source's edges down again gives the box, and no box leaves the picture."""
    preprocessing, box, height, width = drawn
    source = box_to_source(box, preprocessing, height, width)
    assert 0 <= source.x_min < source.x_max <= width * (1 + 1e-12)
    assert 0 <= source.y_min < source.y_max <= height * (1 + 1e-12)
    # Where the crop begins is asked of the crop itself: its first value in a picture that counts pixels.
    count = torch.arange(preprocessing.resize, dtype=torch.float32)
    margin = centre(count.expand(1, preprocessing.resize, -1), preprocessing)[0, 0, 0].item()
    across, down = preprocessing.resize / width, preprocessing.resize / height
    back = (
        source.x_min * across - margin,
        source.y_min * down - margin,
        source.x_max * across - margin - 1,
        source.y_max * down - margin - 1,
    )
    assert back == pytest.approx(box, abs=1e-6)


@settings(max_examples=25)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(8, 20), st.integers(8, 20), st.sampled_from([1, 2, 4]))
def test_what_lies_at_the_mapped_box_is_what_the_network_sees_in_its_box(x, y, across, down, scale):
    """A rectangle drawn into the source at the mapped edges fills the box, and nothing beside it."""
    preprocessing = Preprocessing(resize=72, crop=64)
    box = (x, y, x + across - 1, y + down - 1)
    height, width = 72 * scale, 72 * 3
    edges = [round(edge) for edge in box_to_source(box, preprocessing, height, width)]
    source = np.zeros((height, width), np.float32)
    source[edges[1] : edges[3], edges[0] : edges[2]] = 1.0
    seen = centre(resized(source, preprocessing), preprocessing)[0].numpy()
    # Antialiasing blurs over less than one pixel on either side of an edge.
    assert seen[y + 1 : y + down - 1, x + 1 : x + across - 1] == pytest.approx(1.0, abs=1e-5)
    assert seen[y : y + down, x : x + across].min() > 0.5
    seen[max(y - 1, 0) : y + down + 1, max(x - 1, 0) : x + across + 1] = 0
    assert seen.max() == 0


def test_the_whole_input_of_a_square_film_is_its_middle():
    """Pixels 0 to 223 of the input are the edges 64 and 960 of a film of 1024."""
    assert box_to_source((0, 0, 223, 223), Preprocessing(), 1024, 1024) == (64.0, 64.0, 960.0, 960.0)


def test_a_real_film_enters_as_it_lies_and_bright_where_dense(shared_data):
    """A published film of 1024 pixels becomes the input that the reference filter gives."""
    path = min((shared_data / "nih-cxr-1024").rglob("*.png"))
    with Image.open(path) as image:
        picture = np.asarray(image.convert("L"), dtype=np.float32) / 255
    found = to_model_input(picture, Preprocessing())
    square = _triangle_weights(picture.shape[0], 256) @ picture @ _triangle_weights(picture.shape[1], 256).T
    expected = (square[16:240, 16:240] - IMAGENET_MEAN[1]) / IMAGENET_STD[1]
    np.testing.assert_allclose(found[1].numpy(), expected, atol=1e-4)
    assert found[0].std() > 0.3
