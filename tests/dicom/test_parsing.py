"""Parsing gives what pydicom gives, though it takes shorter ways to it."""

import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import uid as uids
from pydicom.data import DATA_ROOT
from pydicom.dataset import Dataset
from pydicom.filewriter import write_dataset

from agcnn_clinic.dicom import attributes
from agcnn_clinic.dicom.attributes import describe, differing_attributes, quiet, read_dataset, read_dicom_header
from agcnn_clinic.dicom.facts import image_facts
from agcnn_clinic.errors import ImageError

PIXELS = np.zeros((4, 6), np.uint16)
FILES = sorted(path for path in Path(DATA_ROOT).rglob("*") if path.suffix in (".dcm", "") and path.is_file())
"""Written by all kinds of software, in all kinds of ways, to test pydicom."""


def _values(dataset):
    """What a data set holds, by tag; of a value that cannot be converted that it cannot."""
    return {tag: _value(dataset, tag) for tag in list(dataset.keys()) if tag.group != 0x7FE0}


def _value(dataset, tag):
    try:
        return dataset[tag].VR, repr(dataset[tag].value)
    except Exception as error:  # noqa: BLE001 (pydicom raises almost anything)
        return type(error).__name__


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_file_is_parsed_as_pydicom_does(in_memory, monkeypatch):
    """Values, encodings and file meta information of pydicom's own files are those of `dcmread`."""
    if not in_memory:
        monkeypatch.setattr(attributes, "_SMALL_FILE", 0)
    compared = 0
    for path in FILES:
        try:
            ours = read_dataset(path, stop_before_pixels=True)
        except ImageError:
            continue
        with quiet():
            theirs = pydicom.dcmread(path, force=True, stop_before_pixels=True)
            assert _values(ours) == _values(theirs), path
            if theirs.file_meta.get("TransferSyntaxUID"):  # else it was guessed
                assert _values(ours.file_meta) == _values(theirs.file_meta), path
            assert ours.original_encoding == theirs.original_encoding, path
            assert ours.original_character_set == theirs.original_character_set, path
        compared += 1
    assert compared > 100


def test_a_header_is_described_alike_however_its_values_were_converted():
    """What is taken from raw values is what pydicom's elements say, of all of pydicom's own files."""
    described = 0
    for path in FILES:
        try:
            raw, converted = (read_dataset(path, stop_before_pixels=True) for _ in range(2))
        except ImageError:
            continue
        with quiet():
            _values(converted)
            _values(converted.file_meta)
            assert image_facts(raw) == image_facts(converted), path
        try:
            header = describe(converted)
        except ImageError as error:
            with pytest.raises(ImageError, match=error.code):
                describe(raw)
        else:
            assert describe(read_dataset(path)) == header, path
            described += 1
    assert described > 50


def test_elements_of_a_network_message_before_the_data_set_are_passed_over(write_dicom, tmp_path):
    """Some receivers write into the file what came over the network: a command set, with an encoding of its own."""
    path = write_dicom(tmp_path / "a.dcm", PIXELS, PatientID="P1")
    whole = path.read_bytes()
    command = Dataset()
    command.CommandField, command.MessageID = 1, 7
    written = pydicom.filebase.DicomBytesIO()
    written.is_little_endian, written.is_implicit_VR = True, True
    write_dataset(written, command)
    (group_length,) = struct.unpack("<I", whole[140:144])
    end_of_meta = 144 + group_length
    path.write_bytes(whole[:end_of_meta] + written.getvalue() + whole[end_of_meta:])
    assert read_dicom_header(path).study.patient_id == "P1"
    assert read_dataset(path).MessageID == 7


def test_several_transfer_syntaxes_are_none(write_dicom, tmp_path):
    """A file that names two is read as pydicom reads what it does not know, and nothing else happens."""
    path = write_dicom(tmp_path / "a.dcm", PIXELS, PatientID="P1")
    syntax = uids.ExplicitVRLittleEndian.encode()
    path.write_bytes(path.read_bytes().replace(syntax, syntax[:9] + b"\\" + syntax[10:]))
    assert read_dicom_header(path).study.patient_id == "P1"


def test_what_cannot_be_converted_is_compared_as_bytes(write_dicom, tmp_path):
    """An empty element of a Value Representation that does not exist is the same in two files."""
    path = write_dicom(tmp_path / "a.dcm", PIXELS, PatientComments="")
    path.write_bytes(path.read_bytes().replace(b"\x10\x00\x00\x40LT", b"\x10\x00\x00\x40S\x02"))
    assert differing_attributes(read_dataset(path), read_dataset(path)) == []
