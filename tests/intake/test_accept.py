"""How files become rows: what is taken, what is recognised, and what a crash leaves behind."""

import json
import unicodedata
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import select

from agcnn_clinic.database.outcomes import decide
from agcnn_clinic.database.tables import ReceivedFile
from agcnn_clinic.domain import ReasonCode
from agcnn_clinic.errors import UsageError
from agcnn_clinic.intake.inbox import Inbox
from agcnn_clinic.intake.leave import Leaving
from agcnn_clinic.intake.requeue import requeue_files
from agcnn_clinic.sandbox.pool import Sandbox


def png(path, seed=0, side=32):
    """A small grey PNG of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side), dtype=np.uint8)
    Image.fromarray(pixels).save(path, format="PNG")


def study_of(row):
    return row.instance.study


def test_a_png_at_the_top_is_a_study_of_its_own(desk):
    """Two PNGs, two studies, each with UIDs derived from its content; the inbox is empty afterwards."""
    png(desk.config.inbox / "a.png", 1)
    png(desk.config.inbox / "b.png", 2)
    assert desk.new_inbox().sweep() == (2, None)
    uids = {study_of(row).study_instance_uid for row in desk.rows()}
    assert len(uids) == 2
    assert all(uid.startswith("2.25.") for uid in uids)
    assert desk.waiting() == []


def test_a_folder_of_pngs_is_one_study_described_by_its_study_toml(desk):
    """Patient, study and views come from the TOML; all of it is gone when it is safe."""
    folder = desk.config.inbox / "jane"
    png(folder / "1.png", 1)
    png(folder / "2.png", 2)
    (folder / "study.toml").write_text(
        'patient_id = "4711"\npatient_name = "Doe^Jane"\npatient_birth_date = 1961-04-12\n'
        'accession_number = "A-1"\n[views]\n"2.png" = "LATERAL"\n'
    )
    desk.new_inbox().sweep()
    first, second = desk.rows()
    assert study_of(first).id == study_of(second).id
    study = study_of(first)
    assert (study.patient_id, study.patient_name, study.patient_birth_date) == ("4711", "Doe^Jane", "1961-04-12")
    assert (first.header["view_position"], second.header["view_position"]) == ("", "LATERAL")
    assert desk.waiting() == []


def test_a_study_toml_may_begin_with_a_byte_order_mark(desk):
    """As editors of Windows write it: the folder is described all the same."""
    png(desk.config.inbox / "jane" / "1.png")
    (desk.config.inbox / "jane" / "study.toml").write_text('patient_id = "4711"\r\n', encoding="utf-8-sig")
    desk.new_inbox().sweep()
    (row,) = desk.rows()
    assert study_of(row).patient_id == "4711"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Seite.PNG", "seite.png"),
        (unicodedata.normalize("NFD", "Röntgen.png"), unicodedata.normalize("NFC", "Röntgen.png")),
        (unicodedata.normalize("NFC", "RÖNTGEN.png"), unicodedata.normalize("NFD", "Röntgen.png")),
    ],
)
def test_a_view_is_that_of_its_file_whatever_the_case_and_the_form_of_its_name(desk, name, key):
    """A lateral view is not taken for a frontal one because macOS decomposed its name, or a person typed it."""
    png(desk.config.inbox / "jane" / name)
    (desk.config.inbox / "jane" / "study.toml").write_text(f'[views]\n"{key}" = "LATERAL"\n', encoding="utf-8")
    desk.new_inbox().sweep()
    (row,) = desk.rows()
    assert row.header["view_position"] == "LATERAL"


def test_a_view_of_a_file_that_is_no_png_costs_the_others_nothing(desk):
    """One was cut to nothing on its way, the other is no film at all: the PNG is read as described."""
    folder = desk.config.inbox / "jane"
    png(folder / "1.png")
    (folder / "2.png").touch()
    (folder / "3.dcm").write_bytes(bytes(128) + b"DICM")
    (folder / "study.toml").write_text('[views]\n"1.png" = "PA"\n"2.png" = "LL"\n"3.dcm" = "LL"\n')
    desk.new_inbox().sweep()
    rows = {row.original_name: row for row in desk.rows()}
    assert (rows["jane/1.png"].outcome, rows["jane/1.png"].header["view_position"]) == ("pending", "PA")
    assert (rows["jane/2.png"].reason_code, rows["jane/3.dcm"].outcome) == ("empty_file", "quarantined")


def test_of_files_whose_names_differ_in_case_alone_the_very_name_decides(desk):
    """Each has its own view; a name that is that of neither, and might be of both, keeps the folder apart."""
    folder = desk.config.inbox / "jane"
    for views in ('"Ab.png" = "LL"\n"ab.png" = "PA"', '"AB.png" = "LL"'):
        png(folder / "Ab.png", 1)
        png(folder / "ab.png", 2)
        (folder / "study.toml").write_text(f"[views]\n{views}\n")
        desk.new_inbox().sweep()
    first, second, *rest = desk.rows()
    assert (first.header["view_position"], second.header["view_position"]) == ("LL", "PA")
    assert "views: name 1 may be that of more than one file" in rest[-1].reason
    assert "pending" not in {row.outcome for row in rest}


def test_a_late_png_joins_its_study_by_patient_and_accession_number(desk):
    """The same folder dropped again with another image is the same study."""
    for number in (1, 2):
        png(desk.config.inbox / "jane" / f"{number}.png", number)
        (desk.config.inbox / "jane" / "study.toml").write_text('patient_id = "4711"\naccession_number = "A-1"\n')
        desk.new_inbox().sweep()
    assert len({study_of(row).id for row in desk.rows()}) == 1


@pytest.mark.parametrize("accession", ["", 'accession_number = "A-1"\n', "study_date = 2026-01-31\n"])
def test_a_png_whose_patient_is_corrected_is_of_that_patient(desk, accession):
    """It is a study of its own, to be read; the first keeps its patient, and the same folder again is a duplicate."""
    for patient in ("1111", "2222", "2222"):
        png(desk.config.inbox / "jane" / "1.png")
        (desk.config.inbox / "jane" / "study.toml").write_text(f'patient_id = "{patient}"\n{accession}')
        desk.new_inbox().sweep()
    wrong, right, again = desk.rows()
    assert [study_of(row).patient_id for row in (wrong, right, again)] == ["1111", "2222", "2222"]
    assert [row.outcome for row in (wrong, right, again)] == ["pending", "pending", "duplicate"]
    assert again.details == {"same_as_file": right.id}


def test_a_png_that_is_described_later_is_of_the_study_that_it_is_then_said_to_be_of(desk):
    """A folder that was dropped without its study.toml is dropped again with it."""
    png(desk.config.inbox / "jane" / "1.png")
    desk.new_inbox().sweep()
    png(desk.config.inbox / "jane" / "1.png")
    (desk.config.inbox / "jane" / "study.toml").write_text('patient_id = "4711"\n')
    desk.new_inbox().sweep()
    assert [(study_of(row).patient_id, row.outcome) for row in desk.rows()] == [("", "pending"), ("4711", "pending")]


@pytest.mark.parametrize(
    ("toml", "found"),
    [
        ("patient_id = ", "not TOML"),
        ('patient_sex = "female"', "patient_sex"),
        ('patient = "Doe"', "patient: extra"),
        ('study_instance_uid = "../../x"', "study_instance_uid"),
        ('patient_id = "a\\u001bb"', "patient_id"),
        ('"Doe^Jane" = 1', "a key: extra"),
        ("patient_id = " + "[" * 30_000, "not TOML"),
        ("patient_id = " + "1" * 5_000, "not TOML"),
        ('[views]\n"1.png" = "PA"\n"Doe-seitlich.png" = "LL"', "views: name 2 is of no file"),
        ('[views]\n"1.png" = "PA"\n"1.PNG" = "LL"', "views: name 2 is of a file that was named before"),
    ],
)
def test_a_wrong_study_toml_keeps_its_folder_apart_until_it_is_corrected(desk, toml, found):
    """Nothing is read under a patient that may be wrong; the corrected folder is taken, the same PNG and all."""
    folder = desk.config.inbox / "jane"
    png(folder / "1.png")
    (folder / "study.toml").write_text(toml)
    desk.new_inbox().sweep()
    assert set(desk.outcomes().values()) == {("quarantined", "study_toml")}
    assert found in desk.rows()[0].reason
    assert "Doe" not in desk.rows()[0].reason
    png(folder / "1.png")
    (folder / "study.toml").write_text('patient_id = "4711"')
    desk.new_inbox().sweep()
    assert (desk.rows()[-1].original_name, desk.rows()[-1].outcome) == ("jane/1.png", "pending")


def test_a_folder_waits_until_all_its_pngs_are_finished(desk):
    """A folder that is still being filled is not cut in two; a file beside it does not wait for it."""
    inbox = desk.new_inbox()
    inbox._tracker.settle_seconds = 1000
    png(desk.config.inbox / "jane" / "1.png", 1)
    inbox.sweep()
    inbox._tracker._seen[desk.config.inbox / "jane" / "1.png"].since -= 2000
    png(desk.config.inbox / "jane" / "2.png", 2)
    png(desk.config.inbox / "alone.png", 3)
    assert inbox.sweep()[0] == 0
    inbox._tracker._seen[desk.config.inbox / "alone.png"].since -= 2000
    assert inbox.sweep()[0] == 1
    inbox._tracker._seen[desk.config.inbox / "jane" / "2.png"].since -= 2000
    assert inbox.sweep()[0] == 2


def test_a_folder_that_never_comes_to_rest_is_told_of(desk, caplog):
    """A file that grows for ever keeps a sender's PNGs waiting, which must not go unnoticed."""
    now = 0.0
    inbox = Inbox(desk.config, desk.intake, clock=lambda: now)
    inbox._tracker.settle_seconds = 1
    folder = desk.config.inbox / "pacs"
    png(folder / "1.png", 1)
    for minute in range(12):
        with (folder / "export.dat").open("ab") as growing:
            growing.write(b"x")
        now = 60.0 * minute
        assert inbox.sweep()[0] == 0
    assert [record.getMessage()[:15] for record in caplog.records] == ["1 finished file"]


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("notes.txt", b"not an image", "unrecognised"),
        ("empty.dcm", b"", "empty_file"),
        ("page.dcm", b"<html>" * 100, "unrecognised"),
        ("huge.dcm", b"\0" * 1_000_001, "file_too_large"),
        ("cut.dcm", b"\0" * 128 + b"DICM" + b"\x02\x00\x10", "unreadable_header"),
        ("study.toml", b'patient_id = "1"', "study_toml"),
    ],
)
def test_what_is_no_image_is_kept_beside_its_reason(desk, name, content, code):
    """The bytes and a JSON with the reason lie in quarantine/ under a name of our own."""
    (desk.config.inbox / name).write_bytes(content)
    desk.new_inbox().sweep()
    assert desk.outcomes() == {name: ("quarantined", code)}
    (reason,) = desk.config.quarantine.glob("*.reason.json")
    said = json.loads(reason.read_text())
    assert said["reason_code"] == code
    assert set(said) == {"reason_code", "reason", "decided_at"}  # not the name: senders name files after patients
    assert reason.with_name(reason.name.removesuffix(".reason.json")).read_bytes() == content


