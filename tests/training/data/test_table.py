"""Label tables: what is read, and what is refused."""

from pathlib import Path

import pytest

from agcnn_training.data.table import labelled, read_pretraining_table, read_table
from agcnn_training.errors import TrainingError


def test_both_spellings_of_the_columns_are_read(tmp_path: Path) -> None:
    """Our plain columns and NIH's own give the same rows."""
    ours, theirs = tmp_path / "ours.csv", tmp_path / "theirs.csv"
    ours.write_text("image,patient,finding_labels,age,sex,view\na.png,7,Mass|Hernia,57,M,PA\n")
    theirs.write_text(
        "Image Index,Finding Labels,Patient ID,Patient Age,Patient Gender,View Position\n"
        "a.png,Mass|Hernia,7,057Y,M,PA\n"
    )
    assert read_table(ours) == read_table(theirs)
    assert read_table(ours)[0].findings == {"Mass", "Hernia"}
    assert read_table(ours)[0].age == 57


def test_optional_columns_may_lack(tmp_path: Path) -> None:
    """Age, sex and view are unknown where nobody wrote them."""
    path = tmp_path / "t.csv"
    path.write_text("image,patient,finding_labels\na.png,7,\n")
    row = read_table(path)[0]
    assert (row.age, row.sex, row.view) == (None, None, None)
    assert labelled(row) == {"No Finding"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image,patient,finding_labels\na.png,1,Masse\n", "Line 2 .*unknown label 'Masse'"),
        ("image,finding_labels\na.png,Mass\n", "no column patient or Patient ID"),
        ("image,patient,finding_labels\na.png,1,Mass\na.png,1,Mass\n", "a.png twice"),
        ("image,patient,finding_labels\na.png,,Mass\n", "names no patient"),
        ("image,patient,finding_labels\na.png,1,Mass|No Finding\n", "beside a finding"),
        ("image,patient,finding_labels,age\na.png,1,Mass,old\n", "the age 'old'"),
        ("image,patient,finding_labels\n", "no rows"),
    ],
)
def test_a_wrong_table_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    """What is wrong in a table is named by its line."""
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(TrainingError, match=said):
        read_table(path)


def test_a_missing_table_is_one_sentence(tmp_path: Path) -> None:
    """A path that leads nowhere is said to."""
    with pytest.raises(TrainingError, match="give its right path"):
        read_table(tmp_path / "none.csv")


def test_pretraining_needs_two_classes(tmp_path: Path) -> None:
    """One class teaches nothing."""
    path = tmp_path / "t.csv"
    path.write_text("image,class\na.png,Normal\nb.png,Normal\n")
    with pytest.raises(TrainingError, match="two classes"):
        read_pretraining_table(path)


def test_the_real_tables_are_read(shared_data: Path) -> None:
    """The tables of real films hold as many films and patients as they say."""
    rows = read_table(shared_data / "nih-cxr-256" / "labels.csv")
    assert (len(rows), len({row.patient for row in rows})) == (2889, 2318)
    assert len(read_pretraining_table(shared_data / "cxr-pretrain-256" / "labels.csv")) == 2973
