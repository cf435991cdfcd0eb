"""Algorithm 1 and its variants: the parts of a stage move together, all others stand still."""

import copy

import pytest
import torch
from torch import Tensor

from agcnn_models.agcnn import AGCNN, build_agcnn
from agcnn_models.backbones import build_branch
from agcnn_models.manifest import BranchName
from agcnn_models.settings import Backbone, Pooling
from agcnn_training.loss import binary_cross_entropy, stage_loss
from agcnn_training.networks import Beginnings
from agcnn_training.recipe import Recipe, StageRecipe, Start
from agcnn_training.stages import Trainee, prepare_stage

GLOBAL, LOCAL, FUSION = BranchName.GLOBAL, BranchName.LOCAL, BranchName.FUSION
IMAGES = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
TARGETS = (torch.rand(4, 15, generator=torch.Generator().manual_seed(1)) < 0.3).float()

# Every stage of Table II's five orders.
STAGES = [(GLOBAL,), (LOCAL,), (FUSION,), (GLOBAL, LOCAL), (LOCAL, FUSION), (GLOBAL, LOCAL, FUSION)]
PARTS = {GLOBAL: "global_branch", LOCAL: "local_branch", FUSION: "fusion"}


@pytest.fixture(scope="module")
def untrained() -> AGCNN:
    """A network with random weights."""
    torch.manual_seed(0)
    return build_agcnn(Backbone.DENSENET121, Pooling.AVG)


@pytest.fixture
def beginnings(tiny: Recipe) -> Beginnings:
    """What the tiny recipe's parts can begin with."""
    return Beginnings(tiny, None, torch.full((15,), 0.1))


def prepare(network: AGCNN, trains: tuple[BranchName, ...], beginnings: Beginnings, further: int = 0) -> Trainee:
    """What a stage trains that goes on with the weights that the network has."""
    return prepare_stage(network, StageRecipe(trains=trains), beginnings, further)


def changed(before: dict[str, Tensor], network: AGCNN) -> set[str]:
    """Which of the three parts have a weight or a buffer that is not bit for bit what it was."""
    after = network.state_dict()
    return {key.split(".")[0] for key, value in before.items() if not torch.equal(value, after[key])}


def by_name(trains: tuple[BranchName, ...]) -> str:
    """A test's name."""
    return "+".join(trains)


