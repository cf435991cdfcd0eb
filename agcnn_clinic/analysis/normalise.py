"""One archived file -> one picture that has passed the gate: what a child process does for analysis.

    header -> gate -> pixels -> gate -> what the network sees, and what is printed

torch is not imported here, so that children start fast.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from pydicom.dataset import Dataset

from agcnn_clinic.analysis.gate import check_header, check_pixels, measure
from agcnn_clinic.analysis.seen import NetworkFilm, network_film
from agcnn_clinic.dicom.attributes import describe, differing_attributes, read_dataset
from agcnn_clinic.dicom.facts import ImageFacts, image_facts
from agcnn_clinic.dicom.pixels import render
from agcnn_clinic.dicom.views import StatedView, view_from_words
from agcnn_clinic.domain import Geometry, InstanceDescription, MediaType, Picture, ReasonCode, Warn
from agcnn_clinic.errors import ImageError, StorageError
from agcnn_clinic.picture import same_picture
from agcnn_clinic.png import PNG_MODALITY, read_png, read_png_header
from agcnn_clinic.prints import Grey, Size, fitted, grey
from agcnn_clinic.sections import Gate
from agcnn_models.settings import Preprocessing

PRELOAD = (__name__,)
"""What a sandbox imports once for all its children, so that the first file does not wait for it."""

# What is known of a PNG's UIDs lies in its row; here they stand for nothing.
_NO_SHA256 = "0" * 64


@dataclass(frozen=True, eq=False)
class Normalised:
    """A file that may be read, or one whose SOP Instance has been read before.

    Attributes:
        picture: what was made of it.
        header: the image level of this very file.
        quality: `gate.Quality` by name.
        warnings: remarks on the header and the pixels, for the report.
        study_instance_uid: the study that it says it belongs to; empty for a PNG.
        same_as_previous: whether the earlier file of the SOP Instance shows the same; None where there is none.
        differing_attributes: keywords of what differs from the earlier file's header.
    """

    picture: Picture
    header: InstanceDescription
    quality: dict[str, float | int | None]
    warnings: tuple[Warn, ...]
    study_instance_uid: str = ""
    same_as_previous: bool | None = None
    differing_attributes: tuple[str, ...] = ()


class Wanted(NamedTuple):
    """What is made of a picture that is to be read.

    Attributes:
        preprocessing: of the model that will read it.
        print_size: what its print has to fit into, width and height in pixels; None where none is wanted.
    """

    preprocessing: Preprocessing
    print_size: Size | None = None


@dataclass(frozen=True, eq=False)
class Developed:
    """All that is done with a film from here on: what a child gives back, a quarter of the picture's bytes or less.

    Attributes:
        geometry: how the picture maps to the source.
        picture_sha256: of the picture.
        header, quality, warnings, study_instance_uid, same_as_previous, differing_attributes: see `Normalised`.
        seconds: that it took.
        seen: what the network sees; None exactly where the SOP Instance has been read before.
        grey: uint8 [H, W], the picture for prints; None where none are wanted.
        film: uint8 [h, w], the print of the whole of it; None where none is wanted.
    """

    geometry: Geometry
    picture_sha256: str
    header: InstanceDescription
    quality: dict[str, float | int | None]
    warnings: tuple[Warn, ...]
    study_instance_uid: str
    same_as_previous: bool | None
    differing_attributes: tuple[str, ...]
    seconds: float
    seen: NetworkFilm | None = None
    grey: Grey | None = None
    film: Grey | None = None

    def __post_init__(self) -> None:
        """Refuse a film that is neither to be read nor compared: nothing may count as read that no network saw.

        And prints that are none: they may come from a process that a file took over.
        """
        if (self.seen is None) == (self.same_as_previous is None):
            raise ValueError("A film is to be read, or was read before.")
        if any(print_ is not None and (print_.ndim != 2 or not print_.size) for print_ in (self.grey, self.film)):
            raise ValueError("A print has pixels.")


def develop(
    path: Path,
    media_type: MediaType,
    gate: Gate,
    wanted: Wanted,
    previous_path: Path | None = None,
    stated_view: str = "",
    gone_picture: str | None = None,
) -> Developed:
    """Normalise a file and keep of its picture what is wanted: what a child process does for a reading.

    See `normalise` for the arguments and the errors.
    """
    began = time.perf_counter()
    known = normalise(path, media_type, gate, previous_path, stated_view, gone_picture)
    picture, to_be_read = known.picture, known.same_as_previous is None
    size = wanted.print_size if to_be_read else None
    whole = None if size is None else grey(picture.pixels)
    return Developed(
        geometry=picture.geometry,
        picture_sha256=picture.sha256,
        header=known.header,
        quality=known.quality,
        warnings=known.warnings,
        study_instance_uid=known.study_instance_uid,
        same_as_previous=known.same_as_previous,
        differing_attributes=known.differing_attributes,
        seen=network_film(picture, wanted.preprocessing) if to_be_read else None,
        grey=whole,
        film=None if whole is None or size is None else fitted(whole, size),
        seconds=time.perf_counter() - began,
    )


def normalise(
    path: Path,
    media_type: MediaType,
    gate: Gate,
    previous_path: Path | None = None,
    stated_view: str = "",
    gone_picture: str | None = None,
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

    Raises:
        ImageError: the file is not for the model, or broken.
        StorageError: a file of the archive cannot be read.
    """
    if media_type is MediaType.PNG:
        return _png(path, gate, stated_view) if previous_path is None else _png_again(path, previous_path, gate)
    if media_type is not MediaType.DICOM:
        raise ImageError(ReasonCode.UNRECOGNISED)
    dataset = read_dataset(path)
    if gone_picture is not None:
        return _compared(dataset, gone_picture, gate)
    return _dicom(dataset, gate) if previous_path is None else _revision(dataset, previous_path, gate)


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
    view = view_from_words(stated_view)
    facts = ImageFacts(
        modality=PNG_MODALITY,
        sop_class_uid="",
        views=(StatedView(view, "study.toml", stated_view),) if view else (),
        body_parts=(),
        rows=header.rows,
        columns=header.columns,
    )
    remarks = check_header(facts, gate)
    return _passed(read_png(path, max_pixels=gate.max_pixels), header, gate, remarks)