def test_a_crash_between_the_row_and_the_inbox_does_not_make_a_second_row(desk, monkeypatch):
    """Found again after the crash, the file is recognised and only leaves the inbox."""
    png(desk.config.inbox / "a.png")
    with monkeypatch.context() as patch:
        patch.setattr(Leaving, "let_go", lambda *_: None)
        desk.new_inbox().sweep()
    assert (desk.config.inbox / "a.png").exists()
    assert desk.new_inbox().sweep() == (0, None)
    assert len(desk.rows()) == 1
    assert desk.waiting() == []


def test_the_same_file_dropped_again_is_a_duplicate_that_says_of_what(desk):
    """A second arrival has a row of its own, which names the first."""
    for _ in range(2):
        png(desk.config.inbox / "a.png")
        desk.new_inbox().sweep()
    first, second = desk.rows()
    assert (first.outcome, second.outcome, second.reason_code) == ("pending", "duplicate", "same_bytes")
    assert second.details == {"same_as_file": first.id}


def test_a_named_folder_is_looked_through_like_an_inbox_and_left_as_it_is(desk, tmp_path):
    """PNGs at its top are studies of their own; with a study.toml beside them they are one study."""
    for name in ("a.png", "b.png"):
        png(tmp_path / "films" / name, seed=len(name) + ord(name[0]))
    desk.new_inbox().take([tmp_path / "films"])
    assert len({study_of(row).id for row in desk.rows()}) == 2
    for name in ("c.png", "d.png"):
        png(tmp_path / "study" / name, seed=ord(name[0]))
    (tmp_path / "study" / "study.toml").write_text('patient_id = "1"')
    desk.new_inbox().take([tmp_path / "study"])
    assert len({study_of(row).id for row in desk.rows()}) == 3
    assert sorted(path.name for path in (tmp_path / "films").iterdir()) == ["a.png", "b.png"]


