"""A report's findings as a DICOM object: Comprehensive 3D SR by TID 1500, as IHE's profile "AI Results" asks for.

Each label of each image is a measurement group (TID 1501): its probability, and whether that reached the threshold.
Only where it did, the group names a Finding, so that a viewer that lists these alone lists no other. The attended
region is a planar group (TID 1410) without a finding: it is where the local branch looked, not where a disease is.
"""

import logging
from collections.abc import Iterator, Sequence

import numpy as np
from highdicom import sr
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, ExplicitVRLittleEndian

from agcnn_clinic.dicom.composite import CHARACTER_SET, sop_common
from agcnn_clinic.dicom.uid import derived_uid
from agcnn_clinic.reporting.content import FindingRow, ReadImage, ReportContent
from agcnn_clinic.sending import concepts
from agcnn_clinic.sending.objects import MANUFACTURER, Before, Kind, identity, made_by, part_uid, referable, source

SERIES_NUMBER = 9002
"""Far above those of images: viewers sort by it."""
_SERIAL_LENGTH = 16

# It quotes the images' UIDs, and names that are not as the standard wants them.
logging.getLogger("highdicom").setLevel(logging.CRITICAL + 1)


def structured_report(content: ReportContent, before: Before | None = None) -> Dataset:
    """Make the object.

    Args:
        content: what the report says; an image of it came as DICOM and names no other patient.
        before: the report that it replaces, where that is sent.
    """
    images = referable(content)
    sources = [source(image, content) for image in images]
    first, *others = [group for image in images for group in _groups(image, content)]
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=_observer(content)),
        procedure_reported=concepts.CHEST_RADIOGRAPH,
        imaging_measurements=[first],
        title=concepts.DOCUMENT_TITLE,
    )
    uids = identity(Kind.SR, content)
    made = content.edition.created_at.astimezone()
    dataset = sr.Comprehensive3DSR(
        evidence=sources,
        content=report,
        series_instance_uid=uids.series_instance_uid,
        series_number=SERIES_NUMBER,
        sop_instance_uid=uids.sop_instance_uid,
        instance_number=content.edition.version,
        manufacturer=MANUFACTURER,
        is_complete=True,
        previous_versions=None if before is None else [_replaced(before, content)],
        manufacturer_model_name=made_by(content),
        software_versions=content.edition.software_version,
        device_serial_number=content.models[0].manifest_sha256[:_SERIAL_LENGTH],
        series_description="AG-CNN findings, research use only",
        coding_schemes=[
            CodingSchemeIdentificationItem(
                concepts.OUR_SCHEME,
                name="Labels of ChestX-ray14 that SNOMED CT has no code for",
                responsible_organization=MANUFACTURER,
            )
        ],
        content_date=made.date(),
        content_time=made.time(),
        specific_character_set=CHARACTER_SET,
    )
    # Not before: what an SR is given it copies and searches three times, which takes thrice as long as all else.
    measurements = report[0].ContentSequence[-1].ContentSequence
    for group in others:
        measurements.extend(group)
    # highdicom's own name stands there, and the moment at which this was called.
    sop_common(dataset, dataset.SOPClassUID, uids.sop_instance_uid, ExplicitVRLittleEndian)
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = dataset.ContentDate, dataset.ContentTime
    for tool in dataset.get("ContributingEquipmentSequence", ()):
        tool.ContributionDateTime = f"{made:%Y%m%d%H%M%S.%f}"
    return dataset


def _observer(content: ReportContent) -> sr.ObserverContext:
    model = content.models[0]
    return sr.ObserverContext(
        concepts.DEVICE,
        sr.DeviceObserverIdentifyingAttributes(
            uid=derived_uid(model.manifest_sha256),
            name="AG-CNN, research use only; not reviewed by a physician",
            manufacturer_name=MANUFACTURER,
            model_name=made_by(content),
            serial_number=model.manifest_sha256[:_SERIAL_LENGTH],
        ),
    )


def _replaced(before: Before, content: ReportContent) -> Dataset:
    """The SR of the report before, as it is referred to."""
    uids = identity(Kind.SR, content, before)
    dataset = Dataset()
    dataset.StudyInstanceUID = content.study.study_instance_uid
    dataset.SeriesInstanceUID = uids.series_instance_uid
    dataset.SOPClassUID = Comprehensive3DSRStorage
    dataset.SOPInstanceUID = uids.sop_instance_uid
    return dataset


_Group = sr.MeasurementsAndQualitativeEvaluations | sr.PlanarROIMeasurementsAndQualitativeEvaluations


def _groups(image: ReadImage, content: ReportContent) -> Iterator[_Group]:
    findings = (*image.findings, *([image.no_finding] if image.no_finding else ()))
    algorithm = _algorithm(image, findings)
    for finding in findings:
        yield _finding(finding, image, content, algorithm)
    yield _region(image, content, algorithm)


def _finding(
    finding: FindingRow, image: ReadImage, content: ReportContent, algorithm: sr.AlgorithmIdentification
) -> sr.MeasurementsAndQualitativeEvaluations:
    concept = concepts.FINDINGS[finding.label]
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracked(finding.name, image, content),
        finding_type=concept if finding.positive else None,
        algorithm_id=algorithm,
        measurements=[
            sr.Measurement(concepts.PROBABILITY, round(finding.probability, 6), concepts.NO_UNITS),
        ],
        qualitative_evaluations=[sr.QualitativeEvaluation(concept, concepts.answer(finding.positive))],
        source_images=[sr.SourceImageForMeasurementGroup(image.sop_class_uid, image.sop_instance_uid)],
    )


def _region(
    image: ReadImage, content: ReportContent, algorithm: sr.AlgorithmIdentification
) -> sr.PlanarROIMeasurementsAndQualitativeEvaluations:
    """The attended region; DICOM counts pixels as it does, from the outer corner of the first (PS3.3 C.18.6.1.1)."""
    box = image.region
    corners = [(box.x_min, box.y_min), (box.x_max, box.y_min), (box.x_max, box.y_max), (box.x_min, box.y_max)]
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracked("attended region", image, content),
        referenced_region=sr.ImageRegion(
            sr.GraphicTypeValues.POLYLINE,
            np.array([*corners, corners[0]], np.float32),
            sr.SourceImageForRegion(image.sop_class_uid, image.sop_instance_uid),
        ),
        algorithm_id=algorithm,
    )


def _tracked(what: str, image: ReadImage, content: ReportContent) -> sr.TrackingIdentifier:
    return sr.TrackingIdentifier(
        uid=part_uid(content, f"{image.sop_instance_uid} {what}"), identifier=f"{image.name}: {what}"
    )


def _algorithm(image: ReadImage, findings: Sequence[FindingRow]) -> sr.AlgorithmIdentification:
    """What read an image; all of its groups share it, since to make one for each takes half as long as all else."""
    thresholds = ", ".join(f"{one.name} {one.threshold:g}" for one in findings if one.threshold is not None)
    return sr.AlgorithmIdentification(
        name=f"AG-CNN {image.model.name}",
        version=image.model.version,
        parameters=[f"manifest SHA-256 {image.model.manifest_sha256}", f"thresholds: {thresholds or 'none'}"],
        manufacturer=MANUFACTURER,
    )
