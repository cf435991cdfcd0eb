"""Label tables: what is read, and what is refused."""

import gzip
from pathlib import Path

import pandas as pd
import pytest

from agcnn_models.labels import PATHOLOGIES
from agcnn_training.data.table import Row, labelled, read_pretraining_table, read_table, unknown
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


def test_ages_are_read_as_dicom_writes_them(tmp_path: Path) -> None:
    """Years, months, weeks and days, as VR AS has them, are years; anything else is one sentence."""
    path = tmp_path / "t.csv"
    ages = {"057Y": 57, "011M": 11 / 12, "006W": 42 / 365.25, "003D": 3 / 365.25, "4.5": 4.5, "": None}
    rows = "".join(f"{index}.png,7,,{age}\n" for index, age in enumerate(ages))
    path.write_text("image,patient,finding_labels,age\n" + rows)
    assert [row.age for row in read_table(path)] == [age and pytest.approx(age) for age in ages.values()]
    path.write_text("image,patient,finding_labels,age\na.png,7,,M\n")
    with pytest.raises(TrainingError, match=r"has the age 'M': write years, or an age as DICOM does"):
        read_table(path)


def test_sex_and_view_are_read_as_others_write_them(tmp_path: Path) -> None:
    """CheXpert's Female is NIH's F, capitals or not; what is neither M nor F is kept as it is."""
    path = tmp_path / "t.csv"
    written = [("Female", "AP"), ("male", "pa"), ("f", "Pa"), ("O", "LL"), ("", "")]
    rows = "".join(f"{index}.png,7,,{sex},{view}\n" for index, (sex, view) in enumerate(written))
    path.write_text("image,patient,finding_labels,sex,view\n" + rows)
    expected = [("F", "AP"), ("M", "PA"), ("F", "PA"), ("O", "LL"), (None, None)]
    assert [(row.sex, row.view) for row in read_table(path)] == expected


@pytest.mark.parametrize(
    ("content", "by"),
    [
        ("image;patient;finding_labels;age\na.png;7;Mass;57,5\n", "semicolons"),
        ("sep=;\nimage;patient;finding_labels\na.png;7;Mass\n", "semicolons"),
        ("image\tpatient\tfinding_labels\na.png\t7\tMass\n", "tabs"),
    ],
)
def test_a_table_without_commas_is_told_so(content: str, by: str, tmp_path: Path) -> None:
    """As Excel saves a CSV file where numbers have commas: the columns are there, and are not to be added."""
    path = tmp_path / "t.csv"
    path.write_text(content)
    with pytest.raises(TrainingError, match=f"separates its cells by {by}: save it with commas"):
        read_table(path)


def test_blanks_around_the_names_of_columns_count_for_nothing(tmp_path: Path) -> None:
    """A header with blanks after its commas loses no column: what is uncertain would count as absent, unsaid."""
    path = tmp_path / "t.csv"
    path.write_text("image,patient,finding_labels, uncertain_labels, age, sex ,view\na.png,7,Mass, Edema, 57, M,PA\n")
    assert read_table(path) == (
        Row("a.png", "7", frozenset({"Mass"}), age=57, sex="M", view="PA", uncertain=frozenset({"Edema"})),
    )
    packed = tmp_path / "t.parquet"
    pd.read_csv(path).to_parquet(packed)
    assert read_table(packed) == read_table(path)


def test_optional_columns_may_lack(tmp_path: Path) -> None:
    """Age, sex and view are unknown where nobody wrote them."""
    path = tmp_path / "t.csv"
    path.write_text("image,patient,finding_labels\na.png,7,\n")
    row = read_table(path)[0]
    assert (row.age, row.sex, row.view) == (None, None, None)
    assert labelled(row) == {"No Finding"}


