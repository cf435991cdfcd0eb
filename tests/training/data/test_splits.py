"""Splits: patients stay whole where they should, and where they do not it is counted."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agcnn_training.data.chestxray14 import ChestXray14
from agcnn_training.data.names import film_key
from agcnn_training.data.records import read_names
from agcnn_training.data.splits import (
    SIDES,
    Split,
    leaking_share,
    split_by_image,
    split_by_lists,
    split_by_patient,
    split_officially,
)
from agcnn_training.data.table import Row
from agcnn_training.errors import TrainingError

patients = st.lists(st.integers(0, 30).map(str), min_size=3, max_size=80).filter(lambda names: len(set(names)) > 2)
tests = st.sampled_from([0.0, 0.1, 0.5])
seeds = st.integers(0, 2**32)


def indices(split: Split) -> list[int]:
    """All films of all sides."""
    return sorted([*split.train, *split.validation, *split.test])


def rows_of(names: list[str]) -> list[Row]:
    """A film for each patient's name that comes."""
    return [Row(f"{index}.png", name, frozenset()) for index, name in enumerate(names)]


@given(patients, st.floats(0.01, 0.89), tests, seeds)
def test_no_patient_is_on_two_sides(names: list[str], share: float, test: float, seed: int) -> None:
    """Every film is on one side, every patient on one side, and no side that was asked for is empty."""
    split = split_by_patient(names, share, seed, test=test)
    assert indices(split) == list(range(len(names)))
    assert len(split.train) > 0
    assert len(split.validation) > 0
    assert (len(split.test) > 0) == (test > 0)
    owners = [{names[index] for index in getattr(split, side)} for side in SIDES]
    assert sum(map(len, owners)) == len(set(names))
    assert set(split.overlap.values()) == {0}


@given(patients, tests, seeds, st.randoms())
def test_a_split_depends_on_the_seed_and_the_patients_alone(
    names: list[str], test: float, seed: int, order: object
) -> None:
    """Shuffling the table's rows moves no patient to another side."""
    shuffled = list(names)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    first, second = (split_by_patient(list_, 0.3, seed, test=test) for list_ in (names, shuffled))
    for side in SIDES:
        assert {names[i] for i in getattr(first, side)} == {shuffled[i] for i in getattr(second, side)}


@given(patients, seeds)
def test_a_test_side_takes_no_patient_from_validation(names: list[str], seed: int) -> None:
    """A recipe that is given a test share keeps the patients that chose before."""
    without, with_test = split_by_patient(names, 0.2, seed), split_by_patient(names, 0.2, seed, test=0.3)
    assert without.validation.tolist() == with_test.validation.tolist()


@given(st.integers(10, 200), seeds, st.randoms())
def test_the_papers_split_is_by_image(count: int, seed: int, order: object) -> None:
    """70/10/20 of the films to within one film, each once, and the same for any order of the rows."""
    names = [f"{index:03d}.png" for index in range(count)]
    order.shuffle(names)  # type: ignore[attr-defined]
    split = split_by_image(names, ["one"] * count, seed)
    assert indices(split) == list(range(count))
    for side, share in zip(SIDES, (0.7, 0.1, 0.2), strict=True):
        assert abs(len(getattr(split, side)) - share * count) <= 1
    ordered = split_by_image(sorted(names), ["one"] * count, seed)
    assert {names[i] for i in split.test} == {sorted(names)[i] for i in ordered.test}
    assert set(split.overlap.values()) == {1}
    assert leaking_share(["one"] * count, split) == 1


@given(patients, st.integers(2, 6), seeds)
def test_the_official_split_divides_train_val_alone(names: list[str], testing: int, seed: int) -> None:
    """The test side is the test list, whatever the seed; train and validation share no patient."""
    rows = rows_of(["a", "b", *names, *(f"t{index}" for index in range(testing))])
    train_val, test = (frozenset(film_key(row.image) for row in part) for part in (rows[:-testing], rows[-testing:]))
    split = split_officially(rows, train_val, test, 0.2, seed)
    assert split.test.tolist() == list(range(len(rows) - testing, len(rows)))
    assert indices(split) == list(range(len(rows)))
    assert split.overlap["train", "validation"] == 0


def names_of(lists: Mapping[str, Iterable[str]], folder: Path) -> dict[str, frozenset[str]]:
    """The lists, written and read again."""
    for side, names in lists.items():
        (folder / side).write_text("\n".join(names))
    return {side: read_names(folder / side) for side in lists}


