"""Random changes of training films, a whole batch at a time on its own device.

The paper resizes to 256 x 256, crops 224 x 224 at random ("random resized crop") and mirrors; the defaults of
``AugmentationRecipe`` are that. One affine sampling does crop, scale, turn and mirror together, so a film is
interpolated once.
"""

import math
from typing import Final

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from agcnn_training.recipe import AugmentationRecipe

_TRIES: Final = 10
"""How often torchvision draws a crop until it gives up."""


def augment(pixels: Tensor, size: int, recipe: AugmentationRecipe, generator: Generator) -> Tensor:
    """Change every film of a batch in its own random way.

    Args:
        pixels: uint8 [B, 1, R, R].
        size: the side of the result.
        recipe: how much of what.
        generator: the only source of randomness, on the CPU.

    Returns:
        float32 [B, 1, size, size] in [0, 1].
    """
    films = pixels.float() / 255
    views = random_views(len(films), recipe, generator).to(films.device)
    grid = F.affine_grid(views, [len(films), 1, size, size], align_corners=False)
    sampled = F.grid_sample(films, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return _erase(_change_greys(sampled, recipe, generator), recipe, generator)


def random_views(count: int, recipe: AugmentationRecipe, generator: Generator) -> Tensor:
    """Draw where each film is sampled: float32 [B, 2, 3], from the result's [-1, 1] square to the film's.

    The area is uniform in ``scale`` and the aspect log-uniform in ``aspect``. A crop that has to lie inside the film is
    torchvision's (`torchvision.transforms.RandomResizedCrop.get_params`) but for the rounding to whole pixels.
    """
    (width, height), room = _inside(count, recipe, generator) if recipe.inside else _free(count, recipe, generator)
    across, down = (_uniform(count, -1, 1, generator) * side for side in room)
    turn = _uniform(count, -1, 1, generator) * math.radians(recipe.rotation)
    mirror = 1 - 2 * (torch.rand(count, generator=generator) < recipe.flip).float()
    cosine, sine = torch.cos(turn), torch.sin(turn)
    return torch.stack(
        (
            torch.stack((cosine * width * mirror, -sine * height, across), dim=1),
            torch.stack((sine * width * mirror, cosine * height, down), dim=1),
        ),
        dim=1,
    )


def _free(count: int, recipe: AugmentationRecipe, generator: Generator) -> tuple[Tensor, Tensor]:
    """Draw crops that may reach beyond the film: width and height as shares of its side, and how far the centre moves.

    Both are float32 [2, B]; the second on [-1, 1], where the film's side is 2.
    """
    area = _uniform(count, *recipe.scale, generator)
    aspect = torch.exp(_uniform(count, math.log(recipe.aspect[0]), math.log(recipe.aspect[1]), generator))
    sides = torch.stack((torch.sqrt(area * aspect), torch.sqrt(area / aspect)))
    return sides, torch.full_like(sides, 2 * recipe.shift)


def _inside(count: int, recipe: AugmentationRecipe, generator: Generator) -> tuple[Tensor, Tensor]:
    """Draw crops that lie within the film, as ``_free`` does: each is the first of ten that fits.

    Where none does, it is the largest in the film's middle whose aspect is allowed: the whole film, if that is square
    enough. Cutting the sides that are too long instead would make larger crops: with torchvision's defaults their mean
    area would be .53 of the film, not .48.
    """
    drawn, _ = _free(_TRIES * count, recipe, generator)
    tries = drawn.view(2, _TRIES, count)
    fits = (tries <= 1).all(dim=0)  # [_TRIES, B]
    first = fits.int().argmax(dim=0).expand(2, 1, count)
    aspect = min(max(1.0, recipe.aspect[0]), recipe.aspect[1])
    largest = torch.tensor([[min(1.0, aspect)], [min(1.0, 1 / aspect)]])
    found = fits.any(dim=0)  # [B]
    sides = torch.where(found, tries.gather(1, first).squeeze(1), largest)
    return sides, torch.where(found, 1 - sides, 0.0)


def mix(images: Tensor, targets: Tensor, strength: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """Blend each film, and its targets, with another of the batch (mixup, Zhang et al. 2018).

    Args:
        images: [B, ...].
        targets: [B, C].
        strength: alpha of Beta(alpha, alpha), above 0.
        generator: the source of randomness.
    """
    first, second = (_gamma_variate(strength, generator) for _ in range(2))
    share = max(first, second) / max(first + second, 1e-12)
    partner = torch.randperm(len(images), generator=generator)
    return images.lerp(images[partner], 1 - share), targets.lerp(targets[partner], 1 - share)


def _change_greys(films: Tensor, recipe: AugmentationRecipe, generator: Generator) -> Tensor:
    shape = (len(films), 1, 1, 1)
    if recipe.gamma:
        exponent = torch.exp(_uniform(len(films), -recipe.gamma, recipe.gamma, generator)).view(shape)
        # Zero has no finite slope under a power below one; a grey level of 1/2550 is black to every viewer.
        films = films.clamp_min(1 / 2550) ** exponent.to(films.device)
    if recipe.contrast or recipe.brightness:
        factor = torch.exp(_uniform(len(films), -recipe.contrast, recipe.contrast, generator)).view(shape)
        added = _uniform(len(films), -recipe.brightness, recipe.brightness, generator).view(shape)
        mean = films.mean(dim=(2, 3), keepdim=True)
        films = (films - mean) * factor.to(films.device) + mean + added.to(films.device)
    return films.clamp(0, 1)


def _erase(films: Tensor, recipe: AugmentationRecipe, generator: Generator) -> Tensor:
    """Paint a rectangle of one random grey over some films."""
    if not recipe.erase:
        return films
    count, size = len(films), films.shape[-1]
    sides = (_uniform(2 * count, 0.10, 0.35, generator) * size).view(2, count, 1)
    starts = torch.rand(2, count, 1, generator=generator) * (size - sides)
    position = torch.arange(size).view(1, 1, size)
    inside = (position >= starts) & (position < starts + sides)  # [2, B, S]: rows, then columns
    chosen = (torch.rand(count, generator=generator) < recipe.erase).view(count, 1, 1)
    mask = (inside[0].unsqueeze(2) & inside[1].unsqueeze(1) & chosen).unsqueeze(1)  # [B, 1, S, S]
    grey = torch.rand(count, 1, 1, 1, generator=generator)
    return torch.where(mask.to(films.device), grey.to(films.device), films)


def _uniform(count: int, low: float, high: float, generator: Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)


def _gamma_variate(shape: float, generator: Generator) -> float:
    return float(torch._standard_gamma(torch.tensor(shape, dtype=torch.float64), generator=generator))  # noqa: SLF001
