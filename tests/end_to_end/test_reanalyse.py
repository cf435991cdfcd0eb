"""Another model beside the clinic's own, and late images, as a clinic lives through them."""

import subprocess
import threading
from pathlib import Path

import pydicom
import pytest
from pypdf import PdfReader

from agcnn_clinic.demo.phantom import draw
from agcnn_clinic.errors import ClinicError

CANARIES = {"patient_name": "Canary^Bird", "patient_id": "CANARY-77", "accession_number": "CANARY-A1"}


def text(path: Path) -> str:
    return " ".join(page.extract_text() for page in PdfReader(path).pages)


@pytest.fixture
def add(clinic, write_film):
    """Drop a drawn film into the inbox: of a study of its own, or of that of `study_uid`; returns its study's UID."""

    def add(seed: int, *, study_uid: str = "", view: str = "PA", name: str = "", **study: str) -> str:
        path = clinic.config.inbox / (name or f"{seed}.dcm")
        write_film(path, draw(seed, (320, 320)).pixels, view=view, **(study or CANARIES))
        if study_uid:
            dataset = pydicom.dcmread(path)
            dataset.StudyInstanceUID = study_uid
            dataset.save_as(path)
        return str(pydicom.dcmread(path).StudyInstanceUID)

    return add


def test_a_second_model_from_trial_to_use_and_back(clinic, add, run, other_bundle, small_bundle):
    """Read beside, printed by request, used, counted without reading again, and left: each version stays."""
    study = add(1)
    run("process")
    own = sorted(clinic.config.reports.iterdir())
    before = own[0].read_bytes()
    told = [run("reanalyse", "CANARY-A1", "--model", other_bundle, "--dry-run")]
    assert "would read 1 image of 1 study; its readings would stand beside" in told[0].stdout
    assert clinic.rows("SELECT count(*) FROM inference") == [(1,)]
    told.append(run("reanalyse", "CANARY-A1", "--model", other_bundle))
    assert "tighter 0.0.1 read 1 image; its readings stand beside" in told[-1].stdout
    told.append(run("process"))
    assert sorted(clinic.config.reports.iterdir()) == own
    assert own[0].read_bytes() == before

    told.append(run("report", "CANARY-A1", "--model", "tighter"))
    asked = Path(told[-1].stdout.strip())
    assert (asked.name[-6:], "not the clinic's own report" in text(asked)) == ("v2.pdf", True)
    first = asked.read_bytes()
    told.append(run("report", "CANARY-A1", "--model", "tighter@0.0.1"))
    assert asked.read_bytes() == first
    told.append(run("report", "CANARY-A1"))
    assert told[-1].stdout.strip() == str(own[0])
    shown = run("show", "CANARY-A1")
    assert "tighter 0.0.1" in shown.stdout
    assert "1 image: 1 beside" in shown.stdout
    assert "(by request, with tighter 0.0.1)" in shown.stdout

    said = run("models", "use", other_bundle).stdout
    assert "would read 0 images of 1 study (and has read 1 image of them before)" in said
    told.append(run("reanalyse", "--all"))
    assert "1 image count from now on, and a new report is due for 1 study" in told[-1].stdout
    told.append(run("process"))
    assert text(sorted(clinic.config.reports.iterdir())[2]).count("tighter") >= 1
    run("models", "use", small_bundle)
    told.append(run("reanalyse", study))
    told.append(run("reanalyse", "--since", "2020-01-01"))
    assert "nothing to read again" in told[-1].stdout
    told.append(run("process"))

    listed = clinic.rows("SELECT version, model_id, sha256 FROM report ORDER BY version")
    assert [(version, model_id) for version, model_id, _ in listed] == [(1, None), (2, 2), (3, None), (4, None)]
    assert "tighter" not in text(clinic.config.reports / own[0].name.replace("v1", "v4"))
    for version in (1, 2, 3):
        path = own[0].with_name(own[0].name.replace("v1", f"v{version}"))
        kept = path.read_bytes()
        path.unlink()
        told.append(run("report", "CANARY-A1", "--version", str(version)))
        assert path.read_bytes() == kept
    assert "2 (1 beside)" not in run("models", "list").stdout
    assert clinic.rows("SELECT count(*) FROM inference") == [(2,)]
    for done in told:
        assert "canary" not in (done.stderr + done.stdout).lower(), done.output


