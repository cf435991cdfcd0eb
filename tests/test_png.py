"""PNG films."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from agcnn_clinic.dicom.uid import derived_uid
from agcnn_clinic.domain import ReasonCode, Warn
from agcnn_clinic.errors import ImageError, StorageError
from agcnn_clinic.picture import same_picture
from agcnn_clinic.png import read_png, read_png_header

MAX_PIXELS = 1_000_000
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


@pytest.fixture
def eight(film):
    """The film in 8 bits."""
    return np.rint(film * 255).astype(np.uint8)


def _refused(path, max_pixels=MAX_PIXELS):
    with pytest.raises(ImageError) as caught:
        read_png(path, max_pixels=max_pixels)
    return caught.value.code


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P"])
def test_grey_is_grey_in_every_mode(tmp_path, eight, mode):
    """Grey, grey with alpha, grey as colour and grey in a palette give the same picture, value / 255."""
    image = Image.fromarray(eight)
    image = image.convert(mode) if mode != "P" else Image.fromarray(eight, "L").quantize(256)
    if mode == "P":
        image = Image.frombytes("P", image.size, eight.tobytes())
        image.putpalette([level for level in range(256) for _ in range(3)])
    image.save(tmp_path / "film.png")
    picture = read_png(tmp_path / "film.png", max_pixels=MAX_PIXELS)
    assert picture.pixels.dtype == np.float32
    np.testing.assert_allclose(picture.pixels, eight / 255, atol=1e-7)
    assert picture.warnings == (Warn.SPACING_UNKNOWN,)
    assert picture.geometry.spacing_mm is None


@pytest.mark.parametrize("bits", [12, 16])
def test_sixteen_bits_are_stretched_over_what_is_there(tmp_path, film, bits):
    """12-bit values in a 16-bit PNG give no black picture but the film, with a remark."""
    Image.fromarray(np.rint(film * (2**bits - 1)).astype(np.uint16)).save(tmp_path / "deep.png")
    picture = read_png(tmp_path / "deep.png", max_pixels=MAX_PIXELS)
    np.testing.assert_allclose(picture.pixels, film, atol=0.5 / (2**bits - 1) + 1e-7)
    assert Warn.NO_VOI in picture.warnings


@pytest.mark.parametrize("colour_type", [0, 2, 4, 6])
@pytest.mark.parametrize("bits", [12, 16])
def test_sixteen_bits_of_colour_and_alpha_are_read_as_such(tmp_path, film, colour_type, bits):
    """Grey as colour and grey with alpha are as bright as plain grey of 16 bits; what is cut away does not count."""
    grey = np.rint(film * (2**bits - 1)).astype(np.uint16)
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    values = np.repeat(grey[..., None], channels, axis=2)
    if colour_type in (4, 6):
        values[..., -1] = 65535
        values[:30, :, :-1], values[:30, :, -1] = 65535, 0
    path = tmp_path / "deep.png"
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    path.write_bytes(_png(288, 320, zlib.compress(rows), depth=16, colour_type=colour_type))
    picture = read_png(path, max_pixels=MAX_PIXELS)
    expected = film.copy()
    expected[: 30 if colour_type in (4, 6) else 0] = 0
    np.testing.assert_allclose(picture.pixels, expected, atol=2 / (2**bits - 1))
    assert Warn.NO_VOI in picture.warnings
    assert read_png_header(path, "ab" * 32, series_instance_uid="").bits_stored == 16
    values[40, 40, 0] //= 2
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    path.write_bytes(_png(288, 320, zlib.compress(rows), depth=16, colour_type=colour_type))
    if colour_type in (2, 6):
        assert _refused(path) == ReasonCode.COLOUR
    path.write_bytes(path.read_bytes()[:5000])
    assert _refused(path) == ReasonCode.UNREADABLE_PIXELS


def test_an_interlaced_png_is_read(tmp_path, eight):
    """Adam7 interlacing gives the same picture."""
    small = eight[:16, :16]
    rows = b""
    for top, left, down, right in (
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ):
        for row in small[top::down, left::right]:
            rows += b"\0" + row.tobytes()
    path = tmp_path / "adam7.png"
    path.write_bytes(_png(16, 16, zlib.compress(rows), interlace=1))
    np.testing.assert_allclose(read_png(path, max_pixels=MAX_PIXELS).pixels, small / 255, atol=1e-7)


def test_transparent_is_black(tmp_path, eight):
    """What a mask cut away is background, whatever grey lies under it."""
    alpha = np.full_like(eight, 255)
    alpha[:50] = 0
    Image.merge("LA", [Image.fromarray(eight), Image.fromarray(alpha)]).save(tmp_path / "masked.png")
    picture = read_png(tmp_path / "masked.png", max_pixels=MAX_PIXELS)
    assert picture.pixels[:50].max() == 0
    np.testing.assert_allclose(picture.pixels[50:], eight[50:] / 255, atol=1e-7)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_grey_that_is_named_as_transparent_stays_grey(tmp_path, eight, mode):
    """White may be named so for the sake of a border, and the spine may be white, too."""
    path = tmp_path / "keyed.png"
    Image.fromarray(eight).convert(mode).save(path, transparency=255 if mode == "L" else (255, 255, 255))
    np.testing.assert_allclose(read_png(path, max_pixels=MAX_PIXELS).pixels, eight / 255, atol=1e-7)


def test_a_rounding_of_the_channels_is_still_grey(tmp_path, eight):
    """Channels two levels apart are grey; three are colour."""
    colour = np.repeat(np.clip(eight, 0, 250)[..., None], 3, axis=2)
    for apart, path in ((2, tmp_path / "grey.png"), (3, tmp_path / "colour.png")):
        shifted = colour.copy()
        shifted[..., 2] += apart
        Image.fromarray(shifted).save(path)
    assert read_png(tmp_path / "grey.png", max_pixels=MAX_PIXELS).pixels.shape == eight.shape
    assert _refused(tmp_path / "colour.png") == ReasonCode.COLOUR


def test_a_bomb_is_refused_by_its_header(tmp_path):
    """A size beyond the limit is refused before anything is inflated, even one that Pillow itself would refuse."""
    for side in (1001, 60_000):
        path = tmp_path / f"{side}.png"
        path.write_bytes(_png(side, side, b"never looked at"))
        assert _refused(path) == ReasonCode.TOO_LARGE


def test_a_cut_off_or_damaged_png_is_unreadable(tmp_path, eight):
    """Neither a missing end nor a flipped bit gives a picture."""
    path = tmp_path / "film.png"
    Image.fromarray(eight).save(path)
    whole = path.read_bytes()
    for broken in (whole[: len(whole) // 2], whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:]):
        path.write_bytes(broken)
        assert _refused(path) == ReasonCode.UNREADABLE_PIXELS


def test_what_is_no_png_is_an_unreadable_header(tmp_path):
    """A JPEG in disguise, an empty file and a lone signature have no header; a missing file is another matter."""
    Image.new("L", (300, 300)).save(tmp_path / "jpeg.png", format="JPEG")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "signature.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for name in ("jpeg.png", "empty.png", "signature.png"):
        assert _refused(tmp_path / name) == ReasonCode.UNREADABLE_HEADER
    with pytest.raises(StorageError):
        read_png(tmp_path / "missing.png", max_pixels=MAX_PIXELS)


def test_an_animation_is_refused(tmp_path, eight):
    """An animated PNG has more than one frame."""
    frame = Image.fromarray(eight)
    frame.save(tmp_path / "two.png", save_all=True, append_images=[frame.rotate(180)])
    assert _refused(tmp_path / "two.png") == ReasonCode.MULTI_FRAME


def test_a_printers_resolution_is_no_pixel_spacing(tmp_path, eight):
    """The pHYs chunk says nothing about the patient."""
    Image.fromarray(eight).save(tmp_path / "dpi.png", dpi=(300, 300))
    assert read_png(tmp_path / "dpi.png", max_pixels=MAX_PIXELS).geometry.spacing_mm is None


def test_the_header_has_a_uid_that_follows_from_the_content(tmp_path, eight):
    """A PNG brings no UID: its own is made from its SHA-256, its series' is the caller's."""
    Image.fromarray(eight).save(tmp_path / "film.png")
    header = read_png_header(tmp_path / "film.png", "ab" * 32, series_instance_uid="2.25.5")
    assert header.sop_instance_uid == derived_uid("ab" * 32)
    assert header.series_instance_uid == "2.25.5"
    assert (header.rows, header.columns, header.bits_stored) == (320, 288, 8)


def test_the_same_film_in_8_and_16_bits_is_the_same_picture(tmp_path, film, eight):
    """Both depths of one film count as one picture; its mirror image does not."""
    Image.fromarray(eight).save(tmp_path / "8.png")
    Image.fromarray(np.rint(film * 65535).astype(np.uint16)).save(tmp_path / "16.png")
    Image.fromarray(eight[:, ::-1].copy()).save(tmp_path / "mirror.png")
    a, b, mirror = (read_png(tmp_path / f"{name}.png", max_pixels=MAX_PIXELS) for name in ("8", "16", "mirror"))
    assert same_picture(a, b)
    assert not same_picture(a, mirror)


def _png(width, height, idat, interlace=0, depth=8, colour_type=0):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, interlace)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", idat) + chunk(b"IEND", b"")
