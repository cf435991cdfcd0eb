"""Bundles: written whole, opened only when everything is what the manifest says."""

import hashlib
import math
import os
import pickle
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.overrides import TorchFunctionMode

from agcnn_models.agcnn import build_agcnn
from agcnn_models.bundle import open_bundle, stored_weights, verify_bundle, write_bundle
from agcnn_models.errors import ModelError
from agcnn_models.labels import LABELS
from agcnn_models.manifest import MANIFEST_FILE, MODEL_CARD_FILE, WEIGHTS_FILE, WeightsDtype
from agcnn_models.settings import Backbone


@pytest.fixture
def copy(written, tmp_path):
    """Return the folder of a bundle that a test may spoil."""
    return shutil.copytree(written, tmp_path / "copy")


def _replace_weights(folder, change):
    """Change the stored tensors and make every hash in the manifest that of the new file."""
    path = folder / WEIGHTS_FILE
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    after = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest = folder / MANIFEST_FILE
    manifest.write_text(manifest.read_text().replace(before, after))


def test_a_bundle_gives_back_the_model_that_was_written(written, model, draft):
    """Same weights up to the rounding of float16, in eval mode, with the manifest's settings."""
    loaded = verify_bundle(written).load_model()
    assert not loaded.training
    assert loaded.settings == draft.attention
    before, after = model.state_dict(), loaded.state_dict()
    assert list(before) == list(after)
    for key, value in after.items():
        assert value.dtype == before[key].dtype
        torch.testing.assert_close(value, before[key], rtol=1e-3, atol=1e-7)


def test_stored_weights_are_the_very_weights_that_come_back(written, model):
    """A model rounded before it is measured is the model that is served."""
    stored = stored_weights(model, WeightsDtype.FLOAT16)
    for key, value in open_bundle(written).load_model().state_dict().items():
        assert torch.equal(value, stored[key].to(value.dtype)), key


def test_float32_weights_come_back_bit_for_bit(tmp_path, model, draft):
    """Without rounding nothing is lost, and the model reads the same."""
    bundle = write_bundle(tmp_path / "exact", model, draft, "# Card\n", dtype=WeightsDtype.FLOAT32)
    loaded = bundle.load_model().state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in model.state_dict().items())


class _Drawn(TorchFunctionMode):
    """Counts what draws random weights."""

    count = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.count += func in (torch.Tensor.normal_, torch.Tensor.uniform_)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("backbone", Backbone)
def test_no_weights_are_drawn_for_a_network_that_gets_its_own(tmp_path, draft, backbone):
    """To draw what is thrown away takes longer than to read what comes in its place."""
    with _Drawn() as made:
        model = build_agcnn(backbone)
    bundle = write_bundle(tmp_path / "made", model, draft.model_copy(update={"backbone": backbone}), "# Card\n")
    with _Drawn() as loaded:
        bundle.load_model()
    assert (made.count > 100, loaded.count) == (True, 0)


def test_a_bundle_is_three_files_and_no_more(written):
    """No scratch folder is left beside it."""
    assert sorted(path.name for path in written.iterdir()) == [MODEL_CARD_FILE, MANIFEST_FILE, WEIGHTS_FILE]
    assert list(written.parent.iterdir()) == [written]
    assert (written / WEIGHTS_FILE).stat().st_size < 30e6


def test_the_same_model_has_the_same_hash(written, tmp_path, model, draft):
    """Writing twice gives one identity."""
    again = write_bundle(tmp_path / "in folders" / "that are made" / "again", model, draft, "# Another card\n")
    assert again.manifest.weights.sha256 == open_bundle(written).manifest.weights.sha256


