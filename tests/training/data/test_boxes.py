"""Lesion boxes are shares of their film, whatever they were measured in."""

import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agcnn_training.data.boxes import read_boxes
from agcnn_training.data.table import Row
from agcnn_training.errors import TrainingError

ROWS = [Row("film.dcm", "1", frozenset({"Mass"}))]
HEADER = "image,label,x,y,width,height,film_width,film_height\n"


@settings(max_examples=25)
@given(st.tuples(*[st.floats(0, 0.5)] * 2), st.tuples(*[st.floats(0.01, 0.5)] * 2), st.integers(16, 4000))
def test_a_box_in_pixels_becomes_shares(corner: tuple, sides: tuple, width: int) -> None:
    """A table with film sizes, CSV or parquet, gives back the shares that it was made from."""
    height = width // 2
    frame = pd.DataFrame(
        [
            [
                "film.png",
                "Mass",
                corner[0] * width,
                corner[1] * height,
                sides[0] * width,
                sides[1] * height,
                width,
                height,
            ]
        ],
        columns=HEADER.strip().split(","),
    )
    with tempfile.TemporaryDirectory() as folder:  # a fixture would be shared by all examples
        path = Path(folder) / "boxes.parquet"
        frame.to_parquet(path)
        (box,) = read_boxes(path, ROWS)
    assert box.image == "film.dcm"
    assert (box.x, box.y, box.width, box.height) == pytest.approx((*corner, *sides), abs=1e-9)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image,label,x,y,width,height\nfilm.png,Mass,1,2,3,4\n", "add the columns film_width"),
        ("image,label,x,y,width\nfilm.png,Mass,1,2,3\n", "no column height"),
        ("image,label,x,y,width,height,film_width\nfilm.png,Mass,1,2,3,4,9\n", "film_width and film_height, both"),
        ("image,label,x,y,width,height,film_height\nfilm.png,Mass,1,2,3,4,9\n", "film_width and film_height, both"),
        (HEADER + "film.png,Lump,1,2,3,4,9,9\n", "Line 2 .*unknown label 'Lump'"),
        (HEADER + "film.png,Mass,1,2,x,4,9,9\n", "'x' under width"),
        (HEADER + "film.png,Mass,1,2,nan,4,9,9\n", "'nan' under width"),
        (HEADER + "film.png,Mass,1,2,9,4,9,9\n", "does not lie on its film"),
        (HEADER + "film.png,Mass,1,2,0,4,9,9\n", "does not lie on its film"),
        (HEADER + "film.png,Mass,1,2,3,4,0,9\n", "has no size"),
    ],
)
def test_a_wrong_table_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    """What is wrong with a box is named by its line."""
    (tmp_path / "boxes.csv").write_text(text)
    with pytest.raises(TrainingError, match=said):
        read_boxes(tmp_path / "boxes.csv", ROWS)


def test_a_box_stays_on_its_own_film(tmp_path: Path) -> None:
    """Films that are named by their UIDs differ in what looks like a suffix."""
    rows = [Row(f"1.2.840.{number}", "1", frozenset()) for number in (6, 7)]
    (tmp_path / "boxes.csv").write_text(HEADER + "1.2.840.6,Mass,1,2,3,4,9,9\n")
    (box,) = read_boxes(tmp_path / "boxes.csv", rows)
    assert box.image == "1.2.840.6"


def test_real_boxes_fit_converted_films(shared_data: Path) -> None:
    """NIH's boxes on the 200 films with boxes, which are JPEGs here: every film has one, every box lies within."""
    images = sorted((shared_data / "nih-boxes-256" / "images").iterdir())
    rows = [Row(path.name, path.name[:8], frozenset()) for path in images]
    boxes = read_boxes(shared_data / "chestxray14-labels" / "BBox_List_2017.csv.gz", rows)
    assert {box.image for box in boxes} == {path.name for path in images}
    assert all(0 <= box.x < box.x + box.width <= 1 and 0 <= box.y < box.y + box.height <= 1 for box in boxes)
