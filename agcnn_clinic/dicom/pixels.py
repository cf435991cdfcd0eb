"""A DICOM image -> one grey picture in [0, 1], bright where the body is dense.

    stored values -> Modality LUT -> VOI LUT or window -> one inversion -> isotropic pixels

All but the last step is a function of a stored value alone. So it is worked out once for each value that a pixel can
have, at most 65536 of them, in double precision, and then looked up.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from agcnn_clinic.dicom.attributes import quiet
from agcnn_clinic.dicom.decode import stored_values
from agcnn_clinic.dicom.geometry import isotropic, spacing_of
from agcnn_clinic.dicom.image_pixel import PixelLayout
from agcnn_clinic.dicom.luts import LookupTable, Values, lookup_table, rescale, window
from agcnn_clinic.dicom.text import numbers, text
from agcnn_clinic.domain import Picture, ReasonCode, Warn
from agcnn_clinic.errors import ImageError
from agcnn_clinic.picture import extent, percentiles, picture_of
from agcnn_clinic.tally import tally

GREY_TOLERANCE = 2 / 255
"""How far the three channels of a grey image may lie apart, of the full range: lossy YBR adds a rounding or two."""

DISPLAY_BITS = 8
"""Images this deep without a window are ready for display: secondary captures, and films exported as PNG before."""

LEAST_SHOWN = 1 / 8
"""A window that shows a film in less than this part of [0, 1] does not fit, unless the film itself may be so dark.

