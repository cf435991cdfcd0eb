"""What of a clinic may lie where: all that lies in the inbox is taken out of it, and the archive holds films alone."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from agcnn_clinic.errors import ConfigError, UsageError

_INSTEAD = {
    "inbox": "what lies there is read without being named",
    "archive": "name single files of it, as `agcnn-clinic db unlisted` lists them",
    "quarantine": "`agcnn-clinic quarantine requeue` has a file of it read again",
}
_FILMS = "name films, or folders that hold nothing of the clinic's own"


def remade_beside(report: Path) -> Path:
    """Where a report lies that was made again and came out otherwise than the one that was delivered."""
    return report.with_suffix(".remade.pdf")


def require_utf8(folder: Path) -> None:
    """See that the name of a clinic's folder is text: the database keeps paths, and commands print them.

    Raises:
        ConfigError: it holds bytes that are no UTF-8.
    """
    try:
        str(folder).encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"The name of the folder {str(folder)!a} is not UTF-8; give it another one.") from error


class Layout(NamedTuple):
    """Where the parts of a clinic lie, as absolute paths."""

    inbox: Path
    archive: Path
    quarantine: Path
    reports: Path
    files: Mapping[str, Path]
    """What else it cannot do without, by what a person calls it."""

    @property
    def folders(self) -> dict[str, Path]:
        """The folders that hold what was sent and what is made of it, by what a person calls them."""
        return {"inbox": self.inbox, "archive": self.archive, "quarantine": self.quarantine, "reports": self.reports}

    @property
    def parts(self) -> dict[str, Path]:
        """All of them, by what a person calls them."""
        return self.folders | {**self.files}

    def on_disk(self) -> "Layout":
        """The same with links followed: disks are asked, and a share that is away may let one wait."""
        folders = {name: Path(os.path.realpath(path)) for name, path in self.folders.items()}
        return Layout(**folders, files={name: Path(os.path.realpath(path)) for name, path in self.files.items()})

    def check(self) -> None:
        """See that no part takes another one for files that were sent, or for films.

        Raises:
            ConfigError: one does; the sentence names both.
        """
        for outer, inner in self._forbidden():
            around, within = self.parts[outer], self.parts[inner]
            if _holds(around, within):
                raise ConfigError(
                    f"The {outer} folder ({around}) holds the {inner} ({within}): have them lie apart, as [folders] in "
                    "config.toml says."
                )

    def check_source(self, source: Path) -> None:
        """See that nothing of the clinic's own is read as if it had been sent; links are followed.

        A single file of the archive may be read: after a restore there are some that no row names.

        Raises:
            UsageError: `source`, which a person has named, belongs to the clinic or holds a part of it.
        """
        here, real = self.on_disk(), Path(os.path.realpath(source))
        if real.is_file() and _holds(here.archive, real):
            return
        for name, path in here.parts.items():
            if _holds(path, real):
                advice = _INSTEAD.get(name, _FILMS)
                raise UsageError(f"{source} belongs to this clinic's {name} ({path}): {advice}.")
            if _holds(real, path):
                raise UsageError(f"{source} holds this clinic's {name} ({path}): {_FILMS}.")

    def _forbidden(self) -> Iterator[tuple[str, str]]:
        """Which part must not hold which."""
        yield from (("inbox", part) for part in self.parts if part != "inbox")
        yield from ((folder, "inbox") for folder in self.folders if folder != "inbox")
        # What lies in the archive and has no row counts as a film that was lost to the database.
        yield from (("archive", part) for part in self.parts if part not in ("archive", "inbox"))


def _holds(outer: Path, inner: Path) -> bool:
    """Whether `inner` lies in `outer`, or is it."""
    return inner.is_relative_to(outer)
