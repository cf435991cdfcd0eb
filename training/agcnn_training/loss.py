"""Eq. 2 of the paper, and what a recipe may do to its targets."""

import torch
import torch.nn.functional as F
from torch import Tensor


def binary_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Eq. 2 over a batch: L = -1/C sum_c [ l_c log p~_c + (1 - l_c) log(1 - p~_c) ], with p~ of Eq. 1.

    Computed from the logits, since the sigmoid of Eq. 1 followed by a logarithm overflows.

    Args:
        logits: [B, C], before Eq. 1's sigmoid.
        targets: [B, C] in [0, 1].

    Returns:
        A scalar, in nats: the mean over the C labels and the films of the batch.
    """
    return F.binary_cross_entropy_with_logits(logits.float(), targets)


def masked_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Eq. 2 over the targets that are known.

    Args:
        logits: [B, C].
        targets: [B, C] in [0, 1], NaN where unknown.

    Returns:
        A scalar: the mean over the known targets, 0 when none is.
    """
    known = ~torch.isnan(targets)
    each = F.binary_cross_entropy_with_logits(
        logits.float(), torch.where(known, targets, 0.0), weight=known.float(), reduction="sum"
    )
    return each / known.sum().clamp_min(1)


def smoothed(targets: Tensor, smoothing: float) -> Tensor:
    """Targets moved from {0, 1} to {smoothing, 1 - smoothing}; NaN stays NaN."""
    return targets * (1 - 2 * smoothing) + smoothing