def test_an_existing_folder_is_not_overwritten(copy, model, draft):
    """A trained model is hours of work."""
    with pytest.raises(ModelError, match="exists already"):
        write_bundle(copy, model, draft, "# New\n")
    assert (copy / MODEL_CARD_FILE).read_text() == "# A sample\n"
    assert list(copy.parent.iterdir()) == [copy]


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"backbone": Backbone.RESNET50}, r"lacks \d+ tensors of this network"),
        ({"labels": LABELS[::-1]}, "the labels differ: number 1 is No Finding"),
    ],
)
def test_a_draft_of_another_network_is_refused_and_nothing_written(tmp_path, model, draft, other, why):
    """The manifest must describe the model."""
    with pytest.raises(ModelError, match=why):
        write_bundle(tmp_path / "wrong", model, draft.model_copy(update=other), "# Card\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path, draft, value):
    """A diverged training is not stored."""
    diverged = build_agcnn(Backbone.DENSENET121)
    with torch.no_grad():
        diverged.fusion.bias[3] = value
    with pytest.raises(ModelError, match=r"fusion\.bias is not finite: the training diverged"):
        write_bundle(tmp_path / "diverged", diverged, draft, "# Card\n")


def test_what_float16_cannot_hold_is_stored_as_float32(tmp_path, draft):
    """Statistics as of pixels in +-1024 come back bit for bit, and so does a weight beyond 65504."""
    model = build_agcnn(Backbone.DENSENET121)
    for branch in (model.global_branch, model.local_branch):
        branch.features.norm0.running_mean.uniform_(-3000, 3000)
        branch.features.norm0.running_var.uniform_(1e-9, 436_412)
    model.fusion.bias.data[3] = 70_000
    bundle = verify_bundle(write_bundle(tmp_path / "wide", model, draft, "# Card\n").folder)
    before, after = model.state_dict(), bundle.load_model().state_dict()
    exact = {key for key, value in before.items() if torch.equal(value, after[key])}
    assert {key for key in before if "running_" in key} | {"fusion.bias"} <= exact
    stored = load_file(bundle.folder / WEIGHTS_FILE)
    assert stored["global_branch.features.norm0.running_var"].dtype == torch.float32
    assert stored["global_branch.features.conv0.weight"].dtype == torch.float16


def test_tampered_weights_are_refused_by_their_hash(copy):
    """One changed byte, and the bundle says what it expected and what it found."""
    path = copy / WEIGHTS_FILE
    content = bytearray(path.read_bytes())
    expected = hashlib.sha256(content).hexdigest()[:12]
    content[-1] ^= 1
    path.write_bytes(content)
    found = hashlib.sha256(content).hexdigest()[:12]
    with pytest.raises(ModelError, match=f"expected SHA-256 {expected}, found {found}"):
        open_bundle(copy)


def test_weights_exchanged_after_opening_are_refused(copy):
    """The hash is checked on the very bytes that are loaded; and they may be gone by then."""
    bundle = open_bundle(copy)
    (copy / WEIGHTS_FILE).write_bytes(b"other")
    with pytest.raises(ModelError, match="expected SHA-256"):
        bundle.load_model()
    (copy / WEIGHTS_FILE).unlink()
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        bundle.load_model()


@pytest.mark.parametrize("name", [MANIFEST_FILE, MODEL_CARD_FILE, WEIGHTS_FILE])
def test_a_missing_file_is_named(copy, name):
    """A bundle is whole or refused."""
    (copy / name).unlink()
    with pytest.raises(ModelError, match=f"{name} is missing"):
        open_bundle(copy)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda tensors: tensors.pop("fusion.bias"), r"lacks 1 tensors of this network, fusion\.bias"),
        (
            lambda tensors: tensors.update(extra=torch.zeros(1)),
            "has 1 tensors unknown to this network, extra",
        ),
        (
            lambda tensors: tensors.update({"fusion.bias": torch.zeros(14)}),
            r"fusion\.bias has the shape \(14,\), expected \(15,\)",
        ),
        (
            lambda tensors: tensors.update({"fusion.bias": torch.zeros(15, dtype=torch.int64)}),
            r"fusion\.bias is stored as torch\.int64",
        ),
    ],
    ids=["missing", "unknown", "shape", "type"],
)
def test_weights_of_another_network_are_refused_by_tensor(copy, change, named):
    """Even with a right hash, the tensors must be those of the network that the manifest names."""
    _replace_weights(copy, change)
    with pytest.raises(ModelError, match=named):
        verify_bundle(copy)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_stored_weights_that_are_not_finite_are_refused(copy, value):
    """A bundle that another program has written: with its hash right it was called whole, and no film could be read."""
    _replace_weights(copy, lambda tensors: tensors["fusion.bias"].fill_(value))
    with pytest.raises(ModelError, match=r"not finite in fusion\.bias"):
        verify_bundle(copy)


