"""One archived file -> one picture that has passed the gate: what a child process does for analysis.

    header -> gate -> pixels -> gate

torch is not imported here, so that children start fast.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from agcnn_clinic.analysis.gate import check_header, check_pixels, measure
from agcnn_clinic.config import Gate
from agcnn_clinic.dicom.attributes import describe, differing_attributes, read_dataset
from agcnn_clinic.dicom.codes import view_from_words
from agcnn_clinic.dicom.facts import ImageFacts, image_facts
from agcnn_clinic.dicom.pixels import render
from agcnn_clinic.domain import InstanceDescription, MediaType, Picture, ReasonCode, Warn
from agcnn_clinic.errors import ImageError, StorageError
from agcnn_clinic.picture import same_picture
from agcnn_clinic.png import PNG_MODALITY, read_png, read_png_header
from agcnn_clinic.prints import film_print

PRELOAD = (__name__,)
"""What a sandbox imports once for all its children, so that the first file does not wait for it."""

# What is known of a PNG's UIDs lies in its row; here they stand for nothing.
_NO_SHA256 = "0" * 64


@dataclass(frozen=True)
class Normalised:
    """A file that may be read, or one whose SOP Instance has been read before.

    Attributes:
        picture: what the network gets.
        header: the image level of this very file.
        quality: `gate.Quality` by name.
        warnings: remarks on the header and the pixels, for the report.
        seconds: spent here.
        film: uint8 [h, w], the print of the whole picture, where one was asked for.
        study_instance_uid: the study that it says it belongs to; empty for a PNG.
        same_as_previous: whether the earlier file of the SOP Instance shows the same; None where there is none.
        differing_attributes: keywords of what differs from the earlier file's header.
    """

    picture: Picture
    header: InstanceDescription
    quality: dict[str, float | int | None]
    warnings: tuple[Warn, ...]
    seconds: float
    study_instance_uid: str = ""
    same_as_previous: bool | None = None
    differing_attributes: tuple[str, ...] = ()
    film: NDArray[np.uint8] | None = None


def normalise(
    path: Path,
    media_type: MediaType,
    gate: Gate,
    previous_path: Path | None = None,
    stated_view: str = "",
    gone_picture: str | None = None,
    print_size: tuple[int, int] | None = None,
) -> Normalised:
    """Read a file, let it pass the gate, and render it.

    Args:
        path: the archived file.
        media_type: DICOM or PNG.
        gate: the limits.
        previous_path: an analysed file of the same SOP Instance UID. Then the gate is not asked, since this file is
            not going to be read: all that counts is whether it shows the same.
        stated_view: the view of a PNG by its study.toml.
        gone_picture: the SHA-256 of that analysed file's picture, where its bytes are no longer kept.
        print_size: what the print of the film has to fit into, width and height in pixels; None where none is wanted.

    Raises:
        ImageError: the file is not for the model, or broken.
        StorageError: a file of the archive cannot be read.
    """
    began = time.perf_counter()
    if media_type is MediaType.PNG:
        result = _png(path, gate, stated_view)
    elif media_type is MediaType.DICOM:
        dataset = read_dataset(path)
        if gone_picture is not None:
            result = _compared(dataset, gone_picture, gate)
        else:
            result = _dicom(dataset, gate) if previous_path is None else _revision(dataset, previous_path, gate)
    else:
        raise ImageError(ReasonCode.UNRECOGNISED)
    if print_size is not None and result.same_as_previous is None:
        result = replace(result, film=film_print(result.picture, print_size))
    return replace(result, seconds=time.perf_counter() - began)


def read_picture(path: Path, media_type: MediaType, max_pixels: int) -> Picture:
    """Return the picture of a file that was read before: the gate is not asked again.

    Raises:
        ImageError: the file is broken.
        StorageError: it cannot be read.
    """
    if media_type is MediaType.PNG:
        return read_png(path, max_pixels=max_pixels)
    return render(read_dataset(path), max_pixels=max_pixels)


def _dicom(dataset: Dataset, gate: Gate) -> Normalised:
    header = describe(dataset)
    remarks = check_header(image_facts(dataset), gate)
    picture = render(dataset, max_pixels=gate.max_pixels)
    passed = _passed(picture, header.instance, gate, remarks)
    return replace(passed, study_instance_uid=header.study.study_instance_uid)


def _png(path: Path, gate: Gate, stated_view: str) -> Normalised:
    header = replace(
        read_png_header(path, _NO_SHA256, series_instance_uid=""), sop_instance_uid="", view_position=stated_view
    )
    facts = ImageFacts(
        modality=PNG_MODALITY,
        sop_class_uid="",
        view=view_from_words(stated_view),
        body_part="",
        rows=header.rows,
        columns=header.columns,
    )
    remarks = check_header(facts, gate)
    return _passed(read_png(path, max_pixels=gate.max_pixels), header, gate, remarks)


def _passed(picture: Picture, header: InstanceDescription, gate: Gate, remarks: tuple[Warn, ...]) -> Normalised:
    quality = check_pixels(picture, gate)
    warnings = tuple(dict.fromkeys((*remarks, *picture.warnings)))
    return Normalised(picture, header, quality.as_dict(), warnings, seconds=0.0)


def _compared(dataset: Dataset, gone_picture: str, gate: Gate) -> Normalised:
    """A file whose SOP Instance was read from bytes that are gone: its picture is the same to the last step, or not."""
    picture = render(dataset, max_pixels=gate.max_pixels)
    return Normalised(
        picture,
        describe(dataset).instance,
        measure(picture).as_dict(),
        picture.warnings,
        seconds=0.0,
        same_as_previous=picture.sha256 == gone_picture,
    )


def _revision(dataset: Dataset, previous_path: Path, gate: Gate) -> Normalised:
    header = describe(dataset)
    picture = render(dataset, max_pixels=gate.max_pixels)
    try:
        previous = read_dataset(previous_path)
        previous_picture = render(previous, max_pixels=max(gate.max_pixels, picture.pixels.size))
    except ImageError as error:
        # It was read once, so the archive has changed under us; that is not this file's fault.
        raise StorageError(f"{previous_path} in the archive can no longer be read ({error}).") from error
    return Normalised(
        picture,
        header.instance,
        measure(picture).as_dict(),
        picture.warnings,
        seconds=0.0,
        same_as_previous=same_picture(picture, previous_picture),
        differing_attributes=tuple(differing_attributes(previous, dataset)),
    )
