"""Files that are no weights, or of no network that is known, or would run code: each is refused in one sentence."""

import os

import pytest
import torch
import torchvision.models

from agcnn_models.errors import ModelError
from agcnn_models.importing import Layout, Role, import_weights


@pytest.mark.parametrize(
    ("content", "options", "sentence"),
    [
        ({"a": torch.zeros(2)}, {}, "no DenseNet-121 and no ResNet-50"),
        ({"a": torch.zeros(2), "b": 1}, {}, "is not a state dict"),
        ([1, 2], {}, "is not a state dict"),
        ({1: torch.zeros(2)}, {}, "is not a state dict"),
        ({"module.a": torch.zeros(2), "a": torch.zeros(2)}, {}, "more than one network"),
        ({"layer1.0.conv1.weight": torch.zeros(2)}, {"layout": Layout.CHEXNET}, "keys missing"),
        ({"features.conv0.weight": torch.zeros(64, 3, 7, 7)}, {"layout": Layout.TORCHXRAYVISION}, "not one channel"),
        ({"features.conv0.weight": torch.zeros(64, 3, 7, 7)}, {"role": Role.GLOBAL}, "has no classifier"),
        ({"classifier.bias": torch.tensor(3.0), "features.conv0.weight": torch.tensor(1.0)}, {}, "keys missing"),
    ],
)
def test_what_is_no_such_network_is_refused(tmp_path, content, options, sentence):
    """Foreign contents end in one sentence that says what they lack."""
    torch.save(content, tmp_path / "foreign.pth")
    with pytest.raises(ModelError, match=sentence):
        import_weights(tmp_path / "foreign.pth", **options)


class _Mischief:
    """An object whose unpickling makes a directory."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_file_that_carries_code_is_refused_and_not_run(tmp_path):
    """The sentence says what it holds and what to do, and nothing of it happens."""
    torch.save({"state_dict": {"weight": _Mischief(tmp_path / "ran")}}, tmp_path / "evil.pth")
    with pytest.raises(
        ModelError, match=r"evil\.pth cannot be read as weights: it holds Python objects \(posix\.mkdir\)"
    ):
        import_weights(tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


def test_a_whole_module_is_refused_with_advice(tmp_path):
    """Whole modules, as torchxrayvision and jrzech/reproduce-chexnet publish them, are not read."""
    torch.save({"model": torchvision.models.densenet121(weights=None), "epoch": 3}, tmp_path / "checkpoint")
    with pytest.raises(ModelError, match=r"\(torchvision\.models\.densenet\.DenseNet\).* save model\.state_dict\(\)"):
        import_weights(tmp_path / "checkpoint")


@pytest.mark.parametrize(
    "content",
    [
        b"root:x:0:0:root:/root:/bin/sh\n",  # IndexError
        b"epoch,loss\n1,0.5\n",  # KeyError
        b"\x80\x02]q\x00.",
        b"\x80\x02X\xff\xff\xff\x7f.",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"i",
        b"(((",
    ],
)
def test_a_file_of_any_other_kind_is_refused(tmp_path, content):
    """Whatever the unpickler makes of it: one sentence."""
    (tmp_path / "other").write_bytes(content)
    with pytest.raises(ModelError, match=r"other (cannot be read as weights|is not a state dict)") as caught:
        import_weights(tmp_path / "other")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [0, 10, 200, -1])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_file_is_refused(tmp_path, kept, zipped):
    """A download that stopped is told, wherever it stopped, in one line."""
    torch.save({"features.conv0.weight": torch.zeros(500)}, tmp_path / "whole", _use_new_zipfile_serialization=zipped)
    (tmp_path / "part.pth").write_bytes((tmp_path / "whole").read_bytes()[:kept])
    with pytest.raises(ModelError, match=r"part\.pth cannot be read as weights: .+") as caught:
        import_weights(tmp_path / "part.pth")
    assert "\n" not in str(caught.value)
