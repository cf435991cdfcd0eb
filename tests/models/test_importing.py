"""Weights of other programs, written here as those programs write them, and what becomes of them."""

import hashlib
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision.models
import torchxrayvision
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import conv2d

from agcnn_models.backbones import build_branch, load_imagenet, load_trained, published_by_torchvision
from agcnn_models.errors import ModelError
from agcnn_models.importing import Layout, Role, import_weights, learnt_from_imagenet, read_provenance
from agcnn_models.labels import LABELS, PATHOLOGIES
from agcnn_models.layouts import TORCHXRAYVISION_LABELS, channel_factors, three_channels
from agcnn_models.preprocessing import standardise
from agcnn_models.settings import Backbone, Pooling, Preprocessing


def unsettled(network):
    """The network in eval mode with random weights, and BatchNorm statistics as if it had been trained."""
    chance = torch.Generator().manual_seed(5)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=chance)
            module.running_var.uniform_(0.5, 2, generator=chance)
            module.weight.data.uniform_(0.5, 1.5, generator=chance)
            module.bias.data.normal_(0, 0.2, generator=chance)
        if isinstance(module, nn.Linear):
            module.bias.data.normal_(generator=chance)
    return network.eval()


class CheXNet(nn.Module):
    """The module of arnoweng/CheXNet and zoogzog/chexnet: a DenseNet-121 inside, its classifier with the sigmoid."""

    def __init__(self):
        super().__init__()
        self.densenet121 = torchvision.models.densenet121(weights=None)
        self.densenet121.classifier = nn.Sequential(nn.Linear(1024, 14), nn.Sigmoid())

    def forward(self, x):
        return self.densenet121(x)


def old_names(weights):
    """Keys as PyTorch 0.3 wrote them, which the published CheXNet still has, without counters of batches."""
    return {
        re.sub(r"(denselayer\d+\.(?:norm|relu|conv))([12]\.)", r"\1.\2", key): value
        for key, value in weights.items()
        if not key.endswith("num_batches_tracked")
    }


@pytest.fixture(scope="module")
def chexnet():
    """A CheXNet."""
    torch.manual_seed(0)
    return unsettled(CheXNet())


@pytest.fixture(scope="module")
def xray_network():
    """The DenseNet-121 of torchxrayvision."""
    torch.manual_seed(1)
    return unsettled(torchxrayvision.models.DenseNet())


@pytest.fixture(scope="module")
def pictures():
    """Grey pictures in [0, 1]: float64 [3, 1, 64, 64]; one is white up to its border."""
    grey = torch.rand(3, 1, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    grey[1] = 1
    return grey


def standardised(grey):
    """A picture as our network sees it, in the picture's own precision."""
    wanted = Preprocessing()
    mean, std = (torch.tensor(values, dtype=grey.dtype).reshape(3, 1, 1) for values in (wanted.mean, wanted.std))
    return (grey - mean) / std


def branch_of(imported):
    """A branch with imported weights, average pooling as their networks had."""
    branch = build_branch(imported.provenance.backbone, pooling=imported.provenance.pooling)
    branch.load_state_dict(imported.weights)
    return branch.eval()


def test_torchxrayvisions_grey_is_made_of_three_channels():
    """The factors solve their two equations, so that any grey value becomes 2048 p - 1024, and are the shortest."""
    factors, wanted = channel_factors(), Preprocessing()
    mean, std = np.array(wanted.mean), np.array(wanted.std)
    for grey in (0.0, 0.3, 1.0):
        assert factors @ ((grey - mean) / std) == pytest.approx(2048 * grey - 1024, rel=1e-12)
    nullspace = np.cross(1 / std, mean / std)
    assert factors @ nullspace == pytest.approx(0, abs=1e-9)


@given(value=st.floats(0, 1), seed=st.integers(0, 2**32 - 1))
def test_the_first_convolution_is_the_same_up_to_the_border(value, seed):
    """For any picture, a padded convolution of grey equals the spread one of three channels, in float64."""
    chance = torch.Generator().manual_seed(seed)
    grey = torch.rand(1, 1, 9, 9, dtype=torch.float64, generator=chance).clamp_min(value)
    kernel = torch.randn(4, 1, 7, 7, dtype=torch.float64, generator=chance)
    theirs = conv2d(2048 * grey - 1024, kernel, padding=3, stride=2)
    ours = conv2d(standardised(grey), three_channels(kernel), padding=3, stride=2)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9 * 1024 * 49)


