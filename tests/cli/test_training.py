"""How `train` reads films."""

import numpy as np
import pytest
from PIL import Image

from agcnn_clinic.analysis.normalise import normalise
from agcnn_clinic.cli.training import read_as_the_clinic_does
from agcnn_clinic.demo.phantom import draw
from agcnn_clinic.domain import MediaType
from agcnn_clinic.sections import Gate
from agcnn_training.data.pictures import read_picture
from agcnn_training.errors import TrainingError


@pytest.mark.parametrize("name", ["film.dcm", "deep.png", "film.png"])
def test_a_film_is_the_same_picture_in_training_and_in_serving(tmp_path, write_film, name):
    """DICOM and PNG of 8 and 16 bits (here filling 12 of them) go through one reader, pixel for pixel."""
    pixels, path = draw(1, (256, 256)).pixels, tmp_path / name
    if name == "film.dcm":
        write_film(path, pixels)
    else:
        kind, white = (np.uint16, 4095) if name == "deep.png" else (np.uint8, 255)
        Image.fromarray((pixels * white).astype(kind)).save(path)
    served = normalise(path, MediaType.DICOM if name == "film.dcm" else MediaType.PNG, Gate()).picture.pixels
    np.testing.assert_array_equal(read_as_the_clinic_does(path), served)


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGB", "RGBA"])
def test_what_the_trainer_reads_by_itself_it_reads_as_the_clinic_does(tmp_path, mode):
    """Without the clinic's reader, as in a program that imports it: a PNG of 8 bits is the same picture there."""
    Image.fromarray((draw(1, (64, 64)).pixels * 255).astype(np.uint8)).convert(mode).save(tmp_path / "film.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "film.png"), read_as_the_clinic_does(tmp_path / "film.png"))


def test_a_jpeg_is_read_too(tmp_path):
    """The public films are JPEGs, which the clinic itself does not take."""
    Image.fromarray(np.full((8, 8), 51, np.uint8)).save(tmp_path / "film.jpg")
    np.testing.assert_allclose(read_as_the_clinic_does(tmp_path / "film.jpg"), 0.2, atol=0.01)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n and no more", b"\0" * 128 + b"DICM"])
def test_what_cannot_be_read_is_named(tmp_path, content):
    """The sentence says which file it is."""
    (tmp_path / "broken.png").write_bytes(content)
    with pytest.raises(TrainingError, match=r"broken\.png"):
        read_as_the_clinic_does(tmp_path / "broken.png")
