"""data: what a data set lacks is printed, and the exit code says whether anything does."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from agcnn_clinic.cli.main import app
from agcnn_clinic.cli.training import TrainingFailedError


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Two films and their labels."""
    for name in ("a", "b"):
        Image.fromarray(np.full((8, 8), 99, np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "labels.csv").write_text("image,patient,finding_labels\na.png,1,Mass\nb.png,2,No Finding\n")
    return tmp_path / "labels.csv"


def test_sound_films_end_with_zero(table: Path) -> None:
    """Every film is decoded as the clinic does, and nothing is wrong."""
    result = CliRunner().invoke(app, ["data", str(table), "--deep"])
    assert result.exit_code == 0
    assert "2 films of 2 patients listed, 2 there; all were decoded." in result.stdout
    assert "Nothing is missing" in result.stdout


def test_missing_and_damaged_films_end_with_one(table: Path) -> None:
    """Both are named, and a script can tell by the exit code."""
    (table.parent / "a.png").unlink()
    (table.parent / "b.png").write_bytes(b"")
    result = CliRunner().invoke(app, ["data", str(table)])
    assert result.exit_code == 1
    assert "1 are missing: a.png." in result.stdout
    assert "b.png: it is empty" in result.stdout
    assert "--images" not in result.stdout


def test_a_table_whose_films_lie_elsewhere_is_told_how_to_name_their_folder(table: Path) -> None:
    """Not one of them is beside it: the option is named, and with it all are found."""
    folder = table.parent / "films"
    folder.mkdir()
    for film in table.parent.glob("*.png"):
        film.rename(folder / film.name)
    assert "name that with --images" in CliRunner().invoke(app, ["data", str(table)]).stdout
    assert CliRunner().invoke(app, ["data", str(table), "--images", str(folder)]).exit_code == 0


def test_no_data_is_a_sentence(tmp_path: Path) -> None:
    """A path that leads nowhere is an error of use."""
    result = CliRunner().invoke(app, ["data", str(tmp_path / "none.csv")])
    assert isinstance(result.exception, TrainingFailedError)