def test_torchxrayvisions_network_is_the_same_in_float64(xray_network, pictures):
    """Spread over three channels it gives torchxrayvision's own outputs to nine digits."""
    network = torchxrayvision.models.DenseNet().double().eval()
    network.load_state_dict(xray_network.state_dict())
    branch = build_branch(Backbone.DENSENET121, classes=18, pooling=Pooling.AVG).double().eval()
    weights = dict(network.state_dict())
    weights["features.conv0.weight"] = three_channels(weights["features.conv0.weight"])
    branch.load_state_dict(weights)
    with torch.no_grad():
        theirs, ours = network(2048 * pictures - 1024), branch(standardised(pictures))
    assert theirs.std() > 1e-3
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9 * theirs.abs().max().item())


def test_an_imported_torchxrayvision_file_gives_its_outputs_in_our_order(xray_network, pictures, tmp_path):
    """The file, read by serving's own preprocessing, has the logits of the source to 1e-3; No Finding is even."""
    torch.save(xray_network.state_dict(), tmp_path / "xrv.pt")
    imported = import_weights(tmp_path / "xrv.pt", Role.GLOBAL)
    assert imported.provenance.layout is Layout.TORCHXRAYVISION
    assert imported.provenance.lacking == ("No Finding",)
    branch, picture = branch_of(imported), pictures.float()
    with torch.no_grad():
        theirs, ours = xray_network(2048 * picture - 1024), branch(standardise(picture, Preprocessing()))
    chosen = theirs[:, [TORCHXRAYVISION_LABELS.index(label) for label in PATHOLOGIES]]
    torch.testing.assert_close(ours[:, :14], chosen, rtol=1e-3, atol=1e-3 * chosen.abs().max().item())
    assert ours[:, 14].tolist() == [0.0] * 3


def test_torchxrayvisions_labels_are_those_of_the_installed_package():
    """Another version of it with another order would be noticed here."""
    assert tuple(torchxrayvision.datasets.default_pathologies) == TORCHXRAYVISION_LABELS


def test_outputs_that_torchxrayvision_never_trained_are_lacking(xray_network, tmp_path):
    """Its models of CheXpert keep 18 outputs: the operating point of a meaningless one is NaN."""
    points = torch.full((18,), 0.1)
    points[TORCHXRAYVISION_LABELS.index("Hernia")] = float("nan")
    torch.save({**xray_network.state_dict(), "op_threshs": points}, tmp_path / "xrv.pt")
    imported = import_weights(tmp_path / "xrv.pt", Role.GLOBAL)
    assert imported.provenance.lacking == ("Hernia", "No Finding")
    assert imported.weights["classifier.weight"][LABELS.index("Hernia")].abs().sum() == 0
    assert "op_threshs" not in imported.weights


CHEXNETS = {
    "arnoweng": lambda net: {"state_dict": old_names(nn.DataParallel(net).state_dict()), "best_auroc": np.float64(0.8)},
    "zoogzog": lambda net: {"epoch": 3, "state_dict": nn.DataParallel(net).state_dict(), "optimizer": {"state": {}}},
    "jrzech": lambda net: net.densenet121.state_dict(),
    "plain": lambda net: {key.replace(".0.", "."): value for key, value in net.densenet121.state_dict().items()},
}


@pytest.mark.parametrize("saved", CHEXNETS)
def test_every_layout_of_chexnet_gives_its_outputs(chexnet, pictures, tmp_path, saved):
    """Told that it is one, the sigmoid of our first 14 logits is what the source says, in NIH's order."""
    torch.save(CHEXNETS[saved](chexnet), tmp_path / "m.pth.tar", _use_new_zipfile_serialization=saved != "arnoweng")
    imported = import_weights(tmp_path / "m.pth.tar", Role.GLOBAL, Layout.CHEXNET)
    assert (
        f"Its outputs were taken for chexnet's, in this order: {', '.join(PATHOLOGIES)}." in imported.provenance.changes
    )
    inputs = standardise(pictures.float(), Preprocessing())
    with torch.no_grad():
        theirs, ours = chexnet(inputs), branch_of(imported)(inputs)
    torch.testing.assert_close(ours[:, :14].sigmoid(), theirs)
    assert ours[0, 14].sigmoid().item() == pytest.approx(60361 / 112120)


