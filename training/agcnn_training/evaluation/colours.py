"""The colours of figures, which colour-blind readers tell apart, and how each branch is drawn in every one of them."""

from collections.abc import Mapping
from typing import Final

from matplotlib.typing import LineStyleType

from agcnn_models.manifest import BranchName

# Okabe and Ito (2008).
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, BLACK = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000",
)  # fmt: skip

PALETTE: Final = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, BLACK)

BRANCH_COLOURS: Final[Mapping[BranchName, str]] = {
    BranchName.GLOBAL: BLUE,
    BranchName.LOCAL: ORANGE,
    BranchName.FUSION: GREEN,
}
DASHES: Final[Mapping[BranchName, LineStyleType]] = {
    BranchName.GLOBAL: "--",
    BranchName.LOCAL: ":",
    BranchName.FUSION: "-",
}
MARKERS: Final[Mapping[BranchName, str]] = {
    BranchName.GLOBAL: "o",
    BranchName.LOCAL: "s",
    BranchName.FUSION: "^",
}
"""Dashes and markers tell them apart in a print without colours, too."""
