"""Training batches: which films, changed how, with which targets.

A batch depends on the seed, the epoch and the step alone, never on what was drawn before, so a run that was
stopped goes on with exactly the batches it would have seen.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from agcnn_models.preprocessing import standardise
from agcnn_models.settings import Preprocessing
from agcnn_training.data.augment import augment, mix
from agcnn_training.data.films import Films, auxiliary_width
from agcnn_training.loss import Further, label_loss, smoothed, stage_loss
from agcnn_training.recipe import JointRecipe, PhaseRecipe


class Batch(NamedTuple):
    """One training batch; W columns: 15 labels, then auxiliary targets, then pretraining classes."""

    images: Tensor  # float32 [B, 3, D S, D S], standardised
    targets: Tensor  # float32 [B, W] in [0, 1], NaN where unknown


class Joint(NamedTuple):
    """What is learned beside the labels, and how much it counts."""

    recipe: JointRecipe
    films: Films | None  # the pretraining films

    @property
    def auxiliary(self) -> Further:
        """The columns of what else is told from a film."""
        return Further(auxiliary_width(self.recipe.auxiliary), self.recipe.auxiliary_weight)

    @property
    def classes(self) -> Further:
        """The columns of the pretraining films' classes, which stand last."""
        return Further(self.films.targets.shape[1] if self.films else 0, self.recipe.pretraining_weight)


class Batches:
    """The training batches of one phase."""

    def __init__(
        self,
        films: Films,
        chosen: NDArray[np.int64],
        phase: PhaseRecipe,
        preprocessing: Preprocessing,
        seed: tuple[int, ...],
        joint: Joint | None = None,
        *,
        outputs: int = 1,
        detail: int = 1,
    ) -> None:
        """Prepare the films at the phase's size.

        Args:
            films: all films of the label table.
            chosen: indices of those that train.
            phase: batch size, image size, augmentation.
            preprocessing: the network's; its ratio of resize to crop is kept at the phase's size.
            seed: of this phase, distinct from every other phase's.
            joint: what else the batch teaches; None for the labels alone.
            outputs: how many outputs of the network learn the labels at once.
            detail: how many times finer the images are than the sizes of the recipe.
        """
        self.size = phase.size * detail if phase.size else preprocessing.crop
        self._label_loss, self._outputs = label_loss(phase), outputs
        self._further = () if joint is None else (joint.auxiliary, joint.classes)
        self._phase, self._preprocessing, self._seed, self._joint = phase, preprocessing, seed, joint
        side = preprocessing.resize
        if self.size < preprocessing.crop:
            side = round(self.size * preprocessing.resize / preprocessing.crop)
        index = torch.from_numpy(chosen)
        # An index, not a copy of what it chooses: all of ChestX-ray14 lies in a memory map or fills a GPU.
        self._pixels, self._chosen = films.of_size(side), index
        self._targets = films.targets[index]
        self._auxiliary = films.auxiliary[index]
        self._other = joint.films if joint else None
        self._other_pixels = self._other.of_size(side) if self._other else None
        self._other_count = 0
        if joint and self._other:
            self._other_count = phase.pretraining_films(joint.recipe.pretraining_share)
        self._count = min(phase.batch_size - self._other_count, len(index))
        self._order: tuple[int, Tensor, Tensor] | None = None

    def __len__(self) -> int:
        """Steps in an epoch; a last batch that is not full is left to the next epoch's order."""
        return len(self._chosen) // self._count

    @property
    def films_per_batch(self) -> int:
        """Films in a batch, those of the pretraining table included."""
        return self._count + self._other_count

    def batch(self, epoch: int, step: int, device: torch.device | None = None) -> Batch:
        """Draw the batch of one step.

        Args:
            epoch: from 0.
            step: within the epoch, from 0.
            device: where its films are changed and where it lies; the CPU when left out. What is changed how is
                drawn on the CPU, so that it is the same on every device.
        """
        order, other_order = self._orders(epoch)
        generator = _generator(*self._seed, epoch, step + 1)
        own = order[step * self._count : (step + 1) * self._count]
        targets = self._own_targets(own)
        pixels = self._pixels[self._chosen[own]]
        if self._other is not None and self._other_pixels is not None:
            others = other_order[step * self._other_count : (step + 1) * self._other_count]
            unknown = torch.full((len(others), targets.shape[1] - self._other.targets.shape[1]), torch.nan)
            targets = torch.cat((targets, torch.cat((unknown, self._other.targets[others]), dim=1)))
            pixels = torch.cat((pixels, self._other_pixels[others]))
        if device is not None and device.type != "cpu":
            pixels, targets = _sent(pixels, device), _sent(targets, device)
        images = augment(pixels, self.size, self._phase.augmentation, generator)
        if self._phase.mixup:
            images, targets = self._mixed(images, targets, len(own), generator)
        return Batch(standardise(images, self._preprocessing), smoothed(targets, self._phase.label_smoothing))

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The phase's loss over the labels of every output that learns, plus what is learnt beside them."""
        return stage_loss(logits, targets, self._label_loss, self._outputs, self._further)

    def _mixed(self, images: Tensor, targets: Tensor, own: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Blend films of one source only: of a pair from two sources no target is known."""
        parts = [
            mix(images[part], targets[part], self._phase.mixup, generator)
            for part in (slice(0, own), slice(own, None))
            if len(images[part])
        ]
        return torch.cat([blended for blended, _ in parts]), torch.cat([known for _, known in parts])

    def _own_targets(self, own: Tensor) -> Tensor:
        if not self._joint:
            return self._targets[own]
        unknown = torch.full((len(own), self._joint.classes.columns), torch.nan)
        return torch.cat((self._targets[own], self._auxiliary[own], unknown), dim=1)

    def _orders(self, epoch: int) -> tuple[Tensor, Tensor]:
        if self._order is None or self._order[0] != epoch:
            generator = _generator(*self._seed, epoch, 0)
            order = torch.randperm(len(self._chosen), generator=generator)
            other = torch.empty(0, dtype=torch.int64)
            needed = len(self) * self._other_count
            while self._other is not None and len(other) < needed:
                other = torch.cat((other, torch.randperm(len(self._other), generator=generator)))
            self._order = (epoch, order, other)
        return self._order[1], self._order[2]


def _generator(*key: int) -> Generator:
    """A generator of its own for each key; SeedSequence keeps neighbouring keys unrelated."""
    seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(seed)


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on the GPU: from pinned memory, it goes over while the GPU is still at work on the batch before."""
    return tensor if tensor.is_cuda else tensor.pin_memory().to(device, non_blocking=True)