def test_parquet_and_packed_csv_say_the_same(tmp_path: Path) -> None:
    """Numbers with gaps stay whole numbers, and an empty cell is nothing."""
    frame = pd.DataFrame(
        {
            "image": ["a.png", "b.png"],
            "patient": [7, 8],
            "finding_labels": ["Mass|Hernia", None],
            "age": [57.0, None],
            "uncertain_labels": ["Edema", None],
        }
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress((tmp_path / "t.csv").read_bytes()))
    first = read_table(tmp_path / "t.csv")
    assert first == read_table(tmp_path / "t.parquet") == read_table(tmp_path / "t.csv.gz")
    assert [(row.patient, row.age, row.uncertain) for row in first] == [("7", 57, {"Edema"}), ("8", None, set())]


def test_a_column_a_label_as_in_chexpert(tmp_path: Path) -> None:
    """1 present, 0 and nothing absent, -1 uncertain; a finding without a column is uncertain, as nobody looked."""
    path = tmp_path / "t.csv"
    path.write_text(
        "image,patient,No Finding,Cardiomegaly,Edema,Pleural Effusion\n"
        "a.png,1,,1.0,-1.0,0.0\n"
        "b.png,2,1.0,,,\n"
        "c.png,3,,,,\n"
    )
    rows = read_table(path)
    unasked = set(PATHOLOGIES) - {"Cardiomegaly", "Edema", "Effusion"}
    assert [labelled(row) for row in rows] == [{"Cardiomegaly"}, {"No Finding"}, set()]
    assert [unknown(row) for row in rows] == [unasked | {"Edema"}, unasked, unasked | {"No Finding"}]


def test_all_findings_in_columns_leave_nothing_open(tmp_path: Path) -> None:
    """With a column for each of the 14 and zeros in all, a film shows No Finding; -1 anywhere makes that uncertain."""
    path = tmp_path / "t.csv"
    zeros, doubt = ["0"] * 14, ["0"] * 13 + ["-1"]
    path.write_text(f"image,patient,{','.join(PATHOLOGIES)}\na.png,1,{','.join(zeros)}\nb.png,1,{','.join(doubt)}\n")
    sound, doubtful = read_table(path)
    assert (labelled(sound), unknown(sound)) == ({"No Finding"}, set())
    assert (labelled(doubtful), unknown(doubtful)) == (set(), {"Hernia", "No Finding"})


def test_a_finding_settles_that_there_is_one() -> None:
    """Beside a certain finding, No Finding is certainly absent, however uncertain another is."""
    row = Row("a", "1", frozenset({"Mass"}), uncertain=frozenset({"Edema"}))
    assert (labelled(row), unknown(row)) == ({"Mass"}, {"Edema"})


def test_history_is_read(tmp_path: Path) -> None:
    """Findings, none, and nobody looked are three things."""
    path = tmp_path / "t.csv"
    path.write_text("image,patient,finding_labels,history\na,1,,Mass|Edema\nb,1,,No Finding\nc,1,,\n")
    assert [row.history for row in read_table(path)] == [{"Mass", "Edema"}, set(), None]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image,patient,finding_labels\na.png,1,Masse\n", "Line 2 .*unknown label 'Masse'"),
        ("image,finding_labels\na.png,Mass\n", "no column patient or Patient ID"),
        ("image,patient,finding_labels\na.png,1,Mass\na.png,1,Mass\n", "a.png twice"),
        (
            "image,patient,finding_labels\na.png,1,Mass\na.jpg,2,Mass\n",
            "both a.png and a.jpg.*suffix: keep one",
        ),
        ("image,patient,finding_labels\na.png,,Mass\n", "names no patient"),
        ("image,patient,finding_labels\na.png,1,Mass|No Finding\n", "beside a finding"),
        ("image,patient,finding_labels,age\na.png,1,Mass,old\n", "the age 'old'"),
        ("image,patient,finding_labels,age\na.png,1,Mass,-5\n", "the age '-5'"),
        ("image,patient,finding_labels\n", "no rows"),
        ("image,patient\na.png,1\n", "has no labels: add a column finding_labels"),
        ("image,patient,finding_labels,uncertain_labels\na,1,Mass,Mas\n", "Line 2 .*unknown label 'Mas'"),
        ("image,patient,finding_labels,uncertain_labels\na,1,Mass,Mass\n", "both present and uncertain"),
        ("image,patient,Mass,Edema\na,1,0,1\n\nb,1,2,0\n", "Line 4 .*'2' under Mass: write 1"),
        ("image,patient,finding_labels,history\na,1,Mass,Lump\n", "unknown label 'Lump'"),
        ("image,patient,view,finding_labels\na.png,1,PA\n", "Line 2 .*has 3 cells, and the header 4"),
        ("image,patient,Mass,Edema\na,1,0,1\nb,2,1", "Line 3 .*has 3 cells, and the header 4"),
        ("image,patient,age,Mass,Edema\na,1,60,0,0,1\n", "Line 2 .*has 6 cells, and the header 5.*quotation"),
        ("image,patient,Mass,Mass\na,1,0,1\n", "two columns Mass"),
    ],
)
def test_a_wrong_table_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    """What is wrong in a table is named by its line."""
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(TrainingError, match=said):
        read_table(path)


