"""Lookup tables, windows and rescaling, against pydicom's own where pydicom's are right."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_windowing

from agcnn_clinic.dicom.luts import Window, lookup_table, rescale, window
from agcnn_clinic.errors import ImageError

STORED = np.arange(-2048, 2048)
SIGNED, UNSIGNED = (-(2**15), 2**15 - 1), (0, 2**16 - 1)


def _item(descriptor, data, vr="OW"):
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if min(descriptor) < 0 else "US", list(descriptor))
    item.add_new("LUTData", vr, data)
    return item


def _windowed(centre, width, function="LINEAR", signed=True):
    dataset = Dataset()
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsStored, dataset.PixelRepresentation = 12, int(signed)
    dataset.WindowCenter, dataset.WindowWidth, dataset.VOILUTFunction = centre, width, function
    return dataset


@given(
    st.floats(-3000, 3000).map(lambda x: round(x, 2)),
    st.floats(1.01, 5000).map(lambda x: round(x, 2)),
    st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
)
def test_a_window_shows_what_pydicom_shows(centre, width, function):
    """All three VOI LUT functions equal pydicom's, brought from its output range to [0, 1]."""
    dataset = _windowed(centre, width, function)
    with np.errstate(over="ignore"):  # pydicom's sigmoid reaches 0 by way of infinity
        expected = (apply_windowing(STORED, dataset) + 2048) / 4095
    shown = window(dataset).shown(STORED.astype(float))
    np.testing.assert_allclose(shown, expected, atol=1e-9)


def test_a_linear_window_of_the_whole_range_changes_nothing():
    """Centre 2048 and width 4096 map 0 to 0 and 4095 to 1 (PS3.3 C.11.2.1.2.1)."""
    shown = Window(2048, 4096).shown(np.arange(4096.0))
    np.testing.assert_allclose(shown, np.arange(4096) / 4095, atol=1e-12)


def test_a_linear_window_of_width_one_is_a_threshold():
    """The equation of the standard would divide by 0: above centre - 0.5 is white."""
    assert Window(10, 1).shown(np.array([9.0, 9.5, 9.6, 10.0])).tolist() == [0, 0, 1, 1]


@given(st.floats(-5000, 5000), st.floats(0.001, 10_000), st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]))
def test_a_window_never_leaves_its_range_nor_turns_back(centre, width, function):
    """Any window rises from 0 to 1 and stays there, even where it is narrower than the standard allows."""
    dataset = Dataset()
    dataset.WindowCenter, dataset.WindowWidth = f"{centre:.8g}", f"{width:.8g}"
    dataset.VOILUTFunction = function
    shown = window(dataset).shown(np.linspace(-20_000, 20_000, 401))
    assert shown.min() >= 0
    assert shown.max() <= 1
    assert (np.diff(shown) >= 0).all()


def test_the_first_of_several_windows_counts():
    """Alternative windows are for a person to choose; the first is the sender's default."""
    assert window(_windowed([100, 900], [200, 50])) == Window(100, 200)


@pytest.mark.parametrize(
    ("centres", "widths"), [(["", 900], ["", 50]), ([100, 900], [0, 50]), ([100, 900, 5], [-1, 50])]
)
def test_the_first_usable_window_counts(centres, widths):
    """One that is empty or impossible says nothing, and the next one is as good as a first."""
    assert window(_windowed(centres, widths)) == Window(900, 50)


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
@pytest.mark.parametrize(
    ("width", "said", "function"),
    [
        (1, "LINEAR", "LINEAR"),
        (0.99, "LINEAR", "LINEAR_EXACT"),
        (50, "sigmoid", "SIGMOID"),
        (50, "Linear_Exact", "LINEAR_EXACT"),
        (50, "", "LINEAR"),
        (50, "CUBIC", "LINEAR"),
    ],
)
def test_a_window_has_the_function_that_its_header_means(width, said, function):
    """In any letters, LINEAR where it is none of the standard's, and LINEAR_EXACT where it is too narrow for that."""
    assert window(_windowed(10, width, said)) == Window(10, width, function)


