"""A report's PDF as a DICOM object: Encapsulated PDF Storage (PS3.3 A.45.1)."""

from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian

from agcnn_clinic.dicom.composite import CHARACTER_SET, coded, sop_common
from agcnn_clinic.reporting.content import ReportContent
from agcnn_clinic.sending.concepts import DOCUMENT_TITLE
from agcnn_clinic.sending.objects import MANUFACTURER, Kind, identity, made_by, of_study, referable

SERIES_NUMBER = 9001
"""Far above those of images: viewers sort by it."""


def encapsulated_pdf(content: ReportContent, pdf: bytes) -> Dataset:
    """Make the object.

    Args:
        content: what the report says: whose it is, and which images it is of.
        pdf: the report as it was delivered.
    """
    uids = identity(Kind.PDF, content)
    made = content.edition.created_at.astimezone()
    dataset = Dataset()
    dataset.SpecificCharacterSet = CHARACTER_SET
    sop_common(dataset, EncapsulatedPDFStorage, uids.sop_instance_uid, ExplicitVRLittleEndian)
    dataset.InstanceCreationDate = dataset.ContentDate = dataset.SeriesDate = f"{made:%Y%m%d}"
    dataset.InstanceCreationTime = dataset.ContentTime = dataset.SeriesTime = f"{made:%H%M%S.%f}"
    of_study(dataset, content)
    # Encapsulated Document Series (C.24.1), Equipment (C.7.5.1, C.8.6.1).
    dataset.Modality = "DOC"
    dataset.SeriesInstanceUID = uids.series_instance_uid
    dataset.SeriesNumber = SERIES_NUMBER
    dataset.SeriesDescription = "AG-CNN report, research use only"
    dataset.Manufacturer = MANUFACTURER
    dataset.ManufacturerModelName = made_by(content)
    dataset.SoftwareVersions = content.edition.software_version
    dataset.ConversionType = "WSD"
    # Encapsulated Document (C.24.2).
    dataset.InstanceNumber = content.edition.version
    dataset.AcquisitionDateTime = ""
    dataset.BurnedInAnnotation = "YES"
    dataset.VerificationFlag = "UNVERIFIED"
    dataset.DocumentTitle = "AG-CNN report, research use only. Not reviewed by a physician."
    dataset.ConceptNameCodeSequence = [coded(*DOCUMENT_TITLE[:3])]
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    dataset.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    dataset.EncapsulatedDocumentLength = len(pdf)
    if images := referable(content):
        dataset.SourceInstanceSequence = [_reference(image.sop_class_uid, image.sop_instance_uid) for image in images]
    return dataset


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item
