"""What the front door refuses: in a sentence, and before anything is trained."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rich.console import Console

from agcnn_models.backbones import build_branch
from agcnn_models.errors import ModelError
from agcnn_models.settings import Backbone
from agcnn_training.errors import TrainingError
from agcnn_training.run_folder import run_path
from agcnn_training.train import TrainRequest, train

Maker = Callable[[str], TrainRequest]


def change_table(request: TrainRequest, folder: Path, old: str, new: str) -> TrainRequest:
    """The same request with a changed label table."""
    table = folder / "changed.csv"
    table.write_text(request.data.read_text().replace(old, new))
    return replace(request, data=table)


def test_a_missing_image_is_one_sentence(request_for: Maker, quiet: Console, tmp_path: Path) -> None:
    """A row without its file stops the run before it begins."""
    request = change_table(request_for("model"), tmp_path, "\n3.png", "\ngone.png")
    with pytest.raises(TrainingError, match=r"gone\.png is missing"):
        train(request, quiet)


def test_an_unreadable_image_is_one_sentence(request_for: Maker, quiet: Console, tmp_path: Path) -> None:
    """A file that is no image is named."""
    request = request_for("model")
    broken = request.images.parent / "images" / "broken.png"
    broken.write_bytes(b"no image")
    with pytest.raises(TrainingError, match=r"broken\.png cannot be read"):
        train(change_table(request, tmp_path, "\n3.png", "\nbroken.png"), quiet)


def test_one_patient_is_one_sentence(request_for: Maker, quiet: Console, tmp_path: Path) -> None:
    """Nothing can be kept out of a single patient."""
    table = tmp_path / "one.csv"
    table.write_text("image,patient,finding_labels\n0.png,1,Mass\n1.png,1,No Finding\n")
    with pytest.raises(TrainingError, match="one patient only"):
        train(replace(request_for("model"), data=table), quiet)


def test_pretraining_films_must_be_given_when_the_recipe_wants_them(request_for: Maker, quiet: Console) -> None:
    """Which options name them is said before films are read, and before a run's folder bars the way of the next try."""

    def unread(path: Path) -> NDArray[np.float32]:
        raise AssertionError(path)

    with pytest.raises(TrainingError, match="--pretrain-data"):
        train(replace(request_for("model"), pretrain_data=None, image_loader=unread), quiet)
    assert not run_path(request_for("model").out).exists()


def test_imagenets_weights_are_fetched_before_films_are_read(
    request_for: Maker, quiet: Console, recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a network that is said at once, and no run's folder bars the way of the same run with --init."""

    def unread(path: Path) -> NDArray[np.float32]:
        raise AssertionError(path)

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # a port that refuses connections
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    recipe_file.write_text(
        recipe_file.read_text().replace('initial_weights = "random"', 'initial_weights = "imagenet"')
    )
    with pytest.raises(ModelError, match=r"could not be downloaded .* --init$"):
        train(replace(request_for("model"), image_loader=unread), quiet)
    assert not run_path(request_for("model").out).exists()


def test_a_run_is_never_overwritten(request_for: Maker, quiet: Console, recipe_file: Path, tmp_path: Path) -> None:
    """A bundle, a run that was not to be resumed, and a run of another recipe each stop the command."""
    request = request_for("model")
    request.out.mkdir()
    with pytest.raises(TrainingError, match="exists already"):
        train(request, quiet)
    request.out.rmdir()
    run = tmp_path / "model.run"
    run.mkdir()
    (run / "run.json").write_text("{}")
    with pytest.raises(TrainingError, match="go on with --resume"):
        train(request, quiet)
    with pytest.raises(TrainingError, match="another recipe"):
        train(replace(request, resume=True), quiet)


def test_an_unknown_device_is_one_sentence(request_for: Maker, quiet: Console) -> None:
    """A device that is not there is refused, with those that may be."""
    with pytest.raises(TrainingError, match="no device 'gpu'"):
        train(replace(request_for("model"), device="gpu"), quiet)


def test_initial_weights_must_fit(request_for: Maker, quiet: Console, tmp_path: Path) -> None:
    """--init with another network's weights stops the run before it trains."""
    torch.save(build_branch(Backbone.RESNET50).state_dict(), tmp_path / "resnet.pth")
    with pytest.raises(ModelError, match="does not fit this backbone"):
        train(replace(request_for("model"), init=tmp_path / "resnet.pth"), quiet)


def test_initial_weights_are_looked_at_before_the_films(
    request_for: Maker, quiet: Console, recipe_file: Path, tmp_path: Path
) -> None:
    """A file that only a later stage begins with stops the run before stage I, and before its folder is made."""
    recipe_file.write_text(
        recipe_file.read_text()
        .replace('start = { global = "backbone" }', 'start = { global = "random" }')
        .replace('start = { local = "global" }', 'start = { local = "file" }')
    )
    weights = build_branch(Backbone.DENSENET121).state_dict()
    weights["features.norm0.running_var"][7] = float("inf")
    torch.save(weights, tmp_path / "diverged.pth")
    request = replace(request_for("model"), init=tmp_path / "diverged.pth")
    with pytest.raises(
        ModelError, match=r"diverged\.pth has values that are not finite in features\.norm0\.running_var"
    ):
        train(request, quiet)
    assert not request.out.with_name("model.run").exists()
