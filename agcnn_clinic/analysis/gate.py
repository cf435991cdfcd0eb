"""The gate before the network: what the model was not made for is refused, with a reason, and never read."""

from dataclasses import asdict, dataclass

from agcnn_clinic.dicom.body_parts import body_part_words, is_no_part
from agcnn_clinic.dicom.codes import IMAGE_CLASSES
from agcnn_clinic.dicom.facts import ImageFacts
from agcnn_clinic.dicom.views import KINDS, StatedView, View, accepted_views
from agcnn_clinic.dicom.words import words
from agcnn_clinic.domain import Picture, ReasonCode, Warn
from agcnn_clinic.errors import ImageError
from agcnn_clinic.sections import Gate


@dataclass(frozen=True)
class Quality:
    """What was measured of a picture, as it is stored and reported.

    Attributes:
        contrast: the distance of the 1st and the 99th percentile, in [0, 1].
        black, white: the fractions of pixels that are 0 and 1.
        rows, columns: of the picture.
        spacing_mm: the size of its pixels; None where unknown.
    """

    contrast: float
    black: float
    white: float
    rows: int
    columns: int
    spacing_mm: float | None

    def as_dict(self) -> dict[str, float | int | None]:
        """Return the measures by name, for a JSON column."""
        return asdict(self)


def check_header(facts: ImageFacts, gate: Gate) -> tuple[Warn, ...]:
    """Refuse an image by what its header says, before its pixels are decoded.

    The largest size and the shape are checked where they are known for certain: when decoding and on the picture.

    Returns:
        Remarks for the report.

    Raises:
        ImageError: NO_PIXELS, WRONG_MODALITY, FOR_PROCESSING, MULTI_FRAME, COLOUR, WRONG_VIEW, NOT_UPRIGHT,
            WRONG_BODY_PART or TOO_SMALL.
    """
    if not facts.has_image:
        raise ImageError(ReasonCode.NO_PIXELS)
    _check_modality(facts, gate)
    if facts.for_processing and not gate.accept_for_processing:
        raise ImageError(ReasonCode.FOR_PROCESSING)
    if facts.number_of_frames > 1:
        raise ImageError(ReasonCode.MULTI_FRAME, f"{facts.number_of_frames} frames")
    if facts.photometric_interpretation == "PALETTE COLOR":
        raise ImageError(ReasonCode.COLOUR, "it has a colour palette")
    remarks = [
        *_view_remarks(facts, gate),
        *_orientation_remarks(facts, gate),
        *_body_part_remarks(facts, gate),
        *_size_remarks(facts, gate),
    ]
    if facts.lossy:
        remarks.append(Warn.LOSSY)
    if facts.burned_in:
        remarks.append(Warn.BURNED_IN)
    if facts.for_processing:
        remarks.append(Warn.FOR_PROCESSING)
    return tuple(remarks)


def measure(picture: Picture) -> Quality:
    """Return what the gate looks at in a picture."""
    tones, (rows, columns) = picture.tones, picture.pixels.shape
    return Quality(
        contrast=round(tones.high - tones.low, 6),
        black=round(tones.black, 6),
        white=round(tones.white, 6),
        rows=rows,
        columns=columns,
        spacing_mm=picture.geometry.spacing_mm,
    )


def check_pixels(picture: Picture, gate: Gate) -> Quality:
    """Refuse a picture that is no film: the wrong shape, blank, or clipped.

    A collimated border or a bright marker passes: only most of the area being black or white refuses.

    Raises:
        ImageError: ASPECT_RATIO, BLANK or SATURATED; the detail says what was measured.
    """
    quality = measure(picture)
    ratio = max(quality.rows, quality.columns) / min(quality.rows, quality.columns)
    if ratio > gate.max_aspect_ratio:
        raise ImageError(ReasonCode.ASPECT_RATIO, f"{ratio:.1f} to 1")
    if quality.contrast < gate.min_contrast:
        raise ImageError(ReasonCode.BLANK, f"contrast {quality.contrast:.3f}, {gate.min_contrast:g} is needed")
    if quality.black + quality.white > gate.max_clipped:
        raise ImageError(ReasonCode.SATURATED, f"{quality.black:.0%} is black, {quality.white:.0%} is white")
    return quality


def _are_read(names: tuple[str, ...]) -> str:
    """What a list of [gate] lets pass, for the detail of what it did not."""
    *others, last = names or ("none",)
    return f"{', '.join(others)} and {last} are read" if others else f"only {last} is read"


