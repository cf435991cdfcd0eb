"""The labels of ChestX-ray14, in the order of the paper's Table I and in NIH's own spelling."""

from collections.abc import Iterable

PATHOLOGIES: tuple[str, ...] = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
"""The 14 pathologies over which the paper averages its AUC."""

NO_FINDING = "No Finding"
"""The 15th element of the label vector (Section III-A): none of the 14 pathologies is present."""

LABELS: tuple[str, ...] = (*PATHOLOGIES, NO_FINDING)
"""The 15 outputs of every branch, in order."""


def require_known(labels: Iterable[str]) -> None:
    """Raise ValueError where one is not among LABELS."""
    if unknown := sorted(set(labels) - set(LABELS)):
        raise ValueError(f"{', '.join(unknown)}: not among the labels")


def display_name(label: str) -> str:
    """Return the label as a person reads it: "Pleural_Thickening" becomes "Pleural Thickening".

    Raises ValueError for a label that is not one of LABELS.
    """
    if label not in LABELS:
        raise ValueError(f"unknown label {label!r}; the labels are {', '.join(LABELS)}")
    return label.replace("_", " ")
