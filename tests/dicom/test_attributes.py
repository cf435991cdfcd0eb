"""Parsing, describing and comparing headers."""

import logging
import struct
import sys
import tracemalloc
import unicodedata
import warnings
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import uid as uids
from pydicom.data import DATA_ROOT
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from agcnn_clinic.dicom.attributes import (
    describe,
    differing_attributes,
    looks_like_dicom,
    read_dataset,
    read_dicom_header,
)
from agcnn_clinic.dicom.text import clean, iso_date, iso_time
from agcnn_clinic.domain import ReasonCode
from agcnn_clinic.errors import ImageError, StorageError

PIXELS = np.zeros((4, 6), np.uint16)


def _refused(path, **options):
    with pytest.raises(ImageError) as caught:
        read_dataset(path, **options)
    return caught.value


def test_a_header_is_described_as_text(write_dicom, tmp_path):
    """Names stay as DICOM wrote them, dates and times become ISO, and the image level is there."""
    path = write_dicom(
        tmp_path / "a.dcm",
        PIXELS,
        PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう",
        PatientSex="F",
        PatientBirthDate="19700131",
        StudyDate="20260102",
        StudyTime="235959.123",
        AccessionNumber=" A-1 ",
        AcquisitionDate="20260102",
        AcquisitionTime="1015",
        Manufacturer="Maker",
    )
    header = read_dicom_header(path)
    study, instance = header.study, header.instance
    assert study.patient_name == "Yamada^Tarou=山田^太郎=やまだ^たろう"
    assert (study.patient_sex, study.patient_birth_date) == ("F", "1970-01-31")
    assert (study.study_date, study.study_time, study.accession_number) == ("2026-01-02", "23:59:59", "A-1")
    assert (instance.modality, instance.view_position, instance.body_part_examined) == ("DX", "PA", "CHEST")
    assert (instance.rows, instance.columns, instance.bits_stored) == (4, 6, 12)
    assert instance.transfer_syntax_uid == uids.ExplicitVRLittleEndian
    assert instance.acquisition_date_time == "2026-01-02T10:15"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("chrArab.dcm", "قباني^لنزار"),
        ("chrGreek.dcm", "Διονυσιος"),
        ("chrH31.dcm", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("chrI2.dcm", "Hong^Gildong=洪^吉洞=홍^길동"),
        ("chrRuss.dcm", "Люкceмбypг"),
        ("chrX2.dcm", "Wang^XiaoDong=王^小东"),
    ],
)
def test_names_are_decoded_by_their_character_set(name, expected):
    """Specific Character Set decides how a name reads."""
    dataset = pydicom.dcmread(Path(DATA_ROOT, "charset_files", name))
    assert describe(dataset).study.patient_name == expected


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SOPInstanceUID"])
@pytest.mark.parametrize("value", [None, "", "../../../x", "1.2.3\\1.2.4", "x" * 80])
def test_a_uid_that_is_needed_and_missing_is_named(write_dicom, tmp_path, keyword, value):
    """Without a usable study or instance UID a file is refused by the attribute's name, without its value."""
    dataset = pydicom.dcmread(write_dicom(tmp_path / "a.dcm", PIXELS))
    del dataset[keyword]
    if value is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            setattr(dataset, keyword, value.split("\\") if "\\" in value else value)
    with pytest.raises(ImageError) as caught:
        describe(dataset)
    assert caught.value.code == ReasonCode.MISSING_ATTRIBUTE
    assert caught.value.detail in (f"{keyword} is missing", f"{keyword} is not a UID")


def test_values_that_cannot_be_converted_count_as_absent(write_dicom, tmp_path):
    """A broken number or date leaves its field empty, and the rest is read."""
    path = write_dicom(tmp_path / "a.dcm", PIXELS, StudyDate="20260102", PatientID="P1")
    path.write_bytes(path.read_bytes().replace(b"20260102", b"2026ABCD"))
    header = read_dicom_header(path)
    assert (header.study.study_date, header.study.patient_id) == ("", "P1")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Doe\x1b[31m^Jane\x00\x07", "Doe[31m^Jane"),
        ("a\u202eb\u2066c\ufeff", "abc"),
        ("  می\u200cخواهم ", "می\u200cخواهم"),
        ("x" * 1000, "x" * 256),
        ("line\nbreak", "linebreak"),
    ],
)
def test_text_is_cleaned(value, expected):
    """Control and disguising characters go, joiners that belong to a spelling stay, length is bounded."""
    assert clean(value) == expected


