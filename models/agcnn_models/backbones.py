"""The global and the local branch: torchvision's networks with a Pool5 of the paper's choice (Fig. 2)."""

import contextlib
import math
import urllib.error
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torchvision.models import DenseNet, DenseNet121_Weights, ResNet, ResNet50_Weights, WeightsEnum
from torchvision.models.resnet import Bottleneck

from agcnn_models.errors import ModelError
from agcnn_models.foreign import modern_densenet_key, read_tensors, require_finite, require_fit
from agcnn_models.labels import LABELS
from agcnn_models.settings import Backbone, Pooling

__all__ = [
    "DENSENET121_LAYERS",
    "Branch",
    "build_branch",
    "classifier_name",
    "load_imagenet",
    "load_trained",
    "published_by_torchvision",
    "without_classifier",
    "without_weights",
]

DENSENET121_LAYERS = (6, 12, 24, 16)
"""Of each dense block (Huang et al. 2017, Table 1)."""
_BRANCHES = ("global_branch.", "local_branch.")
LSE_SHARPNESS = 10.0
"""r of log-sum-exp pooling, the value of Wang et al. (2017)."""


class Branch(nn.Module, ABC):
    """A classification network in three steps: feature map, Pool5, classifier.

    The steps are apart because AG-CNN needs what lies between them: the heat map comes from the feature
    map (Eq. 3) and the fusion branch reads Pool5. Keys of the state dict are exactly torchvision's.
    """

    pooling: Pooling
    feature_channels: int
    """K: the channels of the feature map."""
    classifier_name: str
    """Which part of the state dict is the classifier."""
    imagenet: type[WeightsEnum]
    """What torchvision publishes for it; only its own networks have such weights."""

    @abstractmethod
    def feature_map(self, x: Tensor) -> Tensor:
        """Return the last feature map, after its ReLU: [B, 3, H, W] -> [B, K, h, w], never negative.

        Deviation: Eq. 3 speaks of "the output of the last convolutional layer", whose sign it removes by
        taking absolute values. After the ReLU, what the network itself discards does not attract attention.
        """

    @abstractmethod
    def classify(self, pooled: Tensor) -> Tensor:
        """Return one logit a class: [B, K] -> [B, classes]."""

    def pool(self, features: Tensor) -> Tensor:
        """Return Pool5, one value a channel: [B, K, h, w] -> [B, K]."""
        match self.pooling:
            case Pooling.MAX:
                return features.amax(dim=(2, 3))
            case Pooling.AVG:
                return features.mean(dim=(2, 3))
            case Pooling.LSE:
                return log_mean_exp(features, LSE_SHARPNESS)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits: [B, 3, H, W] -> [B, classes]."""
        return self.classify(self.pool(self.feature_map(x)))


def log_mean_exp(features: Tensor, sharpness: float) -> Tensor:
    """Return 1/r log(mean(exp(r f))) over the positions: [B, K, h, w] -> [B, K] (Wang et al. 2017)."""
    flat = features.float().flatten(2)  # [B, K, h w]; float32, since exp of a half overflows at 11
    return (torch.logsumexp(sharpness * flat, dim=2) - math.log(flat.shape[2])) / sharpness


class _ResNet50Branch(Branch, ResNet):  # type: ignore[misc]  # torchvision ships no types
    conv1: nn.Module
    bn1: nn.Module
    relu: nn.Module
    maxpool: nn.Module
    layer1: nn.Module
    layer2: nn.Module
    layer3: nn.Module
    layer4: nn.Module
    fc: nn.Linear
    feature_channels = 2048
    classifier_name = "fc"
    imagenet = ResNet50_Weights

    def __init__(self, classes: int, pooling: Pooling) -> None:
        super().__init__(Bottleneck, [3, 4, 6, 3], num_classes=classes)
        self.pooling = pooling

    def feature_map(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))  # [B, 64, H/4, W/4]
        x = self.layer2(self.layer1(x))  # [B, 512, H/8, W/8]
        features: Tensor = self.layer4(self.layer3(x))  # [B, 2048, H/32, W/32], its last step is a ReLU
        return features

    def classify(self, pooled: Tensor) -> Tensor:
        logits: Tensor = self.fc(pooled)
        return logits


class _DenseNet121Branch(Branch, DenseNet):  # type: ignore[misc]  # torchvision ships no types
    features: nn.Module
    classifier: nn.Linear
    classifier_name = "classifier"
    imagenet = DenseNet121_Weights

    def __init__(self, classes: int, pooling: Pooling) -> None:
        super().__init__(block_config=DENSENET121_LAYERS, num_classes=classes)
        self.pooling = pooling
        self.feature_channels = self.classifier.in_features  # 1024

    def feature_map(self, x: Tensor) -> Tensor:
        normalised: Tensor = self.features(x)  # [B, 1024, H/32, W/32], norm5: may be negative
        # torchvision applies this ReLU in forward(), outside `features`; here instead, once.
        return F.relu(normalised, inplace=True)

    def classify(self, pooled: Tensor) -> Tensor:
        logits: Tensor = self.classifier(pooled)
        return logits


def build_branch(backbone: Backbone, *, classes: int = len(LABELS), pooling: Pooling = Pooling.MAX) -> Branch:
    """Make a branch with random weights.

    `classes` is the number of logits; both backbones halve the input five times, so that an input of
    224x224 has a feature map of 7x7.
    """
    return _network(backbone)(classes, pooling)


def classifier_name(backbone: Backbone) -> str:
    """Return which part of a backbone's state dict is the classifier."""
    return _network(backbone).classifier_name


