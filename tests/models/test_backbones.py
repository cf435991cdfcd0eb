"""The branches against torchvision's own networks, and the loading of its weights."""

import pickle
import re

import pytest
import torch
import torchvision.models
from safetensors.torch import save_file

from agcnn_models.attention import heat_map
from agcnn_models.backbones import build_branch, load_imagenet, log_mean_exp
from agcnn_models.errors import ModelError
from agcnn_models.settings import Backbone, Pooling

TORCHVISION = {
    Backbone.RESNET50: torchvision.models.resnet50,
    Backbone.DENSENET121: torchvision.models.densenet121,
}


@pytest.fixture(scope="module", params=Backbone)
def backbone(request):
    """Return each backbone in turn."""
    return request.param


@pytest.fixture(scope="module")
def original(backbone):
    """Return torchvision's network of 1000 classes with random weights, in eval mode."""
    torch.manual_seed(2)
    return TORCHVISION[backbone](weights=None).eval()


@pytest.fixture(scope="module")
def branch(backbone, original):
    """Return a branch of 1000 classes with average pooling: the same network, in our three steps."""
    branch = build_branch(backbone, classes=1000, pooling=Pooling.AVG).eval()
    branch.load_state_dict(original.state_dict())
    return branch


@pytest.fixture(scope="module")
def images():
    """Return two small images."""
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(4))


def test_state_dict_keys_are_torchvisions(branch, original):
    """Weights go both ways without renaming, the classifier's included."""
    assert list(branch.state_dict()) == list(original.state_dict())
    original.load_state_dict(branch.state_dict())


def test_the_three_steps_are_torchvisions_forward(branch, original, images):
    """Feature map, average pooling and classifier together give its logits, bit for bit or nearly."""
    with torch.no_grad():
        torch.testing.assert_close(branch(images), original(images), rtol=1e-5, atol=1e-5)


def test_the_feature_map_is_after_the_last_relu(branch, images):
    """It is never negative, so that the absolute value of Eq. 3 changes nothing."""
    with torch.no_grad():
        features = branch.feature_map(images)
    assert features.shape == (2, branch.feature_channels, 2, 2)
    assert features.min() == 0
    assert torch.equal(heat_map(features), features.amax(dim=1))


def test_densenet_without_its_relu_would_be_negative(images):
    """The `features` of torchvision end before the ReLU: the trap that feature_map() avoids."""
    branch = build_branch(Backbone.DENSENET121).eval()
    with torch.no_grad():
        assert branch.features(images).min() < 0
        assert torch.equal(branch.features(images).relu(), branch.feature_map(images))


def test_a_branch_in_eval_mode_does_not_move_and_reads_each_image_alone(branch, images):
    """A fixed branch keeps its BatchNorm statistics and does not mix the images of a batch."""
    before = {key: value.clone() for key, value in branch.state_dict().items()}
    with torch.no_grad():
        together = branch.feature_map(images)
        alone = branch.feature_map(images[:1])
    assert all(torch.equal(value, before[key]) for key, value in branch.state_dict().items())
    rounding = 1e-5 * together.max().item()  # random weights have activations of any size
    torch.testing.assert_close(together[:1], alone, rtol=0, atol=rounding)


def test_a_branch_has_fifteen_logits_and_max_pooling_unless_told(backbone):
    """The paper's branch: 15 outputs after a global max pooling."""
    with torch.device("meta"):
        branch = build_branch(backbone)
    assert branch.classify(torch.zeros(1, branch.feature_channels, device="meta")).shape == (1, 15)
    assert branch.pool(torch.tensor([[[[1.0, 7.0], [3.0, 5.0]]]])).tolist() == [[7.0]]