def test_cells_without_a_name_are_nothing(tmp_path: Path) -> None:
    """Commas at the end of the header or of a line, of blank cells, are no other table; a quoted comma is no cell."""
    path = tmp_path / "t.csv"
    path.write_text('image,patient,finding_labels,note,,\na.png,1,Mass,"large, round"\nb.png,2,Edema,,, ,,\n')
    assert [(row.image, set(row.findings)) for row in read_table(path)] == [("a.png", {"Mass"}), ("b.png", {"Edema"})]


def test_films_named_by_their_uid_are_films_of_their_own(tmp_path: Path) -> None:
    """UIDs of one series differ in their last number alone; a film's folder is part of its name too."""
    path = tmp_path / "t.csv"
    path.write_text(
        "image,patient,finding_labels\n1.2.840.6,1,Mass\n1.2.840.7,1,Mass\na/1.png,2,Mass\nb/1.jpg,3,Mass\n"
    )
    assert [row.image for row in read_table(path)] == ["1.2.840.6", "1.2.840.7", "a/1.png", "b/1.jpg"]


def test_a_missing_table_is_one_sentence(tmp_path: Path) -> None:
    """A path that leads nowhere is said to."""
    with pytest.raises(TrainingError, match="give its right path"):
        read_table(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.parquet", b"PAR1 and no more", "is not a parquet file"),
        ("t.csv.gz", b"image,patient", "cannot be unpacked"),
        ("t.csv.gz", gzip.compress(bytes(range(256)))[:10] + b"\xff" * 99, "cannot be unpacked"),
        ("t.csv", b"image,patient\n\xff\xfe,1", "is not text in UTF-8"),
    ],
)
def test_a_file_of_another_kind_is_one_sentence(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    """A table whose bytes are not what its name says is named, without a traceback."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TrainingError, match=said):
        read_table(tmp_path / name)


def test_pretraining_needs_two_classes(tmp_path: Path) -> None:
    """One class teaches nothing."""
    path = tmp_path / "t.csv"
    path.write_text("image,class\na.png,Normal\nb.png,Normal\n")
    with pytest.raises(TrainingError, match="two classes"):
        read_pretraining_table(path)


@pytest.mark.parametrize(("line", "lacking"), [("c.png,", "class"), (",Normal", "image")])
def test_a_pretraining_film_has_a_name_and_a_class(tmp_path: Path, line: str, lacking: str) -> None:
    """An empty class would be learnt as a class of its own."""
    path = tmp_path / "t.csv"
    path.write_text(f"image,class\na.png,Normal\nb.png,Ill\n{line}\n")
    with pytest.raises(TrainingError, match=f"Line 4 of t.csv names no {lacking}"):
        read_pretraining_table(path)


def test_the_real_tables_are_read(shared_data: Path) -> None:
    """The tables of real films hold as many films and patients as they say."""
    rows = read_table(shared_data / "nih-cxr-256" / "labels.csv")
    assert (len(rows), len({row.patient for row in rows})) == (2889, 2318)
    assert len(read_pretraining_table(shared_data / "cxr-pretrain-256" / "labels.csv")) == 2973
