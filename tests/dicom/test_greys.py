"""From stored values to greys: tables, windows, and what is done where a header has none or a wrong one."""

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydicom import uid as uids
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from agcnn_clinic.dicom.attributes import read_dataset
from agcnn_clinic.dicom.pixels import render
from agcnn_clinic.domain import Warn
from agcnn_clinic.picture import extent
from agcnn_clinic.png import read_png

LIMIT = 1_000_000
WHOLE = {"WindowCenter": 2048, "WindowWidth": 4096}


def test_a_voi_table_goes_before_a_window(rendered, film, twelve):
    """Where a header has both, the table is the better one (PS3.3 C.11.2.1.1)."""
    item = Dataset()
    item.LUTDescriptor = [4096, 0, 12]
    item.add_new("LUTData", "OW", np.arange(4095, -1, -1, dtype="<u2").tobytes())
    picture = rendered(twelve, VOILUTSequence=[item], **WHOLE)
    np.testing.assert_allclose(picture.pixels, 1 - film, atol=1 / 4095)


@pytest.fixture(scope="module")
def one_place(tmp_path_factory):
    """Where each example of a property is written over the one before."""
    return tmp_path_factory.mktemp("films") / "film.dcm"


@pytest.mark.parametrize("syntax", [uids.ExplicitVRLittleEndian, uids.ImplicitVRLittleEndian])
@given(data=st.data(), bits=st.integers(9, 16), signed=st.booleans(), intercept=st.integers(-5000, 40_000))
def test_a_voi_table_shows_what_pydicom_shows(write_dicom, one_place, syntax, data, bits, signed, intercept):
    """Whatever sign stored values and inputs can have, and whichever of them a film has, in either kind of VR."""
    lowest = -(2 ** (bits - 1)) if signed else 0
    low, high = lowest + intercept, lowest + intercept + 2**bits - 1
    # The first value is written in 16 bits, signed where the inputs may be negative (PS3.3 C.11.2.1.1).
    vr, least, greatest = ("SS", -(2**15), 2**15 - 1) if low < 0 else ("US", 0, 2**16 - 1)
    first = data.draw(st.integers(max(low, least), min(high - 1, greatest)), label="first")
    count = data.draw(st.integers(2, min(high - first + 1, 4096)), label="count")
    darkest = data.draw(st.integers(lowest, lowest + 2**bits - 64), label="darkest")
    item = Dataset()
    item.add_new("LUTDescriptor", vr, [count, first, 16])
    item.add_new("LUTData", "OW", np.linspace(0, 65535, count).astype("<u2").tobytes())
    stored = np.arange(darkest, darkest + 64).reshape(8, 8).astype(np.int16 if signed else np.uint16)
    attributes = {"bits": bits, "VOILUTSequence": [item], "RescaleSlope": 1, "RescaleIntercept": intercept}
    # pydicom takes the sign of the stored values for that of the inputs where the VR is implicit.
    film = pydicom.dcmread(write_dicom(one_place, stored, **attributes))
    expected = apply_voi_lut(apply_modality_lut(film.pixel_array, film).astype(np.int32), film) / 65535
    picture = render(read_dataset(write_dicom(one_place, stored, syntax=syntax, **attributes)), max_pixels=LIMIT)
    np.testing.assert_allclose(picture.pixels, expected, atol=1e-6)


def test_a_modality_table_goes_before_the_window(rendered, film, twelve):
    """The window is over the table's output."""
    item = Dataset()
    item.LUTDescriptor = [4096, 0, 16]
    item.add_new("LUTData", "OW", (np.arange(4096) * 8 + 100).astype("<u2").tobytes())
    item.ModalityLUTType = "US"
    picture = rendered(twelve, ModalityLUTSequence=[item], WindowCenter=100 + 8 * 2048, WindowWidth=8 * 4095 + 1)
    np.testing.assert_allclose(picture.pixels, film, atol=2 / 4095)


