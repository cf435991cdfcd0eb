"""Algorithm 1: one part moves, all that came before stands still."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from agcnn_models.agcnn import AGCNN, build_agcnn
from agcnn_models.settings import Backbone, Pooling
from agcnn_training.loss import binary_cross_entropy
from agcnn_training.recipe import Recipe
from agcnn_training.stages import (
    Stage,
    fusion_stage,
    global_stage,
    local_stage,
    start_at_prevalence,
    start_from_branches,
)

IMAGES = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def untrained() -> AGCNN:
    """A network with random weights."""
    torch.manual_seed(0)
    return build_agcnn(Backbone.DENSENET121, Pooling.AVG)


def move(stage: Stage) -> None:
    """Two steps of plain gradient descent, as the loop would do them."""
    moving = [parameter for parameter in stage.trainee.parameters() if parameter.requires_grad]
    optimiser = torch.optim.SGD(moving, lr=0.1)
    for _ in range(2):
        stage.trainee.train()
        logits = stage.read(stage.trainee, IMAGES)[:, :15]
        optimiser.zero_grad()
        binary_cross_entropy(logits, torch.ones(4, 15)).backward()
        optimiser.step()


def changed(before: dict[str, Tensor], network: AGCNN) -> set[str]:
    """Which of the three parts have a weight or a buffer that is not bit for bit what it was."""
    after = network.state_dict()
    return {key.split(".")[0] for key, value in before.items() if not torch.equal(value, after[key])}


@pytest.mark.parametrize(
    ("make", "moves"),
    [
        (lambda network, recipe: global_stage(network, recipe.stages, 3), {"global_branch"}),
        (lambda network, recipe: local_stage(network, recipe.stages), {"local_branch"}),
        (lambda network, recipe: fusion_stage(network, recipe.stages), {"fusion"}),
    ],
    ids=["global", "local", "fusion"],
)
def test_a_stage_moves_its_own_part_alone(
    untrained: AGCNN, tiny: Recipe, make: Callable[[AGCNN, Recipe], Stage], moves: set[str]
) -> None:
    """Weights and BatchNorm's buffers of the other parts are bit-equal after training."""
    network = copy.deepcopy(untrained)
    stage = make(network, tiny)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    move(stage)
    assert changed(before, network) == moves


def test_the_local_branch_can_start_as_the_global_one(untrained: AGCNN, tiny: Recipe) -> None:
    """With start = "global" stage II begins from a copy, not from the same tensors."""
    network = copy.deepcopy(untrained)
    local_stage(network, tiny.stages)
    for mine, theirs in zip(network.local_branch.parameters(), network.global_branch.parameters(), strict=True):
        assert torch.equal(mine, theirs)
        assert mine.data_ptr() != theirs.data_ptr()


def test_stage_two_reads_what_the_network_attends_to(untrained: AGCNN, tiny: Recipe) -> None:
    """In eval mode the stages' readings are those of the whole network."""
    network = copy.deepcopy(untrained).eval()
    local, fusion = local_stage(network, tiny.stages), fusion_stage(network, tiny.stages)
    network.eval()
    with torch.no_grad():
        reading = network(IMAGES)
        assert torch.equal(local.read(network.local_branch, IMAGES), reading.local_logits)
        assert torch.equal(fusion.read(network.fusion, IMAGES), reading.fusion_logits)


def test_fusion_can_start_as_the_mean_of_the_branches(untrained: AGCNN) -> None:
    """The fusion logits then are the mean of global and local ones."""
    network = copy.deepcopy(untrained).eval()
    start_from_branches(network)
    with torch.no_grad():
        reading = network(IMAGES)
    mean = (reading.global_logits + reading.local_logits) / 2
    assert torch.allclose(reading.fusion_logits, mean, atol=1e-5)


def test_a_start_at_prevalence_says_how_often(untrained: AGCNN) -> None:
    """With nothing seen, a branch answers each label's frequency."""
    network = copy.deepcopy(untrained)
    prevalence = torch.linspace(0.02, 0.4, 15)
    start_at_prevalence(network.global_branch, prevalence)
    assert torch.allclose(network.global_branch.classify(torch.zeros(1, 1024)).sigmoid()[0], prevalence, atol=1e-6)
