"""Which labels a run can teach: those that are known of its train films to be present on some and absent on others."""

from torch import Tensor

from agcnn_models.labels import LABELS, PATHOLOGIES
from agcnn_training.errors import TrainingError


def never_learnt(targets: Tensor) -> tuple[str, ...]:
    """The labels of which train films teach nothing: unknown of all of them, or of one outcome only.

    Of a label that is nowhere known comes no gradient, so that its output stays what it began with; one that is always
    absent, or always present, is told without a look at the film. No Finding is judged as any other label is.

    Args:
        targets: [N, 15] of the train films, in {0, 1}, NaN where a label is unknown.

    Raises:
        TrainingError: that is so of every pathology.
    """
    both = ((targets > 0.5).any(dim=0) & (targets < 0.5).any(dim=0)).tolist()
    missing = tuple(label for label, learnable in zip(LABELS, both, strict=True) if not learnable)
    if set(PATHOLOGIES) <= set(missing):
        raise TrainingError(
            "No pathology is both present and absent among the train films, so nothing can be learnt: add films of "
            "both kinds, or keep out a smaller share of the patients."
        )
    return missing


def told(not_assessed: tuple[str, ...]) -> str:
    """What a model will not say, in a sentence."""
    return (
        f"Not assessed, since no train film or only films of one outcome are known of them: {', '.join(not_assessed)}."
    )