It may not be where no pixel of its bits could be shown in more, or where it is wide (`_is_wide`). Such a window was
made for other pixels: it was kept where these were brought to 8 bits, or it spans 16 bits over a film of 12. Either is
shown within a sixteenth, nearly black. The real films at hand have two thirds of [0, 1] and more. What is measured is
from the 1st to the 99th percentile.
"""


def render(dataset: Dataset, *, max_pixels: int) -> Picture:
    """Return the picture of a single-frame image.

    Args:
        dataset: a whole data set, as `attributes.read_dataset` gives it.
        max_pixels: the largest image that is decoded.

    Returns:
        float32 [height, width] in [0, 1]. Without a VOI LUT or window, or where it does not fit (`LEAST_SHOWN`), 8-bit
        values are display values, as in a PNG; of deeper ones the darkest and the brightest of the film
        (`picture.extent`), padding apart, become 0 and 1. Padding (PS3.3 C.7.5.1.1.2) is 0. Its warnings are those of
        the pixels: STRAY_BITS, NO_VOI, WINDOW_MISFIT, MONOCHROME_CONTRADICTION, SPACING_UNKNOWN.

    Raises:
        ImageError: as `decode.stored_values` does; COLOUR; UNREADABLE_PIXELS for a lookup table that makes no sense.
    """
    stored, layout, remarks = stored_values(dataset, max_pixels)
    with quiet():
        if stored.ndim == 3:
            stored = _grey(stored, layout)
        tallied = tally(stored)
        display = _display(dataset, layout, tallied.numbers(), tallied.counts)
        spacing = spacing_of(dataset)
    as_stored, levels = tallied.shown(display.greys.astype(np.float32))
    pixels, geometry = isotropic(as_stored, spacing, max_pixels)
    warnings = (*remarks, *display.remarks)
    if geometry.spacing_mm is None:
        warnings = (*warnings, Warn.SPACING_UNKNOWN)
    return picture_of(pixels, geometry, warnings, levels if pixels is as_stored else None)


def _grey(stored: NDArray[np.int32], layout: PixelLayout) -> NDArray[np.int32]:
    """Return one channel of three that say the same: [H, W, 3] -> [H, W]."""
    apart = stored.max(axis=2) - stored.min(axis=2)
    if float(apart.max()) > GREY_TOLERANCE * (2**layout.bits_stored - 1):
        raise ImageError(ReasonCode.COLOUR)
    return np.ascontiguousarray(stored[..., 1])


class Display(NamedTuple):
    """How values are shown, and why so.

    Attributes:
        greys: of each value, in [0, 1].
        remarks: what was not done as the header says, or not said by it.
    """

    greys: Values
    remarks: tuple[Warn, ...] = ()


def _display(dataset: Dataset, layout: PixelLayout, values: NDArray[np.int_], counts: NDArray[np.intp]) -> Display:
    """Return how each stored value is shown.

    `values` are consecutive stored values, `counts` says how many pixels have each.
    """
    padding = _is_padding(dataset, layout, values)
    greys, remarks = _of_interest(dataset, layout, values.astype(np.float64), counts * ~padding)
    shape = text(dataset, "PresentationLUTShape").upper()
    monochrome1, inverse = layout.photometric == "MONOCHROME1", shape == "INVERSE"
    if monochrome1 or inverse:
        greys = 1.0 - greys
    if shape in ("IDENTITY", "INVERSE") and monochrome1 != inverse:
        # PS3.3 C.8.11.3.1.2 wants INVERSE with MONOCHROME1 and IDENTITY with MONOCHROME2: one inversion said twice.
        remarks = (*remarks, Warn.MONOCHROME_CONTRADICTION)
    greys[padding] = 0.0
    return Display(greys, remarks)


def _of_interest(dataset: Dataset, layout: PixelLayout, inputs: Values, counts: NDArray[np.intp]) -> Display:
    """Return how stored values are shown by Modality LUT and VOI LUT or window, before any inversion."""
    stored_range = _stored_range(layout)
    modality = _table(dataset, "ModalityLUTSequence", layout, stored_range)
    meant = modality(inputs) if modality else rescale(dataset, inputs)
    # What pixels may hold and not what these hold: a film of signed values need not have a negative one.
    meant_range = modality.entries.astype(np.float64) if modality else rescale(dataset, stored_range)
    voi = _table(dataset, "VOILUTSequence", layout, meant_range) or window(dataset)
    if voi is not None and layout.samples == 1:
        greys = voi.shown(meant)
        low, high = percentiles(counts)
        hidden = np.ptp(greys[low : high + 1]) < LEAST_SHOWN
        of_other_bits = np.ptp(voi.shown(meant_range)) < LEAST_SHOWN
        if not hidden or not (of_other_bits or _is_wide(high - low, layout)):
            return Display(greys)
    ready_for_display = layout.bits_stored <= DISPLAY_BITS and modality is None
    greys = _full_range(meant, meant_range if ready_for_display else _of_the_film(meant, counts))
    if voi is None:
        return Display(greys, (Warn.NO_VOI,))
    # Of colour it says nothing (PS3.3 C.11.2), so that there is nothing to remark on.
    return Display(greys, (Warn.WINDOW_MISFIT,) if layout.samples == 1 else ())


def _is_wide(spread: int, layout: PixelLayout) -> bool:
    """Whether values so far apart make a film, so that a window which hides that is wrong.

    The window of an underexposed film is its own, and must be believed: of 12 bits it shows 512 values in an eighth of
    [0, 1], so that a film may have fewer and be as dark as its header says. The noise of no film at all has less than a
    sixty-fourth of what Bits Stored can hold, and stays blank.
    """
    return spread >= max(512, (1 << layout.bits_stored) // 64)


def _stored_range(layout: PixelLayout) -> Values:
    """Return the smallest and the largest value that Bits Stored can hold."""
    low = -(2.0 ** (layout.bits_stored - 1)) if layout.signed else 0.0
    return np.array([low, low + 2.0**layout.bits_stored - 1.0])


def _of_the_film(meant: Values, counts: NDArray[np.intp]) -> Values:
    """Return which of the values belong to the film, of those that pixels have."""
    low, high = extent(counts)
    return meant[low : high + 1][counts[low : high + 1] > 0]


def _full_range(meant: Values, among: Values) -> Values:
    """Return `meant` with the smallest and the largest of `among` at 0 and 1."""
    low, high = (float(among.min()), float(among.max())) if among.size else (0.0, 0.0)
    if high <= low:
        return np.zeros_like(meant)
    return np.clip((meant - low) / (high - low), 0.0, 1.0)


def _is_padding(dataset: Dataset, layout: PixelLayout, values: NDArray[np.int_]) -> NDArray[np.bool_]:
    """Which stored values are Pixel Padding Value (0028,0120), up to the Range Limit (0028,0121) where there is one."""
    first = numbers(dataset, "PixelPaddingValue")
    if not first:
        return np.zeros(len(values), dtype=bool)
    limit = numbers(dataset, "PixelPaddingRangeLimit") or first
    ends = sorted(_as_stored(int(end[0]), layout) for end in (first, limit))
    return (values >= ends[0]) & (values <= ends[1])


def _as_stored(value: int, layout: PixelLayout) -> int:
    """Mend a value whose VR has the other sign than the pixels: 63536 among signed pixels is -2000."""
    if layout.signed and value > 2**15 - 1:
        return value - 2**16
    return value + 2**16 if not layout.signed and value < 0 else value


def _table(dataset: Dataset, keyword: str, layout: PixelLayout, among: Values) -> LookupTable | None:
    """Return the first table of a sequence, whose inputs lie `among` these; None where there is none."""
    try:
        items = dataset.get(keyword)
        if not items:
            return None
        inputs = (float(among.min()), float(among.max()))
        return lookup_table(items[0], inputs=inputs, little_endian=layout.syntax.is_little_endian)
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # pydicom converts on access, and a broken table may raise anything
        raise ImageError(ReasonCode.UNREADABLE_PIXELS, "a lookup table cannot be read") from error