def test_a_weights_file_that_is_no_safetensors_is_refused(copy):
    """Whatever the hash says."""
    path, manifest = copy / WEIGHTS_FILE, copy / MANIFEST_FILE
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(b"no weights")
    manifest.write_text(manifest.read_text().replace(before, hashlib.sha256(b"no weights").hexdigest()))
    with pytest.raises(ModelError, match="not a safetensors file"):
        verify_bundle(copy)


class _Mischief:
    """An object whose unpickling makes a directory."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("save", [torch.save, lambda what, path: path.write_bytes(pickle.dumps(what))])
def test_code_in_the_place_of_weights_is_refused_and_not_run(copy, tmp_path, save):
    """A pickle under the name of the weights, with its own hash in the manifest: it is never unpickled."""
    path, manifest = copy / WEIGHTS_FILE, copy / MANIFEST_FILE
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    save({"fusion.bias": _Mischief(tmp_path / "ran")}, path)
    manifest.write_text(manifest.read_text().replace(before, hashlib.sha256(path.read_bytes()).hexdigest()))
    with pytest.raises(ModelError, match="not a safetensors file"):
        verify_bundle(copy)
    assert not (tmp_path / "ran").exists()


def test_a_manifest_cannot_name_other_files(copy, tmp_path):
    """The three files of a bundle have fixed names: a path to somewhere else is an unknown key."""
    manifest = copy / MANIFEST_FILE
    text = manifest.read_text()
    for line in ('file = "../../elsewhere.safetensors"', 'path = "/etc/passwd"'):
        manifest.write_text(text.replace("[weights]\n", f"[weights]\n{line}\n"))
        with pytest.raises(ModelError, match=r"weights\.(file|path): Extra"):
            open_bundle(copy)


def test_calibration_is_platts_on_the_fusion_logit(written):
    """By hand: a is 1.5 and b falls by 0.1 from label to label."""
    logits = np.linspace(-3, 3, 30, dtype=np.float32).reshape(2, 15)
    found = open_bundle(written).calibrate(logits)
    assert found.shape == (2, 15)
    for row in range(2):
        for column in range(15):
            expected = 1 / (1 + math.exp(-(1.5 * float(logits[row, column]) - 0.1 * column)))
            assert found[row, column] == pytest.approx(expected, rel=1e-9)
    with pytest.raises(ValueError, match="15 logits"):
        open_bundle(written).calibrate(logits[:, :14])


def test_without_calibration_a_probability_is_the_sigmoid(tmp_path, model, draft):
    """Eq. 1 alone, also far out where the exponential would overflow."""
    plain = draft.model_copy(update={"calibration": type(draft.calibration)()})
    bundle = write_bundle(tmp_path / "plain", model, plain, "# Card\n")
    found = bundle.calibrate(np.array([0.0, 1e4, -1e4] * 5))
    assert found.tolist() == [0.5, 1.0, 0.0] * 5


def test_thresholds_are_given_for_every_label(written):
    """They are the draft's, now bound to these weights."""
    bundle = open_bundle(written)
    assert list(bundle.thresholds) == list(LABELS)
    assert bundle.thresholds["Cardiomegaly"] == pytest.approx(0.15)
    assert bundle.manifest.thresholds.weights_sha256 == bundle.manifest.weights.sha256
