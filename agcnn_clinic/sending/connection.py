"""The connection of an association, as it must be for objects to be sent one after another, without a rest."""

import socket
import ssl
from typing import Any

from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider


def prepare(association: Association, timeout_seconds: float) -> None:
    """Ready an association whose connection has just been opened.

    No call of the connection may take longer than an answer: pynetdicom sets no limit, and an archive that hangs in the
    middle of a message would hold us for ever. And no side is to wait until the other's system has confirmed what came
    before, which takes 0.04 s: neither the end of a message of ours, nor that of an answer (`confirm`).
    """
    association.dimse = _Answers(association)
    transport = association.dul.socket
    if transport is None or transport.socket is None:
        return
    if not isinstance(transport.socket, ssl.SSLSocket):
        transport.socket = _Prompt(fileno=transport.socket.detach())
    transport.socket.settimeout(timeout_seconds)
    transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


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
