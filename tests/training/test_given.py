"""Weights that a run is given: what they have met is read where it lies, and said where it matters."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from agcnn_models.backbones import build_branch
from agcnn_models.settings import Backbone
from agcnn_training.data.splits import Split, split_by_lists
from agcnn_training.data.table import Row
from agcnn_training.errors import TrainingError
from agcnn_training.given import Given, cautions, initial_weights, read_given, require_apart
from agcnn_training.met import Meeting, Met, met_by, read_met, write_given
from agcnn_training.recipe import Recipe
from agcnn_training.run_folder import RunFolder
from agcnn_training.train import TrainRequest, given_sha256

ROWS = [Row(f"{number}.png", str(number // 2), frozenset()) for number in range(8)]
"""Two films a patient; 0 to 3 train, 4 and 5 validate, 6 and 7 test."""


@pytest.fixture
def split() -> Split:
    """How the run at hand divides them."""
    return split_of({"train": range(4), "validation": range(4, 6), "test": range(6, 8)}, ROWS)


def split_of(sides: Mapping[str, range], rows: list[Row]) -> Split:
    """A split by hand."""
    lists = {side: frozenset(str(number) for number in numbers) for side, numbers in sides.items()}
    return split_by_lists(rows, lists, "by hand")


def stage_of(folder: Path, sides: Mapping[str, str], patient: str = "stranger") -> Path:
    """A stage's file in the folder of a run that had these films on these sides."""
    folder.mkdir()
    lines = [f"{image},{patient},{side}" for image, side in sides.items()]
    (folder / "split.csv").write_text("\n".join(("image,patient,side", *lines)) + "\n")
    (folder / "global-1.safetensors").write_bytes(b"weights")
    return folder / "global-1.safetensors"


@pytest.mark.parametrize(("film", "side"), [("4.jpg", "train"), ("6.jpg", "train"), ("6.jpg", "validation")], ids=str)
def test_a_branch_that_has_met_what_judges_here_is_refused(tmp_path: Path, split: Split, film: str, side: str) -> None:
    """Films that validate or test here have not trained it, and those that test here have not chosen it."""
    given = read_given(None, stage_of(tmp_path / "a.run", {film: side, "0.png": "train"}))
    with pytest.raises(TrainingError, match=rf"1 of the films .*\({film[0]}\.png for one\).*split that it was trained"):
        require_apart(given, ROWS, split)


@pytest.mark.parametrize(
    ("film", "side"), [("0.png", "train"), ("0.png", "test"), ("4.png", "validation"), ("6.png", "test"), ("6.png", "")]
)
def test_a_branch_of_the_same_split_is_taken(tmp_path: Path, split: Split, film: str, side: str) -> None:
    """A stage that learnt and was chosen as here, by another run, takes nothing from the results."""
    given = read_given(None, stage_of(tmp_path / "a.run", {film: side}))
    require_apart(given, ROWS, split)
    assert cautions(given, ROWS, split) == ()


def test_patients_that_judge_here_are_warned_of(tmp_path: Path, split: Split) -> None:
    """Other films of a patient who tests here are no reason to refuse, as within a run, but one to say so."""
    given = read_given(None, stage_of(tmp_path / "a.run", {"x.png": "train", "y.png": "validation"}, patient="3"))
    require_apart(given, ROWS, split)
    (said,) = cautions(given, ROWS, split)
    assert "other films of 1 patients who validate or test here" in said


def test_a_file_from_nowhere_is_unknown(tmp_path: Path, split: Split) -> None:
    """Neither a run's split nor a bundle's lies beside it, and nobody claims that it has met nothing."""
    (tmp_path / "chexnet.pth").write_bytes(b"weights")
    (said,) = cautions(read_given(None, tmp_path / "chexnet.pth"), ROWS, split)
    assert said.startswith("Which films chexnet.pth learnt from is unknown")


def test_the_weights_of_a_bundle_have_met_what_its_run_has(tmp_path: Path) -> None:
    """A bundle's run lies beside it, under its name; a link to the weights leads there."""
    stage_of(tmp_path / "model.run", {"6.png": "train"})
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "model" / "model.safetensors")
    met = met_by(tmp_path / "link.safetensors")
    assert met is not None
    assert met.images == {"6": "train"}


