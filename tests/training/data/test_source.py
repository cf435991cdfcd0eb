"""The front door of the data: a table becomes rows, files, a split, boxes, and sentences on all of it."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from agcnn_training.data.source import account, fingerprint, open_collection, open_data
from agcnn_training.errors import TrainingError
from agcnn_training.recipe import SplitMethod, SplitRecipe

SPLIT = SplitRecipe(validation=0.25)


@pytest.fixture
def table(films: Path, tmp_path: Path) -> Path:
    """A copy of the drawn films' label table, which a test may change, beside the films."""
    shutil.copy(films / "labels.csv", tmp_path)
    (tmp_path / "images").symlink_to(films / "images")
    return tmp_path / "labels.csv"


def test_a_table_is_split_by_patient(table: Path) -> None:
    """Twelve patients: three validate, and half of the rest test when that is asked for."""
    data = open_data(table, table.parent / "images", SplitRecipe(validation=0.25, test=0.5))
    counts = [len({data.rows[index].patient for index in side})
              for side in (data.split.train, data.split.validation, data.split.test)]  # fmt: skip
    assert counts == [3, 3, 6]
    assert [path.name for path in data.paths] == [row.image for row in data.rows]
    assert all(path.is_file() for path in data.paths)
    assert data.boxes == ()


def test_images_may_lie_beside_their_table(films: Path, tmp_path: Path) -> None:
    """Without --images the names are relative to the table; absolute names need no folder at all."""
    text = (films / "labels.csv").read_text()
    folder = tmp_path / "data"
    shutil.copytree(films / "images", folder)
    (folder / "labels.csv").write_text(text)
    assert open_data(folder / "labels.csv", None, SPLIT).paths[0] == folder / "0.png"
    lines = text.splitlines()
    absolute = [lines[0], *(f"{films / 'images'}/{line}" for line in lines[1:])]
    (tmp_path / "absolute.csv").write_text("\n".join(absolute))
    assert open_data(tmp_path / "absolute.csv", tmp_path, SPLIT).paths[0] == films / "images" / "0.png"


def test_a_missing_image_is_named_and_counted(table: Path) -> None:
    """Two rows without files: the first is named; with --partial they are left out; none at all is an error."""
    table.write_text(table.read_text().replace("\n3.png", "\ngone.png").replace("\n7.png", "\nlost.png"))
    with pytest.raises(TrainingError, match=r"gone\.png is missing, one of 2 .*--partial"):
        open_data(table, table.parent / "images", SPLIT)
    assert len(open_data(table, table.parent / "images", SPLIT, partial=True).rows) == 22
    with pytest.raises(TrainingError, match=r"None of the images of labels\.csv"):
        open_data(table, table.parent / "nowhere", SPLIT, partial=True)


def test_lists_decide_where_they_are_given(table: Path) -> None:
    """Three files of names: what they leave out lies on no side."""
    lists = {}
    for name, numbers in (("train", range(8)), ("validation", range(8, 14)), ("test", range(14, 20))):
        lists[f"{name}_list"] = Path(f"{name}.txt")  # relative to the table's folder
        (table.parent / f"{name}.txt").write_text("".join(f"{number}.png\n" for number in numbers))
    data = open_data(table, table.parent / "images", SplitRecipe(method=SplitMethod.LISTS, **lists))
    assert [len(side) for side in (data.split.train, data.split.validation, data.split.test)] == [8, 6, 6]
    lists["test_list"] = Path("none.txt")
    with pytest.raises(TrainingError, match=r"none\.txt cannot be read"):
        open_data(table, table.parent / "images", SplitRecipe(method=SplitMethod.LISTS, **lists))


@pytest.mark.parametrize("method", [SplitMethod.OFFICIAL, SplitMethod.CHEXNET])
def test_a_table_has_no_official_split(table: Path, method: SplitMethod) -> None:
    """NIH's and CheXNet's lists belong to ChestX-ray14; a table that asks for them is told so."""
    with pytest.raises(TrainingError, match="belongs to ChestX-ray14"):
        open_data(table, table.parent / "images", SplitRecipe(method=method))


def test_boxes_come_with_a_table(table: Path) -> None:
    """A table of boxes is read for the films that it knows; one that knows none is refused."""
    boxes = table.parent / "boxes.csv"
    boxes.write_text("image,label,x,y,width,height,film_width,film_height\n0.png,Mass,18,9,36,18,72,72\n")
    (box,) = open_data(table, table.parent / "images", SPLIT, boxes=boxes).boxes
    assert (box.x, box.y, box.width, box.height) == (0.25, 0.125, 0.5, 0.25)
    boxes.write_text(boxes.read_text().replace("0.png", "other.png"))
    with pytest.raises(TrainingError, match=r"None of the boxes of boxes\.csv"):
        open_data(table, table.parent / "images", SPLIT, boxes=boxes)


def test_what_a_person_should_know_is_said(table: Path) -> None:
    """Counts, that nobody is on two sides, that nothing tests, and the labels without a positive film."""
    said = account(open_data(table, table.parent / "images", SPLIT))
    assert said[0].startswith("24 films of 12 patients: 18 train, 6 validate, 0 test (by patient")
    assert said[1] == "No patient has films on two sides."
    assert said[2].startswith("No film is kept for test")
    assert said[3].startswith("Without a positive train film: Atelectasis, ")
    assert "Mass" not in said[3]


def test_leaking_patients_are_warned_of(table: Path) -> None:
    """A split by image divides patients: both the patients and the share of test films are in the warning."""
    said = account(open_data(table, table.parent / "images", SplitRecipe(method=SplitMethod.PAPER)))
    assert said[1].startswith("WARNING: patients have films on two sides (train and validation: ")
    assert said[2].endswith("are of a patient who trains.")


def test_the_fingerprint_is_of_what_is_learnt(table: Path) -> None:
    """Another label, side or file size is another fingerprint; another place is not."""
    data = open_data(table, table.parent / "images", SPLIT)
    first = fingerprint(data)
    assert first == fingerprint(open_data(table, (table.parent / "images").resolve(), SPLIT))
    relabelled = replace(data, rows=(replace(data.rows[0], uncertain=frozenset({"Edema"})), *data.rows[1:]))
    resplit = open_data(table, table.parent / "images", SplitRecipe(validation=0.25, seed=1))
    exchanged = replace(data, paths=(table, *data.paths[1:]))
    assert len({first, *map(fingerprint, (relabelled, resplit, exchanged))}) == 4


def test_films_can_be_opened_that_nobody_learns_from(root: Path) -> None:
    """With the films of the test list alone there is nothing to train on, and everything to evaluate."""
    listed = set((root / "test_list.txt").read_text().split())
    for film in root.rglob("*.png"):
        if film.name not in listed:
            film.unlink()
    with pytest.raises(TrainingError, match="train_val list"):
        open_data(root, None, SplitRecipe(), partial=True)
    films = open_collection(root, None, partial=True)
    assert {row.image for row in films.rows} == listed
    assert films.test == frozenset(range(len(listed)))
    assert [path.name for path in films.paths] == [row.image for row in films.rows]
    with pytest.raises(TrainingError, match="--partial"):
        open_collection(root, None)
