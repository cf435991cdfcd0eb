"""The closed sets that a recipe chooses from."""

from enum import StrEnum


class Precision(StrEnum):
    """The number format of the forward pass; weights and optimiser stay float32."""

    AUTO = "auto"
    """bfloat16 where the device has instructions for it, else float32; settled before the run begins."""
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class Optimiser(StrEnum):
    """The rule that moves the weights."""

    SGD = "sgd"
    ADAMW = "adamw"


class Schedule(StrEnum):
    """How the learning rate falls over a phase."""

    CONSTANT = "constant"
    STEP = "step"
    """Divided by 10 every ``drop_every`` epochs, as the paper's "divided by 10 after 20 epochs" is read here."""
    STEP_ONCE = "step_once"
    """Divided by 10 once, after ``drop_every`` epochs: the other reading of that sentence."""
    COSINE = "cosine"
    """From the learning rate to zero along half a cosine."""


class Loss(StrEnum):
    """What a phase makes small."""

    BCE = "bce"
    """Eq. 2, the paper's."""
    CLASS_BALANCED = "class_balanced"
    """W-CEL of Wang et al. 2017: positives and negatives of a batch weigh the same."""
    ASYMMETRIC = "asymmetric"
    """Ridnik et al. 2021: easy negatives count little; see ``AsymmetricRecipe``."""


class Start(StrEnum):
    """Where a part's weights begin when a stage begins."""

    BACKBONE = "backbone"
    """The backbone's initial weights (see ``InitialWeights``); global and local only."""
    FILE = "file"
    """The weights of the file that ``--init`` names, which must then be given; global and local only."""
    GLOBAL = "global"
    """A copy of the global branch as it then is; local only."""
    RANDOM = "random"
    """Fresh random weights."""
    BRANCHES = "branches"
    """The mean of the two branches' own classifiers; fusion only."""


class Auxiliary(StrEnum):
    """What else the global branch may be asked to tell from the same film, during training only."""

    VIEW = "view"
    SEX = "sex"
    AGE = "age"
    HISTORY = "history"
    """The 14 findings of the same patient's other films, where they are known."""


class InitialWeights(StrEnum):
    """What the branches begin with."""

    IMAGENET = "imagenet"
    """torchvision's ImageNet weights: the file that ``--init`` names, else downloaded."""
    RANDOM = "random"
    """None, unless ``--init`` names a file."""


class ClassifierBias(StrEnum):
    """Where the biases of a branch's new classifier begin."""

    PREVALENCE = "prevalence"
    """Where each label is said as often as it occurs among the training films."""
    RANDOM = "random"
    """Where torch begins all weights of a linear layer: near zero, so each label is said of about half of the films."""


class SplitMethod(StrEnum):
    """Which films train, validate and test."""

    OFFICIAL = "official"
    """ChestX-ray14's own lists; a share of the train_val patients validates."""
    PATIENT = "patient"
    """Seeded shares of the patients."""
    PAPER = "paper"
    """Single films, 70/10/20, as the paper has it: most test patients then also train."""
    CHEXNET = "chexnet"
    """The three lists of the public CheXNet port."""
    LISTS = "lists"
    """The files that ``train_list``, ``validation_list`` and ``test_list`` name."""


class Aim(StrEnum):
    """What a set of thresholds is chosen for."""

    YOUDEN = "youden"
    """The largest sum of sensitivity and specificity (Youden 1950)."""
    SENSITIVITY = "sensitivity-90"
    """The fewest false alarms at a sensitivity of .9."""

    def set_id(self, model: str) -> str:
        """What the set is called wherever a finding is recorded; model is "name-version"."""
        return f"{model}-{self}"
