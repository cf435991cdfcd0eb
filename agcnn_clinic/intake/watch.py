"""Hints from the operating system that something happened in the inbox. The rescan finds what they miss."""

import contextlib
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from agcnn_clinic.database.storage import file_system_of, is_network_file_system, mounts

log = logging.getLogger(__name__)


class _Wake(FileSystemEventHandler):
    def __init__(self, arrived: threading.Event) -> None:
        self._arrived = arrived

    def on_any_event(self, event: FileSystemEvent) -> None:
        # Our own reading of a file is no news; only what writes, renames or removes one is.
        if event.event_type not in ("opened", "closed_no_write"):
            self._arrived.set()


@contextlib.contextmanager
def watching(inbox: Path, mode: Literal["auto", "events", "polling"], arrived: threading.Event) -> Iterator[None]:
    """Set `arrived` whenever something changes in the inbox, for the length of a `with` block.

    With "polling", and on network file systems, which tell nothing of other machines' writes, it is never set.
    """
    if mode == "polling" or (mode == "auto" and _on_another_machine(inbox)):
        log.info("the inbox is looked through at intervals")
        yield
        return
    observer = Observer()
    try:
        observer.schedule(_Wake(arrived), str(inbox), recursive=True)
        observer.start()
    except OSError as error:
        log.warning("no events from the inbox (%s); it is looked through at intervals", error.strerror)
        yield
        return
    try:
        yield
    finally:
        observer.stop()
        observer.join()


def _on_another_machine(folder: Path) -> bool:
    return is_network_file_system(file_system_of(folder.resolve(), mounts()))
