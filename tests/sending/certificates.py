"""Certificates of the tests' own, made by openssl."""

import shutil
import ssl
import subprocess
from pathlib import Path
from ssl import TLSVersion

import pytest


def make(file: Path, *, host: str = "IP:127.0.0.1", password: str = "", signed_by: Path | None = None) -> Path:
    """Write a certificate with its key into a file in PEM; it serves to be trusted, too, and to sign others.

    Args:
        file: where to.
        host: whose it is, as a subject's alternative name.
        password: what the key is encrypted with.
        signed_by: the one whose key signs it; None: its own does.
    """
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed (Debian: openssl)")
    key = file.with_suffix(".key")
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout", key]
    secret = ["-passout", f"pass:{password}"] if password else ["-nodes"]
    signer = ["-CA", signed_by, "-CAkey", signed_by] if signed_by is not None else []
    whose = ["-subj", f"/CN={file.stem}", "-addext", f"subjectAltName={host}"]
    command = ["openssl", "req", "-x509", *new_key, *secret, *signer, *whose, "-out", file]
    subprocess.run(command, check=True, capture_output=True)
    file.write_bytes(file.read_bytes() + key.read_bytes())
    key.unlink()
    return file


def expired(file: Path) -> Path:
    """Write one of 127.0.0.1 that has signed itself and whose days were over in 2021."""
    make(file)
    settings = file.with_suffix(".cnf")
    index = file.with_suffix(".index")
    index.touch()
    settings.write_text(
        f"[ca]\ndefault_ca=own\n[own]\ndatabase={index}\nnew_certs_dir={file.parent}\nrand_serial=yes\n"
        "default_md=sha256\npolicy=any\ncopy_extensions=copy\n[any]\ncommonName=supplied\n"
    )
    asked, signed = file.with_suffix(".csr"), file.with_suffix(".signed")
    whose = ["-subj", "/CN=expired", "-addext", "subjectAltName=IP:127.0.0.1"]
    days = ["-startdate", "200101000000Z", "-enddate", "210101000000Z"]
    ask = ["req", "-new", "-key", file, *whose, "-out", asked]
    sign = ["ca", "-selfsign", "-batch", "-notext", "-config", settings, "-keyfile", file, "-in", asked, "-out", signed]
    for command in (ask, [*sign, *days]):
        subprocess.run(["openssl", *command], check=True, capture_output=True)
    _, begin, key = file.read_bytes().partition(b"-----BEGIN PRIVATE")
    file.write_bytes(signed.read_bytes() + begin + key)
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
