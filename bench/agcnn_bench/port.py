"""AG-CNN as the public ports run it: the crop in a Python loop over the images of a batch. To be compared with, only.

The ports (ien001/AG-CNN and what was made from it) copy the feature map to the host and then, image by image:
enlarge the heat map, threshold it with numpy, label it, keep the largest component, slice the image, resize the slice.
Here with the same weights, the paper's Eq. 3 and the same tau, so that both read every film alike. Where a port is
slower than it need be (Python's min over arrays, 8-bit PIL images on the way) this loop is not.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from agcnn_models.agcnn import AGCNN
from agcnn_models.settings import AttentionSettings, Grid, HeatScale, Region, Statistic, Threshold

_EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)


@torch.inference_mode()
def loop_read(model: AGCNN, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the fusion probabilities [B, 15] and the boxes int64 [B, 4] of images [B, 3, S, S].

    Raises ValueError for settings of the attention that no port has.
    """
    _require_usual(model.settings)
    features = model.global_branch.feature_map(images)
    pool_g = model.global_branch.pool(features)
    boxes = loop_boxes(features, images.shape[-1], model.settings.tau)
    pool_l = model.local_branch.pool(model.local_branch.feature_map(loop_crops(images, boxes)))
    model.global_branch.classify(pool_g)  # a port gives out the logits of all three branches
    model.local_branch.classify(pool_l)
    logits = model.fusion(torch.cat((pool_g, pool_l), dim=1))
    return logits.float().sigmoid(), torch.from_numpy(boxes)


def loop_boxes(features: Tensor, size: int, tau: float) -> NDArray[np.int64]:
    """The box of each image's largest hot region: features [B, K, h, w] -> int64 [B, 4], pixels of size x size."""
    host = features.float().cpu().numpy()
    boxes = []
    for feature in host:
        heat = np.abs(feature).max(axis=0)
        heat = heat - heat.min()
        highest = heat.max()
        heat = heat / highest if highest > 0 else heat
        large = F.interpolate(torch.from_numpy(heat)[None, None], size=(size, size), mode="bilinear")[0, 0].numpy()
        regions, count = ndimage.label(large > tau, structure=_EIGHT_NEIGHBOURS)
        if count == 0:
            boxes.append((0, 0, size - 1, size - 1))
            continue
        largest = 1 + int(np.argmax([np.sum(regions == region) for region in range(1, count + 1)]))
        inside = np.argwhere(regions == largest)
        (y_min, x_min), (y_max, x_max) = inside.min(axis=0), inside.max(axis=0)
        boxes.append((int(x_min), int(y_min), int(x_max), int(y_max)))
    return np.array(boxes, dtype=np.int64)


def loop_crops(images: Tensor, boxes: NDArray[np.int64]) -> Tensor:
    """Slice each image and resize the slice, one by one: [B, C, S, S] -> [B, C, S, S]."""
    crops = [
        F.interpolate(
            image[None, :, y_min : y_max + 1, x_min : x_max + 1],
            size=image.shape[-2:],
            mode="bilinear",
            align_corners=False,
        )
        for image, (x_min, y_min, x_max, y_max) in zip(images, boxes.tolist(), strict=True)
    ]
    return torch.cat(crops)


def _require_usual(settings: AttentionSettings) -> None:
    usual = (Statistic.MAX, HeatScale.MIN_MAX, Threshold.VALUE, Grid.UPSAMPLED, Region.ATTENDED, 1)
    given = (
        settings.statistic,
        settings.heat_scale,
        settings.threshold,
        settings.grid,
        settings.region,
        settings.detail,
    )
    if given != usual:
        raise ValueError("the loop knows the paper's attention only: max, a value of tau, the enlarged grid")
