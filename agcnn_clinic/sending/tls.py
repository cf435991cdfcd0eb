"""TLS with an archive, as PS3.15 B.12 has it: 1.2 or newer, and with nobody whose certificate is not trusted."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agcnn_clinic.config import Config
from agcnn_clinic.errors import SendingError
from agcnn_clinic.sending.connection import confirm

_NOT_YET_VALID, _EXPIRED = 9, 10
"""What OpenSSL calls a certificate whose days are to come, or over (X509_V_ERR_...)."""


@dataclass(frozen=True)
class Tls:
    """Whom the clinic trusts, and how it shows who it is itself.

    Attributes:
        trusted: certificates (PEM), of which one must have signed the archive's; None: those that this machine trusts.
        certificate: the clinic's own (PEM), with its key; None: it shows none.
    """

    trusted: Path | None = None
    certificate: Path | None = None

    @classmethod
    def configured(cls, config: Config) -> "Tls | None":
        """As the settings have it; None where the archive is spoken to in the clear."""
        settings = config.sending
        if not settings.tls:
            return None
        files = (settings.tls_trusted, settings.tls_certificate)
        return cls(*(config.root / file if file else None for file in files))

    def handshake(self) -> "Handshake":
        """What one association begins with. The files are read anew for each, since certificates are renewed.

        Raises:
            SendingError: one of the files cannot be read.
        """
        try:
            context = ssl.create_default_context(cafile=self.trusted)
        except OSError as error:
            raise _unreadable("tls_trusted", self.trusted, "certificates", error) from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2  # whatever this machine would speak
        # The same is trusted by every Python. From 3.13 on, who signed the archive's certificate suffices without who
        # signed his, as is wanted here; and an authority is refused whose own certificate lacks extensions that RFC
        # 5280 asks for, as those of hospitals may, which is not.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if self.certificate is not None:
            try:
                # Without an answer OpenSSL would ask the terminal for the password of a key that has one.
                context.load_cert_chain(self.certificate, password=lambda: "")
            except OSError as error:
                what = "a certificate and its key without a password"
                raise _unreadable("tls_certificate", self.certificate, what, error) from error
        return Handshake(context)


class Handshake:
    """What one connection speaks TLS by, and why it could not: pynetdicom tells nobody but its log.

    Attributes:
        context: what the connection is wrapped by.
        failure: what TLS failed of; None while it did not.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        """Have what is made of `context` tell of its failures."""
        self.context = context
        self.failure: ssl.SSLError | None = None
        context.sslsocket_class = self._telling()

    @property
    def why(self) -> str:
        """What the other side does, or does not, that TLS failed of, and what to do; "" where it did not fail."""
        if self.failure is None:
            return ""
        if isinstance(self.failure, ssl.SSLCertVerificationError):
            what = f"shows a certificate that is not trusted ({self.failure.verify_message.rstrip('.')})"
            if self.failure.verify_code in (_NOT_YET_VALID, _EXPIRED):
                return f"{what}; have it renewed there, or the clock of this machine set right"
            return f"{what}; have sending.tls_trusted name who signed it, and sending.to a host that it names"
        told = _told(self.failure)
        if "alert" in told:
            return f"refuses the clinic's certificate or way of TLS ({told}); set sending.tls_certificate right for it"
        return f"does not speak TLS ({told}); name the port where it does, or set sending.tls to false"

    def _telling(self) -> type[ssl.SSLSocket]:
        heeded = self._heeded

        class Socket(ssl.SSLSocket):
            def do_handshake(self, block: bool = False) -> None:
                with heeded():
                    super().do_handshake(block)

            def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
                confirm(self)
                # Here alone it is heard, in TLS 1.3, that the other side does not trust ours.
                with heeded():
                    return super().recv(buflen, flags)

        return Socket

    @contextmanager
    def _heeded(self) -> Iterator[None]:
        try:
            yield
        except ssl.SSLError as error:
            self.failure = error
            raise


def _unreadable(setting: str, path: Path | None, what: str, error: OSError) -> SendingError:
    why = _told(error) if isinstance(error, ssl.SSLError) else error.strerror
    return SendingError(f"{path}, which sending.{setting} names, cannot be read as {what} in PEM ({why}).")


def _told(error: ssl.SSLError) -> str:
    """OpenSSL's name of a failure, in words."""
    return (error.reason or "it ended").lower().replace("_", " ")
