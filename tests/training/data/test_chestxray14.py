"""ChestX-ray14 is opened as it is distributed, and what is missing is said with where to get it."""

import gzip
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agcnn_models.labels import PATHOLOGIES
from agcnn_training.data.chestxray14 import ChestXray14, with_histories
from agcnn_training.data.names import film_key
from agcnn_training.data.source import account, open_data
from agcnn_training.data.table import Row
from agcnn_training.errors import TrainingError
from agcnn_training.recipe import SplitMethod, SplitRecipe


def sides(root: Path, **options) -> dict[str, list[str]]:
    """The names on each side of the official split."""
    data = open_data(root, None, SplitRecipe(validation=0.25), **options)
    return {
        side: [data.rows[index].image for index in getattr(data.split, side)]
        for side in ("train", "validation", "test")
    }


def test_the_official_split_is_the_default(root: Path) -> None:
    """One of the four train_val patients validates; the test side is the test list."""
    found = sides(root)
    assert found["test"] == ["00000005_000.png", "00000005_001.png", "00000006_000.png"]
    assert len({name[:8] for name in found["validation"]}) == 1
    assert len(found["train"]) + len(found["validation"]) == 7


def test_each_row_has_its_file(root: Path) -> None:
    """The films lie in several archives' folders; every row finds its own."""
    data = open_data(root, None, SplitRecipe())
    assert [path.name for path in data.paths] == [row.image for row in data.rows]
    assert {path.parent.parent.name for path in data.paths} == {"images_001", "images_002"}
    assert (data.rows[0].age, data.rows[0].sex, data.rows[0].view) == (57, "M", "PA")


@pytest.mark.parametrize("absent", ["test_list.txt", "train_val_list.txt"])
def test_one_list_implies_the_other(root: Path, absent: str) -> None:
    """What the list that is there does not name is on the other side, whatever suffix it gives the films."""
    whole = sides(root)
    (root / absent).unlink()
    assert sides(root) == whole
    (other,) = root.glob("*_list.txt")
    other.write_text(other.read_text().replace(".png", ".jpg"))
    assert sides(root) == whole


def test_a_converted_and_packed_copy_is_as_good(root: Path) -> None:
    """JPEGs in one folder, label files gzipped: the same split, boxes and histories."""
    whole = open_data(root, None, SplitRecipe())
    (root / "images").mkdir()
    for path in root.glob("images_*/images/*.png"):
        path.rename(root / "images" / f"{path.stem}.jpg")
    for folder in root.glob("images_*"):
        shutil.rmtree(folder)
    for path in (*root.glob("*.csv"), *root.glob("*.txt")):
        Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    packed = open_data(root, None, SplitRecipe())
    assert packed.rows == whole.rows
    assert packed.boxes == whole.boxes
    assert {path.suffix for path in packed.paths} == {".jpg"}


def test_boxes_are_shares_of_the_film(root: Path) -> None:
    """NIH's pixels of 1024 become shares, its Infiltrate the label, and a box of another film is passed over."""
    (box,) = open_data(root, None, SplitRecipe()).boxes
    assert (box.image, box.label) == ("00000005_001.png", "Infiltration")
    assert (box.x, box.y, box.width, box.height) == pytest.approx((0.25, 0.5, 128.5 / 1024, 1 / 16))


def test_history_is_what_the_films_before_and_after_show(root: Path) -> None:
    """Of three films each sees two; a single film has none; a film that is not there counts too."""
    (root / "images_001" / "images" / "00000001_001.png").unlink()
    rows = {row.image: row for row in open_data(root, None, SplitRecipe(), partial=True).rows}
    assert rows["00000001_000.png"].history == {"Mass", "Hernia"}
    assert rows["00000001_002.png"].history == {"Mass", "Hernia"}
    assert rows["00000002_000.png"].history == frozenset()
    assert rows["00000003_000.png"].history is None


rows_of_patients = st.lists(
    st.tuples(st.integers(0, 3).map(str), st.frozensets(st.sampled_from(PATHOLOGIES), max_size=3), st.booleans()),
    max_size=14,
)


@given(rows_of_patients)
def test_history_never_crosses_the_official_lists(drawn: list[tuple[str, frozenset[str], bool]]) -> None:
    """A film sees the nearest earlier and the nearest later film of its patient on its own side, found film by film."""
    rows = [Row(f"{index:02}.jpg", patient, findings) for index, (patient, findings, _) in enumerate(drawn)]
    train_val = frozenset(row.image for row, (_, _, trains) in zip(rows, drawn, strict=True) if trains)
    for row in with_histories(rows[::-1], frozenset(map(film_key, train_val))):  # of a converted copy
        same = [
            other
            for other in rows
            if other.patient == row.patient and (other.image in train_val) == (row.image in train_val)
        ]
        earlier = [other.findings for other in same if other.image < row.image]
        later = [other.findings for other in same if other.image > row.image]
        seen = earlier[-1:] + later[:1]
        assert row.history == (frozenset().union(*seen) if seen else None)


def test_history_is_withheld_where_patients_are_divided(root: Path) -> None:
    """With patients on two sides a history would tell training what the other side's films show."""
    data = open_data(root, None, SplitRecipe(method=SplitMethod.PAPER, seed=1))
    of_side = data.split.side_of()
    patients: dict[str, set[str]] = {}
    for index, row in enumerate(data.rows):
        patients.setdefault(row.patient, set()).add(of_side[index])
    divided = {patient for patient, found in patients.items() if len(found) > 1}
    assert divided
    assert {row.patient for row in data.rows if row.history is not None}.isdisjoint(divided)
    assert any("WARNING" in sentence for sentence in account(data))


