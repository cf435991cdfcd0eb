"""What is sent of a report: DICOM objects that say what it says, and belong where its images do."""

import logging
import shutil
import subprocess
from io import BytesIO

import pytest
from highdicom.sr import srread
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, DigitalXRayImageStorageForPresentation, EncapsulatedPDFStorage
from sqlalchemy import select, update

from agcnn_clinic.database.tables import AttendedRegion, Finding, Inference, Model, Report, ReportReading, Study
from agcnn_clinic.dicom.attributes import quiet
from agcnn_clinic.sending.concepts import FINDINGS
from agcnn_clinic.sending.parcel import begun
from agcnn_models.labels import LABELS

pytestmark = pytest.mark.filterwarnings("error::UserWarning")  # pydicom's quote values, which are patient data

STUDY_UID = "1.2.826.0.1.3680043.8.498.77"


def sent(clinic, report_id: int | None = None) -> list[bytes]:
    """What is sent of a report, as files; None for the study's that came as DICOM."""
    report_id = report_id or clinic.report_id(dicom=True)
    return [one.file for one in begun(clinic.database, clinic.config, report_id)().objects]


def read(files: list[bytes]) -> list[Dataset]:
    """Those files, read again."""
    with quiet():
        return [dcmread(BytesIO(file)) for file in files]


@pytest.fixture
def objects(clinic):
    """The PDF and the SR of the study that came as DICOM, written and read again."""
    return read(sent(clinic))


@pytest.fixture
def report(clinic):
    """Its SR, as highdicom reads one."""
    return srread(BytesIO(sent(clinic)[1])).content


def test_a_report_is_sent_as_its_pdf_and_its_findings(objects):
    """Two objects of this program's, of the SOP classes that docs/DICOM.md names, each in a series of its own."""
    assert [dataset.SOPClassUID for dataset in objects] == [EncapsulatedPDFStorage, Comprehensive3DSRStorage]
    assert [(dataset.Modality, dataset.SeriesNumber) for dataset in objects] == [("DOC", 9001), ("SR", 9002)]
    assert len({dataset.SeriesInstanceUID for dataset in objects}) == 2
    assert {dataset.file_meta.ImplementationVersionName for dataset in objects} == {"AGCNN_CLINIC"}


def test_the_pdf_in_it_is_the_one_that_was_delivered(clinic, objects):
    """Byte for byte, with its length: the value itself is padded to an even one."""
    with clinic.database.session() as session:
        row = session.get_one(Report, clinic.report_id(dicom=True))
        delivered = clinic.config.report_file(row.path).read_bytes()
    dataset = objects[0]
    assert dataset.EncapsulatedDocument[: dataset.EncapsulatedDocumentLength] == delivered
    assert dataset.MIMETypeOfEncapsulatedDocument == "application/pdf"


def test_each_belongs_to_the_patient_and_the_study_of_the_images(objects):
    """As they came: an archive files an object by these."""
    for dataset in objects:
        assert dataset.StudyInstanceUID == STUDY_UID
        assert (dataset.PatientID, dataset.AccessionNumber) == ("P-50977", "A-1")
        assert str(dataset.PatientName) == "Fujimori^Sachiko=藤森^幸子=ふじもり^さちこ"
        assert (dataset.PatientBirthDate, dataset.PatientSex) == ("19411102", "F")


def test_each_says_that_no_physician_has_seen_it(objects):
    """In words where a person looks, and in the flags that programs look at."""
    pdf, findings = objects
    assert "research use only" in pdf.SeriesDescription
    assert "research use only" in findings.SeriesDescription
    assert pdf.DocumentTitle.endswith("Not reviewed by a physician.")
    assert pdf.VerificationFlag == findings.VerificationFlag == "UNVERIFIED"
    assert (findings.CompletionFlag, findings.PreliminaryFlag) == ("COMPLETE", "PRELIMINARY")


