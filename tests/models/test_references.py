"""The other rows of Table I: their shapes, and what makes each of them what its publication says it is."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agcnn_models.backbones import Branch, build_branch
from agcnn_models.labels import LABELS
from agcnn_models.references import CascadeBranch, LabelChainBranch, TransitionBranch, build_reference
from agcnn_models.settings import Architecture, Backbone, Pooling

REFERENCES = [architecture for architecture in Architecture if architecture is not Architecture.AGCNN]


class TinyBranch(Branch):
    """Six channels from one convolution, so that these tests measure the references and not a backbone."""

    classifier_name = "fc"
    feature_channels = 6

    def __init__(self, pooling: Pooling = Pooling.AVG) -> None:
        super().__init__()
        self.pooling = pooling
        self.conv = nn.Conv2d(3, 6, kernel_size=8, stride=8)
        self.fc = nn.Linear(6, len(LABELS))

    def feature_map(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x))

    def classify(self, pooled: Tensor) -> Tensor:
        return self.fc(pooled)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Random weights and films, the same each time."""
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture
def chain() -> LabelChainBranch:
    """A chain over the labels on a tiny encoder."""
    return LabelChainBranch(TinyBranch())


@pytest.fixture
def cascade() -> CascadeBranch:
    """Three levels of tiny encoders."""
    return CascadeBranch(tuple(TinyBranch() for _ in range(3)))


@pytest.mark.parametrize("architecture", REFERENCES)
def test_every_reference_is_a_branch_all_of_whose_weights_learn(architecture: Architecture) -> None:
    """Images to logits [B, 15]; the steps are those of forward(), features are not negative, nothing lies idle."""
    branch = build_reference(architecture, Backbone.DENSENET121, Pooling.AVG).eval()
    images = torch.randn(2, 3, 32, 32)
    features = branch.feature_map(images)
    pooled = branch.pool(features)
    logits = branch.classify(pooled)
    assert features.shape == (2, branch.feature_channels, 1, 1)
    assert features.min() >= 0
    assert pooled.shape == (2, branch.feature_channels)
    assert logits.shape == (2, len(LABELS))
    torch.testing.assert_close(logits, branch(images))
    learnt_from = branch.training_logits(pooled)
    assert learnt_from.shape == (2, branch.training_outputs * len(LABELS))
    torch.testing.assert_close(learnt_from[:, -len(LABELS) :], logits)
    learnt_from.sum().backward()
    assert [name for name, weight in branch.named_parameters() if weight.grad is None] == []


def test_the_papers_own_network_is_no_reference() -> None:
    """AG-CNN has three branches and a builder of its own."""
    with pytest.raises(ValueError, match="build_agcnn"):
        build_reference(Architecture.AGCNN, Backbone.RESNET50, Pooling.MAX)


def test_imagenet_weights_have_a_place_in_every_reference(cascade: CascadeBranch, chain: LabelChainBranch) -> None:
    """The backbones are found inside, with all that torchvision's file fills but the classifier."""
    assert cascade.encoders == tuple(cascade.levels)
    assert chain.encoders == (chain.encoder,)
    (encoder,) = TransitionBranch(build_branch(Backbone.RESNET50)).encoders
    expected = {name for name in build_branch(Backbone.RESNET50).state_dict() if not name.startswith("fc.")}
    assert set(encoder.state_dict()) == expected


def test_the_classifier_that_starts_at_prevalence_ends_each_reference(
    cascade: CascadeBranch, chain: LabelChainBranch
) -> None:
    """`classifier_name` leads to a linear layer of 15 outputs whose bias shifts the logits."""
    images = torch.randn(2, 3, 32, 32)
    for branch in (cascade, chain, TransitionBranch(TinyBranch())):
        before = branch(images)
        head = branch.get_submodule(branch.classifier_name)
        assert isinstance(head, nn.Linear)
        assert head.out_features == len(LABELS)
        with torch.no_grad():
            head.bias[0] += 2
        torch.testing.assert_close(branch(images)[:, 0], before[:, 0] + 2)


def test_a_label_depends_on_those_before_it_and_on_no_later_one(chain: LabelChainBranch) -> None:
    """A change of what step t says changes the labels after t alone: the chain rule of probabilities."""
    pooled = torch.randn(4, 6)
    before = chain.classify(pooled)
    with torch.no_grad():
        chain.classifier.bias[5] += 3
    change = (chain.classify(pooled) - before).detach().abs().amax(dim=0)
    assert change[:5].max() == 0
    assert float(change[5]) == pytest.approx(3, abs=1e-5)
    assert change[6:].min() > 0


def test_levels_see_the_earlier_ones_and_do_not_teach_them(cascade: CascadeBranch) -> None:
    """A later level's loss moves its own weights alone; an earlier level's word changes a later level's."""
    images = torch.randn(2, 3, 32, 32)
    logits = cascade.training_logits(cascade.pool(cascade.feature_map(images))).unflatten(1, (3, len(LABELS)))
    torch.testing.assert_close(cascade(images), logits[:, -1])
    cascade.zero_grad()
    logits[:, 1].sum().backward()
    moved = {
        name.split(".")[1]
        for name, weight in cascade.named_parameters()
        if weight.grad is not None and weight.grad.any()
    }
    assert moved == {"1"}
    with torch.no_grad():
        cascade.classifiers[0].bias.add_(1)
    changed = cascade.training_logits(cascade.pool(cascade.feature_map(images))).unflatten(1, (3, len(LABELS)))
    assert (changed[:, 1:] - logits[:, 1:]).abs().min() > 0