@pytest.mark.parametrize("saved", CHEXNETS)
def test_14_outputs_are_taken_for_nothing_that_nobody_said(chexnet, tmp_path, saved):
    """Ports to CheXpert have CheXNet's keys and number of outputs, and findings in another order."""
    path, chexpert = tmp_path / "m.pth.tar", [f"other {position}" for position in range(14)]
    torch.save(CHEXNETS[saved](chexnet), path)
    with pytest.raises(ModelError, match=r"its 14 outputs mean: name them .* --outputs, or say --layout chexnet where"):
        import_weights(path, Role.GLOBAL)
    chexpert[2], chexpert[9] = "Edema", "Cardiomegaly"
    imported = import_weights(path, Role.GLOBAL, outputs=chexpert)
    rows = imported.weights["classifier.weight"]
    assert torch.equal(rows[LABELS.index("Edema")], chexnet.densenet121.classifier[0].weight[2])
    assert imported.weights["classifier.bias"][LABELS.index("No Finding")] == 0  # a half: this is not NIH's data
    assert not any("taken for" in change for change in imported.provenance.changes)
    assert set(import_weights(path).weights) == set(build_branch(Backbone.DENSENET121).state_dict()) - {
        "classifier.weight",
        "classifier.bias",
    }


@pytest.mark.parametrize(("backbone", "suffix"), [("resnet50", ".pth"), ("densenet121", ".safetensors")])
def test_torchvisions_weights_lose_their_classifier(tmp_path, backbone, suffix):
    """ImageNet's 1000 outputs say nothing here; the rest is unchanged, and `load_imagenet` takes the file."""
    weights = torchvision.models.get_model(backbone, weights=None).state_dict()
    path, out = tmp_path / f"imagenet{suffix}", tmp_path / "out.safetensors"
    torch.save(weights, path) if suffix == ".pth" else save_file(weights, path)
    out.write_bytes(import_weights(path).content())
    kept = load_file(out)
    assert all(torch.equal(value, weights[key]) for key, value in kept.items())
    assert {key.split(".")[0] for key in weights.keys() - kept.keys()} == {
        {"resnet50": "fc"}.get(backbone, "classifier")
    }
    branch = build_branch(Backbone(backbone))
    load_imagenet(branch, out)
    assert torch.equal(branch.state_dict()[next(iter(kept))], kept[next(iter(kept))])


def test_weights_of_imagenet_are_known_as_such(chexnet, tmp_path):
    """By the hash in the names of torchvision's files, which an import keeps, or by their thousand classes."""
    published = torchvision.models.ResNet50_Weights.IMAGENET1K_V1.url.rpartition("-")[2].removesuffix(".pth")
    assert published_by_torchvision(published + 56 * "0")
    assert not published_by_torchvision(64 * "0")
    torch.save(torchvision.models.densenet121(weights=None).state_dict(), tmp_path / "imagenet.pth")
    torch.save(CHEXNETS["arnoweng"](chexnet), tmp_path / "chexnet.pth")
    imported = import_weights(tmp_path / "chexnet.pth")
    (tmp_path / "chexnet.safetensors").write_bytes(imported.content())
    (tmp_path / "broken.pth").write_bytes(b"no weights")
    provenance = replace(imported.provenance, source_sha256=published + 56 * "0")
    (tmp_path / "imported.safetensors").write_bytes(replace(imported, provenance=provenance).content())
    found = {path.name: learnt_from_imagenet(path) for path in tmp_path.iterdir()}
    assert {name for name, known in found.items() if known} == {"imagenet.pth", "imported.safetensors"}


def test_the_header_says_where_the_file_came_from(chexnet, tmp_path):
    """Layout, labels, hash and changes are read back as they were written; the same source gives the same bytes."""
    path, out = tmp_path / "m.pth.tar", tmp_path / "out.safetensors"
    torch.save(CHEXNETS["arnoweng"](chexnet), path)
    imported = import_weights(path, Role.GLOBAL, Layout.CHEXNET)
    out.write_bytes(imported.content())
    assert import_weights(path, Role.GLOBAL, Layout.CHEXNET).content() == out.read_bytes()
    found = read_provenance(out)
    assert found == imported.provenance
    assert found.source_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (found.pooling, found.labels, found.lacking) == (Pooling.AVG, LABELS, ("No Finding",))
    assert any("renamed" in change for change in found.changes)
    assert any("counters" in change for change in found.changes)
    assert read_provenance(path) is None