def test_another_table_in_nihs_form_is_not_passed_for_it(root: Path) -> None:
    """What the films are stands on the card of each model that learns from them; packed or not."""
    table = root / "Data_Entry_2017.csv"
    table.with_suffix(".csv.gz").write_bytes(gzip.compress(table.read_bytes()))
    table.unlink()
    said = "Chest films, with the labels of a table in the form of ChestX-ray14's Data_Entry_2017.csv."
    assert open_data(root, None, SplitRecipe()).about == said


def test_missing_films_are_counted(root: Path) -> None:
    """A copy that lacks films is refused, and taken as it is with --partial."""
    shutil.rmtree(root / "images_002")
    with pytest.raises(TrainingError, match=r"10 films .* 4 are missing, 00000004_000\.png first: .*--partial"):
        open_data(root, None, SplitRecipe())
    data = open_data(root, None, SplitRecipe(), partial=True)
    assert (len(data.rows), len(data.split.test)) == (6, 0)
    assert any("No film is kept for test" in sentence for sentence in account(data))


def test_labels_without_a_film_are_refused(root: Path, tmp_path: Path) -> None:
    """--partial needs one film at least, and --images a folder."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingError, match="None of the films"):
        open_data(root, tmp_path / "empty", SplitRecipe(), partial=True)
    with pytest.raises(TrainingError, match=r"no folder .*nowhere"):
        open_data(root, tmp_path / "nowhere", SplitRecipe(), partial=True)


@pytest.mark.parametrize(
    ("gone", "split", "said"),
    [
        (("Data_Entry_2017.csv",), SplitRecipe(), "not the root of ChestX-ray14.*nihcc"),
        (("train_val_list.txt", "test_list.txt"), SplitRecipe(), "has no train_val_list.txt or test_list.txt.*nihcc"),
        ((), SplitRecipe(method=SplitMethod.CHEXNET), "train_list.txt, val_list.txt, test_list.txt in .*arnoweng"),
    ],
)
def test_what_a_split_needs_is_named(root: Path, gone: tuple[str, ...], split: SplitRecipe, said: str) -> None:
    """A label file that is missing is named together with where to get it."""
    for name in gone:
        (root / name).unlink()
    with pytest.raises(TrainingError, match=said):
        open_data(root, None, split)


def test_a_film_that_lies_twice_is_named(root: Path) -> None:
    """Two files for one film: which is it?"""
    shutil.copy(root / "images_001" / "images" / "00000001_000.png", root / "images_002")
    with pytest.raises(TrainingError, match=r"lies twice.*00000001_000\.png"):
        open_data(root, None, SplitRecipe())


def test_chexnets_lists_are_read(root: Path) -> None:
    """The ports' lists carry fourteen numbers after each name, in a folder of their own."""
    (root / "chexnet-split").mkdir()
    for name, patients in (("train", (1, 2)), ("val", (3, 4)), ("test", (5, 6))):
        names = [film for film, patient in ((path.stem, int(path.stem[:8])) for path in root.rglob("*.png"))
                 if patient in patients]  # fmt: skip
        lines = "".join(f"{film}.png 0 0 1\n" for film in names)
        (root / "chexnet-split" / f"{name}_list.txt").write_text(lines)
    data = open_data(root, None, SplitRecipe(method=SplitMethod.CHEXNET))
    assert [len(side) for side in (data.split.train, data.split.validation, data.split.test)] == [5, 2, 3]


@pytest.fixture(scope="module")
def real_root(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """NIH's real label files beside the films that there are."""
    root = tmp_path_factory.mktemp("real")
    for path in (shared_data / "chestxray14-labels").iterdir():
        (root / path.name).symlink_to(path)
    (root / "images").symlink_to(shared_data / "nih-cxr-256" / "images")
    return root


def test_the_real_labels_are_nihs(real_root: Path) -> None:
    """112,120 films of 30,805 patients, 86,524 in train_val; the archives' limits fall where NIH cut."""
    dataset = ChestXray14(real_root)
    assert (len(dataset.rows), len({row.patient for row in dataset.rows})) == (112_120, 30_805)
    assert (len(dataset.train_val), len(dataset.test)) == (86_524, 25_596)
    assert len(dataset.boxes(dataset.rows)) == 984
    labels = "the labels of Data_Entry_2017_v2020.csv"
    assert dataset.about == f"Frontal films of ChestX-ray14 (NIH Clinical Center), with {labels}."
    edges = ("00001335_006.png", "00001336_000.png", "00003923_013.png", "00003923_014.png", "00030805_000.png")
    assert dataset.archives(edges) == {"images_001.tar.gz": 1, "images_002.tar.gz": 2, "images_003.tar.gz": 1,
                                       "images_012.tar.gz": 1}  # fmt: skip
    assert dataset.archives(row.image for row in dataset.rows)["images_012.tar.gz"] == 7_121


def test_the_real_films_are_a_part(real_root: Path) -> None:
    """A folder of links to 2,889 train_val films is opened with --partial: no test films, no patient divided."""
    data = open_data(real_root, None, SplitRecipe(), partial=True)
    assert (len(data.rows), len(data.split.test), len(data.boxes)) == (2_889, 0, 0)
    assert set(data.split.overlap.values()) == {0}
    assert sum(row.history is not None for row in data.rows) == 2_289
