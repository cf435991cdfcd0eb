"""The three pictures of an image: the film, the film under its heat map, and the attended region cut from the film.

None is what the network saw: that is the film scaled down to the model's own size, and the local branch saw its region
of that. A person sees more in the print, and the caption says so.
"""

from dataclasses import dataclass

from agcnn_clinic.prints import Box, Prints
from agcnn_clinic.reporting.blocks import Block
from agcnn_clinic.reporting.content import ReadImage, SeenArea
from agcnn_clinic.reporting.faces import Weight
from agcnn_clinic.reporting.overlay import Plate, colour_scale, overlay, plain
from agcnn_clinic.reporting.page import LEADING, Align, Ink, Sheet, Size, fit
from agcnn_clinic.reporting.paper import FILM_WIDTH, MAX_HEIGHT, Frame
from agcnn_clinic.reporting.shaping import NO_BREAK, text_width, wrapped

GAP = 12.0
MAX_SIDE = 150.0
MIN_HEIGHT = 110.0
"""Of the film on the page, in points: no film is made lower than this for the sake of what else is on the page."""
_SCALE_HEIGHT = 6.0
CAPTION = Size.SMALL * LEADING
"""The distance of a caption's lines."""
_UNDER = 3 * CAPTION + 14
"""The captions under the film and its overlay, and the space below them."""
_FILM = "Film"
_OVERLAY = "Attention of the global branch"
_HOTTEST = "1, this film\u2019s highest"
"""The end of the scale: so the hottest place of every film is drawn, also where nothing is found."""
DETECTOR_SPACING = frozenset({"ImagerPixelSpacing"})
"""Spacings measured at the detector: the patient is nearer to the tube, so that sizes come out too large."""


@dataclass(frozen=True)
class Plates:
    """An image's pictures, ready to be embedded, and the attended region in the picture."""

    film: Plate
    overlay: Plate
    crop: Plate
    scale: Plate
    box: Box
    width: int
    height: int
    seen: SeenArea


def plates(image: ReadImage, prints: Prints, colour_map: str) -> Plates:
    """Make an image's pictures, as they are embedded."""
    return Plates(
        film=plain(prints.film),
        overlay=overlay(prints.film, image.heat_map, image.model.seen, colour_map),
        crop=plain(prints.crop),
        scale=colour_scale(colour_map),
        box=prints.box,
        width=prints.width,
        height=prints.height,
        seen=image.model.seen,
    )


def least_room(plates: Plates, frame: Frame) -> float:
    """The height that an image's pictures take on the page when they are as small as they may become."""
    return min(_film_size(plates, frame, MAX_HEIGHT)[1], MIN_HEIGHT) + _UNDER


def pictures(image: ReadImage, plates: Plates, frame: Frame, room: float) -> Block:
    """The pictures side by side, each with what it shows; smaller where there is less room for them on the page."""
    width, height = _film_size(plates, frame, min(max(room - _UNDER, MIN_HEIGHT), MAX_HEIGHT))
    column = max(width, _caption_width(image))
    side = min(frame.width - 2 * (column + GAP), MAX_SIDE)
    region = _region_lines(image, side)
    crop = _crop_size(plates, side, max(height + _UNDER - (len(region) + 1) * CAPTION - 12, 24.0))

    def draw(sheet: Sheet, top: float) -> None:
        left = frame.left
        sheet.picture(plates.film, left, top, width, height)
        caption = top + height + Size.SMALL + 4
        sheet.text(left, caption, _FILM, Size.SMALL, weight=Weight.SEMIBOLD)
        sheet.text(left, caption + CAPTION, _film_line(image), Size.SMALL, ink=Ink.MUTED)
        left += column + GAP
        sheet.picture(plates.overlay, left, top, width, height)
        _mark_seen(sheet, plates, left, top, width, height)
        _mark_box(sheet, plates, left, top, width, height)
        _scale(sheet, image, plates, left, caption, column)
        left += column + GAP
        sheet.picture(plates.crop, left, top, *crop)
        y = top + crop[1] + Size.SMALL + 4
        sheet.text(left, y, "Attended region", Size.SMALL, weight=Weight.SEMIBOLD, width=side)
        for number, line in enumerate(region, start=1):
            sheet.text(left, y + number * CAPTION, line, Size.SMALL, ink=Ink.MUTED, width=side)

    return Block(height + _UNDER, draw)


NO_PICTURES = (
    "The archived image cannot be read any more, so that its pictures are missing here. The findings below were "
    "recorded when it was read."
)


def no_pictures(frame: Frame) -> Block:
    """What stands in the place of the pictures when the archive has lost them."""
    lines = wrapped(NO_PICTURES, Size.BODY, frame.width - 24)
    height = len(lines) * Size.BODY * LEADING + 20

    def draw(sheet: Sheet, top: float) -> None:
        sheet.box(frame.left, top, frame.width, height, line=Ink.TEXT, thickness=0.8)
        sheet.lines(frame.left + 12, top + 10 + Size.BODY, lines)

    return Block(height + 12, draw)


