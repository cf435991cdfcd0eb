"""Closed sets, and the tables of states and reasons: what can become of a file, an image and a study."""

from enum import StrEnum
from typing import NamedTuple


class Outcome(StrEnum):
    """Where a file that entered the inbox ends. Every file has exactly one, PENDING until it is decided."""

    PENDING = "pending"
    """In the archive, not decided yet."""
    ANALYSED = "analysed"
    """Read by the model; its findings are in the database."""
    REFUSED = "refused"
    """Sound, but not for this model."""
    QUARANTINED = "quarantined"
    """Broken or hostile; kept in quarantine/ with its reason."""
    DUPLICATE = "duplicate"
    """Its picture had been read before."""
    UNPACKED = "unpacked"
    """An archive of files; each of them has a row and an outcome of its own."""


class MediaType(StrEnum):
    """What a file is, by its content and never by its suffix."""

    DICOM = "dicom"
    PNG = "png"
    STUDY_TOML = "study.toml"
    UNKNOWN = "unknown"
    ZIP = "zip"


SUFFIXES = {
    MediaType.DICOM: ".dcm",
    MediaType.PNG: ".png",
    MediaType.STUDY_TOML: ".toml",
    MediaType.ZIP: ".zip",
    MediaType.UNKNOWN: ".bin",
}
"""How the name of an archived file ends."""


class ReasonCode(StrEnum):
    """Why a file ended as it did. `REASONS` gives each one's outcome and its sentence."""

    READ = "read"
    # Duplicates
    SAME_BYTES = "same_bytes"
    HEADER_DIFFERS = "header_differs"
    # Sound, but not for this model
    WRONG_MODALITY = "wrong_modality"
    WRONG_VIEW = "wrong_view"
    WRONG_BODY_PART = "wrong_body_part"
    FOR_PROCESSING = "for_processing"
    NOT_UPRIGHT = "not_upright"
    NO_PIXELS = "no_pixels"
    MULTI_FRAME = "multi_frame"
    COLOUR = "colour"
    TOO_SMALL = "too_small"
    TOO_LARGE = "too_large"
    BLANK = "blank"
    SATURATED = "saturated"
    ASPECT_RATIO = "aspect_ratio"
    UNSUPPORTED_SYNTAX = "unsupported_syntax"
    MEDIA_DIRECTORY = "media_directory"
    MEDIA_COMPANION = "media_companion"
    # Archives of files
    UNPACKED = "unpacked"
    ZIP_WITHOUT_IMAGES = "zip_without_images"
    ZIP_DAMAGED = "zip_damaged"
    ZIP_ENCRYPTED = "zip_encrypted"
    ZIP_METHOD = "zip_method"
    ZIP_LIMIT = "zip_limit"
    # Broken or hostile
    UNRECOGNISED = "unrecognised"
    EMPTY_FILE = "empty_file"
    FILE_TOO_LARGE = "file_too_large"
    UNREADABLE_HEADER = "unreadable_header"
    MISSING_ATTRIBUTE = "missing_attribute"
    UNREADABLE_PIXELS = "unreadable_pixels"
    PIXEL_LENGTH = "pixel_length"
    STUDY_TOML = "study_toml"
    DEADLINE = "deadline"
    MEMORY = "memory"
    CRASHED = "crashed"
    UID_CONFLICT = "uid_conflict"


class Reason(NamedTuple):
    """A row of the reason table."""

    outcome: Outcome
    sentence: str
    """For a person: what is wrong, and what to do. A detail of what was found may follow it."""


