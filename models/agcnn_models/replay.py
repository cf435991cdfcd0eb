"""A reading on a GPU, recorded once for each shape of batch and replayed: a CUDA graph.

A network is some hundred operations, and the host needs 10 to 30 microseconds to launch each: for small batches, and
for a DenseNet always, longer than the GPU needs to compute it. A graph is launched as one.
"""

from collections import OrderedDict
from typing import Any, NamedTuple

import torch
from torch import Tensor

from agcnn_models.agcnn import AGCNN, Diagnosis
from agcnn_models.gpu import kernels_on
from agcnn_models.settings import Region, Threshold

__all__ = ["Replay"]


class _Recording(NamedTuple):
    graph: torch.cuda.CUDAGraph
    images: Tensor
    """What the graph reads: to be filled before each replay."""
    diagnosis: Diagnosis
    """What it writes: to be copied after each replay."""


class Replay:
    """Reads as its model does: a shape that comes for the first time as usual, from the second time on by replay.

    For one thread at a time. Where a graph cannot be recorded (on a CPU; without `agcnn_models.kernels`, since the
    regions are then found on the host; with a control in the attended region's place, or a quantile for a threshold),
    it only passes on.
    """

    def __init__(self, model: AGCNN, most: int = 8) -> None:
        """Take a served model, in eval mode.

        Args:
            model: stays on its device.
            most: shapes that are kept; of more, those that came last.
        """
        self._model, self._most = model, most
        self._recordings: OrderedDict[torch.Size, _Recording] = OrderedDict()
        self._seen: set[torch.Size] = set()
        self._pool: Any = None  # torch has no public name for what it is

    def read(self, images: Tensor) -> Diagnosis:
        """Diagnose preprocessed images [B, 3, D S, D S] of float32; see `AGCNN.read`.

        Raises torch.OutOfMemoryError; recordings are then gone, and their memory is free.
        """
        shape = images.shape
        if shape not in self._seen or not self._can_record(images):
            self._seen.add(shape)
            return self._model.read(images)
        try:
            return self._replayed(images)
        except torch.OutOfMemoryError:
            self._recordings.clear()
            self._seen.clear()
            self._pool = None
            raise

    @torch.inference_mode()
    def _replayed(self, images: Tensor) -> Diagnosis:
        with torch.cuda.device(images.device):
            recording = self._recordings.pop(images.shape, None) or self._record(images)
            self._recordings[images.shape] = recording
            recording.images.copy_(images)
            recording.graph.replay()
            return Diagnosis(*(part.clone() for part in recording.diagnosis))

    def _record(self, images: Tensor) -> _Recording:
        if len(self._recordings) >= self._most:
            self._recordings.popitem(last=False)
        graph, held = torch.cuda.CUDAGraph(), images.clone()
        # All compute in the same memory: one is replayed at a time, and what it gave is copied before the next. Other
        # threads may use the GPU while this one records.
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            diagnosis = self._model.read(held)
        return _Recording(graph, held, diagnosis)

    def _can_record(self, images: Tensor) -> bool:
        settings = self._model.settings
        usual = settings.region is Region.ATTENDED and settings.threshold is Threshold.VALUE
        return usual and images.dtype is torch.float32 and kernels_on(images.device) is not None
