"""What findings and their answers are called in coded terms: SNOMED CT, DICOM's own, and ours where neither has one."""

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from agcnn_models.labels import NO_FINDING

OUR_SCHEME = "99AGCNN"
"""Coding Scheme Designator (0008,0102) of codes of our own; those begin with 99 (PS3.16 Section 8.2)."""


def _snomed(value: str, meaning: str) -> Code:
    return Code(value, "SCT", meaning)


FINDINGS = {
    "Atelectasis": _snomed("46621007", "Atelectasis"),
    "Cardiomegaly": _snomed("8186001", "Cardiomegaly"),
    "Effusion": _snomed("60046008", "Pleural effusion"),
    "Infiltration": _snomed("409609008", "Radiologic infiltrate of lung"),
    "Mass": _snomed("309529002", "Lung mass"),
    "Nodule": _snomed("786838002", "Nodule of lung"),
    "Pneumonia": _snomed("233604007", "Pneumonia"),
    "Pneumothorax": _snomed("36118008", "Pneumothorax"),
    "Consolidation": _snomed("95436008", "Lung consolidation"),
    "Edema": _snomed("19242006", "Pulmonary edema"),
    "Emphysema": _snomed("87433001", "Pulmonary emphysema"),
    "Fibrosis": _snomed("51615001", "Fibrosis of lung"),
    # ChestX-ray14 does not say which hernia, or how thick; and its 15th label says that none of the others holds, which
    # is less than that a radiograph is normal.
    "Pleural_Thickening": Code("PLEURAL_THICKENING", OUR_SCHEME, "Pleural thickening"),
    "Hernia": Code("HERNIA", OUR_SCHEME, "Hernia"),
    NO_FINDING: Code("NO_FINDING", OUR_SCHEME, "None of the 14 findings of ChestX-ray14"),
}
"""What each label of ChestX-ray14 (Wang et al. 2017) means."""

CHEST_RADIOGRAPH = _snomed("399208008", "Plain chest X-ray")
PROBABILITY = codes.DCM.Probability
NO_UNITS = codes.UCUM.NoUnits
DEVICE = codes.DCM.Device
DOCUMENT_TITLE = codes.cid7021.ImagingMeasurementReport

_ANSWERS: dict[bool | None, Code] = {True: codes.SCT.Positive, False: codes.SCT.Negative, None: codes.SCT.Undetermined}


def answer(positive: bool | None) -> Code:
    """What a finding says: that its threshold was reached, that it was not, or neither where there is none."""
    return _ANSWERS[positive]
