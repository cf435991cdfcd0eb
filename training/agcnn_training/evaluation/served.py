"""What a network says of films as the clinic would serve them: its logits, and where it looked."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from agcnn_models.agcnn import AGCNN, Reading
from agcnn_models.manifest import BranchName
from agcnn_models.preprocessing import standardise
from agcnn_models.serving import serve
from agcnn_models.settings import Preprocessing
from agcnn_training.compute import as_served, autocast, shared
from agcnn_training.data.films import label_targets
from agcnn_training.data.pictures import Loading
from agcnn_training.data.squares import AHEAD, exact, read_each, unreadable
from agcnn_training.data.table import Row
from agcnn_training.errors import TrainingStopped
from agcnn_training.evaluation.metrics import judged_truth
from agcnn_training.evaluation.predictions import Predictions
from agcnn_training.recipe import Precision


@dataclass(frozen=True)
class ServedReader:
    """Reads films from their files and puts them before a network, as the clinic does.

    The squares are not those that training holds: rounding them to eight bits moved the starter's attended region on
    83 of 200 films, and 15 of its 3,000 decisions.

    Attributes:
        preprocessing: the network's.
        batch: films that the network reads at once.
        device: where the network is.
        loading: how files are read.
        precision: of the forward pass.
        flip: whether each film is read once more, mirrored, and the logits of both are averaged. The attended region
            and the heat map stay those of the film as it is.
        not_assessed: labels that are not judged, since the network never learnt them.
    """

    preprocessing: Preprocessing
    batch: int
    device: torch.device
    loading: Loading
    precision: Precision = Precision.FLOAT32
    flip: bool = False
    not_assessed: tuple[str, ...] = ()

    def predict(self, network: nn.Module, rows: Sequence[Row], paths: Sequence[Path]) -> Predictions:
        """Read films; what is in memory of them at once does not grow with their number.

        Args:
            network: an ``AGCNN``, or any module that gives logits [B, 15] of images [B, 3, S, S].
            rows: what is known of each film.
            paths: the file of each.

        Raises:
            TrainingError: images are missing or cannot be read.
            TrainingStopped: someone asked to stop.
        """
        network.eval()
        with as_served(), shared(self.device) as shards:
            read = partial(self._read, self._served(network))
            parts = [part for images in self._batches(paths) for part in shards.each(read, images.to(self.device))]
        names = (BranchName.GLOBAL, BranchName.LOCAL, BranchName.FUSION)[: len(parts[0].logits)]
        boxes = [part.boxes for part in parts if part.boxes is not None]
        heat = [part.heat for part in parts if part.heat is not None]
        return Predictions(
            images=tuple(row.image for row in rows),
            patients=tuple(row.patient for row in rows),
            truth=judged_truth(label_targets(rows), self.not_assessed),
            logits={name: np.concatenate([part.logits[place] for part in parts]) for place, name in enumerate(names)},
            boxes=np.concatenate(boxes) if boxes else None,
            heat_maps=np.concatenate(heat) if heat else None,
            size=self.preprocessing.crop,
        )

    def _served(self, network: nn.Module) -> nn.Module:
        """The network in the form in which the clinic runs it: the same readings, up to rounding, in less time."""
        # A GPU has read films long before the next ones are there.
        if self.device.type == "cpu" and self.precision is Precision.FLOAT32 and isinstance(network, AGCNN):
            return serve(network)
        return network

    def _read(self, network: nn.Module, images: Tensor) -> "_Batch":
        with torch.no_grad(), autocast(self.device, self.precision):
            reading = network(images)
            logits = _logits(reading)
            if self.flip:
                mirrored = _logits(network(images.flip(-1)))
                logits = tuple((one + other) / 2 for one, other in zip(logits, mirrored, strict=True))
        said = tuple(np.asarray(one.cpu().numpy(), dtype=np.float32) for one in logits)
        if not isinstance(network, AGCNN):
            return _Batch(said, None, None)
        boxes = np.asarray(reading.boxes.cpu().numpy(), dtype=np.int64)
        return _Batch(said, boxes, np.asarray(reading.heat_map.half().cpu().numpy(), dtype=np.float16))

    def _batches(self, paths: Sequence[Path]) -> Iterator[Tensor]:
        """The films as the network takes them: float32 [B, 3, D S, D S], as ``to_model_input`` gives them."""
        squares: list[NDArray[np.float32]] = []
        failures: list[str] = []
        with closing(read_each(paths, exact, self.preprocessing, self.loading)) as outcomes:
            for index, outcome in enumerate(outcomes):
                if self.loading.stop.made:
                    raise TrainingStopped("Stopped while the network was measured: --resume measures it anew.")
                if index % AHEAD == 0:
                    last = min(index + AHEAD, len(paths))
                    self.loading.journal.say(f"Measuring on films {index + 1} to {last} of {len(paths)}.")
                if isinstance(outcome, str):
                    failures.append(outcome)
                elif not failures:  # after one nothing comes of it: the rest is only looked at for others
                    squares.append(outcome)
                if len(squares) == self.batch:
                    yield self._standardised(squares)
                    squares = []
        if failures:
            raise unreadable(failures, len(paths))
        if squares:
            yield self._standardised(squares)

    def _standardised(self, squares: Sequence[NDArray[np.float32]]) -> Tensor:
        return standardise(torch.from_numpy(np.stack(squares))[:, None], self.preprocessing)


@dataclass(frozen=True)
class _Batch:
    """A share of a batch, read.

    Attributes:
        logits: float32 [b, 15] of each branch.
        boxes, heat: int64 [b, 4] and float16 [b, h, w] of an AG-CNN.
    """

    logits: tuple[NDArray[np.float32], ...]
    boxes: NDArray[np.int64] | None
    heat: NDArray[np.float16] | None


def _logits(reading: Reading | Tensor) -> tuple[Tensor, ...]:
    if isinstance(reading, Tensor):
        return (reading.float(),)
    return (reading.global_logits.float(), reading.local_logits.float(), reading.fusion_logits.float())
