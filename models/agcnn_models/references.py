"""The other rows of Table I: the networks that the paper compares itself with, each after its own publication.

    wang-2017   Wang et al., "ChestX-ray8", arXiv:1705.02315       encoder, transition layer, LSE pooling, classifier
    yao-2017    Yao et al., "Learning to diagnose from scratch by exploiting dependencies among labels",
                arXiv:1710.10501                                   encoder, then an LSTM over the labels
    kumar-2017  Kumar et al., "Boosted cascaded convnets", arXiv:1711.08760
                                                                   levels, each of which sees what the earlier said

CheXNet (Rajpurkar et al., arXiv:1711.05225) needs no class: it is a DenseNet-121 branch with average pooling.

All are branches as AG-CNN's own are: feature map, pool, classify; images [B, 3, S, S] -> logits [B, 15]. What a
publication does not say, or what is done otherwise here, stands in a `Deviation:` line.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agcnn_models.backbones import Branch, build_branch
from agcnn_models.labels import LABELS
from agcnn_models.settings import Architecture, Backbone, Pooling

LSTM_STATE = 256
"""Width of the decoder's state."""

CASCADE_LEVELS = 2
"""Levels of the cascade."""


class ReferenceNetwork(Branch, ABC):
    """A network with one output, which is trained and judged as AG-CNN's global branch is."""

    training_outputs: int = 1
    """How many sets of labels it says while it learns, each with a loss of its own."""

    @property
    @abstractmethod
    def encoders(self) -> tuple[Branch, ...]:
        """Its backbones, which initial weights fill."""

    def training_logits(self, pooled: Tensor) -> Tensor:
        """What it learns from: [B, K] -> [B, training_outputs x 15], of which the last set is what it says in use."""
        return self.classify(pooled)


class _OneEncoder(ReferenceNetwork):
    """What the networks with one backbone share: its feature map, its pooling."""

    classifier_name = "classifier"
    classifier: nn.Linear

    def __init__(self, encoder: Branch) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling = encoder.pooling
        self.feature_channels = encoder.feature_channels
        _drop_classifier(encoder)

    @property
    def encoders(self) -> tuple[Branch, ...]:
        """The one backbone."""
        return (self.encoder,)

    def feature_map(self, x: Tensor) -> Tensor:
        """The encoder's: [B, 3, S, S] -> [B, K, s, s], never negative."""
        return self.encoder.feature_map(x)


class TransitionBranch(_OneEncoder):
    """Wang et al. 2017: an ImageNet network without its head, a transition layer, pooling, a linear classifier.

    The transition layer brings every backbone to S x S x D, with D = 2048 for ResNet-50, and is learnt from scratch
    together with the classifier. The publication pools by LSE with r = 10 and weighs the two classes of the loss
    by their numbers in the batch (W-CEL); those are the recipe's `pooling` and `loss`.

    Deviation: the kind of the transition layer is not printed; a 1 x 1 convolution keeps S and D. It ends in a
    ReLU, so that the feature map is never negative, as Eq. 3 wants it here.
    Deviation: the publication reads films of 1024 x 1024 pixels, so S = 32; here the recipe's `images` decide.
    """

    def __init__(self, encoder: Branch) -> None:
        super().__init__(encoder)
        channels = encoder.feature_channels
        self.transition = nn.Conv2d(channels, channels, kernel_size=1)
        self.classifier = nn.Linear(channels, len(LABELS))

    def feature_map(self, x: Tensor) -> Tensor:
        """The transition layer's output: [B, 3, S, S] -> [B, D, s, s], never negative."""
        return F.relu(self.transition(super().feature_map(x)))

    def classify(self, pooled: Tensor) -> Tensor:
        """[B, D] -> [B, 15]."""
        logits: Tensor = self.classifier(pooled)
        return logits