def test_what_is_given_on_is_not_forgotten(tmp_path: Path, split: Split) -> None:
    """A run's model has met what the weights had met that it was given, and what those were given is unknown still."""
    (tmp_path / "nih.pth").write_bytes(b"weights")
    first = read_given(tmp_path / "nih.pth", stage_of(tmp_path / "a.run", {"x.png": "train", "y.png": "test"}, "9"))
    (tmp_path / "b.run").mkdir()
    RunFolder(tmp_path / "b.run").write_split(ROWS, split)
    write_given(tmp_path / "b.run", first.known, first.unknown)
    met = read_met(tmp_path / "b")
    assert met is not None
    assert met.unknown == ("nih.pth",)
    assert (met.images["x"], met.images["6"], met.images.get("y")) == ("train", "test", None)
    assert met.patients["train"] == {"0", "1", "9"}
    second = read_given(None, tmp_path / "b.run" / "local-1.safetensors")
    others = [*ROWS, Row("x.jpg", "9", frozenset())]
    judged_by_x = split_by_lists(others, {"train": frozenset({"0"}), "validation": frozenset({"x"})}, "by hand")
    with pytest.raises(TrainingError, match=r"x\.jpg for one"):
        require_apart(second, others, judged_by_x)
    assert second.unknown == ("nih.pth",)


def test_without_given_weights_nothing_is_written(tmp_path: Path) -> None:
    """A run folder has given.csv where there is something to say."""
    write_given(tmp_path, (), ())
    assert list(tmp_path.iterdir()) == []


def test_a_film_counts_where_it_was_met_closest() -> None:
    """One that trained in any run has trained, whatever a later line says."""
    films = [("a.png", "1", "train"), ("a.png", "1", "test"), ("b.png", "2", ""), ("b.png", "2", "validation")]
    assert Met(tuple(Meeting(*film) for film in films)).images == {"a": "train", "b": "validation"}


def test_initial_weights_of_imagenet_need_no_warning(tmp_path: Path, split: Split) -> None:
    """A classifier of ImageNet's thousand classes has met no chest film; one of chest findings has met some."""
    for name, classes in (("imagenet.pth", 1000), ("chest.pth", 15)):
        torch.save(build_branch(Backbone.DENSENET121, classes=classes).state_dict(), tmp_path / name)
    assert cautions(read_given(tmp_path / "imagenet.pth", None), ROWS, split) == ()
    assert "chest.pth" in cautions(read_given(tmp_path / "chest.pth", None), ROWS, split)[0]


def test_where_a_run_begins_is_said_in_words(tiny: Recipe) -> None:
    """Both files are named where both are used: this recipe's other stages begin with the global branch."""
    init, branch = Path("init.pth"), Path("global.pth")
    assert initial_weights(Given(), tiny) == "random"
    assert initial_weights(Given(init), tiny) == "the file init.pth"
    assert initial_weights(Given(init, branch), tiny) == "a trained global branch, the file global.pth"
    stages = [{"trains": ["global"]}, {"trains": ["local"]}, {"trains": ["fusion"]}]
    paper = Recipe.model_validate(tiny.resolved() | {"stages": stages})
    assert initial_weights(Given(init, branch), paper).endswith("global.pth; elsewhere the file init.pth")


def test_a_run_is_known_by_what_each_file_is_given_for(films: Path, tmp_path: Path) -> None:
    """The same weights as --init and as --init-global, and other pretraining films of one name, are other runs."""
    weights, folder = tmp_path / "weights.pth", tmp_path / "images"
    weights.write_bytes(b"weights")
    folder.mkdir()
    for index, film in enumerate(sorted((films / "more").iterdir())):
        (folder / film.name).write_bytes(film.read_bytes() + b"another" * (index == 0))
    bare = TrainRequest(data=Path("table"), images=None, recipe="starter", out=Path("out"))
    more = replace(bare, pretrain_data=films / "more.csv", pretrain_images=films / "more")
    requests = (
        bare,
        replace(bare, init=weights),
        replace(bare, global_weights=weights),
        replace(bare, init=weights, global_weights=weights),
        more,
        replace(more, pretrain_images=folder),
    )
    assert len({given_sha256(request, "films") for request in requests}) == len(requests)
    shutil.copytree(films / "more", tmp_path / "copy")
    assert given_sha256(replace(more, pretrain_images=tmp_path / "copy"), "films") == given_sha256(more, "films")
