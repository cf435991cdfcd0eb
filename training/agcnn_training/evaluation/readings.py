"""What a network says of films: its logits, where it looked, and how good one branch is while it trains."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from agcnn_models.agcnn import AGCNN, Reading
from agcnn_models.labels import LABELS
from agcnn_models.manifest import BranchName
from agcnn_models.settings import Preprocessing
from agcnn_training.compute import as_served, autocast
from agcnn_training.data.films import Films, evaluation_images
from agcnn_training.evaluation.metrics import Score, score_branch
from agcnn_training.evaluation.predictions import Predictions
from agcnn_training.recipe import Precision
from agcnn_training.stages import Read


@dataclass(frozen=True)
class Evaluator:
    """Judges on some of the films.

    Attributes:
        films: all films.
        chosen: indices of those that are judged on.
        preprocessing: the network's.
        batch: films read at once.
        device: where the network is.
        not_assessed: labels that are not judged, since the network never learnt them.
    """

    films: Films
    chosen: NDArray[np.int64]
    preprocessing: Preprocessing
    batch: int
    device: torch.device
    not_assessed: tuple[str, ...] = ()

    @property
    def truth(self) -> NDArray[np.float32]:
        """Which labels the chosen films bear: [N, 15] in {0, 1}, NaN where that is unknown or is not judged."""
        truth = np.array(self.films.targets[torch.from_numpy(self.chosen)].numpy(), dtype=np.float32)
        truth[:, [LABELS.index(label) for label in self.not_assessed]] = np.nan
        return truth

    @property
    def patients(self) -> tuple[str, ...]:
        """The patient of each chosen film."""
        return tuple(self.films.patients[index] for index in self.chosen)

    def score(self, read: Read, trainee: nn.Module, size: int, precision: Precision) -> Score:
        """Judge a stage's trainee on images of a size, at the precision it trains in."""
        trainee.eval()
        with torch.no_grad(), autocast(self.device, precision):
            logits = [read(trainee, images)[:, : len(LABELS)] for images in self._images(size)]
        return score_branch(self.truth, torch.cat(logits).float().cpu().numpy())

    def predict(
        self,
        network: nn.Module,
        images: Sequence[str],
        *,
        precision: Precision = Precision.FLOAT32,
        flip: bool = False,
    ) -> Predictions:
        """Read the chosen films exactly as they would be served.

        Args:
            network: an ``AGCNN``, or any module that gives logits [B, 15] of images [B, 3, S, S].
            images: the names of all films, in the order of ``films``.
            precision: of the forward pass.
            flip: whether each film is read once more, mirrored, and the logits of both are averaged. The attended
                region and the heat map stay those of the film as it is.
        """
        network.eval()
        with torch.no_grad(), as_served(), autocast(self.device, precision):
            parts = [_read(network, batch, flip=flip) for batch in self._images(self.preprocessing.crop)]
        names = (BranchName.GLOBAL, BranchName.LOCAL, BranchName.FUSION)[: len(parts[0].logits)]
        logits = {name: torch.cat([part.logits[row] for part in parts]) for row, name in enumerate(names)}
        boxes = [part.boxes for part in parts if part.boxes is not None]
        heat = [part.heat for part in parts if part.heat is not None]
        return Predictions(
            images=tuple(images[index] for index in self.chosen),
            patients=self.patients,
            truth=self.truth,
            logits={name: np.asarray(values.cpu().numpy(), dtype=np.float32) for name, values in logits.items()},
            boxes=np.asarray(torch.cat(boxes).cpu().numpy(), dtype=np.int64) if boxes else None,
            heat_maps=np.asarray(torch.cat(heat).cpu().numpy(), dtype=np.float16) if heat else None,
            size=self.preprocessing.crop,
        )

    def _images(self, size: int) -> Iterator[Tensor]:
        for part in torch.split(torch.from_numpy(self.chosen), self.batch):
            yield evaluation_images(self.films.pixels[part], self.preprocessing, size).to(self.device)


@dataclass(frozen=True)
class _Batch:
    """One batch, read: logits [B, 15] of each branch, boxes int64 [B, 4] and heat [B, h, w] of an AG-CNN."""

    logits: tuple[Tensor, ...]
    boxes: Tensor | None
    heat: Tensor | None


def _read(network: nn.Module, images: Tensor, *, flip: bool) -> _Batch:
    reading = network(images)
    logits = _logits(reading)
    if flip:
        mirrored = _logits(network(images.flip(-1)))
        logits = tuple((one + other) / 2 for one, other in zip(logits, mirrored, strict=True))
    if not isinstance(network, AGCNN):
        return _Batch(logits, None, None)
    return _Batch(logits, reading.boxes, reading.heat_map.half())


def _logits(reading: Reading | Tensor) -> tuple[Tensor, ...]:
    if isinstance(reading, Tensor):
        return (reading.float(),)
    return (reading.global_logits.float(), reading.local_logits.float(), reading.fusion_logits.float())
