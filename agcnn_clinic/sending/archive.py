"""A DICOM archive, as far as it is spoken to: does it answer (C-ECHO, PS3.4 A), does it take an object (C-STORE, B)."""

import contextlib
import logging
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import product
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    EncapsulatedPDFStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom import _config, evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS, code_to_category

from agcnn_clinic.config import Config
from agcnn_clinic.dicom.attributes import quiet
from agcnn_clinic.dicom.composite import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from agcnn_clinic.errors import SendingError
from agcnn_clinic.limits import peer
from agcnn_clinic.sending.connection import Line
from agcnn_clinic.sending.objects import Kind, SentObject
from agcnn_clinic.sending.tls import Tls

_VERIFICATION = UID("1.2.840.10008.1.1")
SOP_CLASSES = {Kind.PDF: EncapsulatedPDFStorage, Kind.SR: Comprehensive3DSRStorage}
_SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
_OUT_OF_RESOURCES = range(0xA700, 0xA800)
"""What an archive whose disk is full answers: to each object, so that no other need be tried."""
_DUPLICATE_SOP_INSTANCE = 0x0111
"""What some archives answer to an object that they have (PS3.7 Annex C): the clinic ended before it recorded that."""
_ACCEPTED, _SERVICE_PROVIDER = 0, 3
"""The result of an association that came about, and the source of a refusal for want of room (PS3.8 9.3.3, 9.3.4)."""

_config.STORE_SEND_CHUNKED_DATASET = True  # a path is sent as the file is, and not as what is read of it
# What it says of its errors is said here, in a sentence.
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)

Store = Callable[[SentObject], None]
"""Sends an object. Raises NotTakenError where this one is not taken, and SendingError where none would be."""


class NotTakenError(SendingError):
    """An archive answers, and does not take this object."""


