"""The networks that Table I of the paper compares AG-CNN with, as far as they are more than a plain backbone."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Final

from torch import Tensor

from agcnn_models.backbones import Branch
from agcnn_models.settings import Architecture, Backbone, Pooling


class ReferenceNetwork(Branch, ABC):
    """A network with one output, which is trained and judged as AG-CNN's global branch is."""

    @property
    @abstractmethod
    def encoders(self) -> tuple[Branch, ...]:
        """Its backbones, which initial weights fill."""

    training_outputs: int = 1
    """How many sets of 15 logits it learns from."""

    def training_logits(self, pooled: Tensor) -> Tensor:
        """Return all that it learns from, what `classify` says last: [B, K] -> [B, training_outputs x 15]."""
        return self.classify(pooled)


REFERENCES: Final[Mapping[Architecture, Callable[[Backbone, Pooling], ReferenceNetwork]]] = {}
"""Makes each with random weights."""
