"""Boxes that no attention chose: where they lie, and that chance is the film's own."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agcnn_models.preprocessing import standardise
from agcnn_models.regions import centre_box, fingerprint, place_at_random, whole_image
from agcnn_models.settings import Preprocessing

CPU = torch.device("cpu")


def films(count: int, side: int, seed: int = 0) -> torch.Tensor:
    """Standardised films of 8 bits."""
    grey = torch.randint(0, 256, (count, 1, side, side), generator=torch.Generator().manual_seed(seed))
    return standardise(grey.to(torch.uint8), Preprocessing())


@pytest.mark.parametrize(
    ("size", "share", "box"),
    [(10, 0.5, [2, 2, 6, 6]), (11, 0.4, [3, 3, 6, 6]), (8, 1.0, [0, 0, 7, 7]), (100, 0.001, [49, 49, 49, 49])],
)
def test_the_centre_box_by_hand(size: int, share: float, box: list[int]) -> None:
    """Its side is the rounded share of the image's, a pixel at least; an odd rest is left at the far side."""
    assert centre_box(2, size, share, CPU).tolist() == [box, box]


def test_the_whole_image_by_hand() -> None:
    """From the first pixel to the last."""
    assert whole_image(2, 7, CPU).tolist() == [[0, 0, 6, 6], [0, 0, 6, 6]]


@settings(max_examples=30)
@given(st.integers(1, 24), st.integers(1, 24), st.integers(0, 2**31))
def test_a_random_box_keeps_its_size_and_lies_inside(width: int, height: int, seed: int) -> None:
    """Whatever its size, up to the whole image, which has one place only."""
    boxes = torch.tensor([[0, 0, width - 1, height - 1]]).expand(4, 4)
    placed = place_at_random(boxes, films(4, 24, seed))
    assert (placed[:, 2:] - placed[:, :2] + 1).tolist() == [[width, height]] * 4
    assert placed.min() >= 0
    assert placed.max() <= 23


def test_a_film_has_the_same_box_in_every_batch_and_on_every_machine() -> None:
    """Neither its neighbours nor the last bits of its pixels move the box; one grey level anywhere does."""
    images = films(16, 32)
    boxes = torch.tensor([[4, 4, 11, 15]]).expand(16, 4)
    placed = place_at_random(boxes, images)
    alone = torch.cat([place_at_random(boxes[:1], image[None]) for image in images])
    assert torch.equal(placed, alone)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(1)) * 1e-4
    assert torch.equal(placed, place_at_random(boxes, images + noise))
    images[:, :, 5, 7] += 1 / (255 * 0.229)
    assert (fingerprint(images) != fingerprint(films(16, 32))).all()


def test_a_film_is_hashed_by_splitmix64() -> None:
    """In whole numbers of Python, whose first output of seed 0 is the published one: another hash moves every box."""

    def splitmix64(value: int) -> int:
        value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
        return value ^ value >> 31

    golden = 0x9E3779B97F4A7C15
    assert splitmix64(golden) == 0xE220A8397B1DCDAF
    grey = torch.tensor([[0, 1, 255], [128, 7, 64]], dtype=torch.uint8)
    levels = [level - 124 for level in grey.flatten().tolist()]  # without ImageNet's mean of 123.675
    total = sum(level * splitmix64(golden * position % 2**64) for position, level in enumerate(levels, start=1))
    (found,) = fingerprint(standardise(grey[None, None], Preprocessing())).tolist()
    assert found % 2**64 == splitmix64(total % 2**64)


def test_random_places_are_uniform_and_independent() -> None:
    """Over 5 x 5 places of 5,000 films no place is more than five standard errors off its 200."""
    boxes = torch.tensor([[0, 0, 3, 3]]).expand(5000, 4)
    placed = place_at_random(boxes, films(5000, 8))
    counts = torch.bincount(placed[:, 0] * 5 + placed[:, 1], minlength=25)
    assert len(counts) == 25
    assert (counts - 200).abs().max() < 5 * 14