def test_every_finding_of_every_image_is_in_the_sr_with_its_probability(clinic, report):
    """As the database has it, to six places, with a coded answer."""
    with clinic.database.session() as session:
        rows = session.scalars(select(Finding)).all()
        expected = {
            (row.inference.file.instance.sop_instance_uid, FINDINGS[row.label].value): row
            for row in rows
            if row.inference.file.instance.study.study_instance_uid == STUDY_UID
        }
        assert len(expected) == 2 * len(LABELS)
        found = {}
        for group in report.get_image_measurement_groups():
            (answer,) = group.get_qualitative_evaluations()
            (probability,) = group.get_measurements()
            found[group.source_images[0].referenced_sop_instance_uid, answer.name.value] = (
                probability.name.meaning,
                probability.value,
                answer.value.meaning,
                group.finding_type.value if group.finding_type else None,
            )
        assert found == {
            (uid, code): (
                "Probability",
                round(row.probability, 6),
                "Positive" if row.positive else "Negative",
                code if row.positive else None,
            )
            for (uid, code), row in expected.items()
        }


def test_a_label_without_a_threshold_is_undetermined(clinic):
    """Neither positive nor negative, and no Finding."""
    with clinic.database.write() as session:
        session.execute(update(Finding).values(threshold=None, positive=None))
    groups = srread(BytesIO(sent(clinic)[1])).content.get_image_measurement_groups()
    assert {group.get_qualitative_evaluations()[0].value.meaning for group in groups} == {"Undetermined"}
    assert {group.finding_type for group in groups} == {None}


def test_the_attended_region_is_outlined_on_its_image(clinic, report):
    """A closed line along its edges, in pixels of the image, and it is called no finding."""
    with clinic.database.session() as session:
        regions = {
            row.inference.file.instance.sop_instance_uid: (row.x_min, row.y_min, row.x_max, row.y_max)
            for row in session.scalars(select(AttendedRegion))
            if row.inference.file.instance.study.study_instance_uid == STUDY_UID
        }
    outlined = {}
    for group in report.get_planar_roi_measurement_groups():
        assert group.finding_type is None
        corners = group.roi.value
        assert (corners[0] == corners[-1]).all()
        uid = group.roi.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        outlined[uid] = (*corners.min(axis=0), *corners.max(axis=0))
    assert outlined == {uid: pytest.approx(edges) for uid, edges in regions.items()}


def test_each_group_says_which_model_and_manifest_answered(clinic, report):
    """So that a finding can be traced to the very thresholds by which it was made."""
    with clinic.database.session() as session:
        model = session.scalars(select(Inference)).first().model
        name, version, manifest = model.name, model.version, model.manifest_sha256
    for group in report.get_image_measurement_groups():
        said = {item.name.meaning: item.value for item in group[0].ContentSequence if item.ValueType == "TEXT"}
        assert (said["Algorithm Name"], said["Algorithm Version"]) == (f"AG-CNN {name}", version)
        parameters = [item.value for item in group[0].ContentSequence if item.name.meaning == "Algorithm Parameters"]
        assert parameters[0] == f"manifest SHA-256 {manifest}"
        assert parameters[1].startswith("thresholds: ")
        assert "Pleural Thickening 0.5" in parameters[1].split(": ")[1].split(", ")


def test_a_model_of_a_long_name_is_named_as_far_as_there_is_room(clinic):
    """An LO takes 64 characters (PS3.5 6.2), and what makes the SR refuses more; each group has the whole name."""
    with clinic.database.write() as session:
        session.execute(update(Model).values(name=80 * "n"))
    files = sent(clinic)
    assert {dataset.ManufacturerModelName for dataset in read(files)} == {64 * "n"}
    group, *_ = srread(BytesIO(files[1])).content.get_image_measurement_groups()
    said = {item.name.meaning: item.value for item in group[0].ContentSequence if item.ValueType == "TEXT"}
    assert said["Algorithm Name"] == f"AG-CNN {80 * 'n'}"