def test_what_goes_is_told_by_its_category_alone():
    """Of all characters there are, each goes by itself and beside others as its Unicode category says."""
    for code in range(sys.maxunicode + 1):
        char = chr(code)
        stays = char in "\u200c\u200d" or not unicodedata.category(char).startswith("C")
        assert clean(f"a{char}b") == (f"a{char}b" if stays else "ab")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("20260131", "2026-01-31"),
        ("2026.01.31", "2026-01-31"),
        ("20240229", "2024-02-29"),
        ("20260229", ""),
        ("20260431", ""),
        ("20261331", ""),
        ("00000101", ""),
        ("\u0662\u0660\u0662\u0666\u0660\u0661\u0663\u0661", ""),
        ("x", ""),
        ("", ""),
    ],
)
def test_dates_become_iso(value, expected):
    """DA in both of its spellings; what the calendar does not have is empty."""
    assert iso_date(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [("235959.5", "23:59:59"), ("0910", "09:10"), ("07", "07"), ("256060", ""), ("\u0660\u0669", ""), ("", "")],
)
def test_times_become_iso(value, expected):
    """TM as far as it is given; what is no time is empty."""
    assert iso_time(value) == expected


def test_files_without_preamble_are_read_when_they_begin_like_a_data_set(write_dicom, tmp_path):
    """Bare data sets in both byte orders, with and without VR, are DICOM; text that is forced into one is not."""
    path = write_dicom(tmp_path / "a.dcm", PIXELS)
    whole = path.read_bytes()
    bare = tmp_path / "bare.dcm"
    bare.write_bytes(whole[132:])
    assert read_dicom_header(bare).instance.sop_instance_uid == read_dicom_header(path).instance.sop_instance_uid
    dataset = pydicom.dcmread(path)
    for implicit, little in ((True, True), (False, True), (False, False)):
        copy = Dataset(dataset)
        copy.save_as(bare, implicit_vr=implicit, little_endian=little)
        assert looks_like_dicom(bare.read_bytes()[:512])
        assert read_dataset(bare).StudyInstanceUID == dataset.StudyInstanceUID
    for text in (b"\x08\x00", b"<html>" * 100, b"\x08\x00 hello there", b"\0" * 400, b"GIF89a" * 50):
        bare.write_bytes(text)
        assert not looks_like_dicom(text)
        assert _refused(bare).code == ReasonCode.UNREADABLE_HEADER


def test_a_deflated_data_set_is_read_whole_and_without_its_pixels(write_dicom, tmp_path):
    """The deflated transfer syntax gives the same header as the plain one."""
    plain = write_dicom(tmp_path / "film.dcm", PIXELS)
    deflated = tmp_path / "deflated.dcm"
    dataset = pydicom.dcmread(plain)
    dataset.file_meta.TransferSyntaxUID = uids.DeflatedExplicitVRLittleEndian
    dataset.save_as(deflated)
    assert differing_attributes(read_dataset(plain), read_dataset(deflated)) == []
    assert read_dataset(deflated).PixelData == dataset.PixelData
    header = read_dataset(deflated, stop_before_pixels=True)
    assert "PixelData" not in header
    assert header.PatientID == "T1"


@pytest.mark.parametrize("comment", [0, 100, 200])
@pytest.mark.parametrize("beyond", [0, 2, 12, 24, 40])
def test_a_deflated_data_set_may_end_anywhere(write_dicom, tmp_path, beyond, comment):
    """The border of a film is black: all that is packed may have gone in before the last bytes come out."""
    path = write_dicom(tmp_path / "film.dcm", PIXELS, ImageComments="x" * comment)
    head, body = _deflated(path)
    length = 2**20 + beyond - len(body) - 12
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(body + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, length))
    path.write_bytes(head + packed + packer.flush(zlib.Z_FULL_FLUSH) + packer.compress(bytes(length)) + packer.flush())
    assert len(read_dataset(path).PixelData) == length


