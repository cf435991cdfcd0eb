"""send: a report as DICOM when a person asks for it, and what doctor and show say of sending."""

import json

import pytest
from pydicom import dcmread
from sqlalchemy import update
from typer.testing import CliRunner

from agcnn_clinic.cli import checks_sending
from agcnn_clinic.cli.main import app
from agcnn_clinic.cli.result import State
from agcnn_clinic.database.tables import Report
from agcnn_clinic.errors import SendingError, UsageError
from agcnn_clinic.layout import remade_beside

ACCESSION = "A-1"
STUDY_UID = "1.2.826.0.1.3680043.8.498.77"


@pytest.fixture
def run(clinic):
    """Run a command on the clinic; an error comes out as it was raised."""

    def run(*arguments, exit_code: int = 0) -> str:
        config = clinic.config.root / "config.toml"
        done = CliRunner().invoke(app, ["--config", str(config), *map(str, arguments)], catch_exceptions=False)
        assert done.exit_code == exit_code, done.output
        return done.stdout + done.stderr

    return run


@pytest.fixture
def other_letterhead(clinic):
    """The clinic has another name since: no report comes out as it was delivered."""
    file = clinic.config.root / "config.toml"
    text = file.read_text()
    assert 'institution = ""' in text
    file.write_text(text.replace('institution = ""', 'institution = "City Hospital"'))


@pytest.fixture
def nowhere(clinic):
    """The same clinic without an archive."""
    file = clinic.config.root / "config.toml"
    file.write_text(file.read_text().replace(clinic.config.sending.to, ""))


def test_a_study_is_sent_to_the_archive_and_again(run, clinic, archive):
    """Whether or not it waits; the second time the same objects."""
    said = [run("send", ACCESSION) for _ in range(2)]
    assert said[0] == said[1]
    assert said[0].endswith(f": PDF and SR to {archive.address}\n")
    first, second = archive.stored[:2], archive.stored[2:]
    assert first == second
    assert clinic.rows() == [(False, True), (True, False)]


def test_show_says_that_a_report_was_sent_or_waits(run):
    """In its line, beside where the PDF lies."""
    assert "(waits to be sent)" in run("show", ACCESSION)
    run("send", ACCESSION)
    assert "(sent on 2" in run("show", ACCESSION)
    assert json.loads(run("show", ACCESSION, "--format", "json"))["reports"][0]["sent_at"]


def test_out_writes_the_objects_into_a_folder_for_other_ways(run, clinic, archive, tmp_path, nowhere, select):
    """As DICOM files that only their owner may read; the archive hears nothing, and the trail says exported."""
    del nowhere
    lines = run("send", ACCESSION, "--out", tmp_path / "usb").splitlines()
    assert [dcmread(line).Modality for line in lines] == ["DOC", "SR"]
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "usb").iterdir()] == [0o600, 0o600]
    assert archive.stored == []
    newest = select(clinic.config.database_url, "SELECT event, studies FROM audit_event ORDER BY id DESC LIMIT 1")
    assert newest[0]["event"] == "exported"


def test_without_an_archive_send_says_what_to_do(run, nowhere):
    """Before anything is looked for."""
    del nowhere
    with pytest.raises(UsageError, match=r"set sending\.to in config\.toml, or give a folder with --out"):
        run("send", ACCESSION)