def test_lists_match_without_suffix_and_may_leave_films_out(tmp_path: Path) -> None:
    """A JPEG is the film that a list calls PNG; a film that no list names lies on no side."""
    rows = [Row("a.jpg", "1", frozenset()), Row("b.jpg", "1", frozenset()), Row("c.jpg", "2", frozenset())]
    split = split_by_lists(rows, names_of({"train": ["a.png"], "validation": ["c.png", "z.png"]}, tmp_path), "files")
    assert split.side_of() == {0: "train", 2: "validation"}


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        ({"train": {"0.png", "1.png"}, "validation": {"1.jpg"}}, "1 is in both the train and the validation list"),
        ({"train": {"0.png"}, "validation": {"9.png"}}, "leaves no validation films"),
        ({"train": {"9.png"}, "validation": {"0.png"}}, "leaves no train films"),
    ],
)
def test_lists_that_do_not_fit_are_one_sentence(lists: dict[str, set[str]], said: str, tmp_path: Path) -> None:
    """A film on two sides, and a side without films, are named."""
    with pytest.raises(TrainingError, match=said):
        split_by_lists(rows_of(["a", "b"]), names_of(lists, tmp_path), "files")


def test_overlap_is_counted_in_patients() -> None:
    """Two films of one patient on each side are one patient too many, not four."""
    sides = {"train": np.array([0, 1]), "validation": np.array([2, 3]), "test": np.array([4])}
    split = Split.measured(["a", "a", "a", "a", "b"], sides, "by hand")
    assert split.overlap == {("train", "validation"): 1, ("train", "test"): 0, ("validation", "test"): 0}


@pytest.mark.parametrize(
    ("patients", "share", "test", "sides"),
    [(10, 0.2, 0.3, (5, 2, 3)), (10, 0.01, 0.01, (8, 1, 1)), (3, 0.9, 0.9, (1, 1, 1)), (2, 0.9, 0.0, (1, 1, 0))],
)
def test_a_share_is_one_of_patients(patients: int, share: float, test: float, sides: tuple[int, int, int]) -> None:
    """Rounded, at least one patient a side, and one left for each of the others."""
    split = split_by_patient([str(number) for number in range(patients)], share, 0, test=test)
    assert (len(split.train), len(split.validation), len(split.test)) == sides


def test_too_few_patients_cannot_be_split() -> None:
    """A table of one patient is refused in a sentence; two are too few for three sides."""
    with pytest.raises(TrainingError, match="one patient only"):
        split_by_patient(["a", "a"], 0.5, 0)
    with pytest.raises(TrainingError, match=r"2 patients only.*needs 3"):
        split_by_patient(["a", "b"], 0.5, 0, test=0.5)


def test_the_real_splits_leak_as_they_are_known_to(shared_data: Path) -> None:
    """By image, 82 % of the test films are of a patient who trains; the official and the CheXNet lists share nobody."""
    dataset = ChestXray14(shared_data / "chestxray14-labels")
    owners = [row.patient for row in dataset.rows]
    by_image = split_by_image([row.image for row in dataset.rows], owners, 0)
    assert leaking_share(owners, by_image) == pytest.approx(0.82, abs=0.01)
    official = split_officially(dataset.rows, dataset.train_val, dataset.test, 0.125, 0)
    chexnet = split_by_lists(dataset.rows, dataset.chexnet_lists(), "the ports' lists")
    assert [len(getattr(chexnet, side)) for side in SIDES] == [78_468, 11_219, 22_433]
    for sound in (official, chexnet):
        assert set(sound.overlap.values()) == {0}
        assert leaking_share(owners, sound) == 0


def test_a_list_is_a_film_a_line(tmp_path: Path) -> None:
    """However lines end; what follows a name is passed over, blank lines and suffixes too; an empty list is no list."""
    (tmp_path / "list.txt").write_text("a.png 0 1\n\nb.png\r\n")
    assert read_names(tmp_path / "list.txt") == {"a", "b"}
    (tmp_path / "macintosh.txt").write_bytes(b"a.png\rb.png\r")
    assert read_names(tmp_path / "macintosh.txt") == {"a", "b"}
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(TrainingError, match="is empty"):
        read_names(tmp_path / "empty.txt")


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("p1/s.2/film.png", "p1/s.2/film"),
        ("film.v2.JPEG", "film.v2"),
        ("1.2.840.113619.2000.6", "1.2.840.113619.2000.6"),
        ("1.2.840.113619.2000.6.dcm", "1.2.840.113619.2000.6"),
        (".png", ".png"),
    ],
)
def test_only_an_images_suffix_is_taken_off(image: str, name: str) -> None:
    """Folders and dots within a name are part of it, the last number of a UID too."""
    assert film_key(image) == name


def test_films_named_by_their_uid_are_told_apart(tmp_path: Path) -> None:
    """A list of names without suffixes puts each film where it says, and not all of a series with the last one."""
    rows = [Row(f"1.2.840.2000.{number}", str(number), frozenset()) for number in range(3)]
    lists = {"train": {"1.2.840.2000.0"}, "validation": {"1.2.840.2000.1.dcm"}, "test": {"1.2.840.2000.2"}}
    split = split_by_lists(rows, names_of(lists, tmp_path), "files")
    assert split.side_of() == {0: "train", 1: "validation", 2: "test"}
