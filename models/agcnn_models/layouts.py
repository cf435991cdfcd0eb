"""What public programs call the weights that they save, and how their networks see a picture."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agcnn_models.errors import ModelError
from agcnn_models.foreign import modern_densenet_key
from agcnn_models.labels import LABELS, PATHOLOGIES
from agcnn_models.settings import IMAGENET_MEAN, IMAGENET_STD, Backbone

TORCHXRAYVISION_LABELS: Final = (
    *("Atelectasis", "Consolidation", "Infiltration", "Pneumothorax", "Edema", "Emphysema", "Fibrosis", "Effusion"),
    *("Pneumonia", "Pleural_Thickening", "Cardiomegaly", "Nodule", "Mass", "Hernia", "Lung Lesion", "Fracture"),
    *("Lung Opacity", "Enlarged Cardiomediastinum"),
)
"""The outputs of torchxrayvision's DenseNets (`datasets.default_pathologies` of 1.5.7)."""

_TORCHXRAYVISION_GREY: Final = (2048.0, -1024.0)
"""x = 2048 p - 1024 of a picture p in [0, 1] (`torchxrayvision.datasets.normalize`)."""

CONV0: Final = "features.conv0.weight"
OPERATING_POINTS: Final = "op_threshs"
"""A buffer that torchxrayvision scales its outputs with, for the eye; NaN for an output that was never trained."""


class Layout(StrEnum):
    """Which program saved the weights."""

    TORCHVISION = "torchvision"
    """`resnet50` or `densenet121` of torchvision, its published ImageNet files for two."""
    TORCHXRAYVISION = "torchxrayvision"
    """The state dict of `torchxrayvision.models.DenseNet`: one channel, 18 outputs."""
    CHEXNET = "chexnet"
    """A CheXNet of 14 outputs in NIH's order: arnoweng/CheXNet and zoogzog/chexnet (`module.densenet121.*`, classifier
    in an nn.Sequential with its sigmoid), or jrzech/reproduce-chexnet once its state dict is taken out of its module.
    Ports to other data, CheXpert's among them, keep the module and with it every key: what the outputs mean is known
    only where a person says that it is a CheXNet.
    """


_PREFIXES: Final = {
    Layout.TORCHVISION: ("module.",),  # nn.DataParallel's
    Layout.TORCHXRAYVISION: ("module.",),
    Layout.CHEXNET: ("module.", "densenet121."),
}
_OUTPUTS: Final = {Layout.TORCHXRAYVISION: TORCHXRAYVISION_LABELS, Layout.CHEXNET: PATHOLOGIES}
_OURS: Final = {label.lower().replace(" ", "_"): label for label in LABELS}


def recognised(source: Mapping[str, Tensor]) -> Layout:
    """Return which program saved a state dict, by its first convolution and by what it calls its tensors.

    Never by how many outputs there are: ChestX-ray14's and CheXpert's are 14, of other meanings.
    """
    conv0 = next((value for key, value in source.items() if key.endswith(CONV0)), None)
    if conv0 is not None and conv0.ndim == 4 and conv0.shape[1] == 1:
        return Layout.TORCHXRAYVISION
    if any("densenet121." in key or key.endswith("classifier.0.bias") for key in source):
        return Layout.CHEXNET
    return Layout.TORCHVISION


def channel_factors() -> NDArray[np.float64]:
    """Return the a_c, one a channel, with which three standardised channels make torchxrayvision's grey.

    Our network sees z_c = (p - mean_c) / std_c of a grey picture p in [0, 1], torchxrayvision's x = 2048 p - 1024.
    sum_c a_c z_c = x holds for every p when sum_c a_c / std_c = 2048 and sum_c a_c mean_c / std_c = 1024: two
    equations for three factors, of whose solutions this is the shortest. Both networks pad with zeros, and
    sum_c a_c 0 = 0, so that a convolution of x equals that of a_c z_c at the borders, too.
    """
    mean, std = np.array(IMAGENET_MEAN), np.array(IMAGENET_STD)
    slope, offset = _TORCHXRAYVISION_GREY
    factors: NDArray[np.float64] = np.linalg.lstsq(np.stack([1 / std, -mean / std]), np.array([slope, offset]))[0]
    return factors


