"""What a setting of config.toml may be: what passes here ends in no sum that a calendar or a driver cannot hold."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

LONGEST_SECONDS = 1_000_000
"""Eleven days; who writes more means "for ever"."""


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("holds a character of number 0, which no name has")
    return text


def _path(path: Path) -> Path:
    """A path as the system takes it: only a shell knows what ~ stands for, and a service has another home."""
    if _without_nul(str(path)).startswith("~"):
        raise ValueError("begins with ~, which stands for nobody's folder here: write the whole path")
    return path


def _optional_path(path: str) -> str:
    return str(_path(Path(path))) if path else ""


def _url(url: str) -> str:
    """A database's URL, in which a file's path is one as above."""
    _without_nul(url)
    _path(Path(url.partition(":///")[2]))
    return url


def _some(names: tuple[str, ...]) -> tuple[str, ...]:
    if not all(names):
        raise ValueError("one of them is empty: write it, or take it out")
    if not names:
        raise ValueError("name at least one, since nothing else is read")
    return names


VIEWS = ("PA", "AP", "FRONTAL", "LL", "RL", "LATERAL", "LLD", "RLD", "DECUBITUS", "LLO", "RLO", "OBLIQUE", "LORDOTIC")
"""What `dicom.views` can understand a header to say of the view; beside these there is "OTHER"."""


def _views(names: tuple[str, ...]) -> tuple[str, ...]:
    known = (*VIEWS, "OTHER")
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"{unknown[0]!r} is no view that can be told; there are {', '.join(known)}")
    return names


def _pattern(pattern: str) -> str:
    """A pattern of names, of which some are left."""
    if "*" in pattern and not pattern.strip("*?"):
        raise ValueError("fits every name: nothing would be taken from the inbox")
    return pattern


def _device(name: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", name):
        raise ValueError('is none of "auto", "cpu", "cuda" and "cuda:1"')
    return name


_PEER = re.compile(r"(?P<title>[^@\\]+)@(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:@\[\]]+):(?P<port>\d{1,5})")


def peer(text: str) -> tuple[str, str, int]:
    """The title, the host and the port of an Application Entity that is written as `TITLE@HOST:PORT`.

    Raises:
        ValueError: it is not written so.
    """
    found = _PEER.fullmatch(text)
    if found is None or not 0 < int(found["port"]) < 65_536:
        raise ValueError('is not written as "TITLE@HOST:PORT", like "PACS@pacs.example:104"')
    try:
        found["host"].encode("idna")
    except UnicodeError as error:
        raise ValueError("names a host with a label that is empty or longer than 63 characters") from error
    return _title(found["title"]), found["host"].strip("[]"), int(found["port"])


def _peer(text: str) -> str:
    if text:
        peer(text)
    return text


def _title(text: str) -> str:
    """An Application Entity Title (PS3.5 6.2, AE)."""
    if not (1 <= len(text.strip()) <= 16 and text.isascii() and text.isprintable() and "\\" not in text):
        raise ValueError("is no Application Entity Title: up to 16 plain characters without a backslash")
    return text.strip()


Seconds = Annotated[float, Field(ge=0, le=LONGEST_SECONDS)]
SomeSeconds = Annotated[float, Field(gt=0, le=LONGEST_SECONDS)]
Days = Annotated[int, Field(ge=0, le=36_500)]
Megabytes = Annotated[int, Field(ge=0, le=1_000_000_000)]
SomeMegabytes = Annotated[int, Field(gt=0, le=1_000_000_000)]
Processes = Annotated[int, Field(ge=0, le=1024)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Folder = Annotated[Path, AfterValidator(_path)]
OptionalFile = Annotated[str, AfterValidator(_optional_path)]
DatabaseUrl = Annotated[str, AfterValidator(_url)]
Device = Annotated[str, AfterValidator(_device)]
Text = Annotated[str, AfterValidator(_without_nul)]
Peer = Annotated[str, AfterValidator(_peer)]
Title = Annotated[str, AfterValidator(_title)]
CodeStrings = Annotated[
    tuple[Annotated[str, AfterValidator(lambda text: text.strip().upper())], ...], AfterValidator(_some)
]
"""Of the VR CS, which knows capitals alone (PS3.5 6.2)."""
Views = Annotated[CodeStrings, AfterValidator(_views)]
Patterns = tuple[Annotated[str, AfterValidator(_pattern)], ...]
