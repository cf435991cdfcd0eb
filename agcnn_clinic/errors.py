"""Every failure of the clinic, with the exit code, the disposition and the advice that belong to it.

An error's message is one sentence for a person that says what to do. `cli.main` is the only place that
turns an error into an exit code; the loops are the only places that turn one into an outcome of a file.
"""

import errno
from enum import IntEnum, StrEnum


class ExitCode(IntEnum):
    """What a command's exit status says."""

    DONE = 0
    """All that was asked for was done."""
    NOT_ALL = 1
    """Done, but something was quarantined or failed."""
    USAGE = 2
    """The command line or the configuration is wrong."""
    MODEL = 3
    """The model cannot be used."""
    DATABASE = 4
    """The database cannot be used."""


class OnError(StrEnum):
    """What a loop does with the work in hand when an error meets it."""

    RETRY = "retry"
    """The cause lies outside the file and may pass: leave the file as it is, try again later."""
    QUARANTINE = "quarantine"
    """The file is broken or hostile: keep it apart, with the reason beside it."""
    STOP = "stop"
    """Nothing can go on before a person has acted."""


class ClinicError(Exception):
    """The root of all errors of this package.

    Attributes:
        exit_code: the exit status of a command that this error ends.
        on_error: what a loop does with the file in hand.
    """

    exit_code = ExitCode.NOT_ALL
    on_error = OnError.STOP


class UsageError(ClinicError):
    """The command line asks for something that does not exist or is ambiguous."""

    exit_code = ExitCode.USAGE


class ConfigError(ClinicError):
    """config.toml is missing, unreadable, or says something impossible."""

    exit_code = ExitCode.USAGE


class ClinicBusyError(ClinicError):
    """Another process holds this clinic's lock."""

    exit_code = ExitCode.USAGE


class ModelUnavailableError(ClinicError):
    """The configured model bundle cannot be opened or does not match what the database knows of it."""

    exit_code = ExitCode.MODEL


class DatabaseError(ClinicError):
    """The database is missing, behind or ahead of the software, or cannot be reached."""

    exit_code = ExitCode.DATABASE


class StorageError(ClinicError):
    """A folder of the clinic cannot be read or written: disk full, permission denied, gone."""

    on_error = OnError.RETRY


class RenderingError(ClinicError):
    """A report cannot be made into a PDF: the process that does it ran out of time or memory, or crashed."""

    on_error = OnError.RETRY


class SendingError(ClinicError):
    """An archive does not answer, or does not take a report."""

    on_error = OnError.RETRY


class LeaseLostError(ClinicError):
    """Another worker has taken over what this one had in hand; nothing of it was recorded here."""

    on_error = OnError.RETRY


class RemovedError(ClinicError):
    """What was asked for needs bytes that retention has removed."""


FAULTS_OF_A_FILE = (None, errno.EINVAL, errno.EOVERFLOW)
"""Numbers of OSErrors that a file's content causes: parsers raise some without one, and seek to where a length points.

All others speak of the disk. To mix them up would try a broken file again for ever, or blame a sound one.
"""


class ChildrenUnavailableError(ClinicError):
    """The child processes that read files, or render, cannot be started, or do not live: no file may be blamed."""


class ImageError(ClinicError):
    """A file whose image is not read; the code says which of `domain.ReasonCode` and so what becomes of it.

    Attributes:
        code: a value of `domain.ReasonCode`.
        detail: what was found, completing the code's sentence; never holds patient data.
    """

    on_error = OnError.QUARANTINE

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
        self.detail = detail

    def __reduce__(self) -> tuple[type["ImageError"], tuple[str, str]]:
        # Exceptions cross a process boundary by their constructor's arguments.
        return type(self), (self.code, self.detail)