def test_a_folder_that_cannot_be_made_is_named(run, tmp_path):
    """What lies there stays."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SendingError, match=r"cannot be written: .*; name another folder"):
        run("send", ACCESSION, "--out", tmp_path / "file" / "below")
    assert (tmp_path / "file").read_text() == "mine"


def test_of_several_studies_each_that_is_not_taken_is_named_and_the_others_are_sent(run, clinic, archive):
    """The exit code says that not all were."""
    dicom, png = (clinic.key(dicom=dicom) for dicom in (True, False))
    archive.answers = [0xC000]
    refused, sent = run("send", dicom, png, exit_code=1).splitlines()[::-1]
    assert refused.startswith(f"{dicom}: The archive {archive.address} refuses an object of Encapsulated PDF")
    assert sent == f"report 1 of {png}: PDF to {archive.address}"
    assert clinic.rows() == [(True, False), (False, True)]


@pytest.mark.usefixtures("other_letterhead")
def test_a_lost_report_that_comes_out_otherwise_goes_as_a_new_version(run, clinic, archive):
    """Also one that was made again before: under the UIDs of what is lost nothing else is sent."""
    pdfs = sorted(clinic.config.reports.iterdir())
    for pdf in pdfs:
        pdf.unlink()
    remade_beside(pdfs[0]).write_bytes(b"made again by another version")
    run("send", ACCESSION, exit_code=1)
    assert run("report", "--missing").count("a newer version goes instead") == 2
    assert clinic.rows() == [(False, False), (False, False)]
    assert "No report is missing" in run("report", "--missing")
    run("process")
    assert sorted((dataset.Modality, dataset.InstanceNumber) for dataset in archive.stored) == [
        ("DOC", 2),
        ("DOC", 2),
        ("SR", 2),
    ]


@pytest.mark.usefixtures("other_letterhead")
def test_a_lost_report_makes_no_version_due_where_a_newer_one_goes(run, clinic, archive):
    """The archive gets that one, and no third."""
    first = clinic.report_id(dicom=False)
    second = clinic.later_version(first, 2, to_send=True)
    with clinic.database.write() as session:
        pdf = clinic.config.report_file(session.get_one(Report, first).path)
        newer = pdf.with_name(pdf.name.replace("-v1", "-v2"))
        session.get_one(Report, second).path = newer.name
    pdf.rename(newer)
    run("report", "--missing")
    run("process")
    assert [dataset.InstanceNumber for dataset in archive.of("DOC") if dataset.StudyInstanceUID != STUDY_UID] == [2]


@pytest.mark.usefixtures("other_letterhead")
def test_a_report_that_comes_out_otherwise_waits_on_while_it_is_there(run, clinic, archive):
    """What was delivered is sent, whatever lies beside it."""
    assert "newer version" not in run("report", ACCESSION)
    run("send", ACCESSION)
    assert [dataset.InstanceNumber for dataset in archive.stored] == [1, 1]


@pytest.mark.usefixtures("other_letterhead", "nowhere")
def test_a_lost_report_waits_on_where_no_archive_is_named(run, clinic):
    """For the one that will be."""
    for pdf in clinic.config.reports.iterdir():
        pdf.unlink()
    run("report", "--missing")
    assert "No report is missing" in run("report", "--missing")
    assert clinic.rows() == [(True, False), (True, False)]


def test_a_report_that_retention_has_removed_is_made_again_before_it_is_sent(run, clinic, archive):
    """By the command that the sentence names; `report --missing` makes no report again that was removed."""
    with clinic.database.write() as session:
        report = session.get_one(Report, clinic.report_id(dicom=True))
        report.to_send, report.removed_at = False, report.created_at
        clinic.config.report_file(report.path).unlink()
    key = clinic.key(dicom=True)
    said = run("send", ACCESSION, exit_code=1)
    assert f"retention has removed its PDF; make it again with `agcnn-clinic report {key} --version 1`" in said
    run("report", key, "--version", "1")
    run("send", ACCESSION)
    assert [dataset.Modality for dataset in archive.stored] == ["DOC", "SR"]


def test_what_no_archive_will_take_waits_no_longer(run, clinic, archive):
    """Of a study, or whatever waits; the trail has it, and a version that was to come goes all the same."""
    keys = [clinic.key(dicom=which) for which in (True, False)]
    assert run("send", ACCESSION, "--version", "7", "--cancel") == "No such report waits to be sent.\n"
    assert run("send", ACCESSION, "--cancel") == f"report 1 of {keys[0]}: waits no longer to be sent\n"
    assert sorted(clinic.rows()) == [(False, False), (True, False)]
    assert run("send", "--cancel", "--all") == f"report 1 of {keys[1]}: waits no longer to be sent\n"
    told = json.loads(run("audit", "list", "--event", "sending cancelled", "--format", "json"))
    assert [(json.loads(event["studies"]), json.loads(event["details"])) for event in told] == [
        ([key], {"reports": 1}) for key in reversed(keys)
    ]
    clinic.later_version(clinic.report_id(dicom=True), 2, to_send=True)
    run("process")
    assert [dataset.InstanceNumber for dataset in archive.stored] == [2, 2]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "Say which"),
        (("--cancel",), "Say which"),
        ((ACCESSION, "--cancel", "--all"), "Say which"),
        (("--all",), "--all is for --cancel"),
        ((ACCESSION, "--cancel", "--out", "folder"), "leave --out out"),
    ],
)
def test_send_is_told_which_reports(run, clinic, arguments, sentence):
    """Nothing is sent, and nothing ceases to wait, by a slip."""
    with pytest.raises(UsageError, match=sentence):
        run("send", *arguments)
    assert clinic.rows() == [(True, False), (True, False)]


def test_an_archive_that_is_away_ends_send_and_the_report_waits_on(run, clinic, archive):
    """It was not sent, and no row says so."""
    archive.stop()
    with pytest.raises(SendingError, match="does not answer"):
        run("send", ACCESSION)
    assert clinic.rows() == [(True, False), (True, False)]


def test_doctor_asks_the_archive(clinic, archive):
    """Whether it answers; where none is named, nothing is said."""
    assert [result.state for result in checks_sending.archive(clinic.config)] == [State.OK]
    archive.stop()
    (result,) = checks_sending.archive(clinic.config)
    assert (result.state, result.check) == (State.PROBLEM, "DICOM archive")
    off = clinic.config.model_copy(update={"sending": clinic.config.sending.model_copy(update={"to": ""})})
    assert list(checks_sending.archive(off)) == []


def test_doctor_names_what_the_archive_does_not_take(clinic, new_archive):
    """Each report would be refused for it."""
    other = new_archive(takes=["1.2.840.10008.5.1.4.1.1.104.1"])
    settings = clinic.config.sending.model_copy(update={"to": other.address})
    (result,) = checks_sending.archive(clinic.config.model_copy(update={"sending": settings}))
    assert result.state is State.PROBLEM
    assert result.found.endswith("does not take Comprehensive 3D SR Storage")


def test_doctor_tells_of_reports_that_wait_for_long(clinic):
    """Those of the last minutes are on their way; without an archive each is one too many."""
    assert list(checks_sending.waiting(clinic.database, clinic.config)) == []
    off = clinic.config.model_copy(update={"sending": clinic.config.sending.model_copy(update={"to": ""})})
    (result,) = checks_sending.waiting(clinic.database, off)
    assert (result.state, result.found[:20]) == (State.REMARK, "2 reports not sent, ")
    with clinic.database.write() as session:
        report = session.get_one(Report, clinic.report_id(dicom=True))
        session.execute(
            update(Report).where(Report.id == report.id).values(created_at=report.created_at.replace(year=2025))
        )
    (result,) = checks_sending.waiting(clinic.database, clinic.config)
    assert result.found.startswith("1 report not sent, the oldest of 2025-")
