"""What is taken together: single files, the PNGs of a folder with their study.toml, and exchange media."""

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from typing import NamedTuple

from agcnn_clinic.dicom.media import DICOMDIR, HEAD_BYTES, MediaDirectory, is_media_directory
from agcnn_clinic.domain import MediaType
from agcnn_clinic.intake.discover import Found
from agcnn_clinic.intake.identify import media_type
from agcnn_clinic.intake.items import Container, Group
from agcnn_clinic.intake.medium import Medium, medium_of


class Looked(NamedTuple):
    """What a look at a file's first bytes tells."""

    media_type: MediaType
    media_directory: bool
    """Whether it is a DICOMDIR."""


class Ways(NamedTuple):
    """How the files of one place are looked at."""

    look: Callable[[Found], Looked]
    read_directory: Callable[[Found], MediaDirectory | None]
    """Reads a DICOMDIR; None where it cannot be read."""


def look(file: Found) -> Looked:
    """Look at the first bytes of a file on the disk; one that cannot be opened is of unknown type."""
    try:
        # What was a file a moment ago may be a pipe by now, which would keep its reader waiting for ever.
        descriptor = os.open(file.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as reader:
            head = reader.read(HEAD_BYTES)
    except OSError:
        head = b""
    return Looked(media_type(head, file.name), is_media_directory(head))


def grouped(
    files: Sequence[Found],
    settled: Sequence[Found],
    ways: Ways,
    *,
    remove: bool = False,
    top_is_a_study: bool = False,
    top_is_a_medium: bool = False,
    container: Container | None = None,
) -> Iterator[Group]:
    """Divide the finished files into what is taken together.

    A medium is taken once all of it is finished, its DICOMDIR last. The PNGs of a folder are one study, with its
    study.toml. Everything else is taken alone, each PNG at the top, too. What lies in a folder and is no DICOM waits
    until all below its topmost folder is finished: it may belong to a study or to a medium that is still being copied.

    Args:
        files: all that was found.
        settled: those of them that are finished.
        ways: how to look at them.
        remove: whether the files leave their place.
        top_is_a_study: whether the top folder itself is one of PNGs.
        top_is_a_medium: whether it may be a medium; the inbox itself is none.
        container: the zip that they are in.
    """
    finished = set(settled)
    directories = _directories(files, ways, top_is_a_medium=top_is_a_medium)
    on_media: defaultdict[str, list[Found]] = defaultdict(list)
    elsewhere: list[Found] = []
    for file in files:
        root = _root(file.folder, directories)
        (elsewhere if root is None else on_media[root]).append(file)
    names: defaultdict[Hashable, list[str]] = defaultdict(list)
    for file in files:
        names[file.within].append(file.base)

    def group(together: tuple[Found, ...], medium: Medium | None = None) -> Group:
        return Group(together, remove, medium, container, tuple(names[together[0].within]) if together[1:] else ())

    for together in _by_themselves(elsewhere, finished, ways, top_is_a_study=top_is_a_study):
        yield group(together)
    for root, members in on_media.items():
        if finished.issuperset(members):
            directory = directories[root]
            medium = medium_of(root, (file.name for file in members), ways.read_directory(directory))
            for together in _of_medium(directory, members, ways):
                yield group(together, medium)


def _by_themselves(
    files: Sequence[Found], finished: Collection[Found], ways: Ways, *, top_is_a_study: bool
) -> Iterator[tuple[Found, ...]]:
    """What is taken together of the files that are on no medium."""
    unfinished_tops = {file.top for file in files if file not in finished}
    pngs: defaultdict[Hashable, list[Found]] = defaultdict(list)
    for file in files:
        if not file.folder and not top_is_a_study:
            if file in finished:
                yield (file,)
        elif (kind := ways.look(file).media_type) in (MediaType.PNG, MediaType.STUDY_TOML):
            pngs[file.within].append(file)
        elif file in finished and (kind is MediaType.DICOM or file.top not in unfinished_tops):
            yield (file,)
    yield from (tuple(members) for members in pngs.values() if members[0].top not in unfinished_tops)


def _of_medium(directory: Found, members: Sequence[Found], ways: Ways) -> Iterator[tuple[Found, ...]]:
    """What is taken together of a medium: the PNGs of a folder with a study.toml; and last the DICOMDIR."""
    described = {file.within for file in members if ways.look(file).media_type is MediaType.STUDY_TOML}
    pngs: defaultdict[Hashable, list[Found]] = defaultdict(list)
    for file in members:
        kind = ways.look(file).media_type
        if file.within in described and kind in (MediaType.PNG, MediaType.STUDY_TOML):
            pngs[file.within].append(file)
        elif file != directory:
            yield (file,)
    yield from map(tuple, pngs.values())
    yield (directory,)


def _directories(files: Sequence[Found], ways: Ways, *, top_is_a_medium: bool) -> dict[str, Found]:
    """The DICOMDIR of each medium, by the name of its folder."""
    return {
        file.folder: file
        for file in files
        if file.base.casefold() == DICOMDIR and (file.folder or top_is_a_medium) and ways.look(file).media_directory
    }


def _root(folder: str, directories: dict[str, Found]) -> str | None:
    """The medium that a folder lies on: the nearest DICOMDIR at or above it."""
    if not directories:
        return None
    while folder not in directories:
        if not folder:
            return None
        folder = folder.rpartition("/")[0]
    return folder
