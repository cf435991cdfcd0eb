"""Exchange media: a CD with a DICOMDIR is taken as a whole, and its viewer is no garbage."""

import shutil
import zipfile

import numpy as np
import pydicom
import pytest
from drops import png
from pydicom.fileset import FileSet

from agcnn_clinic.dicom import media
from agcnn_clinic.dicom.media import is_media_directory, on_medium, read_media_directory
from agcnn_clinic.errors import ImageError

COMPANION, DIRECTORY = ("refused", "media_companion"), ("refused", "media_directory")
PENDING = ("pending", "")


@pytest.fixture(scope="module")
def master(tmp_path_factory, write_film):
    """A CD of three films, as pydicom writes it; only to be copied."""
    films = tmp_path_factory.mktemp("films")
    cd = tmp_path_factory.mktemp("master") / "cd"
    files = FileSet()
    for number in range(3):
        path = films / f"{number}.dcm"
        pixels = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64) ** (number + 1)
        write_film(path, pixels, patient_id="P1", patient_name="Doe^Jane", study_date="2026-01-31")
        dataset = pydicom.dcmread(path)
        dataset.StudyTime, dataset.StudyID, dataset.AccessionNumber = "093000", "1", "A1"
        dataset.SeriesNumber, dataset.InstanceNumber = 1, number + 1
        files.add(dataset)
    files.write(cd)
    return cd


@pytest.fixture
def cd(desk, master):
    """That CD in the inbox, with what a viewer brings along."""
    folder = desk.config.inbox / "cd"
    shutil.copytree(master, folder)
    fill(folder)
    return folder


def fill(folder) -> None:
    (folder / "VIEWER").mkdir()
    (folder / "AUTORUN.INF").write_text("[autorun]")
    (folder / "VIEWER" / "viewer.exe").write_bytes(b"MZ" * 100)
    (folder / "VIEWER" / "empty").touch()
    with zipfile.ZipFile(folder / "VIEWER" / "viewer.jar", "w") as archive:
        archive.writestr("META-INF/MANIFEST.MF", "")


def films(folder):
    return sorted(folder.rglob("IM*"))


def rows(desk):
    return {row.original_name: row for row in desk.rows()}


EXPECTED = {
    "AUTORUN.INF": COMPANION,
    "VIEWER/viewer.exe": COMPANION,
    "VIEWER/empty": COMPANION,
    "VIEWER/viewer.jar": COMPANION,
    "DICOMDIR": DIRECTORY,
}


def outcomes_of(desk, root: str, master) -> dict:
    """What a whole CD ends as, below a name."""
    images = [str(path.relative_to(master)) for path in films(master)]
    return {f"{root}{name}": outcome for name, outcome in {**dict.fromkeys(images, PENDING), **EXPECTED}.items()}


def test_a_cd_in_the_inbox_is_taken_with_its_dicomdir_last(desk, cd, master):
    """The images are pending, the rest is refused and nothing is in quarantine; the DICOMDIR's row is the last."""
    assert desk.new_inbox().sweep()[0] == 8
    assert desk.outcomes() == outcomes_of(desk, "cd/", master)
    assert list(rows(desk))[-1] == "cd/DICOMDIR"
    assert rows(desk)["cd/DICOMDIR"].details == {"listed": 3}
    assert desk.waiting() == []
    assert list(desk.config.quarantine.iterdir()) == []


def test_a_cd_that_is_named_is_one_too(desk, tmp_path, master):
    """`process /media/cdrom`: the folder itself is the medium, and stays as it is."""
    folder = shutil.copytree(master, tmp_path / "cdrom")
    fill(folder)
    before = sorted(folder.rglob("*"))
    desk.new_inbox().take([folder])
    assert desk.outcomes() == outcomes_of(desk, "", master)
    assert sorted(folder.rglob("*")) == before


def test_a_cd_in_a_zip_is_one_too(desk, cd, master, tmp_path):
    """As PACS exports wrap it; also when it lies at the zip's top."""
    content = shutil.make_archive(str(tmp_path / "cd"), "zip", cd)
    shutil.rmtree(cd)
    shutil.copy(content, desk.config.inbox / "cd.zip")
    desk.new_inbox().sweep()
    found = desk.outcomes()
    assert found.pop("cd.zip") == ("unpacked", "unpacked")
    assert found == outcomes_of(desk, "cd.zip/", master)
    assert rows(desk)["cd.zip/DICOMDIR"].details == {"listed": 3}