def test_a_deflated_bomb_is_stopped_at_the_limit(write_dicom, tmp_path):
    """A megabyte that would become one gigabyte is refused after the limit, whether or not pixels are asked for."""
    path = write_dicom(tmp_path / "bomb.dcm", PIXELS)
    head, body = _deflated(path)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    pixels = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, 2**30)
    bomb = packer.compress(body + pixels) + b"".join(packer.compress(bytes(2**20)) for _ in range(64)) + packer.flush()
    path.write_bytes(head + bomb)
    for stop in (True, False):
        error = _refused(path, max_bytes_deflated=2**20, stop_before_pixels=stop)
        assert error.code == ReasonCode.UNREADABLE_HEADER
        assert "inflates" in error.detail


def test_a_deflated_data_set_that_is_cut_off_is_unreadable(write_dicom, tmp_path):
    """Half a deflate stream is no data set."""
    path = write_dicom(tmp_path / "film.dcm", np.arange(3000, dtype=np.uint16).reshape(50, 60))
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = uids.DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    path.write_bytes(path.read_bytes()[:-200])
    assert _refused(path).code == ReasonCode.UNREADABLE_HEADER


def test_a_claim_of_an_elements_length_allocates_nothing(write_dicom, tmp_path):
    """An element that says it has 3 GB takes no more memory than the file has bytes."""
    path = write_dicom(tmp_path / "film.dcm", PIXELS, PatientID="Q" * 8)
    whole = path.read_bytes()
    at = whole.index(struct.pack("<HH", 0x7FE0, 0x0010)) + 8
    path.write_bytes(whole[:at] + struct.pack("<I", 3 * 2**30) + whole[at + 4 :])
    tracemalloc.start()
    try:
        read_dataset(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**24


def test_a_missing_file_is_no_fault_of_the_file(tmp_path):
    """What cannot be opened is a matter of the storage, to be tried again."""
    with pytest.raises(StorageError):
        read_dataset(tmp_path / "none.dcm")


def test_details_and_logs_hold_no_patient_data(write_dicom, tmp_path, caplog, recwarn):
    """A file full of invalid values is read or refused without a word of them in logs or warnings."""
    path = write_dicom(tmp_path / "a.dcm", PIXELS, PatientName="Secret^Name", StudyDate="20260102", PatientAge="012Y")
    path.write_bytes(path.read_bytes().replace(b"20260102", b"Secret^N").replace(b"012Y", b"Secr"))
    with caplog.at_level(logging.DEBUG):
        read_dicom_header(path)
    path.write_bytes(path.read_bytes()[:400].replace(b"DX", b"\xff\xff"))
    with caplog.at_level(logging.DEBUG), pytest.raises(ImageError) as caught:
        read_dicom_header(path)
    assert "Secret" not in caplog.text + str(caught.value) + "".join(str(warning.message) for warning in recwarn)


def test_differing_attributes_are_named_without_their_values(write_dicom, tmp_path):
    """Changed, added and removed attributes are listed by keyword, private ones by tag, pixels never."""
    a = read_dataset(write_dicom(tmp_path / "a.dcm", PIXELS, PatientID="1", AccessionNumber="X"))
    b = read_dataset(write_dicom(tmp_path / "a.dcm", PIXELS + 1, PatientID="2", StudyDescription="Chest"))
    b.add_new(0x00091001, "LO", "private")
    a.ViewCodeSequence = Sequence([_code("R-10214")])
    b.ViewCodeSequence = Sequence([_code("R-10206")])
    assert differing_attributes(a, b) == [
        "AccessionNumber",
        "StudyDescription",
        "(0009,1001)",
        "PatientID",
        "ViewCodeSequence",
    ]
    assert differing_attributes(a, a) == []


def _code(value):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = value, "SRT"
    return item


def _deflated(path):
    """Return what of a film goes before a deflated data set, and the data set without its pixels."""
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = uids.DeflatedExplicitVRLittleEndian
    del dataset.PixelData
    dataset.save_as(path)
    whole = path.read_bytes()
    (group_length,) = struct.unpack("<I", whole[140:144])  # of the file meta group, behind which it begins
    start = 144 + group_length
    return whole[:start], zlib.decompress(whole[start:], -zlib.MAX_WBITS)
