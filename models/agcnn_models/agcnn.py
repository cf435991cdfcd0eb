"""AG-CNN, whole (Fig. 2): a global branch, a local branch on what it attends to, and their fusion."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agcnn_models import attention, regions
from agcnn_models.backbones import Branch, build_branch
from agcnn_models.labels import LABELS
from agcnn_models.settings import AttentionSettings, Backbone, Grid, Pooling, Region

__all__ = ["AGCNN", "Attention", "Diagnosis", "Reading", "build_agcnn"]


class Attention(NamedTuple):
    """What the global branch attends to in B images, of which it sees S x S pixels."""

    heat_map: Tensor  # float32 [B, h, w], on the feature map's own grid, in [0, 1]
    boxes: Tensor  # int64 [B, 4]: x_min, y_min, x_max, y_max in pixels of the network's input, inclusive
    crops: Tensor  # [B, 3, S, S]: the local branch's input


class Reading(NamedTuple):
    """The outcome of one forward pass; logits are those of LABELS, in order."""

    global_logits: Tensor  # [B, 15]
    local_logits: Tensor  # [B, 15]
    fusion_logits: Tensor  # [B, 15]
    heat_map: Tensor  # float32 [B, h, w]
    boxes: Tensor  # int64 [B, 4]


class Diagnosis(NamedTuple):
    """A reading as probabilities (Eq. 1), uncalibrated; `fusion_logits` is what calibration starts from."""

    global_probabilities: Tensor  # float32 [B, 15]
    local_probabilities: Tensor  # float32 [B, 15]
    fusion_probabilities: Tensor  # float32 [B, 15]
    fusion_logits: Tensor  # float32 [B, 15]
    heat_map: Tensor  # float32 [B, h, w]
    boxes: Tensor  # int64 [B, 4]


class AGCNN(nn.Module):
    """The attention guided network. Its stages of training (Algorithm 1) live with the trainer.

    Images are `settings.detail` times finer than what the branches see: D S x D S pixels, of which the global branch
    sees the whole at S x S and the local branch its region at S x S. The paper's D is 1.
    """

    def __init__(self, global_branch: Branch, local_branch: Branch, settings: AttentionSettings) -> None:
        super().__init__()
        self.settings = settings
        self.global_branch = global_branch
        self.local_branch = local_branch  # the same structure, weights of its own
        self.fusion = nn.Linear(global_branch.feature_channels + local_branch.feature_channels, len(LABELS))

    def forward(self, images: Tensor) -> Reading:
        """Read preprocessed images [B, 3, D S, D S]."""
        features = self.global_branch.feature_map(self.overview(images))  # [B, K, h, w]
        pool_g = self.global_branch.pool(features)  # [B, K]
        attended = self.attend(images, features)  # crops [B, 3, S, S]
        pool_l = self.local_branch.pool(self.local_branch.feature_map(attended.crops))  # [B, K]
        return Reading(
            global_logits=self.global_branch.classify(pool_g),  # [B, 15]
            local_logits=self.local_branch.classify(pool_l),  # [B, 15]
            fusion_logits=self.fusion(torch.cat((pool_g, pool_l), dim=1)),  # [B, 2K] -> [B, 15]
            heat_map=attended.heat_map,
            boxes=attended.boxes,
        )

    def overview(self, images: Tensor) -> Tensor:
        """Return what the global branch sees: [B, 3, D S, D S] -> [B, 3, S, S], each pixel the mean of D x D.

        Raises ValueError when images are not square or D does not divide their side.
        """
        self._seen_side(images)
        # Deviation: in the paper both branches read one image of 224 x 224 pixels, as they do here with a detail of 1.
        return images if self.settings.detail == 1 else F.avg_pool2d(images, self.settings.detail)

    @torch.no_grad()
    def attend(self, images: Tensor, features: Tensor) -> Attention:
        """Choose what the local branch sees (Section III-B): images [B, 3, D S, D S], features [B, K, h, w].

        `settings.region` puts a control in the attended region's place; the heat map is given all the same.
        """
        settings, size, fine = self.settings, self._seen_side(images), images.shape[-1]  # S, D S
        heat = attention.heat_map(features, settings.statistic)  # [B, h, w], Eq. 3
        heat = attention.rescale(heat, settings.heat_scale)  # [B, h, w] in [0, 1]
        match settings.region:
            case Region.ATTENDED:
                boxes = self._attended_boxes(heat, size, fine)
            case Region.RANDOM:
                boxes = regions.place_at_random(self._attended_boxes(heat, size, fine), images)
            case Region.CENTRE:
                boxes = regions.centre_box(len(images), fine, settings.share, images.device)
            case Region.WHOLE:
                boxes = regions.whole_image(len(images), fine, images.device)
                return Attention(heat_map=heat, boxes=boxes, crops=self.overview(images))
        # Deviation: "cropped from the input image" is taken as the resized input that the global branch saw,
        # not as the film at its full resolution; a detail above 1 comes nearer to that.
        return Attention(heat_map=heat, boxes=boxes, crops=attention.crop(images, boxes, size))

    def _seen_side(self, images: Tensor) -> int:
        """S, of images D S x D S."""
        detail, (height, width) = self.settings.detail, images.shape[-2:]
        if height != width or width % detail:
            multiple = f" with a side that {detail} divides" if detail > 1 else ""
            raise ValueError(f"images must be square{multiple}, not of the shape {tuple(images.shape)}")
        return int(width) // detail

    def _attended_boxes(self, heat: Tensor, size: int, fine: int) -> Tensor:
        """The box of the largest hot region, found on S x S or h x w cells, in D S x D S pixels: int64 [B, 4]."""
        settings = self.settings
        grid = attention.upsample(heat, size) if settings.grid is Grid.UPSAMPLED else heat  # [B, S, S]
        mask = attention.binary_mask(grid, settings.tau, settings.threshold)  # [B, S, S], Eq. 4
        return _to_pixels(attention.largest_region(mask, grid), cells=grid.shape[-1], size=fine)

    @torch.inference_mode()
    def read(self, images: Tensor) -> Diagnosis:
        """Diagnose preprocessed images [B, 3, D S, D S]; raises RuntimeError in training mode."""
        if self.training:
            raise RuntimeError("call eval() first: in training mode a film's reading depends on its batch")
        reading = self(images)
        return Diagnosis(
            global_probabilities=reading.global_logits.float().sigmoid(),
            local_probabilities=reading.local_logits.float().sigmoid(),
            fusion_probabilities=reading.fusion_logits.float().sigmoid(),
            fusion_logits=reading.fusion_logits.float(),
            heat_map=reading.heat_map,
            boxes=reading.boxes,
        )


def _to_pixels(boxes: Tensor, cells: int, size: int) -> Tensor:
    """Return boxes of a grid of cells x cells as boxes of the size x size pixels that those cells cover."""
    if cells == size:
        return boxes
    first, last = boxes[:, :2], boxes[:, 2:]
    return torch.cat((first * size // cells, (last + 1) * size // cells - 1), dim=1)


def build_agcnn(
    backbone: Backbone,
    pooling: Pooling = Pooling.MAX,
    settings: AttentionSettings | None = None,
) -> AGCNN:
    """Make an AG-CNN with random weights; both branches have the same structure (Section III-A)."""
    return AGCNN(
        build_branch(backbone, pooling=pooling),
        build_branch(backbone, pooling=pooling),
        settings or AttentionSettings(),
    )