def test_what_a_dicomdir_lists_and_is_not_there_is_told(desk, cd, caplog):
    """The row names the file; the log tells the count and no name."""
    gone = films(cd)[0]
    name = str(gone.relative_to(cd))
    gone.unlink()
    desk.new_inbox().sweep()
    row = rows(desk)["cd/DICOMDIR"]
    assert row.details == {"listed": 3, "missing": 1, "missing_files": [on_medium(name)]}
    assert "of which 1 did not come" in row.reason
    assert "1 files that a DICOMDIR lists" in caplog.text
    assert gone.name not in caplog.text


def test_a_listed_file_that_is_no_image_is_damaged_and_no_companion(desk, cd):
    """A sector that could not be read is zeros: that file is in quarantine."""
    image = films(cd)[0]
    image.write_bytes(b"\0" * 5000)
    desk.new_inbox().sweep()
    assert desk.outcomes()[f"cd/{image.relative_to(cd)}"] == ("quarantined", "unrecognised")


def test_a_cd_waits_until_all_of_it_is_finished(desk, cd):
    """While one file of it is still being copied none is taken; nor is a file that may turn out to be a companion."""
    inbox = desk.new_inbox()
    inbox._tracker.settle_seconds = 1000
    (desk.config.inbox / "other").mkdir()
    (desk.config.inbox / "other" / "AUTORUN.INF").write_text("[autorun]")
    inbox.sweep()

    def settled(*late: str) -> int:
        for path, seen in inbox._tracker._seen.items():
            seen.since -= 0 if path.name in late else 2000
        return inbox.sweep()[0]

    assert settled("viewer.exe", "last.dcm") == 1  # other/AUTORUN.INF: nothing else is in its folder
    assert settled() == 8


def test_a_companion_waits_for_a_dicomdir_that_is_not_there_yet(desk, cd):
    """A CD is copied file by file, its DICOMDIR among the last: what came before it is no garbage."""
    inbox = desk.new_inbox()
    inbox._tracker.settle_seconds = 1000
    directory = (cd / "DICOMDIR").read_bytes()
    (cd / "DICOMDIR").unlink()
    slow = cd / "VIEWER" / "still-growing"
    slow.write_bytes(b"x")
    inbox.sweep()
    for path, seen in inbox._tracker._seen.items():
        seen.since -= 0 if path == slow else 2000
    inbox.sweep()
    assert list(desk.outcomes().values()) == [PENDING] * 3
    (cd / "DICOMDIR").write_bytes(directory)
    inbox.sweep()
    for seen in inbox._tracker._seen.values():
        seen.since -= 2000
    inbox.sweep()
    found = desk.outcomes()
    assert found["cd/DICOMDIR"] == DIRECTORY
    assert found["cd/AUTORUN.INF"] == COMPANION
    assert "missing" not in rows(desk)["cd/DICOMDIR"].details  # they were taken before it came


@pytest.mark.parametrize("cut", [400, 2000])
def test_a_broken_dicomdir_is_kept_apart_and_the_images_are_taken(desk, cd, cut):
    """The images need no directory; what is with them is still a companion."""
    path = cd / "DICOMDIR"
    path.write_bytes(path.read_bytes()[:cut])
    desk.new_inbox().sweep()
    found = desk.outcomes()
    assert found.pop("cd/DICOMDIR")[0] == "quarantined"
    assert set(found.values()) == {PENDING, COMPANION}
    assert list(found.values()).count(PENDING) == 3


def test_a_file_that_is_only_called_dicomdir_makes_no_medium(desk):
    """Without the SOP class of a media directory a folder is like any other."""
    folder = desk.config.inbox / "cd"
    folder.mkdir()
    (folder / "DICOMDIR").write_text("not one")
    (folder / "readme.txt").write_text("hello")
    desk.new_inbox().sweep()
    assert set(desk.outcomes().values()) == {("quarantined", "unrecognised")}


