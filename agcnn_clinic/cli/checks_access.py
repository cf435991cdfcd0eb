"""What `doctor` looks at to say who may read and change a clinic: the modes of its files, and its audit trail."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from agcnn_clinic.cli.result import Result, State
from agcnn_clinic.config import Config
from agcnn_clinic.lock import owner_of
from agcnn_clinic.users import user_name

if TYPE_CHECKING:
    from agcnn_clinic.database.session import Database

NEWEST_EVENTS = 10_000
"""So many events of the audit trail are checked here; `audit verify` checks all."""

_OTHERS_WRITE = 0o002
"""Of an inbox this is a remark too: many senders know no other way."""


class _Guarded(NamedTuple):
    """A file or folder of a clinic, and the permission bits that it should not have."""

    name: str
    path: Path
    unwanted: int
    advice: str


def modes(config: Config) -> Iterator[Result]:
    """Tell of each file and folder that other users may read or change."""
    found = [(guarded, mode) for guarded in _guarded(config) if (mode := _mode(guarded.path)) & guarded.unwanted]
    for guarded, mode in found:
        harm = mode & _OTHERS_WRITE and guarded.path != config.inbox
        state = State.PROBLEM if harm else State.REMARK
        yield Result("access", state, f"{guarded.name} {guarded.path} has the mode {mode:04o}", guarded.advice)
    if not found:
        yield Result("access", State.OK, "patient data can be read by the clinic's own user alone")


def owners(config: Config, thorough: bool = False) -> Iterator[Result]:
    """Tell of files that another user, such as root, has made by a command, and that the clinic's own cannot read.

    `thorough` looks at each archived file, too.
    """
    owner = owner_of(config)
    closed = [path for path in _made(config, thorough) if _is_closed_to(path, owner)]
    if closed:
        name = user_name(owner)
        yield Result(
            "owner",
            State.PROBLEM,
            f"files that the clinic's user {name} cannot read: {len(closed)}; the first: {closed[0]}",
            f"Give them to {name} (chown), and run commands as that user: runuser -u {name} -- agcnn-clinic ...",
        )


def audit_trail(database: "Database") -> Iterator[Result]:
    """Follow the newest part of the audit trail's chain."""
    from agcnn_clinic.database.audit import verify

    with database.connection() as connection:
        verdict = verify(connection, last=NEWEST_EVENTS)
    if verdict.broken:
        advice = "Keep a copy of the database as it is, and find out who could write it; see SECURITY.md."
        yield Result("audit trail", State.PROBLEM, verdict.broken, advice)
    elif not verdict.count:
        advice = "Was the database made by hand, or the trail emptied? Compare it with a backup; see SECURITY.md."
        yield Result("audit trail", State.REMARK, "there is no event in it", advice)
    else:
        yield Result("audit trail", State.OK, f"the newest {verdict.count} events are as they were written")


def _made(config: Config, thorough: bool) -> Iterator[Path]:
    """What the commands make in a clinic: the inbox's files are senders', and config.toml may be an administrator's."""
    yield from (path for name, path in config.layout.files.items() if name != "configuration")
    for folder in (config.archive, config.quarantine, config.reports):
        yield folder
        inside = list(folder.iterdir()) if os.access(folder, os.R_OK | os.X_OK) else []
        yield from inside
        if folder == config.archive and thorough:
            for part in inside:
                yield from part.glob("*")


def _is_closed_to(path: Path, owner: int) -> bool:
    """Whether a file is another user's, and this one cannot read it: by its mode, where this one is not asking."""
    try:
        status = path.lstat()
    except OSError:
        return False
    if status.st_uid == owner:
        return False
    return not os.access(path, os.R_OK) if os.geteuid() == owner else not status.st_mode & 0o044


def _guarded(config: Config) -> Iterator[_Guarded]:
    for name, folder in (
        ("the archive", config.archive),
        ("the quarantine", config.quarantine),
        ("the reports folder", config.reports),
    ):
        yield _Guarded(name, folder, 0o077, f"It holds patient data: chmod 0700 {folder}")
    files = config.layout.files
    if database := files.get("database"):
        yield _Guarded("the database", database, 0o077, f"It holds patient data: chmod 0600 {database}")
    settings = files["configuration"]
    advice = f"Who may write it decides what the clinic does, and it may hold a password: chmod 0600 {settings}"
    yield _Guarded("the configuration", settings, 0o026, advice)
    # Group and others may pass through to an inbox below it.
    advice = f"Who may write here may put another database or configuration in place: chmod 0710 {config.root}"
    yield _Guarded("the clinic's folder", config.root, 0o026, advice)
    advice = (
        "Other users of this machine may look at the films that wait there, or, where they may write, take some away. "
        f"Give it to a group that senders are in, and chmod 3770 {config.inbox}"
    )
    yield _Guarded("the inbox", config.inbox, 0o007, advice)


def _mode(path: Path) -> int:
    """The permission bits; none for what is not there, of which another check tells."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return 0