REASONS: dict[ReasonCode, Reason] = {
    ReasonCode.READ: Reason(Outcome.ANALYSED, "The image was read by the model."),
    ReasonCode.SAME_BYTES: Reason(
        Outcome.DUPLICATE, "The same file was received before; what became of that one holds for this one, too."
    ),
    ReasonCode.HEADER_DIFFERS: Reason(
        Outcome.DUPLICATE,
        "The same picture was read before under this SOP Instance UID with another header, which is kept; where "
        "the listed attributes matter, note it on the report, or have the film sent as another study, with UIDs of its "
        "own.",
    ),
    # What of these is read [gate] says, so the detail names it and not the sentence.
    ReasonCode.WRONG_MODALITY: Reason(
        Outcome.REFUSED, "The image is of a kind that is not read here; send chest radiographs."
    ),
    ReasonCode.WRONG_VIEW: Reason(
        Outcome.REFUSED,
        "The view is not stated, or none that is read here; read the image without the model, "
        "or correct the header if it is wrong.",
    ),
    ReasonCode.WRONG_BODY_PART: Reason(
        Outcome.REFUSED,
        "The body part is not stated, none that is read here, or in words that are not known; "
        "correct the header if it is wrong.",
    ),
    ReasonCode.FOR_PROCESSING: Reason(
        Outcome.REFUSED, "The image is raw data, for processing and not for display; send the one for presentation."
    ),
    ReasonCode.NOT_UPRIGHT: Reason(
        Outcome.REFUSED,
        "Patient Orientation says that the film is turned; turn it at the workstation, "
        "or correct the header if it is wrong, and send it again.",
    ),
    ReasonCode.NO_PIXELS: Reason(Outcome.REFUSED, "The DICOM object holds no image; send image objects only."),
    ReasonCode.MULTI_FRAME: Reason(
        Outcome.REFUSED, "The image has more than one frame; send single-frame radiographs."
    ),
    ReasonCode.COLOUR: Reason(
        Outcome.REFUSED, "The image is in colour; send the grey radiograph that it was made from."
    ),
    ReasonCode.TOO_SMALL: Reason(
        Outcome.REFUSED, "The image has too few pixels for a reading; send it at its full size."
    ),
    ReasonCode.TOO_LARGE: Reason(
        Outcome.REFUSED,
        "The image has more pixels than the limit; raise gate.max_pixels if that is intended, and send it again.",
    ),
    ReasonCode.BLANK: Reason(Outcome.REFUSED, "The image is blank or nearly so; check the exposure and send it again."),
    ReasonCode.SATURATED: Reason(
        Outcome.REFUSED, "Most of the image is clipped to black or white; check the exposure or the window."
    ),
    ReasonCode.ASPECT_RATIO: Reason(
        Outcome.REFUSED, "The image is too long and narrow for a chest radiograph; check what was sent."
    ),
    ReasonCode.UNSUPPORTED_SYNTAX: Reason(
        Outcome.REFUSED, "The transfer syntax cannot be decoded here; send it uncompressed or as JPEG 2000."
    ),
    ReasonCode.MEDIA_DIRECTORY: Reason(
        Outcome.REFUSED,
        "The DICOMDIR of an exchange medium (CD, DVD, USB stick) lists its images, which are taken by themselves; "
        "there is nothing to read in it.",
    ),
    ReasonCode.MEDIA_COMPANION: Reason(
        Outcome.REFUSED, "The file comes with an exchange medium (a viewer, a page); there is nothing to read in it."
    ),
    ReasonCode.UNPACKED: Reason(Outcome.UNPACKED, "The zip was unpacked; each file in it has an outcome of its own."),
    ReasonCode.ZIP_WITHOUT_IMAGES: Reason(
        Outcome.QUARANTINED, "The zip holds neither DICOM nor PNG, or is a document or a program; send the images."
    ),
    ReasonCode.ZIP_DAMAGED: Reason(
        Outcome.QUARANTINED, "The zip, or this file in it, is damaged and cannot be unpacked; pack and send it again."
    ),
    ReasonCode.ZIP_ENCRYPTED: Reason(
        Outcome.QUARANTINED, "What is in the zip is encrypted; unpack it with its password and send it open."
    ),
    ReasonCode.ZIP_METHOD: Reason(
        Outcome.QUARANTINED, "The file is packed in a way that cannot be unpacked here; pack it with Deflate."
    ),
    ReasonCode.ZIP_LIMIT: Reason(
        Outcome.QUARANTINED,
        "The zip exceeds a limit of [zip]; raise it if that is intended, and requeue the file.",
    ),
    ReasonCode.UNRECOGNISED: Reason(
        Outcome.QUARANTINED, "The file is neither DICOM nor PNG; remove it or send the original."
    ),
    ReasonCode.EMPTY_FILE: Reason(Outcome.QUARANTINED, "The file is empty; send it again."),
    ReasonCode.FILE_TOO_LARGE: Reason(
        Outcome.QUARANTINED, "The file is larger than intake.max_file_mb; raise the limit if that is intended."
    ),
    ReasonCode.UNREADABLE_HEADER: Reason(
        Outcome.QUARANTINED, "The header cannot be parsed; the file is damaged, send it again."
    ),
    ReasonCode.MISSING_ATTRIBUTE: Reason(
        Outcome.QUARANTINED, "A required attribute is missing or invalid; have the sender correct the object."
    ),
    ReasonCode.UNREADABLE_PIXELS: Reason(
        Outcome.QUARANTINED, "The pixels cannot be decoded; the file is damaged, send it again."
    ),
    ReasonCode.PIXEL_LENGTH: Reason(
        Outcome.QUARANTINED, "The pixel data are shorter than the header says; send the whole file again."
    ),
    ReasonCode.STUDY_TOML: Reason(
        Outcome.QUARANTINED, "The study.toml of the folder is not valid; correct it and drop the folder again."
    ),
    ReasonCode.DEADLINE: Reason(
        Outcome.QUARANTINED,
        "Reading took longer than analysis.decode_seconds; if the film is sound, raise that and requeue it.",
    ),
    ReasonCode.MEMORY: Reason(
        Outcome.QUARANTINED, "Reading needed more memory than analysis.decode_memory_mb; look at the file by hand."
    ),
    ReasonCode.CRASHED: Reason(Outcome.QUARANTINED, "The decoder crashed on this file; look at the file by hand."),
    ReasonCode.UID_CONFLICT: Reason(
        Outcome.QUARANTINED,
        "Another picture, or an image of another study, came before under the same SOP Instance UID; "
        "have the sender give this one a UID of its own.",
    ),
}
"""Each reason's outcome and sentence: the one table of what can become of a file."""


