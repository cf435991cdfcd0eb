"""What `doctor` looks at in a clinic's folders: can one work with them, what waits there, how much room is left."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from agcnn_clinic.cli.result import Result, State
from agcnn_clinic.config import Config

LOW_DISK_BYTES = 5 * 1024**3
"""Below this much free space there is a remark."""


def folders(config: Config) -> Iterator[Result]:
    """Each folder of the clinic is there and can be written; none lies in another one."""
    for name, folder in config.layout.folders.items():
        if not folder.is_dir():
            yield Result(
                f"{name} folder",
                State.PROBLEM,
                f"{folder} does not exist",
                "Is its disk mounted? If so, run `agcnn-clinic init` in the clinic's folder: it makes what is missing "
                "and changes nothing else.",
            )
        elif (error := _cannot_write(folder)) is not None:
            yield Result(
                f"{name} folder",
                State.PROBLEM,
                f"{folder} cannot be written: {error}",
                "Give the user that runs agcnn-clinic the right to write there.",
            )
        else:
            yield Result(f"{name} folder", State.OK, str(folder))
    config.layout.on_disk().check()  # last: what it raises ends this check


def inbox(config: Config) -> Iterator[Result]:
    """What of the inbox cannot be looked into, and what has lain there for long."""
    from agcnn_clinic.cli.formats import printable
    from agcnn_clinic.intake.discover import Walk
    from agcnn_clinic.intake.settle import LONG_WAIT_SECONDS

    before = time.time() - LONG_WAIT_SECONDS
    walk = Walk(config.inbox, config.intake.ignore)
    waiting = sum(_changed(file.path) < before for file in walk)
    if walk.unlisted and config.inbox.is_dir():
        name, why = next(iter(walk.unlisted.items()))
        yield Result(
            "inbox",
            State.PROBLEM,
            f"folders that cannot be looked into: {len(walk.unlisted)}; the first: "
            f"{printable(str(config.inbox / name))} ({why})",
            "What lies there is not taken. Give the user that runs agcnn-clinic the right to read and change it; "
            "SECURITY.md says how an inbox is made so that senders cannot shut it out.",
        )
    if walk.no_files:
        yield Result(
            "inbox",
            State.REMARK,
            f"links, pipes or devices: {len(walk.no_files)}; the first: "
            f"{printable(str(config.inbox / walk.no_files[0]))}",
            "What a link leads to is not taken: have the files themselves written there, or mount the folder there.",
        )
    if waiting:
        yield Result(
            "inbox",
            State.REMARK,
            f"files that have lain there for more than {LONG_WAIT_SECONDS / 60:.0f} minutes: {waiting}",
            "Does `watch` run? Its log says what keeps them there. What is no DICOM waits while anything in "
            "the same topmost folder is still being written: take away what never ends.",
        )


def disks(config: Config) -> Iterator[Result]:
    """Room on the disks of the folders, and of what else intake looks at."""
    from agcnn_clinic.intake.disk import watched_folders

    watched = watched_folders(config)
    least = config.intake.min_free_mb * 1_000_000
    there = {name: folder for name, folder in (config.layout.folders | watched).items() if folder.is_dir()}
    sharing: dict[int, list[str]] = {}
    for name, folder in there.items():
        sharing.setdefault(folder.stat().st_dev, []).append(name)
    for names in sharing.values():
        usage = shutil.disk_usage(there[names[0]])
        found = f"{usage.free / 1024**3:.1f} of {usage.total / 1024**3:.0f} GiB free ({', '.join(names)})"
        stops_intake = least > 0 and not watched.keys().isdisjoint(names)
        if usage.free < least and stops_intake:
            told = f"{found}; intake stops below intake.min_free_mb ({config.intake.min_free_mb} MB)"
            yield Result("disk", State.PROBLEM, told, "Make room, or let [retention] do so: files wait in the inbox.")
        elif usage.free < LOW_DISK_BYTES:
            may_go = not {"archive", "quarantine", "reports"}.isdisjoint(names)
            advice = [
                "Make room soon" + (": intake stops below intake.min_free_mb." if stops_intake else "."),
                "[retention] can keep room." if may_go else "",
                "On a full one, senders cannot drop anything." if "inbox" in names else "",
            ]
            yield Result("disk", State.REMARK, found, " ".join(filter(None, advice)))
        else:
            yield Result("disk", State.OK, found)
    if {"archive", "quarantine"} <= there.keys():
        together = there["archive"].stat().st_dev == there["quarantine"].stat().st_dev
        if not together:
            yield Result(
                "archive and quarantine",
                State.REMARK,
                "on different file systems",
                "A quarantined file takes its space twice; put both folders on one file system to share it.",
            )


def _changed(path: Path) -> float:
    """When a file came to lie where it is, or changed, by the clock; never for one that is gone by now."""
    try:
        return path.lstat().st_ctime
    except OSError:
        return float("inf")


def _cannot_write(folder: Path) -> str | None:
    """Why a file cannot be made in a folder; None when it can. Permission bits do not tell: mounts can be read-only."""
    try:
        # A leading dot: the inbox ignores such names, so the daemon does not take the probe for a study.
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-", suffix=".tmp"):
            return None
    except OSError as error:
        return error.strerror or str(error)