@pytest.mark.parametrize("trains", STAGES, ids=by_name)
def test_a_stage_moves_its_own_parts_alone(
    untrained: AGCNN, beginnings: Beginnings, trains: tuple[BranchName, ...]
) -> None:
    """After two steps, weights and BatchNorm's running statistics of all fixed parts are bit-equal."""
    network = copy.deepcopy(untrained)
    trainee = prepare(network, trains, beginnings, further=3)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    optimiser = torch.optim.SGD([p for p in trainee.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        trainee.train()  # as the loop does before each step
        loss = stage_loss(trainee(IMAGES), TARGETS, binary_cross_entropy, len(trains))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert changed(before, network) == {PARTS[part] for part in trains}


@pytest.mark.parametrize("trains", [(GLOBAL, LOCAL), (LOCAL, FUSION), (GLOBAL, LOCAL, FUSION)], ids=by_name)
def test_a_joint_gradient_is_the_sum_of_the_separate_ones(
    untrained: AGCNN, beginnings: Beginnings, trains: tuple[BranchName, ...]
) -> None:
    """One backward pass gives what the network's own forward gives when each loss goes back alone."""
    network = copy.deepcopy(untrained)
    trainee = prepare(network, trains, beginnings)
    trainee.train()
    parameters = [p for p in trainee.parameters() if p.requires_grad]
    loss = stage_loss(trainee(IMAGES), TARGETS, binary_cross_entropy, len(trains))
    joint = torch.autograd.grad(loss, parameters)

    total = [torch.zeros_like(parameter) for parameter in parameters]
    for part in trains:
        logits = getattr(network(IMAGES), f"{part}_logits")
        found = torch.autograd.grad(binary_cross_entropy(logits, TARGETS), parameters, allow_unused=True)
        total = [one if other is None else one + other for one, other in zip(total, found, strict=True)]
    for one, other in zip(joint, total, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_no_gradient_goes_through_the_crop(untrained: AGCNN, beginnings: Beginnings) -> None:
    """The local branch's loss does not reach the global branch that chose its region, the fusion's reaches both."""
    network = copy.deepcopy(untrained)
    trainee = prepare(network, (GLOBAL, LOCAL, FUSION), beginnings)
    logits = trainee.train()(IMAGES)

    def reached(columns: slice) -> set[str]:
        loss = binary_cross_entropy(logits[:, columns], TARGETS)
        found = torch.autograd.grad(loss, list(network.parameters()), allow_unused=True, retain_graph=True)
        names = [name for name, _ in network.named_parameters()]
        return {
            name.split(".")[0] for name, value in zip(names, found, strict=True) if value is not None and value.any()
        }

    assert reached(slice(0, 15)) == {"global_branch"}
    assert reached(slice(15, 30)) == {"local_branch"}
    assert reached(slice(30, 45)) == {"global_branch", "local_branch", "fusion"}


@pytest.mark.parametrize("trains", STAGES, ids=by_name)
def test_a_stage_reads_what_the_network_reads(
    untrained: AGCNN, beginnings: Beginnings, trains: tuple[BranchName, ...]
) -> None:
    """In eval mode its columns are the parts' logits in order; the last part judges, whatever heads stand behind."""
    network = copy.deepcopy(untrained)
    trainee = prepare(network, trains, beginnings, further=3)
    trainee.eval()
    with torch.no_grad():
        reading = network(IMAGES)
        logits = trainee(IMAGES)
        expected = torch.cat([getattr(reading, f"{part}_logits") for part in trains], dim=1)
        assert torch.equal(logits[:, : 15 * len(trains)], expected)
        assert logits.shape[1] == 15 * len(trains) + (3 if GLOBAL in trains else 0)
        assert torch.equal(logits[:, trainee.judged], expected[:, -15:])


def test_the_first_stage_chooses_no_region(untrained: AGCNN, beginnings: Beginnings) -> None:
    """While the global branch learns alone, the local branch and the fusion, which would take as long, do not read."""
    network, called = copy.deepcopy(untrained), []
    network.local_branch.get_submodule("features").register_forward_hook(lambda *_: called.append(LOCAL))
    network.fusion.register_forward_hook(lambda *_: called.append(FUSION))
    for trains in ((GLOBAL,), (LOCAL,)):
        with torch.no_grad():
            prepare(network, trains, beginnings).eval()(IMAGES)
        assert called == ([] if trains == (GLOBAL,) else [LOCAL, FUSION])


def test_a_trainee_owns_what_it_trains_and_nothing_else(untrained: AGCNN, beginnings: Beginnings) -> None:
    """Checkpoints hold the trained parts under the network's own names; a copy shares the fixed ones."""
    network = copy.deepcopy(untrained)
    trainee = prepare(network, (LOCAL, FUSION), beginnings)
    assert {key.split(".")[0] for key in trainee.state_dict()} == {"local_branch", "fusion"}
    assert set(trainee.state_dict()) <= set(network.state_dict())
    fixed = network.global_branch.get_parameter("features.conv0.weight")
    twin = copy.deepcopy(trainee)
    before = twin(IMAGES)
    with torch.no_grad():
        fixed.mul_(-1)
    assert not torch.equal(twin(IMAGES), before)
    assert twin.get_submodule("local_branch") is not network.local_branch


def test_one_branch_is_trained_like_the_global_one(beginnings: Beginnings) -> None:
    """A recipe with the global stage alone needs no AG-CNN around it, and stores its weights under the same names."""
    torch.manual_seed(0)
    branch = build_branch(Backbone.DENSENET121, pooling=Pooling.AVG)
    trainee = prepare_stage(branch, StageRecipe(trains=(GLOBAL,)), beginnings)
    assert all(key.startswith("global_branch.") for key in trainee.state_dict())
    trainee.eval()
    with torch.no_grad():
        assert torch.equal(trainee(IMAGES), branch(IMAGES))


def test_the_local_branch_can_start_as_the_global_one(untrained: AGCNN, beginnings: Beginnings) -> None:
    """It begins from a copy, not from the same tensors."""
    network = copy.deepcopy(untrained)
    prepare_stage(network, StageRecipe(trains=(LOCAL,), start={LOCAL: Start.GLOBAL}), beginnings)
    for mine, theirs in zip(network.local_branch.parameters(), network.global_branch.parameters(), strict=True):
        assert torch.equal(mine, theirs)
        assert mine.data_ptr() != theirs.data_ptr()


def test_fusion_can_start_as_the_mean_of_the_branches(untrained: AGCNN, beginnings: Beginnings) -> None:
    """The fusion logits then are the mean of global and local ones."""
    network = copy.deepcopy(untrained)
    with torch.no_grad():
        for branch, bias in ((network.global_branch, 1.0), (network.local_branch, -3.0)):
            branch.get_parameter("classifier.bias").fill_(bias)
    prepare_stage(network, StageRecipe(trains=(FUSION,), start={FUSION: Start.BRANCHES}), beginnings)
    network.eval()
    with torch.no_grad():
        reading = network(IMAGES)
    mean = (reading.global_logits + reading.local_logits) / 2
    assert torch.allclose(reading.fusion_logits, mean, atol=1e-5)


def test_a_part_can_begin_again(untrained: AGCNN, beginnings: Beginnings) -> None:
    """A stage that names a start forgets what stages before have taught; one that names none goes on."""
    network = copy.deepcopy(untrained)
    stage = StageRecipe(trains=(GLOBAL,), start={GLOBAL: Start.BACKBONE})
    weight = network.global_branch.get_parameter("features.conv0.weight")
    prepare_stage(network, stage, beginnings)
    first = weight.clone()
    with torch.no_grad():
        weight.zero_()
    prepare_stage(network, StageRecipe(trains=(GLOBAL,)), beginnings)
    assert not weight.any()
    prepare_stage(network, stage, beginnings)
    assert torch.equal(weight, first)


def test_a_copy_for_another_thread_shares_the_weights(untrained: AGCNN, beginnings: Beginnings) -> None:
    """As ``Shards`` copies it: the same parameters, BatchNorm buffers of its own, the same gradient."""
    trainee = prepare(copy.deepcopy(untrained), (LOCAL, FUSION), beginnings).eval()
    parameters = list(trainee.parameters())
    twin = copy.deepcopy(trainee, {id(parameter): parameter for parameter in parameters})
    assert all(mine is theirs for mine, theirs in zip(twin.parameters(), parameters, strict=True))
    assert not {id(buffer) for buffer in twin.buffers()} & {id(buffer) for buffer in trainee.buffers()}
    weight = trainee.get_parameter("fusion.weight")
    first, second = (torch.autograd.grad(module(IMAGES).sum(), weight)[0] for module in (trainee, twin))
    assert first.any()
    assert torch.equal(first, second)
