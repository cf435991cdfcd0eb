"""Algorithm 1 of the paper: the global branch, then the local branch on what it attends to, then their fusion.

Each stage moves one part of the network. The parts trained before it are fixed: without gradient, and in eval(),
since BatchNorm's statistics would move without any gradient at all.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from agcnn_models.agcnn import AGCNN
from agcnn_models.backbones import Branch
from agcnn_models.labels import LABELS
from agcnn_models.manifest import BranchName
from agcnn_training.recipe import StageRecipe, StagesRecipe, Start

Read = Callable[[nn.Module, Tensor], Tensor]
"""(trainee, images [B, 3, S, S]) -> logits [B, W], the first 15 of which are those of LABELS."""


@dataclass(frozen=True)
class Stage:
    """One stage: the module that moves, and how it reads images through what is fixed."""

    name: BranchName
    recipe: StageRecipe
    trainee: nn.Module
    read: Read


class JointBranch(nn.Module):
    """The global branch with further heads on its Pool5, which are dropped when the stage ends."""

    def __init__(self, branch: Branch, further: int) -> None:
        super().__init__()
        self.branch = branch
        self.heads = nn.Linear(branch.feature_channels, further) if further else None

    def forward(self, images: Tensor) -> Tensor:
        """Read images [B, 3, S, S]: logits [B, 15 + further]."""
        pooled = self.branch.pool(self.branch.feature_map(images))  # [B, K]
        logits = self.branch.classify(pooled)  # [B, 15]
        return logits if self.heads is None else torch.cat((logits, self.heads(pooled)), dim=1)


def global_stage(network: AGCNN, recipe: StagesRecipe, further: int) -> Stage:
    """Stage I: the global branch learns from whole images."""
    trainee = JointBranch(network.global_branch, further)
    freeze(network)
    thaw(trainee)
    return Stage(BranchName.GLOBAL, recipe.global_, trainee, lambda branch, images: _logits(branch(images)))


def local_stage(network: AGCNN, recipe: StagesRecipe) -> Stage:
    """Stage II: the local branch learns from crops that the fixed global branch attends to."""
    freeze(network)
    if recipe.local.start is Start.GLOBAL:
        # Deviation: the paper starts both branches from ImageNet weights.
        network.local_branch.load_state_dict(network.global_branch.state_dict())
    thaw(network.local_branch)

    def read(local: nn.Module, images: Tensor) -> Tensor:
        with torch.no_grad():
            crops = network.attend(images, network.global_branch.feature_map(images)).crops
        return _logits(local(crops))

    return Stage(BranchName.LOCAL, recipe.local, network.local_branch, read)


def fusion_stage(network: AGCNN, recipe: StagesRecipe) -> Stage:
    """Stage III: a linear layer learns from the Pool5 of both fixed branches."""
    freeze(network)
    if recipe.fusion.start is Start.BRANCHES:
        start_from_branches(network)
    thaw(network.fusion)

    def read(fusion: nn.Module, images: Tensor) -> Tensor:
        with torch.no_grad():
            pooled = pooled_pair(network, images)
        return _logits(fusion(pooled))

    return Stage(BranchName.FUSION, recipe.fusion, network.fusion, read)


def pooled_pair(network: AGCNN, images: Tensor) -> Tensor:
    """Both branches' Pool5, concatenated: images [B, 3, S, S] -> [B, 2K]."""
    features = network.global_branch.feature_map(images)
    crops = network.attend(images, features).crops
    pool_g = network.global_branch.pool(features)
    pool_l = network.local_branch.pool(network.local_branch.feature_map(crops))
    return torch.cat((pool_g, pool_l), dim=1)


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
    """Let a branch with random weights begin by saying each label as often as it occurs: prevalence [15].

    Without this the first epochs are spent on learning that findings are rare.
    """
    _classifier(branch).bias.copy_(torch.logit(prevalence.clamp(0.005, 0.995)))


def freeze(module: nn.Module) -> None:
    """Fix a module: no gradient, and eval() so that BatchNorm's statistics stay."""
    module.requires_grad_(requires_grad=False).eval()


def thaw(module: nn.Module) -> None:
    """Let a module move again; its mode is left to the loop."""
    module.requires_grad_(requires_grad=True)


def _classifier(branch: Branch) -> nn.Linear:
    head = branch.get_submodule(branch.classifier_name)
    if not isinstance(head, nn.Linear) or head.out_features != len(LABELS):
        raise TypeError(f"a branch ends in a linear layer of {len(LABELS)} outputs, not in {head}")
    return head


def _logits(value: Tensor) -> Tensor:
    return value.float()
