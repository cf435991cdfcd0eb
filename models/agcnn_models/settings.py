"""The choices that make one AG-CNN differ from another: closed sets and frozen settings, without torch."""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Backbone(StrEnum):
    """The convolutional network inside the global and the local branch (Section IV-B)."""

    RESNET50 = "resnet50"
    DENSENET121 = "densenet121"


class Architecture(StrEnum):
    """Which network: the paper's, or one of those that its Table I compares with."""

    AGCNN = "agcnn"
    """Guan et al. 2018; with the global stage alone it is a plain backbone, as CheXNet (Rajpurkar et al. 2017)."""
    WANG_2017 = "wang-2017"
    YAO_2017 = "yao-2017"
    KUMAR_2017 = "kumar-2017"


class Pooling(StrEnum):
    """How Pool5 summarises each channel of the last feature map."""

    MAX = "max"
    """Global max pooling, the paper's (Section III-A)."""
    AVG = "avg"
    """Global average pooling, torchvision's."""
    LSE = "lse"
    """Log-sum-exp pooling with r = 10 (Wang et al. 2017): between the two."""


class Statistic(StrEnum):
    """The value that stands for all channels at one position of the heat map (Section III-B)."""

    MAX = "max"
    """Eq. 3."""
    L1 = "l1"
    """The mean of absolute values."""
    L2 = "l2"
    """The Euclidean norm divided by K, as printed (not by the square root of K)."""


class HeatScale(StrEnum):
    """How a heat map is brought to [0, 1], without which one tau cannot serve all images."""

    MIN_MAX = "min_max"
    DIVIDE_BY_MAX = "divide_by_max"


class Threshold(StrEnum):
    """What tau means in Eq. 4."""

    VALUE = "value"
    """Heat above tau."""
    QUANTILE = "quantile"
    """Heat above the tau-quantile of its own image, so that the area is about 1 - tau."""


class Grid(StrEnum):
    """The grid on which the mask of Eq. 4 is drawn."""

    UPSAMPLED = "upsampled"
    """The heat map enlarged to the input's size, as Fig. 3 shows it."""
    NATIVE = "native"
    """The feature map's own cells, 7x7 for an input of 224."""


class Region(StrEnum):
    """What the local branch is shown; all but the first are controls, which the attention must beat."""

    ATTENDED = "attended"
    """The box around the largest region that the global branch attends to (Section III-B)."""
    WHOLE = "whole"
    """The whole image: two branches without attention."""
    CENTRE = "centre"
    """A box in the image's middle, ``share`` of its side."""
    RANDOM = "random"
    """A box as large as the attended one at a place drawn from the image itself (see ``regions.place_at_random``)."""


@dataclass(frozen=True)
class AttentionSettings:
    """How the attended region is found (Section III-B) and cut out.

    tau is a value in [0, 1) of the rescaled heat map, or a quantile. share, in (0, 1], is the side of the CENTRE box
    over the image's. detail is how many times finer the images are than what the global branch sees of them: the
    local branch then sees its region at up to that much more detail. Raises ValueError outside those ranges.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}  # a manifest with a misspelt key is refused

    statistic: Statistic = Statistic.MAX
    tau: float = 0.7
    # Deviation: the paper gives tau in [0.1, 0.9] for a heat map that Eq. 3 leaves unbounded; here each
    # map is first rescaled to [0, 1].
    heat_scale: HeatScale = HeatScale.MIN_MAX
    threshold: Threshold = Threshold.VALUE
    grid: Grid = Grid.UPSAMPLED
    region: Region = Region.ATTENDED
    share: float = 0.5
    detail: int = 1

    def __post_init__(self) -> None:
        if not 0.0 <= self.tau < 1.0:
            raise ValueError(f"tau must be at least 0 and below 1, not {self.tau}")
        if not 0.0 < self.share <= 1.0:
            raise ValueError(f"share must be above 0 and at most 1, not {self.share}")
        if self.detail < 1:
            raise ValueError(f"detail must be at least 1, not {self.detail}")


@dataclass(frozen=True)
class Preprocessing:
    """From a picture to the network's input (Section IV-B): resize, centre crop, ImageNet statistics.

    resize and crop are the sides of squares, in pixels; mean and std are of the three channels of a
    picture in [0, 1]. Raises ValueError when the crop does not fit into the resized picture.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    resize: int = 256
    crop: int = 224
    mean: tuple[float, float, float] = IMAGENET_MEAN
    # Deviation: the paper only subtracts the mean; torchvision's ImageNet weights were trained with the
    # division by std as well.
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if not 0 < self.crop <= self.resize:
            raise ValueError(f"crop {self.crop} must be positive and no larger than resize {self.resize}")
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive, not {self.std}")