def test_a_directory_of_another_name_makes_no_medium(desk, cd):
    """The standard has one name for it (PS3.10 8.6): what somebody has called otherwise may list what lay elsewhere."""
    (cd / "DICOMDIR").rename(cd / "DICOMDIR.OLD")
    desk.new_inbox().sweep()
    found = desk.outcomes()
    assert found["cd/DICOMDIR.OLD"] == DIRECTORY
    assert found["cd/AUTORUN.INF"] == ("quarantined", "unrecognised")


def test_pngs_of_a_medium_are_a_viewer_s_unless_a_study_toml_says_otherwise(desk, cd):
    """A splash screen is not read as a chest; a folder of PNGs with its study.toml is a study wherever it lies."""
    png(cd / "VIEWER" / "splash.png", 1)
    (cd / "PNG").mkdir()
    png(cd / "PNG" / "film.png", 2)
    (cd / "PNG" / "study.toml").write_text('patient_id = "4711"')
    desk.new_inbox().sweep()
    found = desk.outcomes()
    assert found["cd/VIEWER/splash.png"] == COMPANION
    assert found["cd/PNG/film.png"] == PENDING
    png(desk.config.inbox / "splash.png", 1)
    desk.new_inbox().sweep()
    assert desk.outcomes()["splash.png"] == PENDING


def test_a_dicomdir_alone_lists_what_did_not_come(desk, master):
    """At the top of the inbox it makes no medium of everybody's files."""
    shutil.copy(master / "DICOMDIR", desk.config.inbox)
    (desk.config.inbox / "readme.txt").write_text("hello")
    desk.new_inbox().sweep()
    assert desk.outcomes() == {"DICOMDIR": DIRECTORY, "readme.txt": ("quarantined", "unrecognised")}
    assert "came alone" in rows(desk)["DICOMDIR"].reason


def test_a_run_that_ended_in_between_misses_nothing(desk, cd, monkeypatch):
    """The images of a medium were taken and left the inbox before the process ended: they are not called missing."""
    monkeypatch.setattr("agcnn_clinic.intake.inbox.BATCH", 1)
    calls = []

    def stop() -> bool:
        calls.append(1)
        return len(calls) == 6

    desk.new_inbox().sweep(stop)
    assert (cd / "DICOMDIR").exists()
    desk.new_inbox().sweep()
    assert rows(desk)["cd/DICOMDIR"].details == {"listed": 3}
    assert len(desk.rows()) == 8


def test_a_large_medium_goes_in_batches(desk, master, monkeypatch):
    """Three hundred files beside three images: each has a row, and the DICOMDIR's is the last."""
    cd = shutil.copytree(master, desk.config.inbox / "cd")
    for number in range(300):
        (cd / f"FILE{number}").write_bytes(b"%d" % number)
    assert desk.new_inbox().sweep()[0] == 304
    found = rows(desk)
    assert list(found)[-1] == "cd/DICOMDIR"
    assert [row.reason_code for row in found.values()].count("media_companion") == 300


def test_names_on_a_medium_are_compared_as_a_cd_shows_them():
    """Versions, case and dots at the end are the system's doing."""
    assert on_medium("DICOM\\IM000001.;1") == on_medium("dicom/im000001")
    assert on_medium("../../etc/passwd") == "../../etc/passwd"  # a text to compare, nothing more


def test_a_hostile_directory_is_read_within_limits(tmp_path, master, monkeypatch):
    """Records without end are cut, names that climb are only text, and a broken sequence is a reason."""
    path = tmp_path / "DICOMDIR"
    dataset = pydicom.dcmread(master / "DICOMDIR")
    for record in dataset.DirectoryRecordSequence:
        if "ReferencedFileID" in record:
            record.ReferencedFileID = ["..", "..", "ETC", "PASSWD"]
            record.ReferencedSOPInstanceUIDInFile = "no uid"
    dataset.save_as(path)
    assert is_media_directory(path.read_bytes()[:512])
    found = read_media_directory(path).files
    assert {(file.name, file.sop_instance_uid) for file in found} == {("../../etc/passwd", "")}
    monkeypatch.setattr(media, "MAX_LISTED", 2)
    assert len(read_media_directory(path).files) == 2
    del dataset.DirectoryRecordSequence
    dataset.save_as(path)
    with pytest.raises(ImageError, match="DirectoryRecordSequence"):
        read_media_directory(path)