@pytest.mark.parametrize(
    ("centre", "width"), [(10, 0), (10, -5), (None, 5), (5, None), ("", ""), ("1e400", 5), (10, "1e400")]
)
def test_an_impossible_window_is_none(centre, width):
    """A width of 0 or below, or half a window, is no window."""
    dataset = Dataset()
    dataset.WindowCenter, dataset.WindowWidth = centre, width
    assert window(dataset) is None


@given(st.integers(-2048, 2040), st.lists(st.integers(0, 65535), min_size=1, max_size=40))
def test_a_table_looks_up_what_pydicom_looks_up(first, entries):
    """16-bit Modality LUTs over signed pixels equal pydicom's, before the first and after the last entry too."""
    data = np.array(entries, "<u2").tobytes()
    dataset = Dataset()
    dataset.ModalityLUTSequence = [_item((len(entries), first, 16), data)]
    dataset.file_meta = Dataset()
    table = lookup_table(dataset.ModalityLUTSequence[0], inputs=SIGNED, little_endian=True)
    index = np.clip(STORED - first, 0, len(entries) - 1)
    np.testing.assert_array_equal(table(STORED.astype(float)), np.array(entries)[index])


def test_pydicom_agrees_where_it_can():
    """On an unsigned 16-bit table both give the same."""
    dataset = Dataset()
    dataset.ModalityLUTSequence = [_item((4, 10, 16), [5, 6, 7, 900], "US")]
    values = np.arange(30, dtype=np.int32)
    table = lookup_table(dataset.ModalityLUTSequence[0], inputs=UNSIGNED, little_endian=True)
    np.testing.assert_array_equal(table(values.astype(float)), apply_modality_lut(values, dataset))


@pytest.mark.parametrize(
    ("data", "vr", "little"),
    [
        (b"\x01\x02\x03\x04", "OW", True),
        (b"\x02\x01\x04\x03", "OW", False),
        (b"\x01\x00\x02\x00\x03\x00\x04\x00", "OW", True),
        (b"\x00\x01\x00\x02\x00\x03\x00\x04", "OW", False),
        (b"\x01\x00\x02\x00\x03\x00\x04\x00", "OB", True),
        ([1, 2, 3, 4], "US", True),
        ([0x0201, 0x0403], "US", False),
    ],
)
def test_eight_bit_entries_are_read_packed_and_unpacked(data, vr, little):
    """Two entries a word or one, as bytes in both orders or as numbers, give the same table."""
    table = lookup_table(_item((4, 0, 8), data, vr), inputs=UNSIGNED, little_endian=little)
    assert table.entries.tolist() == [1, 2, 3, 4]


def test_zero_entries_stand_for_65536():
    """The largest table has 65536 entries, which 16 bits cannot count."""
    data = np.arange(2**16, dtype="<u2").tobytes()
    table = lookup_table(_item((0, 0, 16), data), inputs=UNSIGNED, little_endian=True)
    assert (len(table.entries), table.bits) == (2**16, 16)


def test_a_first_value_written_with_the_wrong_sign_is_mended():
    """65000 over signed inputs means -536; -536 over unsigned ones means 65000."""
    data = [1, 2, 3]
    assert lookup_table(_item((3, 65000, 16), data, "US"), inputs=SIGNED, little_endian=True).first == -536
    assert lookup_table(_item((3, -536, 16), data, "US"), inputs=UNSIGNED, little_endian=True).first == 65000