def _png_again(path: Path, previous_path: Path, gate: Gate) -> Normalised:
    """A PNG that was read before, and of which a study.toml says something else now.

    Its SOP Instance UID follows from its content, and so does its place in the archive: they are the same.
    """
    picture = read_png(path, max_pixels=gate.max_pixels)
    header = read_png_header(path, _NO_SHA256, series_instance_uid="")
    return Normalised(
        picture,
        replace(header, sop_instance_uid=""),
        measure(picture).as_dict(),
        picture.warnings,
        same_as_previous=path == previous_path,
        differing_attributes=("study.toml",),
    )


def _passed(picture: Picture, header: InstanceDescription, gate: Gate, remarks: tuple[Warn, ...]) -> Normalised:
    quality = check_pixels(picture, gate)
    warnings = tuple(dict.fromkeys((*remarks, *picture.warnings)))
    return Normalised(picture, header, quality.as_dict(), warnings)


def _compared(dataset: Dataset, gone_picture: str, gate: Gate) -> Normalised:
    """A file whose SOP Instance was read from bytes that are gone: its picture is the same to the last step, or not."""
    picture = render(dataset, max_pixels=gate.max_pixels)
    return Normalised(
        picture,
        describe(dataset).instance,
        measure(picture).as_dict(),
        picture.warnings,
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
        same_as_previous=same_picture(picture, previous_picture),
        differing_attributes=tuple(differing_attributes(previous, dataset)),
    )