def _crop_size(plates: Plates, width: float, height: float) -> tuple[float, float]:
    box = plates.box
    return fit(max(box.right - box.left, 1), max(box.bottom - box.top, 1), width, height)


def _film_size(plates: Plates, frame: Frame, most: float) -> tuple[float, float]:
    """The width and height of the film on the page, no higher than `most`."""
    return fit(plates.width, plates.height, FILM_WIDTH * frame.width, most)


def _caption_width(image: ReadImage) -> float:
    """The width that the captions under the film and its overlay need, however narrow the film is."""
    lines = (_film_line(image), _marks_line(image.model.seen))
    headings = (text_width(text, Size.SMALL, Weight.SEMIBOLD) for text in (_FILM, _OVERLAY))
    return max(*headings, *(text_width(line, Size.SMALL) for line in lines))


def _marks_line(seen: SeenArea) -> str:
    """What the lines on the overlay are; dashes are there only where a part of the film was not seen."""
    return "box: attended; dashed: the network\u2019s view" if _is_part(seen) else "box: attended region"


def _is_part(seen: SeenArea) -> bool:
    return seen.start > 0 or seen.end < 1


def _film_line(image: ReadImage) -> str:
    bits = f", {image.bits_stored} bit" if image.bits_stored else ""
    return f"{image.columns} \u00d7 {image.rows} pixels{bits}" if image.rows and image.columns else ""


def _region_lines(image: ReadImage, width: float) -> list[str]:
    """What the crop is, and how large: in mm where the spacing is known, and whose spacing it is."""
    region, side = image.region, image.model.film_side
    scaled_to = "a size of its own" if side is None else f"{side} \u00d7 {side} pixels".replace(" ", NO_BREAK)
    across, down = region.x_max - region.x_min, region.y_max - region.y_min
    size_in_pixels = f"{across:.0f} \u00d7 {down:.0f} pixels"
    if region.width_mm is None or region.height_mm is None:
        sizes = [size_in_pixels, "spacing unknown"]
    else:
        plane = "at the detector" if region.spacing_source in DETECTOR_SPACING else f"by {region.spacing_source}"
        sizes = [f"{region.width_mm:.0f} \u00d7 {region.height_mm:.0f} mm {plane}", size_in_pixels]
    texts = [*sizes, f"cut from the film; for the network the film was scaled to {scaled_to}"]
    return [line for text in texts for line in wrapped(text, Size.SMALL, width)]


def _mark_seen(sheet: Sheet, plates: Plates, left: float, top: float, width: float, height: float) -> None:
    """A dashed outline of the part that the network saw, where that is not the whole film."""
    seen = plates.seen
    if not _is_part(seen):
        return
    share = seen.end - seen.start
    place = left + seen.start * width, top + seen.start * height, share * width, share * height
    sheet.box(*place, line=Ink.BLACK, thickness=0.45)
    sheet.box(*place, line=Ink.WHITE, thickness=0.45, dash=(2.5, 2.5))


def _mark_box(sheet: Sheet, plates: Plates, left: float, top: float, width: float, height: float) -> None:
    """The attended region: white inside black, so that it shows on any film and in any print."""
    across, down = width / plates.width, height / plates.height
    place = (
        left + plates.box.left * across,
        top + plates.box.top * down,
        (plates.box.right - plates.box.left) * across,
        (plates.box.bottom - plates.box.top) * down,
    )
    sheet.box(*place, line=Ink.BLACK, thickness=2.5)
    sheet.box(*place, line=Ink.WHITE, thickness=1.5)


def _scale(sheet: Sheet, image: ReadImage, plates: Plates, left: float, baseline: float, column: float) -> None:
    sheet.text(left, baseline, _OVERLAY, Size.SMALL, weight=Weight.SEMIBOLD)
    used = sheet.text(left, baseline + CAPTION, "heat 0", Size.SMALL, ink=Ink.MUTED)
    bar = column - used - text_width(_HOTTEST, Size.SMALL) - 8
    sheet.picture(plates.scale, left + used + 4, baseline + CAPTION - _SCALE_HEIGHT, bar, _SCALE_HEIGHT)
    sheet.text(left + used + bar + 8, baseline + CAPTION, _HOTTEST, Size.SMALL, ink=Ink.MUTED)
    sheet.text(left, baseline + 2 * CAPTION, _marks_line(image.model.seen), Size.SMALL, ink=Ink.MUTED)


def thumbnail(sheet: Sheet, plates: Plates | None, left: float, top: float, width: float, height: float) -> None:
    """The film, small, centred in its field, its attended region marked."""
    if plates is None:
        sheet.box(left, top, width, height, line=Ink.RULE)
        return
    across, down = fit(plates.width, plates.height, width, height)
    x, y = left + (width - across) / 2, top + height - down
    sheet.picture(plates.film, x, y, across, down)
    _mark_box(sheet, plates, x, y, across, down)


def caption(sheet: Sheet, text: str, middle: float, baseline: float, width: float, weight: Weight) -> None:
    """A line under a thumbnail."""
    sheet.text(middle, baseline, text, Size.SMALL, weight=weight, align=Align.CENTRE, width=width)
