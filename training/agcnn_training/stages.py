"""A stage of Algorithm 1: which parts of the network move, and what they are moved by.

The paper has three stages, of one part each; Table II also trains several parts at once. All that a stage does not
train is fixed: without gradient, and in eval(), since BatchNorm's statistics would move without any gradient at all.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from agcnn_models.agcnn import AGCNN
from agcnn_models.backbones import Branch
from agcnn_models.labels import LABELS
from agcnn_models.manifest import BranchName
from agcnn_models.references import ReferenceNetwork
from agcnn_training.networks import PART_NAMES, Beginnings, Network, parts_of, start_from_branches
from agcnn_training.recipe import StageRecipe, Start

GLOBAL, LOCAL, FUSION = BranchName.GLOBAL, BranchName.LOCAL, BranchName.FUSION


class Trainee(nn.Module):
    """What one stage trains: some parts of a network, which it shares with it, and the heads that are dropped later.

    It reads through the fixed parts without owning them: they are in none of its weights, modes or copies.
    """

    def __init__(self, network: Network, trains: Sequence[BranchName], further: int = 0) -> None:
        """Take parts of a network.

        Args:
            network: whose parts they are.
            trains: the parts, in the order of ``BranchName``.
            further: columns that the global branch learns beside the labels.
        """
        super().__init__()
        self.trains = tuple(trains)
        self._fixed = _Fixed(network)
        for part in trains:
            self.add_module(PART_NAMES[part], parts_of(network)[part])
        self.heads = nn.Linear(self._branch(GLOBAL).feature_channels, further) if further else None

    @property
    def outputs(self) -> int:
        """How many sets of labels it says at once: one a part, but for networks that learn from several."""
        whole = self._fixed.network
        return whole.training_outputs if isinstance(whole, ReferenceNetwork) else len(self.trains)

    @property
    def judged(self) -> slice:
        """The columns by which epochs are chosen: those of the last of its parts."""
        last = self.outputs * len(LABELS)
        return slice(last - len(LABELS), last)

    def forward(self, images: Tensor) -> Tensor:
        """Read images [B, 3, D S, D S]: float32 [B, outputs x 15 + further], the parts' labels one after the other.

        No gradient goes through the choice of the region and the crop.
        """
        network = self._fixed.network
        said: dict[BranchName, Tensor] = {}
        with self._moving(GLOBAL):
            branch = self._branch(GLOBAL)
            features = branch.feature_map(network.overview(images) if isinstance(network, AGCNN) else images)
            pool_g = branch.pool(features)  # [B, K]
            said[GLOBAL] = (
                branch.training_logits(pool_g) if isinstance(branch, ReferenceNetwork) else branch.classify(pool_g)
            )
        if isinstance(network, AGCNN) and self.trains != (GLOBAL,):
            crops = network.attend(images, features).crops  # [B, 3, S, S]
            with self._moving(LOCAL):
                branch = self._branch(LOCAL)
                pool_l = branch.pool(branch.feature_map(crops))  # [B, K]
                said[LOCAL] = branch.classify(pool_l)
            said[FUSION] = self._part(FUSION)(torch.cat((pool_g, pool_l), dim=1))
        logits = [said[part] for part in self.trains]
        if self.heads is not None:
            logits.append(self.heads(pool_g))
        return torch.cat(logits, dim=1).float()

    def _part(self, part: BranchName) -> nn.Module:
        return self.get_submodule(PART_NAMES[part]) if part in self.trains else parts_of(self._fixed.network)[part]

    def _branch(self, part: BranchName) -> Branch:
        module = self._part(part)
        if not isinstance(module, Branch):
            raise TypeError(f"{part} is no branch")
        return module

    @contextmanager
    def _moving(self, part: BranchName) -> Iterator[None]:
        """Record what a part does when it is one that learns."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and part in self.trains):
            yield


class _Fixed:
    """Holds a network for a trainee so that neither torch nor copies of the trainee take it for a part of it."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def __deepcopy__(self, _memo: object) -> "_Fixed":
        return self


def prepare_stage(network: Network, recipe: StageRecipe, beginnings: Beginnings, further: int = 0) -> Trainee:
    """Fix what a stage does not train, and let what it trains begin where its recipe says.

    Args:
        network: as the stages before have left it.
        recipe: of the stage.
        beginnings: the weights that the parts can begin with.
        further: columns that the global branch learns beside the labels; 0 where it is not trained.
    """
    for part, start in recipe.start.items():
        _begin(network, part, start, beginnings)
    # Heads of their own seed: the same whether or not stages came before.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(beginnings.recipe.seed)
        trainee = Trainee(network, recipe.trains, further if GLOBAL in recipe.trains else 0)
    freeze(network)
    thaw(trainee)
    return trainee


def freeze(module: nn.Module) -> None:
    """Fix a module: no gradient, and eval() so that BatchNorm's statistics stay."""
    module.requires_grad_(requires_grad=False).eval()


def thaw(module: nn.Module) -> None:
    """Let a module move again; its mode is left to the loop."""
    module.requires_grad_(requires_grad=True)


def _begin(network: Network, part: BranchName, start: Start, beginnings: Beginnings) -> None:
    """Give a part the weights that it starts with."""
    weights: Mapping[str, Tensor]
    match start:
        case Start.GLOBAL:
            # Deviation: the paper starts both branches from ImageNet weights.
            weights = parts_of(network)[GLOBAL].state_dict()
        case Start.BRANCHES:
            if not isinstance(network, AGCNN):
                raise TypeError("a network of one branch has no fusion")
            start_from_branches(network)
            return
        case Start.BACKBONE | Start.FILE | Start.RANDOM:
            weights = beginnings.weights(part, start)
    parts_of(network)[part].load_state_dict(weights)