def test_images_are_referred_to_as_they_are_named(objects):
    """By SOP class, and the SR by study and series, too: so an archive finds them."""
    with_series = objects[1].CurrentRequestedProcedureEvidenceSequence[0]
    assert with_series.StudyInstanceUID == STUDY_UID
    images = [item for series in with_series.ReferencedSeriesSequence for item in series.ReferencedSOPSequence]
    named = {(item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID) for item in images}
    sources = {
        (item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID) for item in objects[0].SourceInstanceSequence
    }
    assert named == sources
    assert {sop_class for sop_class, _ in named} == {DigitalXRayImageStorageForPresentation}
    assert len(named) == 2


def test_sent_twice_they_are_the_same_objects(clinic):
    """Byte for byte, UIDs and all: an archive has one of each, however often the power went."""
    assert sent(clinic) == sent(clinic)


@pytest.fixture
def versions(clinic) -> tuple[int, int]:
    """The rows of that study's report and of a second version of it, of the same readings."""
    first = clinic.report_id(dicom=True)
    return first, clinic.later_version(first, 2, to_send=False)


def test_another_version_has_other_uids_and_names_the_one_before_it_that_was_sent(clinic, versions):
    """Of a report that no archive has, nothing is said."""
    clinic.all_are_sent()
    before, after = (read(sent(clinic, report_id)) for report_id in versions)
    uids = {uid for dataset in (*before, *after) for uid in (dataset.SOPInstanceUID, dataset.SeriesInstanceUID)}
    assert len(uids) == 8
    (study,) = after[1].PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    assert (study.StudyInstanceUID, series.SeriesInstanceUID) == (STUDY_UID, before[1].SeriesInstanceUID)
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == before[1].SOPInstanceUID
    with clinic.database.write() as session:
        session.execute(update(Report).values(sent_at=None))
    _, alone = read(sent(clinic, versions[1]))
    assert "PredecessorDocumentsSequence" not in alone


def test_a_report_of_another_model_is_not_the_one_before(clinic, versions):
    """It was made by request, and sent by `send --version`: the clinic's own replaces none of it."""
    clinic.all_are_sent()
    with clinic.database.write() as session:
        model = session.scalars(select(Inference)).first().model_id
        session.execute(update(Report).where(Report.id == versions[0]).values(model_id=model))
    _, findings = read(sent(clinic, versions[1]))
    assert "PredecessorDocumentsSequence" not in findings


def test_the_newest_version_before_is_named(clinic, versions):
    """Of several that were sent."""
    third = clinic.later_version(versions[0], 3, to_send=True)
    clinic.all_are_sent()
    second, last = (read(sent(clinic, report_id))[1] for report_id in (versions[1], third))
    (named,) = last.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert named.ReferencedSOPInstanceUID == second.SOPInstanceUID


@pytest.mark.parametrize("which", [0, 1], ids=["the older one", "the newer one"])
def test_it_is_the_same_object_whether_the_other_version_was_sent_or_waits(clinic, versions, which):
    """The older one names no later one; the newer one was taken, maybe, by an archive that took the older one since."""
    before = sent(clinic, versions[which])
    clinic.all_are_sent()
    assert sent(clinic, versions[which]) == before


def test_a_version_that_had_no_sr_is_not_named(clinic, versions):
    """It was sent as PDF alone, since its only image had no class."""
    clinic.all_are_sent()
    with clinic.database.write() as session:
        for row in session.scalars(select(Inference)):
            if row.file.header["view_position"] == "AP":
                row.file.header = {**row.file.header, "sop_class_uid": ""}
            elif row.file.header["view_position"] == "PA":
                session.delete(session.get_one(ReportReading, (versions[0], row.id)))
    assert len(sent(clinic, versions[0])) == 1
    _, after = read(sent(clinic, versions[1]))
    assert "PredecessorDocumentsSequence" not in after


