"""From what a decoder gives back to stored values: which bits of it count, and what their sign is."""

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from agcnn_clinic.dicom.image_pixel import MAX_BITS, PixelLayout
from agcnn_clinic.dicom.streams import Coding
from agcnn_clinic.domain import ReasonCode
from agcnn_clinic.errors import ImageError

_OVERLAY_GROUPS = range(0x6000, 0x6020, 2)


def within_bits_stored(
    decoded: NDArray[np.integer], layout: PixelLayout, coding: Coding | None, dataset: Dataset
) -> tuple[NDArray[np.int32], bool]:
    """Return the stored values of what was decoded.

    Args:
        decoded: words of Bits Allocated, unsigned; or the samples of a compressed stream, with the sign that it says.
        layout: by the header.
        coding: by the stream; None for words, native or run-length encoded.
        dataset: says which bits are overlays.

    Returns:
        The values; and whether some had more bits than the header says, neither overlay nor sign: it may be wrong.

    Raises:
        ImageError: MISSING_ATTRIBUTE, where Pixel Representation says unsigned and values are negative.
    """
    # Who put overlays into the bits above the film's did not mean these to be lost.
    if coding is None or coding.exact or _overlay_bits(dataset) >> (layout.high_bit + 1):
        return _masked(decoded, layout, coding, dataset)
    return _limited(decoded, layout, coding)


def _masked(
    decoded: NDArray[np.integer], layout: PixelLayout, coding: Coding | None, dataset: Dataset
) -> tuple[NDArray[np.int32], bool]:
    """Keep Bits Stored bits below High Bit, with their sign: the others may hold anything (PS3.5 8.1.1)."""
    if coding is not None and coding.signed and not layout.signed and int(decoded.min()) < 0:
        raise _contradicts_sign()
    bits = int(np.bitwise_or.reduce(decoded, axis=None))
    shift, mask = _shift(layout, coding), (1 << layout.bits_stored) - 1
    kept = decoded.astype(np.int32)
    if shift:
        kept >>= shift
    if (bits >> shift) & ~mask:
        kept &= mask
    if layout.signed:
        _extend_sign(kept, layout, coding)
    return kept, _has_stray_bits(decoded, bits, layout, dataset)


def _limited(decoded: NDArray[np.integer], layout: PixelLayout, coding: Coding) -> tuple[NDArray[np.int32], bool]:
    """Limit what a lossy stream gave back to what Bits Stored bits can hold.

    One of higher precision gives back a little more than the largest value where a film is saturated, and a little less
    than 0: with the upper bits cut off, white would be black. What is twice as large as it may be is no such loss.
    """
    kept = decoded.astype(np.int32)
    if shift := _shift(layout, coding):
        kept >>= shift
    low, high = 0, (1 << layout.bits_stored) - 1
    if coding.signed and layout.signed:
        low, high = -(1 << (layout.bits_stored - 1)), high >> 1
    elif coding.signed and coding.precision <= layout.bits_stored and int(kept.min()) < 0:
        # With a bit to spare its values are unsigned, some a little below 0; without one, they are signed.
        raise _contradicts_sign()
    stray = False
    if coding.precision > layout.bits_stored:
        stray = int(kept.max()) > 2 * high + 1
        np.clip(kept, low, high, out=kept)
    if layout.signed and not coding.signed:
        _extend_sign(kept, layout, coding)
    return kept, stray


def _shift(layout: PixelLayout, coding: Coding | None) -> int:
    """Return how far values lie above the lowest bit: streams hold values, but for those that hold whole words."""
    in_words = coding is None or coding.precision > layout.high_bit
    return layout.high_bit + 1 - layout.bits_stored if in_words else 0


def _extend_sign(kept: NDArray[np.int32], layout: PixelLayout, coding: Coding | None) -> None:
    """Give values their sign, in place.

    JPEG 2000 can say that samples are signed; where a stream of it does not, it holds the two's complement in as many
    bits as it says. Others know no sign, and hold what Bits Stored bits hold: with fewer bits none is negative.
    """
    bits = layout.bits_stored
    if coding is not None and coding.knows_signs and not coding.signed:
        bits = min(bits, coding.precision)
    sign = 1 << (bits - 1)
    kept ^= sign
    kept -= sign


def _has_stray_bits(words: NDArray[np.integer], bits: int, layout: PixelLayout, dataset: Dataset) -> bool:
    """Whether bits above High Bit are set that are no extension of the sign and no overlay (PS3.5 8.1.1 and 8.1.2).

    `bits` are all that any of the words has.
    """
    above = bits >> (layout.high_bit + 1)
    if above == 0:
        return False
    if layout.signed:
        signed = words.astype(f"i{words.itemsize}")
        limit = 1 << layout.high_bit
        if -limit <= int(signed.min()) and int(signed.max()) < limit:
            return False
    return above & ~(_overlay_bits(dataset) >> (layout.high_bit + 1)) != 0


def _overlay_bits(dataset: Dataset) -> int:
    """Return the bits of a pixel that are overlays: Overlay Bit Position (60xx,0102), where it is not 0."""
    bits = 0
    for group in _OVERLAY_GROUPS:
        element = dataset.get((group, 0x0102))
        position = getattr(element, "value", 0)
        bits |= 1 << position if isinstance(position, int) and 0 < position < MAX_BITS else 0
    return bits


def _contradicts_sign() -> ImageError:
    return ImageError(
        ReasonCode.MISSING_ATTRIBUTE,
        "Pixel Representation says unsigned, and the compressed stream has negative values",
    )
