"""The network that a recipe asks for, its parts, and the weights that each part can begin with."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from agcnn_models.agcnn import AGCNN, build_agcnn
from agcnn_models.backbones import Branch, build_branch, load_imagenet
from agcnn_models.labels import LABELS
from agcnn_models.manifest import BranchName
from agcnn_models.references import ReferenceNetwork, build_reference
from agcnn_models.settings import Architecture
from agcnn_training.errors import TrainingError
from agcnn_training.recipe import ClassifierBias, InitialWeights, Recipe, Start

Network = AGCNN | Branch
"""AG-CNN, of images [B, 3, D S, D S], or one branch alone, of images [B, 3, S, S] (`agcnn_models.agcnn`)."""

PART_NAMES: Final = {
    BranchName.GLOBAL: "global_branch",
    BranchName.LOCAL: "local_branch",
    BranchName.FUSION: "fusion",
}
"""What AG-CNN calls its parts."""


def build_network(recipe: Recipe) -> Network:
    """Make a recipe's network with random weights; a recipe that trains the global branch alone has no other."""
    network = recipe.network
    if network.architecture is not Architecture.AGCNN:
        return build_reference(network.architecture, network.backbone, network.pooling)
    if recipe.parts == (BranchName.GLOBAL,):
        return build_branch(network.backbone, pooling=network.pooling)
    return build_agcnn(network.backbone, network.pooling, network.attention)


def parts_of(network: Network) -> dict[BranchName, nn.Module]:
    """The parts that stages train; a network of one branch is its own global one."""
    if isinstance(network, AGCNN):
        return {part: network.get_submodule(name) for part, name in PART_NAMES.items()}
    return {BranchName.GLOBAL: network}


@dataclass(frozen=True)
class Beginnings:
    """The weights that a network's parts can begin with; the same whenever they are asked for.

    Attributes:
        recipe: of the run; its seed decides all random weights.
        init: the file that ``--init`` names.
        prevalence: [15], how often each label occurs among the training films.
    """

    recipe: Recipe
    init: Path | None
    prevalence: Tensor

    def weights(self, part: BranchName, start: Start) -> Mapping[str, Tensor]:
        """The weights of a part at ``BACKBONE``, ``FILE`` or ``RANDOM``, which heed nothing that was learnt.

        Raises:
            agcnn_models.errors.ModelError: the initial weights cannot be had, or do not fit.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.seed)
            module = parts_of(build_network(self.recipe))[part]
        if isinstance(module, Branch):
            if self.has_learnt(start):
                for encoder in module.encoders if isinstance(module, ReferenceNetwork) else (module,):
                    load_imagenet(encoder, self.init)
            if self.recipe.network.classifier_bias is ClassifierBias.PREVALENCE:
                start_at_prevalence(module, self.prevalence)
        return module.state_dict()

    def has_learnt(self, start: Start) -> bool:
        """Whether a branch that starts so begins with weights that learnt elsewhere: a file's, or ImageNet's."""
        given = self.init is not None or self.recipe.network.initial_weights is InitialWeights.IMAGENET
        return start is Start.FILE or (start is Start.BACKBONE and given)


def require_start_weights(recipe: Recipe, init: Path | None) -> None:
    """Make sure of the weights that parts begin with, whichever stage they begin in: a run may take days to get there.

    Raises:
        TrainingError: a part begins with a file and none is given.
        agcnn_models.errors.ModelError: the file cannot be read, does not fit, or holds weights that are not finite; or
            ImageNet's weights cannot be downloaded.
    """
    starts = [(part, start) for stage in recipe.stages for part, start in stage.start.items()]
    if init is None and (without := next((part for part, start in starts if start is Start.FILE), None)):
        raise TrainingError(
            f"The recipe {recipe.name} begins the {without} branch with a file of weights: name it with --init."
        )
    beginnings = Beginnings(recipe, init, torch.zeros(len(LABELS)))
    if begun := next(((part, start) for part, start in starts if beginnings.has_learnt(start)), None):
        beginnings.weights(*begun)


@torch.no_grad()
def start_from_branches(network: AGCNN) -> None:
    """Let the fusion begin as the mean of the two branches' logits.

    Deviation: the paper does not say how the fusion layer starts. With a few thousand films a random start has
    not caught up with the mean of the branches when it begins to overfit.
    """
    heads = [_classifier(branch) for branch in (network.global_branch, network.local_branch)]
    network.fusion.weight.copy_(torch.cat([head.weight for head in heads], dim=1) / 2)
    network.fusion.bias.copy_((heads[0].bias + heads[1].bias) / 2)


@torch.no_grad()
def start_at_prevalence(branch: Branch, prevalence: Tensor) -> None:
    """Let a branch with a random classifier begin by saying each label as often as it occurs: prevalence [15].

    Deviation: the paper does not say how classifiers begin. Without this the first epochs are spent on learning that
    findings are rare (``network.classifier_bias = "random"``).
    """
    _classifier(branch).bias.copy_(torch.logit(prevalence.clamp(0.005, 0.995)))


def _classifier(branch: Branch) -> nn.Linear:
    head = branch.get_submodule(branch.classifier_name)
    if not isinstance(head, nn.Linear) or head.out_features != len(LABELS):
        raise TypeError(f"a branch ends in a linear layer of {len(LABELS)} outputs, not in {head}")
    return head