@dataclass(frozen=True)
class Archive:
    """An Application Entity that stores what it is sent.

    Attributes:
        title, host, port: its own.
        calling: what the clinic calls itself.
        timeout_seconds: how long to wait for an answer.
        tls: how it is spoken to by TLS; None: in the clear.
    """

    title: str
    host: str
    port: int
    calling: str
    timeout_seconds: float
    tls: Tls | None = None

    @classmethod
    def configured(cls, config: Config) -> "Archive":
        """The archive that reports are sent to; `sending.to` names one."""
        settings = config.sending
        return cls(*peer(settings.to), settings.ae_title, settings.timeout_seconds, Tls.configured(config))

    def __str__(self) -> str:
        """As config.toml names it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.title}@{host}:{self.port}"

    def check(self) -> list[str]:
        """Ask whether it is there (C-ECHO), and which of the SOP classes that are sent it does not take.

        Returns:
            Their names.

        Raises:
            SendingError: it is not there.
        """
        offered, line = [_VERIFICATION, *SOP_CLASSES.values()], Line(self.timeout_seconds)
        with self._association(offered, line) as association:
            accepted = _accepted(association)
            if _VERIFICATION in accepted:
                self._answer(association.send_c_echo)
            return [uid.name for uid in SOP_CLASSES.values() if uid not in accepted]

    @contextlib.contextmanager
    def connected(self, stopped: Callable[[], bool] = lambda: False) -> Iterator[Store]:
        """An association with it, and what sends an object over that.

        Args:
            stopped: once it says so, an answer is waited for a few seconds and no longer.

        Raises:
            SendingError: it is not there.
        """
        line = Line(self.timeout_seconds)
        with line.cut_when(stopped), self._association(SOP_CLASSES.values(), line) as association:
            accepted = _accepted(association)

            def store(sent: SentObject) -> None:
                sop_class = SOP_CLASSES[sent.kind]
                if sop_class not in accepted:
                    raise NotTakenError(
                        f"The archive {self} does not take objects of {sop_class.name}; let it, or take what is not "
                        "wanted out of sending.objects."
                    )
                with _sendable(sent.file, as_it_is=ExplicitVRLittleEndian in accepted[sop_class]) as sendable:
                    answer = self._answer(lambda: association.send_c_store(sendable))
                self._heed(answer.Status, sop_class.name)

            yield store

    def _answer(self, ask: Callable[[], Dataset]) -> Dataset:
        try:
            with quiet():
                answer = ask()
        except RuntimeError as error:  # the association has ended, be it a moment ago
            raise self._gone() from error
        except ValueError as error:  # pynetdicom's of a message, or of what was agreed upon
            raise SendingError(f"The archive {self} says what DICOM does not allow; its log may say why.") from error
        if "Status" not in answer:
            raise self._gone()
        return answer

    def _heed(self, status: int, name: str) -> None:
        if code_to_category(status) in ("Success", "Warning") or status == _DUPLICATE_SOP_INSTANCE:
            return
        # Not the comment that it may send with it: that could quote the patient.
        _, meaning = STORAGE_SERVICE_CLASS_STATUS.get(status, ("", ""))
        told = f"status {status:04X}" + (f", {meaning.rstrip('.').lower()}" if meaning else "")
        if status in _OUT_OF_RESOURCES:
            raise SendingError(f"The archive {self} has no room ({told}); make some there.")
        raise NotTakenError(f"The archive {self} refuses an object of {name} ({told}); its log may say why.")

    @contextlib.contextmanager
    def _association(self, sop_classes: Collection[str], line: Line) -> Iterator[Association]:
        entity = ApplicationEntity(self.calling)
        entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = self.timeout_seconds
        entity.network_timeout = None  # it is for the archive to say how long it waits for the next object
        # Each by itself: of two in one context an archive takes either, and objects are written in the first.
        for sop_class, syntax in product(sop_classes, _SYNTAXES):
            entity.add_requested_context(sop_class, syntax)
        handshake = self.tls.handshake() if self.tls is not None else None
        try:
            association = entity.associate(
                self.host,
                self.port,
                ae_title=self.title,
                evt_handlers=[(evt.EVT_CONN_OPEN, lambda event: line.opened(event.assoc))],
                tls_args=(handshake.context, self.host) if handshake is not None else None,
            )
        except OSError as error:  # no such name, or no network for this service
            raise SendingError(f"The archive {self} cannot be reached: {error.strerror or error}.") from error
        if not association.is_established:
            raise self._not_there(association, handshake.why if handshake is not None else "")
        try:
            yield association
        finally:
            if association.is_established:
                association.release()

    def _not_there(self, association: Association, tls: str) -> SendingError:
        # Where the answer came before pynetdicom looked for a connection, it finds none any more, and leaves that.
        answer = association.acceptor.primitive or association.dul.peek_next_pdu()
        if isinstance(answer, A_ASSOCIATE) and answer.result != _ACCEPTED:
            why = answer.reason_str.lower()
            if answer.result_source == _SERVICE_PROVIDER:
                return SendingError(f"The archive {self} has no association free ({why}); let it take more at once.")
            return SendingError(
                f"The archive {self} refuses to speak with {self.calling} ({why}); make the two titles known there, or "
                "set sending.to and sending.ae_title right."
            )
        if association.acceptor.primitive is not None:
            return SendingError(f"The archive {self} takes none of the objects that are sent; see docs/DICOM.md.")
        if tls:
            return SendingError(f"The archive {self} {tls}.")
        return SendingError(
            f"The archive {self} does not answer; see that it runs, and that sending.to and sending.tls are right."
        )

    def _gone(self) -> SendingError:
        return SendingError(f"The archive {self} has stopped answering; see that it runs.")


def _accepted(association: Association) -> dict[UID, set[UID]]:
    """The SOP classes that are taken, each with the transfer syntaxes that were agreed upon, of those offered."""
    accepted: dict[UID, set[UID]] = {}
    for context in association.accepted_contexts:
        if context.abstract_syntax is not None and (syntaxes := set(context.transfer_syntax).intersection(_SYNTAXES)):
            accepted.setdefault(context.abstract_syntax, set()).update(syntaxes)
    return accepted


@contextlib.contextmanager
def _sendable(file: bytes, *, as_it_is: bool) -> Iterator[Path | Dataset]:
    """What pynetdicom sends of a file: the path of one in memory, which it sends as it is, else its data set.

    To encode a data set anew takes 0.05 s of a core, and Python's lock with it.
    """
    if not as_it_is:
        yield dcmread(BytesIO(file))
        return
    with os.fdopen(os.memfd_create("report"), "wb", buffering=0) as memory:
        memory.write(file)
        yield Path(f"/proc/self/fd/{memory.fileno()}")
