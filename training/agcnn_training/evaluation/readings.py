"""What a network says of films, and how good that is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from agcnn_models.agcnn import AGCNN
from agcnn_models.labels import LABELS
from agcnn_models.manifest import BranchName
from agcnn_models.settings import Preprocessing
from agcnn_training.data.films import Films, evaluation_images
from agcnn_training.evaluation.metrics import Interval, Score, patient_bootstrap, score_branch
from agcnn_training.loop import autocast
from agcnn_training.recipe import Precision
from agcnn_training.stages import Read


@dataclass(frozen=True)
class Evaluator:
    """Judges on the validation films.

    Attributes:
        films: all films.
        chosen: indices of the validation films.
        preprocessing: the network's.
        batch: films read at once.
        device: where the network is.
    """

    films: Films
    chosen: NDArray[np.int64]
    preprocessing: Preprocessing
    batch: int
    device: torch.device

    @property
    def truth(self) -> NDArray[np.bool_]:
        """Which labels the validation films bear: [N, 15]."""
        return np.asarray(self.films.targets[torch.from_numpy(self.chosen)].numpy() > 0.5)

    @property
    def patients(self) -> tuple[str, ...]:
        """The patient of each validation film."""
        return tuple(self.films.patients[index] for index in self.chosen)

    def score(self, read: Read, trainee: nn.Module, size: int, precision: Precision) -> Score:
        """Judge a stage's trainee on images of a size, at the precision it trains in."""
        trainee.eval()
        with torch.no_grad(), autocast(self.device, precision):
            logits = [read(trainee, images)[:, : len(LABELS)] for images in self._images(size)]
        return score_branch(self.truth, torch.cat(logits).float().cpu().numpy())

    @torch.no_grad()
    def branch_logits(self, network: nn.Module) -> dict[BranchName, NDArray[np.float32]]:
        """What each branch of a network says, exactly as it would be served: [N, 15] each."""
        network.eval()
        readings = [network(images) for images in self._images(self.preprocessing.crop)]
        if not isinstance(network, AGCNN):
            return {BranchName.GLOBAL: _joined(readings)}
        return {
            BranchName.GLOBAL: _joined([reading.global_logits for reading in readings]),
            BranchName.LOCAL: _joined([reading.local_logits for reading in readings]),
            BranchName.FUSION: _joined([reading.fusion_logits for reading in readings]),
        }

    def _images(self, size: int) -> Iterator[Tensor]:
        for part in torch.split(torch.from_numpy(self.chosen), self.batch):
            yield evaluation_images(self.films.pixels[part], self.preprocessing, size).to(self.device)


@dataclass(frozen=True)
class BranchResult:
    """One branch's areas and the interval of their mean."""

    score: Score
    interval: Interval


def judge_branches(
    truth: NDArray[np.bool_],
    logits: Mapping[BranchName, NDArray[np.float32]],
    patients: Sequence[str],
    seed: int,
) -> dict[BranchName, BranchResult]:
    """Score each branch, with a patient-wise bootstrap interval of its mean area."""
    return {
        name: BranchResult(score_branch(truth, values), patient_bootstrap(truth, values, patients, seed=seed))
        for name, values in logits.items()
    }


def _joined(parts: Sequence[Tensor]) -> NDArray[np.float32]:
    return torch.cat(list(parts)).float().cpu().numpy()
