"""Which films are evaluated on, where both a run and NIH's lists have a word to say."""

from pathlib import Path

import pytest

from agcnn_training.data.source import open_data
from agcnn_training.errors import TrainingError
from agcnn_training.evaluation.opening import Side, open_films
from agcnn_training.met import read_met
from agcnn_training.recipe import SplitRecipe
from agcnn_training.run_folder import RunFolder

TRAIN_VAL, TEST = [f"{number}.png" for number in range(8)], [f"{number}.png" for number in range(8, 12)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """ChestX-ray14 in small, its test films listed and not there: a film a patient, no image read."""
    root = tmp_path / "root"
    (root / "images").mkdir(parents=True)
    rows = [f"{name},Mass,{number}" for number, name in enumerate((*TRAIN_VAL, *TEST))]
    (root / "Data_Entry_2017.csv").write_text("\n".join(("Image Index,Finding Labels,Patient ID", *rows)) + "\n")
    (root / "train_val_list.txt").write_text("\n".join(TRAIN_VAL) + "\n")
    (root / "test_list.txt").write_text("\n".join(TEST) + "\n")
    for name in TRAIN_VAL:
        (root / "images" / name).write_bytes(b"a film")
    return root


@pytest.fixture
def model(root: Path, tmp_path: Path) -> Path:
    """Where the bundle of a run on the films that are there would lie, with the run's split beside it."""
    data = open_data(root, None, SplitRecipe(), partial=True)
    (tmp_path / "model.run").mkdir()
    RunFolder(tmp_path / "model.run").write_split(data.rows, data.split)
    return tmp_path / "model"


def found(root: Path, model: Path, side: Side | None) -> list[str]:
    """The films that are evaluated on."""
    return [row.image for row in open_films(root, None, side, read_met(model), partial=True).rows]


def test_test_films_that_come_after_the_run_are_the_test_films(root: Path, model: Path) -> None:
    """The run had none of them, so the official list names them; those that it trained on are not among them."""
    assert found(root, model, None) == TRAIN_VAL
    with pytest.raises(TrainingError, match=r"has no test films: .*--split all"):
        open_films(root, None, Side.TEST, read_met(model), partial=True)
    for name in TEST:
        (root / "images" / name).write_bytes(b"a film")
    assert found(root, model, None) == found(root, model, Side.TEST) == TEST
    assert len(found(root, model, Side.VALIDATION)) == 1
    assert found(root, model, Side.ALL) == [*TRAIN_VAL, *TEST]


def test_the_run_goes_before_the_official_list(root: Path, model: Path) -> None:
    """An official test film that the run trained on is no test film of this model, and one that it left out neither."""
    for name in TEST:
        (root / "images" / name).write_bytes(b"a film")
    split = model.with_name("model.run") / "split.csv"
    split.write_text(split.read_text() + f"{TEST[0]},8,train\n{TEST[1]},9,\n")
    assert found(root, model, None) == TEST[2:]


def test_lists_and_films_match_without_suffix(root: Path, tmp_path: Path) -> None:
    """The official list names films as the label table does, or as converted copies are called."""
    for name in TEST:
        (root / "images" / name).write_bytes(b"a film")
    (root / "test_list.txt").write_text("\n".join(TEST).replace(".png", ".jpg"))
    assert found(root, tmp_path / "of-nobody", None) == TEST
