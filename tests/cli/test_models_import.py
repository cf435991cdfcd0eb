"""`models import`, as a person runs it."""

import pytest
import torch
import torchvision.models
from typer.testing import CliRunner

from agcnn_clinic.cli.main import app
from agcnn_clinic.cli.models import ImportAs, ImportLayout
from agcnn_clinic.errors import ExitCode, ModelUnavailableError, UsageError
from agcnn_models.importing import Role, read_provenance
from agcnn_models.layouts import Layout


@pytest.fixture(scope="module")
def chexnet_file(tmp_path_factory):
    """A CheXNet checkpoint with random weights, as zoogzog/chexnet saves it."""
    network = torchvision.models.densenet121(weights=None, num_classes=14).state_dict()
    path = tmp_path_factory.mktemp("chexnet") / "m-25012018-123527.pth.tar"
    renamed = {f"module.densenet121.{key.replace('classifier.', 'classifier.0.')}": network[key] for key in network}
    torch.save({"epoch": 5, "state_dict": renamed, "best_loss": 0.14}, path)
    return path


def run(*arguments):
    """Run `models import`; an error comes out as it was raised."""
    return CliRunner().invoke(app, ["models", "import", *map(str, arguments)], catch_exceptions=False)


def test_a_checkpoint_becomes_a_file_that_training_takes(chexnet_file, tmp_path):
    """It says what the file was, what was changed and assumed, which label has no output, and how to go on."""
    out = tmp_path / "chexnet.safetensors"
    with pytest.raises(ModelUnavailableError, match="say --layout chexnet where they are NIH's"):
        run(chexnet_file, "--out", out, "--as", "global")
    assert not out.exists()
    done = run(chexnet_file, "--out", out, "--as", "global", "--layout", "chexnet")
    assert done.exit_code == 0
    assert "Its outputs were taken for chexnet's, in this order: Atelectasis, Cardiomegaly, Effusion" in done.stdout
    assert "densenet121, avg pooling, from m-25012018-123527.pth.tar (chexnet)" in done.stdout
    assert "constant one: No Finding." in done.stdout
    assert f"train --init-global {out}" in done.stdout
    assert read_provenance(out).role is Role.GLOBAL


def test_a_file_is_never_overwritten(chexnet_file, tmp_path):
    """What lies there stays, and a name that would be misread is refused."""
    out = tmp_path / "mine.safetensors"
    out.write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        run(chexnet_file, "--out", out)
    assert out.read_text() == "mine"
    with pytest.raises(UsageError, match=r"does not end in \.safetensors"):
        run(chexnet_file, "--out", tmp_path / "mine.pth")
    with pytest.raises(UsageError, match="cannot be written: No such file"):
        run(chexnet_file, "--out", tmp_path / "nowhere" / "mine.safetensors")


def test_links_that_lead_to_themselves_are_told_of(chexnet_file, tmp_path):
    """As the name of the file to make; they stay as they are."""
    circle = tmp_path / "circle.safetensors"
    circle.symlink_to(circle)
    with pytest.raises(UsageError, match="Too many levels of symbolic links"):
        run(chexnet_file, "--out", circle)
    assert circle.is_symlink()


def test_what_does_not_fit_is_a_sentence_that_says_where_the_whole_list_is(chexnet_file, tmp_path):
    """The first keys are named; --debug shows all of them; the exit code is the model's."""
    content = torch.load(chexnet_file, weights_only=True)
    content["state_dict"]["module.extra"] = torch.zeros(1)
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(ModelUnavailableError, match=r"1 keys unknown \(extra\) \(agcnn-clinic --debug") as caught:
        run(tmp_path / "odd.pth", "--out", tmp_path / "out.safetensors")
    assert caught.value.exit_code == ExitCode.MODEL
    assert caught.value.__cause__.__notes__ == ["unknown: extra"]
    assert not (tmp_path / "out.safetensors").exists()


def test_the_options_are_those_that_the_library_has():
    """The command names its choices itself, so that --help need not wait for torch."""
    assert [str(role) for role in ImportAs] == [str(role) for role in Role]
    assert [str(layout) for layout in ImportLayout] == ["auto", *map(str, Layout)]
