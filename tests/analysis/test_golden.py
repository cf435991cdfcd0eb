"""The golden test: one film in every way it can be written gives one picture and one input of the network.

The tolerance is the rounding of the stored values: half a level of the coarser of the two, 1/510 for 8 bits.
"""

import numpy as np
import pytest
import torch
from PIL import Image
from pydicom import uid as uids

from agcnn_clinic.analysis.normalise import normalise
from agcnn_clinic.domain import MediaType
from agcnn_clinic.picture import same_picture
from agcnn_clinic.sections import Gate
from agcnn_models.preprocessing import to_model_input
from agcnn_models.settings import Preprocessing

NATIVE = (
    uids.ImplicitVRLittleEndian,
    uids.ExplicitVRLittleEndian,
    uids.ExplicitVRBigEndian,
    uids.DeflatedExplicitVRLittleEndian,
)
COMPRESSED = (
    uids.RLELossless,
    uids.JPEGLSLossless,
    uids.JPEG2000Lossless,
    uids.JPEGLossless,
    uids.JPEGLosslessSV1,
)
ROUNDING = 1e-6
LARGEST_STD_INVERSE = 1 / 0.224


def _levels(film, bits, photometric, signed):
    stored = np.rint(film * (2**bits - 1)).astype(np.int64)
    if photometric == "MONOCHROME1":
        stored = 2**bits - 1 - stored
    if signed:
        return (stored - 2 ** (bits - 1)).astype(np.int16 if bits > 8 else np.int8)
    return stored.astype(np.uint16 if bits > 8 else np.uint8)


def _check(result, reference, film, bits):
    tolerance = 0.5 / (2**bits - 1) + ROUNDING
    np.testing.assert_allclose(result.picture.pixels, film, atol=tolerance)
    assert same_picture(result.picture, reference.picture)
    both = [to_model_input(each.picture.pixels, Preprocessing()) for each in (result, reference)]
    torch.testing.assert_close(*both, rtol=0, atol=(tolerance + 0.5 / 65535) * LARGEST_STD_INVERSE)


@pytest.fixture(scope="module")
def reference(write_dicom, film, tmp_path_factory):
    """The film as 16-bit MONOCHROME2, plainly written."""
    path = tmp_path_factory.mktemp("golden") / "reference.dcm"
    write_dicom(path, _levels(film, 16, "MONOCHROME2", signed=False), bits=16)
    return normalise(path, MediaType.DICOM, Gate())


@pytest.mark.parametrize("syntax", [*NATIVE, *COMPRESSED], ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("windowed", [False, True], ids=["full-range", "windowed"])
def test_one_film_in_every_lossless_syntax(
    write_dicom, tmp_path, film, reference, syntax, bits, photometric, signed, windowed
):
    """Depth, sign, photometric interpretation, window and transfer syntax make no difference."""
    stored = _levels(film, bits, photometric, signed)
    middle = 0 if signed else 2 ** (bits - 1)
    window = {"WindowCenter": middle, "WindowWidth": 2**bits} if windowed else {}
    path = write_dicom(tmp_path / "film.dcm", stored, bits=bits, photometric=photometric, syntax=syntax, **window)
    _check(normalise(path, MediaType.DICOM, Gate()), reference, film, bits)


@pytest.mark.parametrize("bits", [8, 16])
def test_one_film_as_png(tmp_path, film, reference, bits):
    """The PNG of a film is that film."""
    path = tmp_path / "film.png"
    Image.fromarray(_levels(film, bits, "MONOCHROME2", signed=False)).save(path)
    _check(normalise(path, MediaType.PNG, Gate()), reference, film, bits)


def test_one_film_with_oblong_pixels(write_dicom, tmp_path, film, reference):
    """A film with half the columns, each twice as wide, keeps its shape; its detail is what is left."""
    halved = film.reshape(320, 144, 2).mean(axis=2)
    gate = Gate(min_side=100)
    path = write_dicom(
        tmp_path / "film.dcm", _levels(halved, 16, "MONOCHROME2", signed=False), bits=16, PixelSpacing=[0.2, 0.4]
    )
    result = normalise(path, MediaType.DICOM, gate)
    assert result.picture.pixels.shape == film.shape
    assert float(np.abs(result.picture.pixels - reference.picture.pixels).mean()) < 0.02
    assert (result.picture.geometry.scale_x, result.picture.geometry.scale_y) == (0.5, 1)
