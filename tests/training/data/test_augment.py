"""Augmentation: a batch at a time, seeded, and never outside what the recipe says."""

import pytest
import torch
from hypothesis import given
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


def spans(values: torch.Tensor, reach: float) -> bool:
    """Whether numbers are spread over all of [-reach, reach] as uniform ones are, and not beyond."""
    inside = bool(values.abs().max() <= reach * 1.0001)
    return inside and ks_2samp(values.double(), torch.linspace(-reach, reach, 2000).double()).pvalue > 0.001


def test_films_are_turned_by_degrees_and_moved_by_shares_of_their_side() -> None:
    """Uniformly, in both directions; a film's side is 2 where views are drawn."""
    recipe = NONE.model_copy(update={"inside": False, "rotation": 12.0, "shift": 0.06})
    views = random_views(2000, recipe, generator())
    assert spans(torch.rad2deg(torch.atan2(views[:, 1, 0], views[:, 0, 0])), 12)
    assert spans(views[:, 0, 2], 0.12)
    assert spans(views[:, 1, 2], 0.12)


def test_a_film_that_shrinks_stands_on_black() -> None:
    """At four times its area a white film is the middle of the result, and nothing is around it."""
    recipe = NONE.model_copy(update={"inside": False, "scale": (4.0, 4.0)})
    small = augment(torch.full((1, 1, 40, 40), 255, dtype=torch.uint8), 40, recipe, generator())[0, 0]
    assert small[11:29, 11:29].min() == 1
    assert small[:9].max() == small[:, :9].max() == small[31:].max() == small[:, 31:].max() == 0


def test_greys_change_as_far_as_the_recipe_says() -> None:
    """By hand: .4 and .6 are a mean of .5 and a distance of .2; a power of two greys gives its exponent back."""
    halves = torch.full((2000, 1, 8, 8), 102, dtype=torch.uint8)
    halves[..., 4:] = 153
    powers = augment(halves, 8, NONE.model_copy(update={"gamma": 0.4}), generator())[:, 0, 0]
    assert spans((powers[:, 0].log() / torch.tensor(0.4).log()).log(), 0.4)
    assert spans((powers[:, 7].log() / torch.tensor(0.6).log()).log(), 0.4)
    levels = augment(halves, 8, NONE.model_copy(update={"contrast": 0.3, "brightness": 0.1}), generator())[:, 0, 0]
    assert spans((levels[:, 0] + levels[:, 7]) / 2 - 0.5, 0.1)
    assert spans(((levels[:, 7] - levels[:, 0]) / 0.2).log(), 0.3)


def test_a_share_of_the_films_has_a_rectangle_painted_over() -> None:
    """One grey in one rectangle, of a tenth to 35 hundredths of the side, inside the film."""
    films = torch.full((2000, 1, 100, 100), 255, dtype=torch.uint8)
    painted = augment(films, 100, NONE.model_copy(update={"erase": 0.3}), generator())[:, 0] < 0.999
    assert painted.any(dim=(1, 2)).float().mean() == pytest.approx(0.3, abs=0.04)
    rows, columns = painted.any(dim=2).sum(dim=1), painted.any(dim=1).sum(dim=1)
    assert torch.equal(painted.sum(dim=(1, 2)), rows * columns)
    for sides in (rows[rows > 0], columns[columns > 0]):
        assert 9 <= sides.min() <= 11
        assert 34 <= sides.max() <= 36


def test_mixup_leaves_a_film_the_larger_share_of_itself() -> None:
    """Whatever is drawn, no film becomes more its partner than itself."""
    images = torch.stack((torch.zeros(1, 2, 2), torch.ones(1, 2, 2)))
    shares = []
    for seed in range(60):
        _, targets = mix(images, torch.tensor([[0.0], [1.0]]), 0.4, generator(seed))
        shares.append(float(targets[1] - targets[0]))
    assert 0 <= min(shares) < 0.5 < max(shares) <= 1
