"""What tests of intake drop into an inbox."""

from pathlib import Path

from PIL import Image


def png(path: Path, grey: int = 0) -> bytes:
    """A small PNG of one grey, in a folder that is made where it is missing; returns its bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (32, 32), grey).save(path, format="PNG")
    return path.read_bytes()


def text(path: Path, size: int, letter: str = "x") -> Path:
    """A file that is no image, of so many bytes."""
    path.write_text(letter * size)
    return path