def test_a_png_has_no_image_that_an_sr_could_refer_to(clinic):
    """Its report is sent as PDF alone, with the UID that was derived for its study."""
    (dataset,) = read(sent(clinic, clinic.report_id(dicom=False)))
    assert dataset.SOPClassUID == EncapsulatedPDFStorage
    assert dataset.StudyInstanceUID.startswith("2.25.")
    assert "SourceInstanceSequence" not in dataset


def test_an_image_that_names_another_patient_is_in_no_sr(clinic):
    """The PDF tells of it in words; a table of another patient's findings would be taken for this one's."""
    with clinic.database.write() as session:
        for row in session.scalars(select(Inference)):
            if row.file.header["view_position"] == "AP":
                row.warnings = [*row.warnings, "other_patient"]
                other = row.file.instance.sop_instance_uid
    _, findings = read(sent(clinic))
    assert other not in str(findings)
    assert len(findings.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence) == 1


@pytest.mark.parametrize(
    ("series", "sop_class"),
    [("", DigitalXRayImageStorageForPresentation), ("1.2.3", ""), ("1.2.3", "1.3.12.2.1107.5.9.1"), ("1.2.3", "none")],
)
def test_an_image_that_an_sr_cannot_refer_to_keeps_nothing_else_back(clinic, series, sop_class):
    """It lacks its series or a class of the standard's images: the SR is of the other image, the PDF of both."""
    with clinic.database.write() as session:
        for row in session.scalars(select(Inference)):
            if row.file.header["view_position"] == "AP":
                row.file.instance.series_instance_uid = series
                row.file.header = {**row.file.header, "sop_class_uid": str(sop_class)}
                other = row.file.instance.sop_instance_uid
    _, findings = read(sent(clinic))
    assert other not in str(findings)
    (referred,) = findings.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert referred.SeriesInstanceUID


@pytest.mark.parametrize(
    "values",
    [
        {"patient_name": "", "patient_id": "", "patient_sex": "", "patient_birth_date": "", "study_date": ""},
        {"patient_sex": "?", "patient_name": "A^B^C^D^E^F^G", "accession_number": "longer than an SH may be"},
        {"patient_name": "Berg^Anna\\Berg^Anna Maria"},
        {"patient_id": "P-" + 70 * "1", "study_description": "one\\two", "study_time": "08:15"},
    ],
)
def test_whatever_came_with_the_images_is_written_and_read_again(clinic, values):
    """Values are as they were received, also those that the standard does not allow; only the sex is left out then."""
    with clinic.database.write() as session:
        session.execute(update(Study).values(values))
    for again in read(sent(clinic)):
        with quiet():
            assert again.PatientID == values.get("patient_id", "P-50977")
            assert str(again.AccessionNumber) == values.get("accession_number", "A-1")
            assert (again.PatientSex or "") == ("F" if "patient_sex" not in values else "")


@pytest.mark.parametrize("dicom", [True, False])
def test_dciodvfy_finds_no_error_in_them(clinic, tmp_path, dicom):
    """The field's own checker (dicom3tools) reads each object by its information object definition."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian: dicom3tools)")
    for number, file in enumerate(sent(clinic, clinic.report_id(dicom=dicom))):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(file)
        done = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True, check=False)
        said = (done.stdout + done.stderr).splitlines()
        assert [line for line in said if line.startswith("Error")] == []
        assert any(line in ("EncapsulatedPDF", "Comprehensive3DSR") for line in said)


def test_what_makes_the_sr_logs_nothing_of_its_images(clinic, caplog):
    """The library would tell of the UIDs that it copies from, a line for each module of each image."""
    caplog.set_level(logging.INFO)
    assert len(sent(clinic)) == 2
    assert [record.name for record in caplog.records if record.name.startswith("highdicom")] == []


def test_every_label_has_a_code_of_its_own():
    """Those that are ours begin with 99, as the standard has it."""
    assert FINDINGS.keys() == set(LABELS)
    assert len({(code.scheme_designator, code.value) for code in FINDINGS.values()}) == len(LABELS)
    assert {code.scheme_designator for code in FINDINGS.values()} == {"SCT", "99AGCNN"}
