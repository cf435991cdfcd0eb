"""What a run can teach is decided by its train films."""

import pytest
import torch

from agcnn_models.labels import LABELS, NO_FINDING
from agcnn_training.errors import TrainingError
from agcnn_training.learnt import never_learnt


def test_a_label_is_learnt_from_films_of_both_outcomes() -> None:
    """What is nowhere known, always absent or always present is not, whatever else is unknown of the films."""
    targets = torch.full((4, len(LABELS)), torch.nan)
    targets[0], targets[1] = 1, 0
    targets[:, LABELS.index("Hernia")] = torch.nan
    targets[:, LABELS.index("Mass")] = torch.tensor([0, 0, torch.nan, 0])
    targets[:, LABELS.index(NO_FINDING)] = 1
    assert never_learnt(targets) == ("Mass", "Hernia", NO_FINDING)
    assert never_learnt(targets[:2].flip(0)) == ("Mass", "Hernia", NO_FINDING)


def test_films_that_teach_nothing_are_one_sentence() -> None:
    """No Finding alone is nothing to train a model of findings for."""
    targets = torch.zeros(4, len(LABELS))
    targets[0, LABELS.index(NO_FINDING)] = 1
    with pytest.raises(TrainingError, match="nothing can be learnt"):
        never_learnt(targets)