NOT_ABOUT_THE_BYTES = frozenset(
    {
        # What [gate] says, and which decoders are installed
        ReasonCode.WRONG_MODALITY,
        ReasonCode.WRONG_VIEW,
        ReasonCode.WRONG_BODY_PART,
        ReasonCode.FOR_PROCESSING,
        ReasonCode.NOT_UPRIGHT,
        ReasonCode.TOO_SMALL,
        ReasonCode.TOO_LARGE,
        ReasonCode.BLANK,
        ReasonCode.SATURATED,
        ReasonCode.ASPECT_RATIO,
        ReasonCode.UNSUPPORTED_SYNTAX,
        # Other limits, and how busy the machine is
        ReasonCode.DEADLINE,
        ReasonCode.MEMORY,
        ReasonCode.CRASHED,
        ReasonCode.FILE_TOO_LARGE,
        ReasonCode.ZIP_LIMIT,
        # What lies beside the file
        ReasonCode.STUDY_TOML,
        ReasonCode.MEDIA_COMPANION,
    }
)
"""Reasons that another try may not meet again: the same bytes, sent anew, are taken and not called a duplicate.

A companion is one by its place: the same file may come back alone, and is then judged by itself.
"""


class Warn(StrEnum):
    """A remark on an image that was read all the same; printed in its report."""

    VIEW_UNKNOWN = "view_unknown"
    BODY_PART_UNKNOWN = "body_part_unknown"
    SPACING_UNKNOWN = "spacing_unknown"
    LOW_RESOLUTION = "low_resolution"
    LOSSY = "lossy"
    NO_VOI = "no_voi"
    BURNED_IN = "burned_in"
    FOR_PROCESSING = "for_processing"
    MIRRORED = "mirrored"
    TURNED = "turned"
    MONOCHROME_CONTRADICTION = "monochrome_contradiction"
    STRAY_BITS = "stray_bits"
    WINDOW_MISFIT = "window_misfit"
    OTHER_PATIENT = "other_patient"
    OTHER_PATIENT_LATER = "other_patient_later"
    """Of the image when a later file of it has OTHER_PATIENT, or names another study, too: it is in no row."""


WARNINGS: dict[Warn, str] = {
    Warn.VIEW_UNKNOWN: "View position unknown; a frontal view is assumed.",
    Warn.BODY_PART_UNKNOWN: "Body part not stated; the chest is assumed.",
    Warn.SPACING_UNKNOWN: "Pixel spacing unknown; sizes are given in pixels only.",
    Warn.LOW_RESOLUTION: "Low resolution: small findings may be invisible.",
    Warn.LOSSY: "The image was compressed with loss.",
    Warn.NO_VOI: "No window in the header; the full range of values was used.",
    Warn.BURNED_IN: "The header says that annotations are burned into the pixels.",
    Warn.FOR_PROCESSING: "The image is raw data, for processing; it is not what is displayed.",
    Warn.MIRRORED: "The header says that left and right are exchanged; the image was read as it lies.",
    Warn.TURNED: "The header says that the image is turned; it was read as it lies.",
    Warn.MONOCHROME_CONTRADICTION: "Photometric interpretation and presentation shape disagree; "
    "the image was inverted once.",
    Warn.STRAY_BITS: "Some pixels have more bits than the header says; those beyond were left out.",
    Warn.WINDOW_MISFIT: "The window or VOI LUT in the header does not fit the pixels; "
    "the full range of values was used.",
    Warn.OTHER_PATIENT: "This image names a patient whom the study does not: find out whose it is.",
    Warn.OTHER_PATIENT_LATER: "A later file of it names a patient whom the study does not: find out whose it is.",
}
"""Each remark's sentence, as the report prints it."""


def remark_sentence(name: str) -> str:
    """The sentence of a stored remark; its name where only another version of this software knows it."""
    return WARNINGS[Warn(name)] if name in set(Warn) else name


class StudyState(StrEnum):
    """What `studies` says of a study. Derived from its files and reports, never stored."""

    RECEIVING = "receiving"
    """Images are pending, or new ones that no report covers came within `study_quiet_seconds`."""
    READ = "read"
    """At least one image was read; the report is due."""
    REPORTED = "reported"
    """The newest report covers all that was received."""
    NOT_READ = "not read"
    """Every image was refused or quarantined: there is nothing to report on."""


class Verdict(StrEnum):
    """What a physician says of one label of one image, having seen what the model found."""

    PRESENT = "present"
    ABSENT = "absent"
    UNCERTAIN = "uncertain"
    """Looked for, and not to be decided from this image."""
    CLEARED = "cleared"
    """An earlier verdict is taken back; the label is as if nobody had reviewed it."""
