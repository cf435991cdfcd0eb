"""How good a branch is while it trains: judged on the validation films as training holds them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from agcnn_models.settings import Preprocessing
from agcnn_training.compute import autocast, shared
from agcnn_training.data.films import Films, evaluation_images
from agcnn_training.evaluation.metrics import Score, judged_truth, score_branch
from agcnn_training.recipe import Precision


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
        return judged_truth(self.films.targets[torch.from_numpy(self.chosen)], self.not_assessed)

    def score(self, trainee: nn.Module, columns: slice, size: int, precision: Precision) -> Score:
        """Judge 15 columns of what a trainee says of images of a size, at the precision it trains in."""
        trainee.eval()

        def read(images: Tensor) -> Tensor:
            with torch.no_grad(), autocast(self.device, precision):
                logits: Tensor = trainee(images)[:, columns]
            return logits

        with shared(self.device) as shards:
            logits = [share for images in self._images(size) for share in shards.each(read, images)]
        return score_branch(self.truth, torch.cat(logits).float().cpu().numpy())

    def _images(self, size: int) -> Iterator[Tensor]:
        for part in torch.split(torch.from_numpy(self.chosen), self.batch):
            yield evaluation_images(self.films.pixels[part], self.preprocessing, size).to(self.device)
