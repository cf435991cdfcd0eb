"""Augmentation: a batch at a time, seeded, and never outside what the recipe says."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp
from torchvision.transforms import RandomResizedCrop

from agcnn_training.data.augment import augment, mix, random_views
from agcnn_training.recipe import AugmentationRecipe

STRONG = AugmentationRecipe(
    scale=(0.5, 1.3), inside=False, shift=0.1, rotation=15, gamma=0.4, contrast=0.3, brightness=0.1, erase=0.5
)
NONE = AugmentationRecipe(scale=(1, 1), aspect=(1, 1), flip=0)


def generator(seed: int = 0) -> torch.Generator:
    """A seeded source of randomness."""
    return torch.Generator().manual_seed(seed)


def some_films(count: int = 4) -> torch.Tensor:
    """Random films, uint8 [count, 1, 40, 40]."""
    return torch.randint(0, 256, (count, 1, 40, 40), dtype=torch.uint8, generator=generator(9))


def test_nothing_asked_changes_nothing() -> None:
    """The whole film, unturned, at its own size comes back as it was."""
    films = some_films()
    assert torch.allclose(augment(films, 40, NONE, generator()), films.float() / 255, atol=1e-5)


def test_a_certain_mirror_mirrors() -> None:
    """With flip = 1 left is right."""
    films = some_films()
    mirrored = augment(films, 40, NONE.model_copy(update={"flip": 1.0}), generator())
    assert torch.allclose(mirrored, films.flip(3).float() / 255, atol=1e-5)


def test_the_generator_is_the_only_randomness() -> None:
    """The same seed gives the same films, another seed others; grey values stay in [0, 1]."""
    first, again, other = (augment(some_films(), 32, STRONG, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (4, 1, 32, 32)
    assert first.min() >= 0
    assert first.max() <= 1


@settings(deadline=None)  # a busy machine is no failure
@given(st.integers(0, 2**31), st.floats(0.05, 1), st.floats(1, 2))
def test_the_papers_crop_lies_inside_the_film(seed: int, smallest: float, aspect: float) -> None:
    """No corner of a random resized crop is sampled from beyond the film's edge."""
    recipe = AugmentationRecipe(scale=(smallest, 1.0), aspect=(1 / aspect, aspect))
    views = random_views(16, recipe, generator(seed))
    corners = torch.tensor([[-1.0, -1, 1], [1, -1, 1], [-1, 1, 1], [1, 1, 1]]).T
    assert (views @ corners).abs().max() <= 1 + 1e-5


@pytest.mark.parametrize(
    ("scale", "aspect"),
    [((0.08, 1.0), (3 / 4, 4 / 3)), ((0.5, 1.0), (0.4, 2.5)), ((0.6, 1.0), (1.2, 3.0)), ((0.9, 1.0), (0.3, 0.6))],
)
def test_crops_inside_the_film_are_torchvisions(scale: tuple[float, float], aspect: tuple[float, float]) -> None:
    """Areas, aspects and places are distributed as torchvision's own, where it gives up drawing and where not."""
    film, count = torch.empty(1, 1000, 1000), 3000
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        drawn = [RandomResizedCrop.get_params(film, list(scale), list(aspect)) for _ in range(count)]
    top, left, height, width = torch.tensor(drawn).T.double()

    views = random_views(count, AugmentationRecipe(scale=scale, aspect=aspect), generator(5))
    ours = {"width": views[:, 0, 0].abs(), "height": views[:, 1, 1]}
    ours["left"] = (1 + views[:, 0, 2] - ours["width"]) / 2
    ours["top"] = (1 + views[:, 1, 2] - ours["height"]) / 2
    pixels = {name: (value.double() * 1000).round() for name, value in ours.items()}
    for theirs, found in (
        (width * height, pixels["width"] * pixels["height"]),
        (width / height, pixels["width"] / pixels["height"]),
        (left, pixels["left"]),
        (top, pixels["top"]),
    ):
        assert ks_2samp(theirs, found).pvalue > 0.001


def test_the_crops_area_is_in_the_recipes_range() -> None:
    """The determinant of the view is the share of the area."""
    views = random_views(500, STRONG, generator())
    area = torch.linalg.det(views[:, :, :2]).abs()
    assert area.min() >= 0.5 - 1e-5
    assert area.max() <= 1.3 + 1e-5
    assert area.mean() == pytest.approx(0.9, abs=0.05)


def test_mixup_blends_films_and_labels_alike() -> None:
    """A film that is a share of white bears the same share of white's label."""
    images = torch.stack((torch.zeros(1, 4, 4), torch.ones(1, 4, 4)))
    mixed, targets = mix(images, torch.tensor([[0.0], [1.0]]), 0.4, generator(3))
    assert torch.allclose(mixed.mean(dim=(1, 2, 3)), targets[:, 0], atol=1e-6)
