"""Hints from the operating system that something happened in the inbox. The rescan finds what they miss."""

import logging
import os
import threading
from pathlib import Path
from typing import Literal, Self

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from agcnn_clinic.database.storage import file_system_of, is_network_file_system, mounts

log = logging.getLogger(__name__)


_NEWS: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileClosedEvent,
    FileMovedEvent,
    DirCreatedEvent,
    DirMovedEvent,
]
"""What is no news, the kernel does not tell: to open, read and remove files is the clinic's own doing. One that is not
closed yet is looked at again by itself, until it has settled."""


class _Wake(FileSystemEventHandler):
    def __init__(self, arrived: threading.Event) -> None:
        self._arrived = arrived

    def on_any_event(self, event: FileSystemEvent) -> None:
        del event
        self._arrived.set()


class Hints:
    """Sets an event whenever something has come into the inbox, for the length of a `with` block.

    With "polling", and on network file systems, which tell nothing of other machines' writes, it is never set.
    """

    def __init__(self, inbox: Path, mode: Literal["auto", "events", "polling"], arrived: threading.Event) -> None:
        self._inbox = inbox
        self._arrived = arrived
        self._wanted = mode == "events" or (mode == "auto" and not _on_another_machine(inbox))
        self._observer: BaseObserver | None = None
        self._watched: tuple[int, int] | None = None
        """The folder that is watched, by device and inode."""

    def __enter__(self) -> Self:
        """Begin to watch."""
        if not self._wanted:
            log.info("the inbox is looked through at intervals")
        self.renew()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop watching."""
        self._stop()

    def renew(self) -> None:
        """Watch the inbox that is there now: one that was deleted and made again, or mounted anew, is another one."""
        folder = self._look()
        if not self._wanted or (folder == self._watched and (folder is None or self._is_alive())):
            return
        self._stop()
        self._watched = folder
        if folder is not None:
            self._start()

    def _look(self) -> tuple[int, int] | None:
        """The inbox as it lies there now; None where it cannot be looked through."""
        try:
            with os.scandir(self._inbox):
                status = self._inbox.stat()
        except OSError:
            return None  # whoever looks through it says so
        return status.st_dev, status.st_ino

    def _start(self) -> None:
        observer = Observer()
        try:
            observer.schedule(_Wake(self._arrived), str(self._inbox), recursive=True, event_filter=_NEWS)
            observer.start()
        except OSError as error:
            self._wanted = False
            log.warning("no events from the inbox (%s); it is looked through at intervals", error.strerror)
            return
        self._observer = observer
        # What came between the last look and this moment has made no event.
        self._arrived.set()

    def _stop(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None

    def _is_alive(self) -> bool:
        return self._observer is not None and all(emitter.is_alive() for emitter in self._observer.emitters)


def _on_another_machine(folder: Path) -> bool:
    return is_network_file_system(file_system_of(folder.resolve(), mounts()))