@pytest.mark.parametrize(
    ("written", "count", "inputs", "first"),
    [
        (-2048, 4096, (-2048, 2047), -2048),
        (63488, 4096, (-2048, 2047), -2048),
        (64512, 4096, (-1024, 64511), -1024),
        (64512, 4096, (-1024, 130046), -1024),
        (40000, 20000, (-1024, 64511), 40000),
        (-10, 4096, (0, 65535), -10),
        (-25536, 20000, (0, 65535), 40000),
        (60000, 65535, (0, 65535), 60000),
        (32768, 4096, SIGNED, -32768),
        (-10_000, 100, (-2048, 2047), -10_000),
        (64511, 1, (-1024, 64511), 64511),  # its one entry is of the last input
        (0, 4096, (0, 131_070), 0),
        (32767, 4096, SIGNED, 32767),
        (40_000, 100, (-1024, 39_000), -25_536),  # of no use either way
    ],
)
def test_a_first_value_has_the_sign_that_its_inputs_can_have(written, count, inputs, first):
    """Where it was read with the other one, the table is held against its inputs: it must be of use."""
    item = _item((count, written, 16), bytes(2 * count))
    assert lookup_table(item, inputs=inputs, little_endian=True).first == first


@pytest.mark.parametrize(
    ("announced", "largest", "bits"),
    [
        (12, 4095, 12),
        (12, 1843, 12),  # it ends at 45 %
        (16, 40_000, 16),
        (8, 255, 8),
        (16, 4095, 12),  # filled by a sixteenth
        (16, 10_000, 14),
        (8, 4095, 12),
        (12, 4096, 12),  # rounded
        (16, 4096, 12),
        (0, 0, 1),
        (16, 1, 1),
    ],
)
def test_a_table_is_as_deep_as_it_says_where_that_can_be_meant(announced, largest, bits):
    """White is what the descriptor says, unless all entries are in its darkest quarter or it has no room for them."""
    data = np.array([0, largest // 2, largest], "<u2").tobytes()
    table = lookup_table(_item((3, 0, announced), data), inputs=UNSIGNED, little_endian=True)
    assert table.bits == bits
    np.testing.assert_allclose(table.shown(np.array([2.0])), min(largest / (2**bits - 1), 1))


@pytest.mark.parametrize(
    ("item", "little"),
    [
        (_item((10, 0, 16), b"\0\0"), True),
        (_item((10, 0, 16), b"\0" * 18), True),
        (_item((10, 0, 8), b"\0" * 9), True),
        (_item((10, 0, 9), b"\0" * 10), True),  # nine bits do not fit into a byte
        (_item((9, 0, 8), b"\0" * 9), False),  # the ninth is half a word
        (_item((10, 0), b"\0" * 20), True),
        (_item((10, 0, 16), None), True),
        (_item((10, 0, 16), None, "US"), True),
        (Dataset(), True),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(item, little):
    """Too few entries, also where they would do as bytes, half a descriptor, no data and nothing at all are none."""
    with pytest.raises(ImageError):
        lookup_table(item, inputs=UNSIGNED, little_endian=little)


def test_a_table_is_asked_for_the_nearest_whole_number():
    """A Rescale Slope makes fractions of stored values, and they have no entry of their own."""
    table = lookup_table(_item((3, 0, 16), [0, 10, 20], "US"), inputs=UNSIGNED, little_endian=True)
    assert table(np.array([0.4, 0.6, 1.4, 1.6])).tolist() == [0, 10, 10, 20]


def test_a_table_of_one_entry_is_one():
    """Of one number pydicom makes no list."""
    assert lookup_table(_item((1, 0, 16), [7], "US"), inputs=UNSIGNED, little_endian=True).entries.tolist() == [7]


@pytest.mark.filterwarnings("ignore:Invalid value")
def test_the_number_of_entries_is_unsigned_beside_a_negative_first_value():
    """A descriptor of signed numbers counts 40000 entries as -25536."""
    item = _item((-25536, -100, 16), bytes(80_000))
    assert len(lookup_table(item, inputs=SIGNED, little_endian=True).entries) == 40_000


@pytest.mark.parametrize(
    ("slope", "intercept", "expected"),
    [(2, -10, 4090), (-1, 4095, 2045), (None, None, 2050), (0, 5, 2050), ("1e400", 5, 2055), (2, "1e400", 4100)],
)
def test_rescale_applies_slope_and_intercept(slope, intercept, expected):
    """Negative slopes too; a slope of 0 would wipe the image out and is ignored, and so is what no number can hold."""
    dataset = Dataset()
    dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
    assert rescale(dataset, np.array([2050.0])).tolist() == [expected]