def test_a_trained_branch_is_loaded_whole(chexnet, tmp_path):
    """`load_trained` takes what was imported as a global branch, and refuses what has no classifier."""
    path, out = tmp_path / "m.pth.tar", tmp_path / "out.safetensors"
    torch.save(CHEXNETS["zoogzog"](chexnet), path)
    out.write_bytes(import_weights(path, Role.GLOBAL, Layout.CHEXNET).content())
    branch = build_branch(Backbone.DENSENET121)
    load_trained(branch, out)
    assert torch.equal(branch.classifier.weight[:14], chexnet.densenet121.classifier[0].weight)
    out.write_bytes(import_weights(path, Role.INIT).content())
    with pytest.raises(ModelError, match=r"2 keys missing \(classifier\.bias, classifier\.weight\)"):
        load_trained(branch, out)


def test_a_branch_is_found_in_the_stage_of_a_run(tmp_path):
    """A stage's file names its branches and holds heads for training only; the global branch is taken."""
    source, branch = (build_branch(Backbone.DENSENET121) for _ in range(2))
    parts = {f"global_branch.{key}": value for key, value in source.state_dict().items()}
    parts |= {f"local_branch.{key}": value for key, value in branch.state_dict().items()}
    path = tmp_path / "global-1.safetensors"
    save_file(parts | {"heads.bias": torch.zeros(3)}, path)
    load_trained(branch, path)
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in branch.state_dict().items())


def test_outputs_can_be_named_by_hand(chexnet, tmp_path):
    """Where a layout says nothing of its outputs, a person does, in any spelling; the rows follow the names."""
    weights = CHEXNETS["plain"](chexnet)
    head = {key: value[:3].clone() for key, value in weights.items() if key.startswith("classifier")}
    torch.save(weights | head, tmp_path / "three.pth")
    with pytest.raises(ModelError, match=r"3 outputs mean: name them in their order with --outputs"):
        import_weights(tmp_path / "three.pth", Role.GLOBAL)
    imported = import_weights(tmp_path / "three.pth", Role.GLOBAL, outputs=["pleural thickening", "Fracture", "Mass"])
    rows = imported.weights["classifier.weight"]
    assert torch.equal(rows[LABELS.index("Pleural_Thickening")], head["classifier.weight"][0])
    assert torch.equal(rows[LABELS.index("Mass")], head["classifier.weight"][2])
    assert len(imported.provenance.lacking) == 13
    assert any("left out: Fracture" in change for change in imported.provenance.changes)
    for outputs, sentence in (
        (["Mass"], "3 outputs, not 1"),
        (["Mass", "mass", ""], "are called Mass"),
        (["a", "b", "c"], "None of the 3 outputs"),
    ):
        with pytest.raises(ModelError, match=sentence):
            import_weights(tmp_path / "three.pth", Role.GLOBAL, outputs=outputs)


@pytest.mark.parametrize(
    ("spoil", "sentence", "noted"),
    [
        (lambda weights: [weights.pop(key) for key in list(weights)[6:26]], r"17 keys missing \(.*, \.\.\.\)", 17),
        (lambda weights: weights.update(extra=torch.zeros(2)), r"1 keys unknown \(extra\)", 1),
        (
            lambda weights: weights.update({"features.norm0.bias": torch.zeros(3)}),
            r"1 keys of another shape \(features\.norm0\.bias\)",
            1,
        ),
        (
            lambda weights: weights.update({"features.norm0.bias": torch.zeros(64, dtype=torch.int64)}),
            r"1 keys of another kind of number",
            1,
        ),
    ],
)
def test_every_key_that_does_not_fit_is_listed(chexnet, tmp_path, spoil, sentence, noted):
    """The sentence counts them and names the first, the notes have all; nothing is skipped."""
    weights = dict(CHEXNETS["plain"](chexnet))
    spoil(weights)
    torch.save(weights, tmp_path / "spoilt.pth")
    with pytest.raises(ModelError, match=sentence) as caught:
        import_weights(tmp_path / "spoilt.pth")
    assert len(caught.value.__notes__) == noted


def test_weights_that_are_not_finite_are_refused(chexnet, tmp_path):
    """A diverged training is no beginning."""
    weights = dict(CHEXNETS["plain"](chexnet))
    weights["features.norm0.bias"] = torch.full((64,), float("inf"))
    torch.save(weights, tmp_path / "diverged.pth")
    with pytest.raises(ModelError, match=r"not finite in features\.norm0\.bias"):
        import_weights(tmp_path / "diverged.pth")
