"""A recipe's network, and the weights that its parts begin with."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from agcnn_models.agcnn import AGCNN
from agcnn_models.backbones import Branch, build_branch
from agcnn_models.errors import ModelError
from agcnn_models.manifest import BranchName
from agcnn_models.settings import Backbone, Pooling, Region
from agcnn_training.errors import TrainingError
from agcnn_training.networks import Beginnings, build_network, parts_of, require_start_weights, start_at_prevalence
from agcnn_training.recipe import Recipe, Start, changed

GLOBAL, LOCAL, FUSION = BranchName.GLOBAL, BranchName.LOCAL, BranchName.FUSION
RARE = torch.full((15,), 0.1)


def alone(recipe: Recipe) -> Recipe:
    """The recipe's first stage, and no other."""
    return Recipe.model_validate(recipe.resolved() | {"stages": recipe.resolved()["stages"][:1]})


def test_the_network_is_the_one_that_the_recipe_describes(tiny: Recipe) -> None:
    """Backbone, pooling and region; with the global stage alone there is one branch."""
    network = build_network(changed(tiny, {"network.attention.region": "centre", "network.pooling": "lse"}))
    assert isinstance(network, AGCNN)
    assert network.settings.region is Region.CENTRE
    assert network.local_branch.pooling is Pooling.LSE
    assert set(parts_of(network)) == set(BranchName)
    branch = build_network(alone(tiny))
    assert isinstance(branch, Branch)
    assert parts_of(branch) == {GLOBAL: branch}


def test_beginnings_are_the_same_whenever_they_are_asked_for(tiny: Recipe) -> None:
    """They depend on the recipe's seed alone, and leave torch's own random numbers as they are."""
    beginnings = Beginnings(tiny, None, RARE)
    state = torch.get_rng_state()
    first, again = (beginnings.weights(LOCAL, Start.RANDOM) for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, again[key]) for key, value in first.items())
    other = Beginnings(changed(tiny, {"seed": 4}), None, RARE).weights(LOCAL, Start.RANDOM)
    assert not torch.equal(first["features.conv0.weight"], other["features.conv0.weight"])
    assert not torch.equal(
        first["features.conv0.weight"], beginnings.weights(GLOBAL, Start.RANDOM)["features.conv0.weight"]
    )


def test_the_global_branch_begins_the_same_with_and_without_the_others(tiny: Recipe) -> None:
    """So that an experiment with stage I alone and one with all three share it."""
    one = Beginnings(tiny, None, RARE).weights(GLOBAL, Start.BACKBONE)
    two = Beginnings(alone(tiny), None, RARE).weights(GLOBAL, Start.BACKBONE)
    assert all(torch.equal(value, two[key]) for key, value in one.items())


def test_branches_can_begin_apart(tiny: Recipe, tmp_path: Path) -> None:
    """One with a file, the other from scratch, although the file is given."""
    torch.manual_seed(99)
    given = build_branch(Backbone.DENSENET121).state_dict()
    torch.save(given, tmp_path / "given.pth")
    beginnings = Beginnings(tiny, tmp_path / "given.pth", RARE)
    for start, taken in ((Start.FILE, True), (Start.BACKBONE, True), (Start.RANDOM, False)):
        weights = beginnings.weights(LOCAL, start)
        assert torch.equal(weights["features.conv0.weight"], given["features.conv0.weight"]) is taken
        assert torch.allclose(weights["classifier.bias"].sigmoid(), RARE)


def test_a_classifier_begins_where_the_recipe_says(tiny: Recipe) -> None:
    """With "random" it is torch's own start, as of the weights beside it."""
    free = changed(tiny, {"network.classifier_bias": "random"})
    told, left = (Beginnings(recipe, None, RARE).weights(GLOBAL, Start.BACKBONE) for recipe in (tiny, free))
    assert torch.allclose(told["classifier.bias"].sigmoid(), RARE)
    torch.manual_seed(tiny.seed)
    assert torch.equal(left["classifier.bias"], parts_of(build_network(free))[GLOBAL].classifier.bias)
    assert torch.equal(told["classifier.weight"], left["classifier.weight"])


def test_a_file_that_is_no_backbone_is_refused(tiny: Recipe, tmp_path: Path) -> None:
    """As everywhere, by what differs."""
    torch.save(build_branch(Backbone.RESNET50).state_dict(), tmp_path / "resnet.pth")
    with pytest.raises(ModelError, match="does not fit this backbone"):
        Beginnings(tiny, tmp_path / "resnet.pth", RARE).weights(GLOBAL, Start.BACKBONE)


def test_what_a_run_has_trained_is_no_backbone(tiny: Recipe, tmp_path: Path) -> None:
    """A bundle's weights under --init are answered by the option that takes them, not by six hundred keys."""
    save_file(build_network(tiny).state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"model\.safetensors is what a run .* \(--init-global\)\.$"):
        require_start_weights(tiny, tmp_path / "model.safetensors")


def test_a_start_from_a_file_needs_the_file(tiny: Recipe, tmp_path: Path) -> None:
    """The sentence names the option."""
    stages = tiny.resolved()["stages"]
    assert isinstance(stages, list)
    stages[1]["start"] = {"local": "file"}
    recipe = Recipe.model_validate(tiny.resolved() | {"stages": stages})
    with pytest.raises(TrainingError, match="begins the local branch with a file of weights: name it with --init"):
        require_start_weights(recipe, None)
    torch.save(build_branch(Backbone.DENSENET121).state_dict(), tmp_path / "weights.pth")
    require_start_weights(recipe, tmp_path / "weights.pth")


def test_a_start_at_prevalence_says_how_often() -> None:
    """With nothing seen, a branch answers each label's frequency."""
    branch = build_branch(Backbone.DENSENET121)
    prevalence = torch.linspace(0.02, 0.4, 15)
    start_at_prevalence(branch, prevalence)
    assert torch.allclose(branch.classify(torch.zeros(1, 1024)).sigmoid()[0], prevalence, atol=1e-6)