def _check_modality(facts: ImageFacts, gate: Gate) -> None:
    if facts.modality not in gate.modalities:
        # The value is shown only where it looks like a modality: the field is the sender's, and details are stored.
        known = facts.modality if facts.modality.isalpha() and len(facts.modality) <= 8 else "none that is known"
        raise ImageError(ReasonCode.WRONG_MODALITY, f"the modality is {known}; {_are_read(gate.modalities)}")
    if facts.sop_class_uid and facts.sop_class_uid not in IMAGE_CLASSES:
        raise ImageError(ReasonCode.WRONG_MODALITY, "its SOP class is none of CR, DX or SC")


def _view_remarks(facts: ImageFacts, gate: Gate) -> tuple[Warn, ...]:
    accepted, named = accepted_views(gate.views), {stated.view for stated in facts.views}
    # What leaves the side open is no other view where the side is stated beside it.
    wrong = [
        stated
        for stated in facts.views
        if stated.view not in accepted and not (named & accepted & KINDS.get(stated.view, frozenset()))
    ]
    if wrong:
        found = _what_is_wrong(wrong[0], facts.views, accepted)
        raise ImageError(ReasonCode.WRONG_VIEW, f"{found}; {_are_read(gate.views)}")
    if not facts.views and not gate.accept_unknown_view:
        raise ImageError(ReasonCode.WRONG_VIEW, f"the view is not stated; {_are_read(gate.views)}")
    # An OTHER that is accepted is as little known as one that is not stated.
    return (Warn.VIEW_UNKNOWN,) if not facts.views or View.OTHER in named else ()


def _what_is_wrong(wrong: StatedView, stated: tuple[StatedView, ...], accepted: frozenset[View]) -> str:
    said = f"{wrong.by} says {wrong.view}"
    if wrong.view is View.OTHER:
        said = f"{wrong.by} says {_quoted(wrong.written)}, no view that is known; gate.views may list OTHER"
    right = next((one for one in stated if one.view in accepted), None)
    return said if right is None else f"the header contradicts itself: {right.by} says {right.view}, {said}"


def _quoted(text: str) -> str:
    """What a sender wrote, where it looks like a code string (PS3.5 6.2): details are stored."""
    plain = " ".join(words(text))
    return plain if plain.isascii() and len(plain) <= 16 else "something else"


def _orientation_remarks(facts: ImageFacts, gate: Gate) -> tuple[Warn, ...]:
    rows, columns = facts.orientation.rows[:1], facts.orientation.columns[:1]
    if not (rows and columns) or (rows, columns) == ("L", "F"):
        return ()
    if (rows, columns) == ("R", "F"):
        return (Warn.MIRRORED,)
    # Turned by us, a sound film whose header is wrong would be read upside down.
    if not gate.accept_turned:
        raise ImageError(ReasonCode.NOT_UPRIGHT, f"rows run to {rows}, columns to {columns}")
    return (Warn.TURNED,)


def _body_part_remarks(facts: ImageFacts, gate: Gate) -> tuple[Warn, ...]:
    accepted = {word for part in gate.body_parts for word in body_part_words(part)}
    stated = [named for part in facts.body_parts if (named := body_part_words(part))]
    for named in stated:
        # Each word counts: "THORACIC SPINE" and "CHEST WALL" are no chests.
        if accepted.isdisjoint(named) or not all(word in accepted or is_no_part(word) for word in named):
            found = " ".join(named)[:32]
            raise ImageError(ReasonCode.WRONG_BODY_PART, f"{found}; {_are_read(gate.body_parts)}")
    if not stated and not gate.accept_unknown_body_part:
        raise ImageError(ReasonCode.WRONG_BODY_PART, f"the body part is not stated; {_are_read(gate.body_parts)}")
    return () if stated else (Warn.BODY_PART_UNKNOWN,)


def _size_remarks(facts: ImageFacts, gate: Gate) -> tuple[Warn, ...]:
    side = min(facts.rows, facts.columns)
    if 0 < side < gate.min_side:
        raise ImageError(ReasonCode.TOO_SMALL, f"{facts.columns} x {facts.rows} pixels, {gate.min_side} are needed")
    return (Warn.LOW_RESOLUTION,) if 0 < side < gate.low_resolution_side else ()