def test_a_damaged_file_that_is_requeued_stays_and_says_why(desk):
    """Bytes that are no image do not become one by being asked again."""
    (desk.config.inbox / "cut.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x02\x00\x10")
    desk.new_inbox().sweep()
    (tried,) = requeue_files(desk.database, desk.storage, desk.intake.sandbox, [1])
    assert "stays in quarantine" in str(tried)
    assert desk.outcomes() == {"cut.dcm": ("quarantined", "unreadable_header")}


def test_a_film_whose_header_is_read_when_it_is_requeued_is_one_of_its_study(desk, write_dicom):
    """As if it had just come: its study, what its header says, and that it names another patient than the study."""
    pixels = np.arange(64, dtype=np.uint16).reshape(8, 8)
    of_study = {"StudyInstanceUID": "1.2.1"}
    write_dicom(desk.config.inbox / "1.dcm", pixels, SOPInstanceUID="1.2.1.1", PatientID="A", **of_study)
    desk.new_inbox().sweep()
    write_dicom(desk.config.inbox / "2.dcm", pixels, SOPInstanceUID="1.2.1.2", PatientID="B", **of_study)
    with Sandbox(1, seconds=1e-6, memory_mb=0) as hurried:  # the alarm rings before anything can be read
        Inbox(desk.config, replace(desk.intake, sandbox=hurried)).sweep()
    film = desk.rows()[1]
    assert (film.reason_code, film.instance) == ("deadline", None)
    reason = film.reason
    (tried,) = requeue_files(desk.database, desk.storage, desk.intake.sandbox, [film.id])
    assert str(tried) == f"{film.id}: taken back; it is read at the next watch or process"
    first, film = desk.rows()
    assert (film.outcome, film.instance.sop_instance_uid) == ("pending", "1.2.1.2")
    assert film.instance.study_id == first.instance.study_id
    assert (film.header["sop_instance_uid"], film.header["remarks"]) == ("1.2.1.2", ["other_patient"])
    assert list(desk.config.quarantine.iterdir()) == []
    with desk.database.write() as session:  # its study's report said nothing of it yet, though the reason is the same
        again = session.get_one(ReceivedFile, film.id)
        decide(again, ReasonCode.DEADLINE, now=datetime.now(UTC), detail="after 1e-06 s")
        assert (again.reason, again.instance.study.revision) == (reason, 1)


