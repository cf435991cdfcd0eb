"""The connection of an association, as it must be for objects to be sent one after another, without a rest."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider

LOOK_SECONDS, GRACE_SECONDS = 0.2, 4.0
"""How often it is asked whether to stop, and how long the archive may take then to answer what it was sent."""


class Line:
    """The connection below an association."""

    def __init__(self, timeout_seconds: float) -> None:
        """No call of the connection may take longer than an answer may: `timeout_seconds`."""
        self._timeout_seconds = timeout_seconds
        self._socket: socket.socket | None = None

    def opened(self, association: Association) -> None:
        """Ready an association whose connection has just been opened.

        pynetdicom sets no limit: an archive that hangs in the middle of a message would hold it, and us, for ever. And
        no side is to wait until the other's system has confirmed what came before, which takes 0.04 s: neither the end
        of a message of ours, nor that of an answer (`confirm`).
        """
        association.dimse = _Answers(association)
        transport = association.dul.socket
        if transport is None or transport.socket is None:
            return
        if not isinstance(transport.socket, ssl.SSLSocket):
            transport.socket = _Prompt(fileno=transport.socket.detach())
        self._socket = transport.socket
        self._socket.settimeout(self._timeout_seconds)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @contextmanager
    def cut_when(self, stopped: Callable[[], bool]) -> Iterator[None]:
        """Cut it where an archive does not answer and it is time to stop: all that waits for the archive ends then."""
        over = threading.Event()

        def look() -> None:
            while not over.wait(LOOK_SECONDS):
                if stopped() and not over.wait(GRACE_SECONDS):
                    self._cut()

        looking = threading.Thread(target=look, name="line", daemon=True)
        looking.start()
        try:
            yield
        finally:
            over.set()
            looking.join()

    def _cut(self) -> None:
        if self._socket is not None:
            with suppress(OSError):  # it may have come to its end
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # TLS would first say so


def confirm(connection: socket.socket) -> None:
    """Have the system confirm what has come, at once.

    What is built on DCMTK writes an answer in two parts, and the second goes when the first is confirmed. The system
    forgets what it is told here: it is told before each time that more is waited for.
    """
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


class _Prompt(socket.socket):
    """A connection that confirms what has come before it waits for more."""

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        confirm(self)
        return super().recv(bufsize, flags)


class _Answers(DIMSEServiceProvider):
    """The messages of an archive, of which each is an answer.

    A thread of pynetdicom's looks for requests among them. It is to stop while an answer is awaited, and does so late
    where cores are short: it took the answer for a request, and whoever had asked waited in vain.
    """

    def get_msg(self, block: bool = False) -> tuple[Any, Any]:
        """The answer that is awaited; nothing for who does not wait."""
        return super().get_msg(block) if block else (None, None)