def test_without_a_window_deep_images_use_what_is_there(rendered, film, twelve):
    """A raw 12-bit film between 1000 and 2023 becomes [0, 1], with a remark."""
    picture = rendered(twelve // 4 + 1000)
    np.testing.assert_allclose(picture.pixels, film, atol=1.5 / 1023)
    assert Warn.NO_VOI in picture.warnings


def test_what_is_no_part_of_the_film_does_not_decide_its_brightness(write_dicom, tmp_path, film):
    """A dead pixel at either end and a marker leave a dim film as bright as it is without them; as a PNG, too."""
    stored = np.rint(film * 1365).astype(np.uint16) + 500
    alone = render(read_dataset(write_dicom(tmp_path / "a.dcm", stored, bits=16)), max_pixels=LIMIT).pixels
    marked = stored.copy()
    marked[0, 0], marked[5, 5], marked[10:20, 20:50] = 0, 65535, 4095
    picture = render(read_dataset(write_dicom(tmp_path / "b.dcm", marked, bits=16)), max_pixels=LIMIT)
    expected = np.where(marked > stored, 1, np.where(marked < stored, 0, alone))
    np.testing.assert_array_equal(picture.pixels, expected)
    Image.fromarray(marked).save(tmp_path / "b.png")
    np.testing.assert_array_equal(read_png(tmp_path / "b.png", max_pixels=LIMIT).pixels, expected)


def test_without_a_window_eight_bits_are_display_values(rendered, film):
    """An 8-bit secondary capture is value / 255, as the same film in a PNG is."""
    stored = np.rint(film * 150).astype(np.uint8) + 20
    picture = rendered(stored, bits=8)
    np.testing.assert_allclose(picture.pixels, stored / 255, atol=1e-6)
    assert Warn.NO_VOI in picture.warnings


def test_eight_bits_that_a_table_makes_deeper_are_no_display_values(rendered, film):
    """Without a window the ends of the film are black and white, whatever the table has for values of no pixel."""
    entries = np.arange(256) * 100 + 5000
    entries[51] = 65535
    item = Dataset()
    item.LUTDescriptor = [256, 0, 16]
    item.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    item.ModalityLUTType = "US"
    stored = np.rint(film * 75).astype(np.uint8) * 2 + 20
    np.testing.assert_allclose(rendered(stored, bits=8, ModalityLUTSequence=[item]).pixels, film, atol=1 / 75)


@pytest.mark.parametrize(
    ("bits", "stated", "centre", "width"),
    [(8, 8, 2048, 4096), (12, 16, 32768, 65536), (12, 16, 32767, 60000), (12, 12, 128, 256)],
)
def test_a_window_that_was_made_for_other_pixels_is_left_alone(rendered, film, bits, stated, centre, width):
    """One of 12 bits over 8, of 16 over 12 or of 8 over 12: the film is as without it, and the report says why."""
    stored = np.rint((0.1 + 0.9 * film) * (2**bits - 1)).astype(np.uint16)
    window = {"WindowCenter": centre, "WindowWidth": width}
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        without = rendered(stored, bits=stated, photometric=photometric)
        picture = rendered(stored, bits=stated, photometric=photometric, **window)
        assert picture.sha256 == without.sha256
        assert (picture.warnings, without.warnings) == (
            (Warn.WINDOW_MISFIT, Warn.SPACING_UNKNOWN),
            (Warn.NO_VOI, Warn.SPACING_UNKNOWN),
        )


def test_a_window_fits_no_better_for_a_few_bright_pixels(rendered, film):
    """A window of 16 bits over a film of 12 hides it, and a dead pixel that it shows is none of the film."""
    stored = np.rint((0.1 + 0.9 * film) * 4095).astype(np.uint16)
    stored[0, 0] = 65535
    picture = rendered(stored, bits=16, WindowCenter=32768, WindowWidth=65536)
    assert picture.sha256 == rendered(stored, bits=16).sha256
    assert Warn.WINDOW_MISFIT in picture.warnings


@pytest.mark.parametrize(
    ("part", "bits", "centre", "width"),
    [(0.12, 12, 2048, 4096), (0.03, 12, 2048, 4096), (0.03, 14, 8192, 16384), (0.015, 16, 32768, 65536)],
)
def test_a_dark_film_under_its_own_window_stays_dark(rendered, film, part, bits, centre, width):
    """An underexposed film, or next to nothing at all, is shown as its header says: the gate may refuse it as blank."""
    stored = np.rint(film * part * (2**bits - 1)).astype(np.uint16)
    picture = rendered(stored, bits=bits, WindowCenter=centre, WindowWidth=width)
    np.testing.assert_allclose(picture.pixels, film * part, atol=1 / 4095)
    assert picture.warnings == (Warn.SPACING_UNKNOWN,)


def test_a_voi_table_that_shows_next_to_nothing_is_left_alone(rendered, twelve):
    """A table of 16 bits that ends in their darkest tenth would print a black film."""
    item = Dataset()
    item.LUTDescriptor = [4096, 0, 12]
    item.add_new("LUTData", "OW", np.r_[np.linspace(0, 400, 4095), 4095].astype("<u2").tobytes())
    picture = rendered(np.minimum(twelve, 4000), VOILUTSequence=[item])
    assert picture.sha256 == rendered(np.minimum(twelve, 4000)).sha256
    assert Warn.WINDOW_MISFIT in picture.warnings
    # One that only ends in the grey that it began with shows the film.
    item.add_new("LUTData", "OW", np.r_[np.arange(4095), 0].astype("<u2").tobytes())
    assert rendered(np.minimum(twelve, 4000), VOILUTSequence=[item]).warnings == (Warn.SPACING_UNKNOWN,)


@pytest.mark.parametrize(
    ("counts", "ends"),
    [([0, 0], (0, 0)), ([0, 7], (1, 1)), ([1, 2, 1], (0, 2)), ([1, *[0] * 200, 50, 50, *[0] * 200, 1], (201, 202))],
)
def test_a_film_ends_where_its_values_do(counts, ends):
    """Nothing at all and one value alone have ends, too; what lies far off is none of the film's."""
    assert extent(np.array(counts)) == ends