def test_nothing_is_requeued_where_one_of_the_files_is_not_in_quarantine(desk):
    """The ids that are wrong are named, and what else was asked for stays."""
    for number in range(2):
        png(desk.config.inbox / f"{number}.png", seed=number)
    desk.new_inbox().sweep()
    with desk.database.write() as session:
        decide(session.get_one(ReceivedFile, 1), ReasonCode.UNREADABLE_PIXELS, now=datetime.now(UTC))
    with pytest.raises(UsageError, match=r"Not in quarantine: 2, 99;"):
        list(requeue_files(desk.database, desk.storage, desk.intake.sandbox, [1, 2, 99]))
    assert [row.outcome for row in desk.rows()] == ["quarantined", "pending"]


def test_a_file_that_somebody_else_has_requeued_meanwhile_is_left_as_it_is(desk):
    """Named twice, or by two people at once, a file is taken back once; the rest of what was asked for is done."""
    for number in range(3):
        png(desk.config.inbox / f"{number}.png", seed=number)
    desk.new_inbox().sweep()
    with desk.database.write() as session:
        for row in session.scalars(select(ReceivedFile)):
            decide(row, ReasonCode.UNREADABLE_PIXELS, now=datetime.now(UTC))
    asked = (desk.database, desk.storage, desk.intake.sandbox)
    tried = requeue_files(*asked, [1, 1, 2, 3])
    said = [str(one) for one in (next(tried), *requeue_files(*asked, [2]), *tried)]
    again = "is not in quarantine any more: it is pending"
    back = "taken back; it is read at the next watch or process"
    assert said == [f"1: {back}", f"2: {back}", f"2: {again}", f"3: {back}"]
