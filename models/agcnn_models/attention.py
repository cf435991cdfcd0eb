"""From a feature map to the attended region: Eq. 3 and Eq. 4 of the paper (Section III-B), step by step.

    features  --heat_map-->  heat  --rescale, upsample-->  heat in [0, 1]  --binary_mask-->  mask
    mask      --largest_region-->  box  --crop-->  the local branch's input

B images, K channels, h x w cells of the feature map, S x S pixels of the input. A box is
[x_min, y_min, x_max, y_max] in whole pixels, both ends inclusive. No step has a gradient in the paper's
training, since the branch that is looked at is fixed while the next one learns.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from agcnn_models.components import boxes_on_host
from agcnn_models.gpu import kernels_on
from agcnn_models.settings import HeatScale, Statistic, Threshold

__all__ = ["binary_mask", "crop", "heat_map", "largest_region", "rescale", "upsample"]


def heat_map(features: Tensor, statistic: Statistic = Statistic.MAX) -> Tensor:
    """Return H_g, one value a position over all channels (Eq. 3): [B, K, h, w] -> float32 [B, h, w].

    MAX is Eq. 3; L1 and L2 are the distances printed below it, both divided by K.
    """
    _require_rank(features, 4, "features")
    features = features.float()
    match statistic:
        case Statistic.MAX:
            return features.abs().amax(dim=1)
        case Statistic.L1:
            return features.abs().mean(dim=1)
        case Statistic.L2:
            return features.square().sum(dim=1).sqrt() / features.shape[1]


def rescale(heat: Tensor, scale: HeatScale = HeatScale.MIN_MAX) -> Tensor:
    """Bring each heat map to [0, 1] by itself: [B, h, w] -> [B, h, w]; heat is never negative.

    A map without contrast has nothing to divide by: MIN_MAX makes it zero, and so does DIVIDE_BY_MAX when
    it is zero already.
    """
    _require_rank(heat, 3, "heat")
    highest = heat.amax(dim=(1, 2), keepdim=True)  # [B, 1, 1]
    match scale:
        case HeatScale.MIN_MAX:
            lowest = heat.amin(dim=(1, 2), keepdim=True)
        case HeatScale.DIVIDE_BY_MAX:
            lowest = torch.zeros_like(highest)
    contrast = highest - lowest
    return (heat - lowest) / torch.where(contrast > 0, contrast, 1.0)


def upsample(heat: Tensor, size: int) -> Tensor:
    """Enlarge to size x size pixels, bilinear, pixel centres at halves: [B, h, w] -> [B, size, size]."""
    _require_rank(heat, 3, "heat")
    return F.interpolate(heat[:, None], size=(size, size), mode="bilinear", align_corners=False)[:, 0]


def binary_mask(heat: Tensor, tau: float, threshold: Threshold = Threshold.VALUE) -> Tensor:
    """Return M: where the heat lies strictly above tau (Eq. 4): [B, H, W] -> bool [B, H, W].

    With QUANTILE, above the tau-quantile of the image's own heat.
    """
    _require_rank(heat, 3, "heat")
    match threshold:
        case Threshold.VALUE:
            return heat > tau
        case Threshold.QUANTILE:
            return heat > torch.quantile(heat.flatten(1), tau, dim=1)[:, None, None]


def largest_region(mask: Tensor, heat: Tensor) -> Tensor:
    """Return the box of each mask's largest connected region: bool and float32 [B, H, W] -> int64 [B, 4].

    Cells that touch at an edge or a corner are connected. Of regions equally large the one with the
    highest mean heat is taken, and of those the first in reading order. Heat is never negative.

    Deviation: the paper does not say what an empty mask means. Its box is the whole image: a flat heat map
    attends to nothing in particular, and the film must still be read.
    """
    _require_rank(mask, 3, "mask")
    if mask.dtype != torch.bool or mask.shape != heat.shape:
        wanted, given = tuple(heat.shape), tuple(mask.shape)
        raise ValueError(f"mask must be bool of the heat's shape {wanted}, not {mask.dtype} of {given}")
    kernels = kernels_on(mask.device)
    boxes: Tensor = boxes_on_host(mask, heat) if kernels is None else kernels.largest_boxes(mask, heat)
    return boxes


@torch.no_grad()
def crop(images: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Cut out each image's box and resize it, bilinear: [B, C, H, W], int64 [B, 4] -> [B, C, size, size].

    Per image the same as `interpolate(image[:, y_min:y_max + 1, x_min:x_max + 1], size, mode="bilinear",
    align_corners=False)`: pixels have their centres at halves, and nothing outside the box is looked at.
    Boxes must lie inside the image. Everything stays on the images' device. No gradient.
    """
    _require_rank(images, 4, "images")
    if boxes.shape != (images.shape[0], 4):
        raise ValueError(f"boxes must have the shape {(images.shape[0], 4)}, not {tuple(boxes.shape)}")
    boxes = boxes.to(images.device)
    kernels = kernels_on(images.device)
    if kernels is not None and images.dtype is torch.float32:
        crops: Tensor = kernels.crop(images, boxes, size)
        return crops
    x_min, y_min, x_max, y_max = boxes.unbind(dim=1)
    rows = _sample(images, y_min, y_max, size, dim=2)  # [B, C, size, W]
    return _sample(rows, x_min, x_max, size, dim=3)  # [B, C, size, size]


def _sample(images: Tensor, first: Tensor, last: Tensor, size: int, dim: int) -> Tensor:
    """Resample pixels first..last (int64 [B], inclusive) of one dimension to `size`, linearly.

    Gathering two neighbours and mixing them is exact where grid_sample, whose coordinates are scaled to
    [-1, 1], would reach some hundred-thousandths of a pixel across the box's edge.
    """
    length = (last - first + 1)[:, None]  # [B, 1]
    centres = torch.arange(size, device=images.device) + 0.5  # [size]
    position = (length / size * centres - 0.5).clamp(min=0)  # [B, size], from the box's first pixel
    lower = torch.minimum(position.long(), length - 1)
    upper = torch.minimum(lower + 1, length - 1)

    view = [images.shape[0], 1, 1, 1]
    view[dim] = size
    shape = list(images.shape)
    shape[dim] = size

    def pixels(index: Tensor) -> Tensor:
        return images.gather(dim, (index + first[:, None]).view(view).expand(shape))

    weight = (position - lower).to(images.dtype).view(view)
    return torch.lerp(pixels(lower), pixels(upper), weight)


def _require_rank(tensor: Tensor, rank: int, name: str) -> None:
    if tensor.ndim != rank:
        raise ValueError(f"{name} must have {rank} dimensions, not the shape {tuple(tensor.shape)}")
