"""What every DICOM object that is written here begins with: its file meta information, its patient and its study."""

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID
from pydicom.valuerep import PersonName

from agcnn_clinic.domain import StudyDescription

IMPLEMENTATION_CLASS_UID = UID("2.25.268107523906434152613370823164291827714")
IMPLEMENTATION_VERSION_NAME = "AGCNN_CLINIC"
CHARACTER_SET = "ISO_IR 192"
"""Specific Character Set (0008,0005): UTF-8."""


def sop_common(dataset: Dataset, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> None:
    """Say what an object is, in its data set and in its file meta information (PS3.3 C.12.1, PS3.10 7.1)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    dataset.file_meta = meta
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID


def patient_and_study(dataset: Dataset, study: StudyDescription) -> None:
    """Say whose object it is (PS3.3 C.7.1.1 and C.7.2.1); its ISO dates and times become DICOM's."""
    dataset.PatientName = PersonName(study.patient_name)  # one, be there a backslash in it
    dataset.PatientID = study.patient_id
    dataset.PatientBirthDate = study.patient_birth_date.replace("-", "")
    dataset.PatientSex = study.patient_sex
    dataset.StudyInstanceUID = study.study_instance_uid
    dataset.StudyDate = study.study_date.replace("-", "")
    dataset.StudyTime = study.study_time.replace(":", "")
    dataset.ReferringPhysicianName = study.referring_physician_name
    dataset.StudyID = ""
    dataset.AccessionNumber = study.accession_number
    dataset.StudyDescription = study.study_description


def coded(value: str, scheme: str, meaning: str) -> Dataset:
    """A coded entry (PS3.3 8.8): a value of a coding scheme, and what it means."""
    item = Dataset()
    item.CodeValue = value
    item.CodingSchemeDesignator = scheme
    item.CodeMeaning = meaning
    return item
