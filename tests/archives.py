"""A DICOM archive of the tests' own: a real one, on loopback, that keeps in memory what it is sent."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from socketserver import BaseServer
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import Comprehensive3DSRStorage, EncapsulatedPDFStorage, Verification
from pynetdicom.transport import ThreadedAssociationServer

SUCCESS = 0x0000
POLL_SECONDS = 0.02


class _Server(ThreadedAssociationServer):
    """One that looks up more often than twice a second whether it is to stop."""

    def service_actions(self) -> None:
        """At each look pynetdicom counts, and collects garbage every minute: not as often as this looks."""

    def shutdown(self) -> None:
        """As pynetdicom's, which then takes it off the list of those that it has started itself."""
        BaseServer.shutdown(self)
        self.server_close()


class _InParts(socket.socket):
    """A connection that writes twelve bytes at a time: DCMTK writes the head of an answer by itself."""

    def send(self, data: bytes, flags: int = 0, /) -> int:
        return super().send(data[:12], flags)


class Archive:
    """Its Application Entity, which answers as it is told to.

    Attributes:
        stored: what it took, in order.
        heard: the modality of each object that it was sent, be it taken or not.
        answers: the statuses of the next answers; None: it ends the association instead.
        answer: gives what it answers to an object after them.
    """

    def __init__(
        self,
        *,
        takes: Sequence[str] = (EncapsulatedPDFStorage, Comprehensive3DSRStorage),
        syntaxes: Sequence[str] = (ExplicitVRLittleEndian, ImplicitVRLittleEndian),
        tls: ssl.SSLContext | None = None,
        in_parts: bool = False,
    ) -> None:
        self.stored: list[Dataset] = []
        self.heard: list[str] = []
        self.answers: list[int | None] = []
        self.answer: Callable[[Dataset], int | None] = lambda _: SUCCESS
        self._takes, self._syntaxes, self._tls, self._in_parts = takes, syntaxes, tls, in_parts
        self._changed = threading.Condition()
        self._left = threading.Event()
        self._server: Any = None
        self._port = 0
        self.start()

    def start(self) -> None:
        """Begin to listen, at the same port as before."""
        entity = AE("PACS")
        entity.require_called_aet = True
        for sop_class in (*self._takes, Verification):
            entity.add_supported_context(sop_class, list(self._syntaxes))
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_CONN_CLOSE, lambda _: self._left.set())]
        if self._in_parts:
            handlers.append((evt.EVT_CONN_OPEN, self._write_in_parts))
        self._server = entity.make_server(
            ("127.0.0.1", self._port),
            ssl_context=self._tls,
            evt_handlers=handlers,
            server_class=_Server,
        )
        threading.Thread(target=self._server.serve_forever, args=[POLL_SECONDS], daemon=True).start()
        self._port = self._server.server_address[1]

    def stop(self) -> None:
        """Hear nothing more; who speaks is cut off."""
        if self._server is not None:
            for association in self._server.active_associations:
                association.abort()
            self._server.shutdown()
        self._server = None

    @property
    def address(self) -> str:
        """What `sending.to` is set to."""
        return f"PACS@127.0.0.1:{self._port}"

    def of(self, modality: str) -> list[Dataset]:
        """What it took of one modality."""
        return [dataset for dataset in self.stored if dataset.Modality == modality]

    def wait_for(self, count: int, seconds: float = 120.0) -> list[Dataset]:
        """Wait until it has taken so many objects; gives all of them."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.stored) >= count, seconds), f"{len(self.stored)} of {count}"
        return self.stored

    def is_left(self, *, within: float) -> bool:
        """Whether a connection to it comes to its end within so many seconds, or has."""
        return self._left.wait(within)

    def _write_in_parts(self, event: Any) -> None:
        transport = event.assoc.dul.socket
        transport.socket = _InParts(fileno=transport.socket.detach())

    def _store(self, event: Any) -> int:
        dataset = event.dataset
        self.heard.append(dataset.Modality)
        status = self.answers.pop(0) if self.answers else self.answer(dataset)
        if status is None:
            event.assoc.abort()
            return SUCCESS
        if status == SUCCESS:
            dataset.file_meta = event.file_meta
            with self._changed:
                self.stored.append(dataset)
                self._changed.notify_all()
        return status


@contextmanager
def serving(**settings: Any) -> Iterator[Archive]:
    """An archive for the length of a `with` block."""
    archive = Archive(**settings)
    try:
        yield archive
    finally:
        archive.stop()
