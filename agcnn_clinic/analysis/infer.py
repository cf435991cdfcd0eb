"""Pictures to readings: the one place of the clinic where the network runs."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agcnn_clinic.analysis.seen import NetworkFilm
from agcnn_clinic.errors import ModelUnavailableError
from agcnn_models.agcnn import AGCNN, Diagnosis
from agcnn_models.bundle import Bundle, open_bundle
from agcnn_models.cores import usable_cores
from agcnn_models.errors import ModelError
from agcnn_models.gpu import why_no_kernels
from agcnn_models.labels import LABELS
from agcnn_models.manifest import Manifest
from agcnn_models.precision import FLOAT32, NumberFormats, Precision, compute_float32_as_such, number_formats
from agcnn_models.preprocessing import SourceBox, box_to_source, standardise
from agcnn_models.replay import Replay
from agcnn_models.serving import read_within_memory, serve
from agcnn_models.shards import Shards

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelReading:
    """What the three branches and the calibration say of one label."""

    label: str
    probability: float
    probability_global: float
    probability_local: float
    probability_fusion: float
    threshold: float | None

    @property
    def positive(self) -> bool | None:
        """Whether the calibrated probability reaches the threshold; None without one."""
        return None if self.threshold is None else self.probability >= self.threshold


@dataclass(frozen=True, eq=False)
class Reading:
    """One model's reading of one picture."""

    labels: tuple[LabelReading, ...]
    """Of each label that the model assesses; what its outputs say of others was never learnt, and goes no further."""
    heat_map: NDArray[np.float16]
    """[h, w] in [0, 1]: Eq. 3 on its native grid, rescaled."""
    region: SourceBox
    """The attended region by its edges, in pixels of the picture."""


class Reader:
    """A model, loaded once, that reads batches of pictures in its served form.

    Attributes:
        device: where the network runs.
        computed_on: what an inference records of that: "cpu", or "cuda mixed" where not all was in float32.
    """

    def __init__(
        self,
        bundle: Bundle,
        model: AGCNN,
        device: torch.device,
        formats: NumberFormats = FLOAT32,
        threads: int = 1,
    ) -> None:
        self.manifest: Manifest = bundle.manifest
        self.device = device
        self.computed_on = str(device) if formats == FLOAT32 else f"{device} {formats.precision}"
        self._bundle = bundle
        self._read = Replay(serve(model, formats)).read
        self._shards = Shards(threads) if device.type == "cpu" else None

    def read_films(self, films: Sequence[NetworkFilm]) -> list[Reading]:
        """Read what `network_film` made for this model's preprocessing as one batch; the order is kept.

        Raises:
            ModelUnavailableError: the network gives no numbers: finite weights may be so large that it overflows.
        """
        grey = torch.from_numpy(np.stack([film.grey for film in films]))[:, None]  # [B, 1, crop, crop]
        diagnosis = self._diagnosed(grey) if self._shards is None else self._shards.read(self._diagnosed, grey)
        calibrated = self._bundle.calibrate(diagnosis.fusion_logits.cpu().numpy())
        by_global = diagnosis.global_probabilities.cpu().numpy()
        by_local = diagnosis.local_probabilities.cpu().numpy()
        by_fusion = diagnosis.fusion_probabilities.cpu().numpy()
        heat_maps = diagnosis.heat_map.cpu().numpy().astype(np.float16)
        boxes = diagnosis.boxes.cpu().tolist()
        assessed = [(LABELS.index(label), label) for label in self.manifest.assessed]
        columns = [column for column, _ in assessed]
        if not all(np.isfinite(told[:, columns]).all() for told in (calibrated, by_global, by_local, by_fusion)):
            raise ModelUnavailableError(
                f"{self.manifest.name} {self.manifest.version} gives no number for a film: its weights are of no use; "
                "choose another model with `agcnn-clinic models use`."
            )
        readings = []
        for row, film in enumerate(films):
            labels = tuple(
                LabelReading(
                    label,
                    probability=float(calibrated[row, column]),
                    probability_global=float(by_global[row, column]),
                    probability_local=float(by_local[row, column]),
                    probability_fusion=float(by_fusion[row, column]),
                    threshold=self._bundle.thresholds.get(label),
                )
                for column, label in assessed
            )
            readings.append(
                Reading(
                    labels,
                    heat_maps[row],
                    box_to_source(tuple(boxes[row]), self.manifest.preprocessing, film.height, film.width),
                )
            )
        return readings

    def _diagnosed(self, grey: Tensor) -> Diagnosis:
        if self.device.type == "cuda":
            # Before it is standardised: that makes three channels of the one.
            grey = grey.pin_memory().to(self.device, non_blocking=True)
        return read_within_memory(self._read, standardise(grey, self.manifest.preprocessing))


def load_reader(folder: Path, *, device: str, threads: int, precision: str = "auto") -> Reader:
    """Open a bundle, verify it and put its network on a device.

    Args:
        folder: the bundle.
        device: "auto" (the GPU when there is one), "cpu", "cuda", "cuda:1".
        threads: CPU threads that share a batch; 0 for one a core. With a GPU they are not used.
        precision: one of `agcnn_models.precision.Precision`.

    Raises:
        ModelUnavailableError: the bundle is missing, wrong or tampered with, or there is no such device.
    """
    threads = threads or usable_cores()
    target = _device(device)
    # A model is made of thousands of small tensors, and threads that meet after each of them wait for a core where
    # others are busy. Who shares a batch says how many of them do; beside a GPU the host only prepares.
    torch.set_num_threads(1)
    compute_float32_as_such()
    try:
        bundle = open_bundle(folder)
        if target.type == "cuda" and (why := why_no_kernels(target)):
            log.warning("the GPU reads more slowly than it could: our kernels cannot be compiled for it (%s)", why)
        return Reader(bundle, bundle.load_model(target), target, number_formats(Precision(precision), target), threads)
    except ModelError as error:
        raise ModelUnavailableError(
            f"{error}. Copy the bundle there anew, or read with another one: agcnn-clinic models use MODEL."
        ) from error


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ModelUnavailableError(
            f"analysis.device is {name!r}, which this machine does not have; set it to auto or cpu."
        ) from error
    return device