@pytest.mark.slow
def test_a_killed_reanalysis_is_finished_by_the_next_one(clinic, add, other_bundle):
    """SIGKILL in the middle, beside a running daemon: then each image has one reading by each model, one counts."""
    for seed in range(8):
        add(seed, patient_id=f"P{seed}")
    clinic.run("process")
    clinic.run("models", "use", other_bundle)
    config = clinic.config_file.read_text()
    clinic.config_file.write_text(config.replace("batch_size = 0", "batch_size = 1"))
    with clinic.start("watch", stderr=subprocess.DEVNULL) as daemon:
        try:
            with clinic.start("reanalyse", "--all", stderr=subprocess.DEVNULL) as first:
                pause = threading.Event()
                while not clinic.rows("SELECT 1 FROM inference WHERE model_id = 2"):
                    assert first.poll() is None
                    pause.wait(0.05)
                first.kill()
            done = clinic.run("reanalyse", "--all")
        finally:
            daemon.terminate()
    assert "stay" not in done.stdout
    clinic.run("process")
    standing = (
        "SELECT model_id, beside, count(*) AS readings, count(DISTINCT file_id) AS files "
        "FROM inference GROUP BY model_id, beside ORDER BY model_id"
    )
    assert clinic.rows(standing) == [(1, 1, 8, 8), (2, 0, 8, 8)]
    assert clinic.rows("SELECT count(*) FROM finding") == [(2 * 8 * 15,)]
    assert clinic.rows("SELECT revision, count(*) FROM study GROUP BY revision") == [(2, 8)]
    assert clinic.rows("SELECT version, count(*) FROM report GROUP BY version ORDER BY version") == [(1, 8), (2, 8)]
    assert clinic.rows("SELECT count(*) FROM report_reading") == [(16,)]


def test_late_files_reopen_a_study_by_what_becomes_of_them(clinic, add, run, other_bundle):
    """A duplicate makes no version 2, a late image does, a late lateral view makes version 3 that tells of it."""
    study = add(1)
    run("process")
    add(1, name="same.dcm")
    run("process")
    assert clinic.rows("SELECT version FROM report") == [(1,)]
    run("reanalyse", study, "--model", other_bundle)
    run("report", study, "--model", "tighter")
    add(2, study_uid=study)
    run("process")
    add(3, study_uid=study, view="LL")
    run("process")
    assert clinic.rows("SELECT version, study_revision, model_id FROM report ORDER BY version") == [
        (1, 1, None),
        (2, 1, 2),
        (3, 2, None),
        (4, 3, None),
    ]
    paths = sorted(clinic.config.reports.iterdir())
    assert "2 images read" in text(paths[2])
    assert "replaces version 1" in text(paths[2])
    assert "2 images read, 1 not read" in text(paths[3])
    kept = [path.read_bytes() for path in paths]
    for version, path in enumerate(paths, start=1):
        path.unlink()
        run("report", study, "--version", str(version))
    assert [path.read_bytes() for path in paths] == kept


def test_what_is_asked_wrongly_is_a_sentence(clinic, add, run):
    """No study named, a model that is not there, a version and a model together: exit code and advice."""
    add(1)
    run("process")
    for arguments, code, sentence in (
        (("reanalyse",), 2, "Say which studies"),
        (("reanalyse", "--all", "--since", "2026-01-01"), 2, "Say which studies"),
        (("reanalyse", "nobody"), 2, "no study 'nobody'"),
        (("reanalyse", "--all", "--model", "nothing"), 3, "no model 'nothing'"),
        (("report", "CANARY-A1", "--model", "tighter"), 2, "reanalyse"),
        (("report", "CANARY-A1", "--model", "untrained", "--version", "1"), 2, "not both"),
    ):
        with pytest.raises(ClinicError) as caught:
            run(*arguments)
        assert (caught.value.exit_code, sentence in str(caught.value)) == (code, True), str(caught.value)
        assert "Canary^Bird" not in str(caught.value)
        assert "CANARY-77" not in str(caught.value)