def three_channels(convolution: Tensor) -> Tensor:
    """Spread torchxrayvision's first convolution over our channels: [K, 1, h, w] -> [K, 3, h, w], of the same kind."""
    factors = torch.from_numpy(channel_factors()).reshape(1, 3, 1, 1)
    return (convolution.double() * factors).to(convolution.dtype)


def under_torchvisions_keys(path: Path, source: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """Return the same tensors under torchvision's names; what is not of the layout keeps its own.

    Raises ModelError when two tensors would get one name.
    """
    renamed: dict[str, Tensor] = {}
    for key, value in source.items():
        new = key
        for prefix in _PREFIXES[layout]:
            new = new.removeprefix(prefix)
        if layout is Layout.CHEXNET:
            new = new.replace("classifier.0.", "classifier.")
        new = modern_densenet_key(new)
        if new in renamed:
            raise ModelError(f"{path} has {new} twice, under two names: it holds more than one network")
        renamed[new] = value
    return renamed


def backbone_of(path: Path, weights: Mapping[str, Tensor]) -> Backbone:
    """Return which network these tensors are of, by a key of its beginning. Raises ModelError for any other."""
    for backbone, key in ((Backbone.DENSENET121, CONV0), (Backbone.RESNET50, "layer1.0.conv1.weight")):
        if key in weights:
            return backbone
    raise ModelError(
        f"{path} is no DenseNet-121 and no ResNet-50 of a layout that is known here ({', '.join(Layout)}): among its "
        f"{len(weights)} keys is neither {CONV0} nor layer1.0.conv1.weight; give the state dict of such a network"
    )


def spread(path: Path, convolution: Tensor | None) -> Tensor:
    """Return `three_channels` of the first convolution; raise ModelError unless it has one channel."""
    if convolution is None or convolution.ndim != 4 or convolution.shape[1] != 1:
        raise ModelError(f"{path} is not torchxrayvision's: its {CONV0} has not one channel; leave --layout out")
    return three_channels(convolution)


def meanings(
    path: Path, layout: Layout, given: Sequence[str], operating_points: Tensor | None, rows: int, *, told: bool
) -> tuple[str, ...]:
    """Return the label of each of the source's outputs, in our spelling where it is one of ours.

    Args:
        path: the file, for the sentences.
        layout: says what the outputs mean, where nothing is `given`.
        given: what a person says that they mean.
        operating_points: torchxrayvision's, [outputs]; None where the file has none.
        rows: how many outputs there are.
        told: whether a person named the layout, and not `recognised`.

    Raises:
        ModelError: nothing says what the outputs mean, or what is said does not fit.
    """
    if not given and (layout is Layout.TORCHVISION or (layout is Layout.CHEXNET and not told)):
        chexnet = f", or say --layout {Layout.CHEXNET} where they are NIH's 14 in NIH's order"
        raise ModelError(
            f"{path} does not say what its {rows} outputs mean: name them in their order with --outputs"
            f"{chexnet if rows == len(PATHOLOGIES) else ''}"
        )
    names = tuple(_OURS.get(_plain(name), name) for name in given or _OUTPUTS[layout])
    if len(names) != rows:
        raise ModelError(f"{path} has {rows} outputs, not {len(names)}: name each of them in order with --outputs")
    if operating_points is not None and not given:
        # torchxrayvision's models of other data sets have outputs that were never trained: their point is NaN.
        untrained = torch.isnan(operating_points).flatten().tolist()
        names = tuple("" if skip else name for name, skip in zip(names, untrained, strict=True))
    ours = [name for name in names if name in LABELS]
    if not ours:
        raise ModelError(
            f"None of the {rows} outputs of {path} is one of {', '.join(LABELS)}: use it as initial weights"
        )
    if twice := next((name for name in ours if ours.count(name) > 1), None):
        raise ModelError(f"Two outputs of {path} are called {twice}: name each of them once with --outputs")
    return names


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_")
