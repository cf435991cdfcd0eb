"""The check names what is missing, where to get it, and what is damaged."""

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agcnn_training.data.check import check_data, file_fault
from agcnn_training.data.pictures import Loading
from agcnn_training.errors import TrainingError, TrainingStopped
from agcnn_training.progress import StopRequest


def test_a_sound_copy_says_so(root: Path) -> None:
    """Nothing missing, nothing damaged, looked at quickly or decoded; that the table is not NIH's own is remarked."""
    for deep in (False, True):
        check = check_data(root, None, Loading(), deep=deep)
        assert check.is_sound
        assert (check.films, check.patients, check.missing, check.damaged) == (10, 6, (), ())
        assert check.sentences()[1:] == (
            "NIH's own table lists 112,120 films of 30,805 patients: this one is another.",
            "Nothing is missing, and nothing is damaged.",
        )


def test_everything_that_is_wrong_is_named(root: Path) -> None:
    """Missing films and label files, an empty, a cut and a foreign file, and a stranger: each is in the account."""
    films = sorted((root / "images_001" / "images").iterdir())
    films[0].unlink()
    films[1].write_bytes(b"")
    films[2].write_bytes(films[2].read_bytes()[:-20])
    films[3].write_text("<html>not found</html>")
    shutil.copy(films[4], films[4].with_name("stranger.png"))
    (root / "BBox_List_2017.csv").unlink()
    (root / "train_val_list.txt").unlink()
    check = check_data(root, None, Loading())
    assert check.missing == (films[0].name,)
    assert {damage.path: damage.reason for damage in check.damaged} == {
        films[1]: "it is empty",
        films[2]: "it is cut off",
        films[3]: "it is no PNG, JPEG or DICOM file",
    }
    said = "\n".join(check.sentences())
    for part in (
        "10 films of 6 patients listed, 9 there",
        f"1 are missing: {films[0].name}.",
        "BBox_List_2017.csv is missing: localisation cannot be measured",
        "train_val_list.txt is missing: what the other list does not name counts as its content",
        "1 further image files are not listed",
        "3 are damaged",
    ):
        assert part in said
    (root / "test_list.txt").unlink()
    assert any("official split needs one of them" in line for line in check_data(root, None, Loading()).sentences())


def test_only_decoding_finds_damage_in_the_middle(root: Path) -> None:
    """A film with a wrong byte within its pixels looks whole, and does not decode."""
    film = next((root / "images_001" / "images").iterdir())
    content = bytearray(film.read_bytes())
    content[len(content) // 2] ^= 0xFF
    film.write_bytes(content)
    assert check_data(root, None, Loading()).is_sound
    (damage,) = check_data(root, None, Loading(), deep=True).damaged
    assert damage.path == film
    assert "cannot be read" in damage.reason


def test_a_tables_films_are_checked_too(films: Path, tmp_path: Path) -> None:
    """A label table: what lies in its folder, and what does not."""
    assert check_data(films / "labels.csv", films / "images", Loading()).is_sound
    shutil.copy(films / "labels.csv", tmp_path)
    assert len(check_data(tmp_path / "labels.csv", None, Loading()).missing) == 24


def test_a_long_table_in_the_wrong_folder_takes_seconds(tmp_path: Path) -> None:
    """Of 20,000 films none is there: each is looked for once, and not among all others again."""
    lines = ["image,patient,finding_labels", *(f"{number}.png,{number},Mass" for number in range(20_000))]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    began = time.process_time()
    assert len(check_data(tmp_path / "labels.csv", None, Loading()).missing) == 20_000
    assert time.process_time() - began < 10


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_every_cut_is_seen(tmp_path: Path, suffix: str) -> None:
    """A file cut at any tenth of its length is not whole; the whole file is."""
    path = tmp_path / f"film.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)).save(path)
    content = path.read_bytes()
    assert file_fault(path) is None
    for tenth in range(10):
        path.write_bytes(content[: len(content) * tenth // 10])
        assert file_fault(path)


def test_real_films_are_whole(shared_data: Path) -> None:
    """No false alarm: the real PNG, JPEG and DICOM films look as they should."""
    folders = ("nih-cxr-1024", "nih-cxr-256/images", "nih-boxes-256/images", "dicom-cxr")
    paths = [path for folder in folders for path in sorted((shared_data / folder).iterdir())[:300]]
    assert len(paths) > 500
    assert [(path, fault) for path in paths if (fault := file_fault(path))] == []


def test_a_check_can_be_stopped(root: Path) -> None:
    """Ctrl-C in a long check ends in a sentence."""
    stop = StopRequest()
    stop.made = True
    with pytest.raises(TrainingStopped, match="Stopped"):
        check_data(root, None, Loading(stop=stop))


def test_no_data_is_one_sentence(tmp_path: Path) -> None:
    """A folder without labels, and a table that is not there."""
    with pytest.raises(TrainingError, match="not the root of ChestX-ray14"):
        check_data(tmp_path, None, Loading())
    with pytest.raises(TrainingError, match="give its right path"):
        check_data(tmp_path / "none.csv", None, Loading())
