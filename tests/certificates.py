"""Certificates of the tests' own, made by openssl."""

import shutil
import ssl
import subprocess
from pathlib import Path
from ssl import TLSVersion

import pytest


def make(file: Path, *, host: str = "IP:127.0.0.1", password: str = "") -> Path:
    """Write a certificate that has signed itself, with its key, into a file in PEM; it serves to be trusted, too.

    Args:
        file: where to.
        host: whose it is, as a subject's alternative name.
        password: what the key is encrypted with.
    """
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed (Debian: openssl)")
    key = file.with_suffix(".key")
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout", key]
    secret = ["-passout", f"pass:{password}"] if password else ["-nodes"]
    whose = ["-subj", "/CN=tests", "-addext", f"subjectAltName={host}"]
    command = ["openssl", "req", "-x509", *new_key, *secret, *whose, "-out", file]
    subprocess.run(command, check=True, capture_output=True)
    file.write_bytes(file.read_bytes() + key.read_bytes())
    key.unlink()
    return file


def server(own: Path, *, clients: Path | None = None, version: TLSVersion = TLSVersion.TLSv1_3) -> ssl.SSLContext:
    """What a server speaks TLS by.

    Args:
        own: its certificate.
        clients: what must have signed its clients'; None: it asks for none.
        version: the one version that it speaks.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own)
    context.minimum_version = context.maximum_version = version
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
    return context
