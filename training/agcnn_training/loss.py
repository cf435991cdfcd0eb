"""Eq. 2 of the paper, its two rivals for rare findings, and what a recipe may do to targets.

Logits are float32 [B, C], before Eq. 1's sigmoid; targets are [B, C] in [0, 1], NaN where unknown. What is unknown
costs nothing and sends no gradient. Each loss is a sum over films in which a film's weight follows from the targets of
the whole batch and from no other film's logits, so that a batch can be computed in parts.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from agcnn_models.labels import LABELS
from agcnn_training.recipe import AsymmetricRecipe, Loss, PhaseRecipe

LabelLoss = Callable[[Tensor, Tensor], Tensor]
"""(logits [B, C], targets [B, C]) -> scalar."""


class Further(NamedTuple):
    """Columns that are learnt beside the labels, and how much their loss counts."""

    columns: int
    weight: float


def binary_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Eq. 2 over a batch: L = -1/C sum_c [ l_c log p~_c + (1 - l_c) log(1 - p~_c) ], with p~ of Eq. 1.

    Computed from the logits, since the sigmoid of Eq. 1 followed by a logarithm overflows.

    Returns:
        A scalar, in nats: the mean over the known targets of the batch, 0 when none is known.
    """
    known, targets = _known(targets)
    each = F.binary_cross_entropy_with_logits(logits, targets, weight=known, reduction="sum")
    return each / known.sum().clamp_min(1)


def class_balanced(logits: Tensor, targets: Tensor) -> Tensor:
    """W-CEL (Wang et al. 2017, Eq. 1): L = beta_P sum_{l=1} -log p~ + beta_N sum_{l=0} -log(1 - p~).

    beta_P = (|P| + |N|) / |P| and beta_N = (|P| + |N|) / |N|, where P and N are the positive and the negative targets
    of the batch over all labels. A soft target counts with its share on either side.

    Deviation: divided by |P| + |N|, so that it is the mean loss of the positives plus that of the negatives, and one
    learning rate serves all batch sizes. A side that is empty costs nothing.

    Returns:
        A scalar, in nats; where both sides are equal, twice that of Eq. 2.
    """
    known, targets = _known(targets)
    positive, negative = targets * known, (1 - targets) * known
    return _mean(-F.logsigmoid(logits), positive) + _mean(-F.logsigmoid(-logits), negative)


def asymmetric(logits: Tensor, targets: Tensor, settings: AsymmetricRecipe) -> Tensor:
    """The asymmetric loss (Ridnik et al. 2021, Eq. 3 to 6), which discounts the negatives that are easy.

    L+ = -(1 - p)^g+ log p for positives; L- = -p_m^g- log(1 - p_m) with p_m = max(p - clip, 0) for negatives.

    Deviation: their program holds the factors (1 - p)^g+ and p_m^g- fixed when it derives; here, as in their text, the
    derivative is that of the loss. The mean over the known targets stands for their sum.

    Returns:
        A scalar, in nats; with both gammas and clip 0, that of Eq. 2.
    """
    known, targets = _known(targets)
    present, absent = torch.sigmoid(logits), torch.sigmoid(-logits)
    if settings.clip:
        present = (present - settings.clip).clamp_min(0)  # p_m
        log_absent = (absent + settings.clip).clamp_max(1).log()
    else:
        log_absent = F.logsigmoid(-logits)
    positive = -_discount(absent, settings.gamma_positive) * F.logsigmoid(logits)
    negative = -_discount(present, settings.gamma_negative) * log_absent
    each = targets * positive + (1 - targets) * negative
    return (each * known).sum() / known.sum().clamp_min(1)


def label_loss(phase: PhaseRecipe) -> LabelLoss:
    """The loss that a phase has for the labels."""
    match phase.loss:
        case Loss.BCE:
            return binary_cross_entropy
        case Loss.CLASS_BALANCED:
            return class_balanced
        case Loss.ASYMMETRIC:
            return lambda logits, targets: asymmetric(logits, targets, phase.asymmetric)


def stage_loss(
    logits: Tensor, targets: Tensor, loss: LabelLoss, outputs: int, further: Sequence[Further] = ()
) -> Tensor:
    """The loss of a stage: that of each trained output by itself, summed, plus what is learnt beside the labels.

    Deviation: the paper does not say how the losses of branches that learn together are weighed; each counts once.

    Args:
        logits: [B, outputs x 15 + the further columns], one output after the other, each in the order of LABELS.
        targets: [B, 15 + the further columns].
        loss: of one output.
        outputs: how many sets of labels the logits hold.
        further: what stands behind them; learnt by Eq. 2.
    """
    labels = len(LABELS)
    sets = torch.chunk(logits[:, : outputs * labels], outputs, dim=1)
    total = torch.stack([loss(one, targets[:, :labels]) for one in sets]).sum()
    first, known_from = outputs * labels, labels
    for columns, weight in further:
        if columns:
            said, known = logits[:, first : first + columns], targets[:, known_from : known_from + columns]
            total = total + weight * binary_cross_entropy(said, known)
        first, known_from = first + columns, known_from + columns
    return total


def smoothed(targets: Tensor, smoothing: float) -> Tensor:
    """Targets moved from {0, 1} to {smoothing, 1 - smoothing}; NaN stays NaN."""
    return targets * (1 - 2 * smoothing) + smoothing


def _known(targets: Tensor) -> tuple[Tensor, Tensor]:
    """Which targets are known, as 0 and 1, and the targets with 0 for what is not."""
    known = ~torch.isnan(targets)
    return known.float(), torch.where(known, targets, 0.0)


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """The weighted mean; 0 where all weights are 0."""
    total = weights.sum()
    return (values * weights).sum() / torch.where(total > 0, total, 1.0)


def _discount(probability: Tensor, gamma: float) -> Tensor:
    # Below one, a power has no finite slope at zero.
    return probability.clamp_min(1e-8) ** gamma if gamma else torch.ones_like(probability)