def test_log_sum_exp_pooling_lies_between_average_and_maximum():
    """It is the logarithm of the mean exponential, also for values whose exponential overflows."""
    features = torch.tensor([[[[1.0, 2.0], [3.0, 100.0]]]])
    assert log_mean_exp(features, 1.0).item() == pytest.approx(100 - 1.3862944, abs=1e-4)
    small = torch.tensor([[[[0.0, 0.1]]]])
    assert log_mean_exp(small, 10.0).item() == pytest.approx(0.0620115, abs=1e-5)
    flat = torch.full((2, 3, 4, 4), 2.5)
    torch.testing.assert_close(log_mean_exp(flat, 10.0), torch.full((2, 3), 2.5))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_torchvisions_weights_load_and_its_classifier_is_left_out(backbone, original, tmp_path, suffix):
    """A branch of 15 classes takes the 1000-class network's features, from either kind of file."""
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(original.state_dict(), path)
    else:
        save_file({key: value.clone() for key, value in original.state_dict().items()}, path)
    branch = build_branch(backbone)
    load_imagenet(branch, path)
    for key, value in branch.state_dict().items():
        if key.startswith(branch.classifier_name):
            assert value.shape[0] == 15
        else:
            assert torch.equal(value, original.state_dict()[key]), key


def test_densenets_names_of_before_pytorch_0_4_load(tmp_path):
    """The file that torchvision publishes says "norm.1" for "norm1", and counts no batches."""
    original = TORCHVISION[Backbone.DENSENET121](weights=None)
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|relu|conv))([12]\.)", r"\1.\2", key): value
        for key, value in original.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "old.pth")
    branch = build_branch(Backbone.DENSENET121)
    load_imagenet(branch, tmp_path / "old.pth")
    key = "features.denseblock4.denselayer16.conv2.weight"
    assert torch.equal(branch.state_dict()[key], original.state_dict()[key])


@pytest.fixture(scope="module")
def densenet_weights():
    """Return the state dict of a DenseNet-121, to be spoilt in copies."""
    return TORCHVISION[Backbone.DENSENET121](weights=None).state_dict()


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda weights: weights.pop("features.conv0.weight"), r"1 keys missing \(features\.conv0\.weight\)"),
        (lambda weights: weights.update(extra=torch.zeros(1)), r"1 keys unknown \(extra\)"),
        (
            lambda weights: weights.update({"features.conv0.weight": torch.zeros(1)}),
            r"1 keys of another shape \(features\.conv0\.weight\)",
        ),
    ],
)
def test_weights_of_another_network_are_refused_by_key(densenet_weights, tmp_path, spoil, named):
    """What is missing, unknown or of another shape is listed, and nothing is loaded."""
    spoilt = dict(densenet_weights)
    spoil(spoilt)
    torch.save(spoilt, tmp_path / "spoilt.pth")
    branch = build_branch(Backbone.DENSENET121)
    before = branch.state_dict()["features.norm5.weight"].clone()
    with pytest.raises(ModelError, match=named):
        load_imagenet(branch, tmp_path / "spoilt.pth")
    assert torch.equal(branch.state_dict()["features.norm5.weight"], before)


class _Mischief:
    """An object whose unpickling makes a directory."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        import os

        return os.mkdir, (str(self.path),)


def test_a_file_that_carries_code_is_refused_and_not_run(tmp_path):
    """Foreign checkpoints are read as data only, without a fallback."""
    torch.save({"weight": _Mischief(tmp_path / "ran")}, tmp_path / "evil.pth")
    with pytest.raises(ModelError, match=r"evil\.pth cannot be read as weights"):
        load_imagenet(build_branch(Backbone.DENSENET121), tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("text.pth", b"not weights"),
        ("empty.pth", b""),
        ("list.pth", pickle.dumps([1, 2], protocol=2)),
        ("text.safetensors", b"not weights at all"),
        ("missing.pth", None),
    ],
)
def test_a_file_that_holds_no_weights_is_refused_by_name(tmp_path, name, content):
    """Broken, empty, foreign and missing files each end in one sentence."""
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=re.escape(name)):
        load_imagenet(build_branch(Backbone.DENSENET121), tmp_path / name)


def test_without_a_network_the_advice_is_to_give_a_path(backbone, tmp_path, monkeypatch):
    """A proxy that refuses connections stands for a hospital without internet."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ModelError, match=rf"get https://\S+/{backbone}-\w+\.pth elsewhere and .* --init$"):
        load_imagenet(build_branch(backbone), None)