def _network(backbone: Backbone) -> type[_ResNet50Branch | _DenseNet121Branch]:
    """The branch of a backbone: what is to be known of one stands in its class."""
    match backbone:
        case Backbone.RESNET50:
            return _ResNet50Branch
        case Backbone.DENSENET121:
            return _DenseNet121Branch


class _NothingDrawn(TorchFunctionMode):
    """Leaves the weights of new layers as they are."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return args[0] if func in (Tensor.normal_, Tensor.uniform_) else func(*args, **(kwargs or {}))


@contextlib.contextmanager
def without_weights() -> Iterator[None]:
    """Within this block networks are made of names and shapes alone, for weights that are there already.

    None are drawn: on tensors without memory torch does that in Python, and takes a quarter of a second for a network.
    """
    with torch.device("meta"), _NothingDrawn():
        yield


def load_imagenet(branch: Branch, path: Path | None) -> None:
    """Fill everything but the classifier with torchvision's ImageNet weights, in place.

    `path` is torchvision's file (.pth), a file that `agcnn_models.importing` made, or the same tensors as
    .safetensors; None downloads it. Raises ModelError when there is no network, when the file cannot be read, when
    its keys or shapes are not the branch's, and when a number in it is not finite.
    """
    weights = _download(branch) if path is None else read_tensors(path)
    source = "torchvision's ImageNet weights" if path is None else str(path)
    if any(key.startswith(_BRANCHES) for key in weights):
        raise ModelError(
            f"{source} is what a run of this program has trained, not a backbone alone: give it as a trained global "
            "branch (--init-global)."
        )
    weights = {modern_densenet_key(key): value for key, value in weights.items()}
    weights = without_classifier(weights, branch)
    require_fit(source, weights, without_classifier(branch.state_dict(), branch))
    require_finite(source, weights)
    branch.load_state_dict(weights, strict=False)


def load_trained(branch: Branch, path: Path) -> None:
    """Fill a whole branch, classifier included, in place.

    `path` has torchvision's keys and one output for each of LABELS, as `agcnn_models.importing` writes it with
    Role.GLOBAL; or it is a stage of a run, in which a branch's keys begin with its name (the global one where there
    are two). Raises ModelError when the file cannot be read, when a key or a shape is not the branch's, and when a
    number in it is not finite.
    """
    weights = read_tensors(path)
    # What a stage learnt beside the labels ("heads.") was for training only.
    for name in _BRANCHES:
        of_branch = {key.removeprefix(name): value for key, value in weights.items() if key.startswith(name)}
        weights = of_branch or weights
    require_fit(str(path), weights, branch.state_dict())
    require_finite(str(path), weights)
    branch.load_state_dict(weights, strict=False)


def published_by_torchvision(sha256: str) -> bool:
    """Return whether a file with this SHA-256 is one of torchvision's ImageNet weights of our backbones.

    The names of these files end in the first eight digits of their SHA-256, by which torchvision itself checks them.
    """
    return any(f"-{sha256[:8]}." in weights.url for backbone in Backbone for weights in _network(backbone).imagenet)


def without_classifier(weights: Mapping[str, Tensor], branch: Branch) -> dict[str, Tensor]:
    """Return the tensors of a branch that do not belong to its classifier."""
    return {key: value for key, value in weights.items() if not key.startswith(f"{branch.classifier_name}.")}


def _download(branch: Branch) -> Mapping[str, Tensor]:
    weights = branch.imagenet.IMAGENET1K_V1
    state: Mapping[str, Tensor]
    try:
        state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        raise ModelError(
            f"torchvision's ImageNet weights could not be downloaded ({error}): "
            f"get {weights.url} elsewhere and name the file with --init"
        ) from error
    return state
