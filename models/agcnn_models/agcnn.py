"""AG-CNN, whole (Fig. 2): a global branch, a local branch on what it attends to, and their fusion."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from agcnn_models import attention
from agcnn_models.backbones import Branch, build_branch
from agcnn_models.labels import LABELS
from agcnn_models.settings import AttentionSettings, Backbone, Grid, Pooling

__all__ = ["AGCNN", "Attention", "AttentionSettings", "Diagnosis", "Reading", "build_agcnn"]


class Attention(NamedTuple):
    """What the global branch attends to in B images of S x S pixels."""

    heat_map: Tensor  # float32 [B, h, w], on the feature map's own grid, in [0, 1]
    boxes: Tensor  # int64 [B, 4]: x_min, y_min, x_max, y_max in input pixels, inclusive
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
    """The attention guided network. Its stages of training (Algorithm 1) live with the trainer."""

    def __init__(self, global_branch: Branch, local_branch: Branch, settings: AttentionSettings) -> None:
        super().__init__()
        self.settings = settings
        self.global_branch = global_branch
        self.local_branch = local_branch  # the same structure, weights of its own
        self.fusion = nn.Linear(global_branch.feature_channels + local_branch.feature_channels, len(LABELS))

    def forward(self, images: Tensor) -> Reading:
        """Read preprocessed images [B, 3, S, S]."""
        features = self.global_branch.feature_map(images)  # [B, K, h, w]
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

    @torch.no_grad()
    def attend(self, images: Tensor, features: Tensor) -> Attention:
        """Choose what the local branch sees (Section III-B): images [B, 3, S, S], features [B, K, h, w].

        A method of its own so that an experiment can put another region, or the whole image, in its place.
        """
        size, settings = images.shape[-1], self.settings
        if images.shape[-2] != size:
            raise ValueError(f"images must be square, not of the shape {tuple(images.shape)}")
        heat = attention.heat_map(features, settings.statistic)  # [B, h, w], Eq. 3
        heat = attention.rescale(heat, settings.heat_scale)  # [B, h, w] in [0, 1]
        grid = attention.upsample(heat, size) if settings.grid is Grid.UPSAMPLED else heat  # [B, S, S]
        mask = attention.binary_mask(grid, settings.tau, settings.threshold)  # [B, S, S], Eq. 4
        boxes = _to_pixels(attention.largest_region(mask, grid), cells=grid.shape[-1], size=size)  # [B, 4]
        # Deviation: "cropped from the input image" is taken as the resized input that the global branch saw,
        # not as the film at its full resolution.
        return Attention(heat_map=heat, boxes=boxes, crops=attention.crop(images, boxes, size))

    @torch.inference_mode()
    def read(self, images: Tensor) -> Diagnosis:
        """Diagnose preprocessed images [B, 3, S, S]; raises RuntimeError in training mode."""
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