class LabelChainBranch(_OneEncoder):
    """Yao et al. 2017: p(y | x) = prod_t p(y_t | y_1..y_{t-1}, x), by an LSTM that walks along the labels.

    The encoder's Pool5 gives the LSTM its first state, through one hidden layer each for h and c, and is its input
    at every step beside the label before. Step t ends in the sigmoid of label t. The encoder is learnt from
    scratch.

    Deviation: Guan et al. say that the numbers they quote are those of Yao's variant with independent labels; this is
    the one with the LSTM, for which the publication was written.
    Deviation: the encoder is the recipe's backbone, not the publication's own smaller DenseNet.
    Deviation: the labels come in the order of LABELS; "No Finding", which the publication leaves to the absence of
    all others, comes last. Each label has output weights of its own.
    Deviation: the publication learns with the true labels before each label, and reads with its own decisions on them.
    Here each step is told the probability before it, in both: next to no finding ever reaches 0.5, so that decisions
    would tell the next step nothing.
    """

    def __init__(self, encoder: Branch) -> None:
        super().__init__(encoder)
        channels, labels = encoder.feature_channels, len(LABELS)
        self.first_hidden, self.first_cell = (
            nn.Sequential(nn.Linear(channels, LSTM_STATE), nn.Tanh(), nn.Linear(LSTM_STATE, LSTM_STATE), nn.Tanh())
            for _ in range(2)
        )
        self.lstm = nn.LSTMCell(channels + labels, LSTM_STATE)
        self.classifier = nn.Linear(LSTM_STATE, labels)

    def classify(self, pooled: Tensor) -> Tensor:
        """Each label after those before it: [B, K] -> [B, 15], logits of p(y_t | y_1..y_{t-1}, x)."""
        hidden, cell = self.first_hidden(pooled), self.first_cell(pooled)  # [B, H] each
        said = pooled.new_zeros(len(pooled), len(LABELS))  # which label was last, and what: -1 absent to 1 present
        steps = torch.eye(len(LABELS), device=pooled.device, dtype=pooled.dtype)
        logits = []
        for step, weight, bias in zip(steps, self.classifier.weight, self.classifier.bias, strict=True):
            hidden, cell = self.lstm(torch.cat((pooled, said), dim=1), (hidden, cell))
            logits.append(hidden @ weight + bias)  # [B]
            said = torch.outer(2 * logits[-1].sigmoid() - 1, step)  # [B, 15]
        return torch.stack(logits, dim=1)


class CascadeBranch(ReferenceNetwork):
    """Kumar et al. 2017: a cascade of networks, each told what the ones before it said of the film.

    Level k is a network of its own; its classifier sees its Pool5 and the probabilities of levels 1..k-1. The last
    level's word is the cascade's.

    Deviation: the publication trains level after level and boosts with the errors of the one before. Here all levels
    learn at once, each from its own loss (`training_logits`): what a later level is told carries no gradient, so an
    earlier one learns exactly as it would alone, and a later one sees its teacher improve.
    Deviation: the number of levels is not fixed there; two show the effect that is claimed.
    """

    def __init__(self, levels: tuple[Branch, ...]) -> None:
        super().__init__()
        channels, labels = levels[0].feature_channels, len(LABELS)
        self.levels = nn.ModuleList(levels)
        self.training_outputs = len(levels)
        self.pooling = levels[0].pooling
        self.feature_channels = channels * len(levels)
        self.classifiers = nn.ModuleList(nn.Linear(channels + labels * level, labels) for level in range(len(levels)))
        self.classifier_name = f"classifiers.{len(levels) - 1}"
        for level in levels:
            _drop_classifier(level)

    @property
    def encoders(self) -> tuple[Branch, ...]:
        """The levels' backbones."""
        return tuple(level for level in self.levels if isinstance(level, Branch))

    def feature_map(self, x: Tensor) -> Tensor:
        """All levels' feature maps, channel after channel: [B, 3, S, S] -> [B, levels K, s, s]."""
        return torch.cat([level.feature_map(x) for level in self.encoders], dim=1)

    def pool(self, features: Tensor) -> Tensor:
        """[B, levels K, s, s] -> [B, levels K]."""
        return self.encoders[0].pool(features)

    def classify(self, pooled: Tensor) -> Tensor:
        """The last level's word: [B, levels K] -> [B, 15]."""
        return self.training_logits(pooled)[:, -len(LABELS) :]

    def training_logits(self, pooled: Tensor) -> Tensor:
        """What each level says, the last one last: [B, levels K] -> [B, levels x 15]."""
        said: list[Tensor] = []
        for part, classifier in zip(pooled.chunk(len(self.levels), dim=1), self.classifiers, strict=True):
            told = [logits.detach().sigmoid() for logits in said]
            said.append(classifier(torch.cat((part, *told), dim=1)))
        return torch.cat(said, dim=1)


def build_reference(architecture: Architecture, backbone: Backbone, pooling: Pooling) -> ReferenceNetwork:
    """Make one of the other rows of Table I, with random weights.

    Raises:
        ValueError: AGCNN is not one of them (see ``build_agcnn``).
    """
    if architecture not in REFERENCES:
        raise ValueError(f"{architecture} is the paper's own network, not a reference: use build_agcnn")
    return REFERENCES[architecture](backbone, pooling)


def _drop_classifier(encoder: Branch) -> None:
    """Take away the part of torchvision's network that the reference replaces, so that no weight lies idle."""
    setattr(encoder, encoder.classifier_name, nn.Identity())


REFERENCES: Final[Mapping[Architecture, Callable[[Backbone, Pooling], ReferenceNetwork]]] = {
    Architecture.WANG_2017: lambda backbone, pooling: TransitionBranch(build_branch(backbone, pooling=pooling)),
    Architecture.YAO_2017: lambda backbone, pooling: LabelChainBranch(build_branch(backbone, pooling=pooling)),
    Architecture.KUMAR_2017: lambda backbone, pooling: CascadeBranch(
        tuple(build_branch(backbone, pooling=pooling) for _ in range(CASCADE_LEVELS))
    ),
}
"""Makes each with random weights."""
