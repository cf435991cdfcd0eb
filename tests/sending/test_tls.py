"""TLS with a real archive on loopback: one that is trusted, one that is not, and whom it trusts itself."""

import shutil
import socket
from pathlib import Path
from ssl import TLSVersion

import certificates
import pytest

from agcnn_clinic.errors import SendingError

VERSIONS = pytest.mark.parametrize("version", [TLSVersion.TLSv1_2, TLSVersion.TLSv1_3])


@pytest.fixture(scope="session")
def pems(tmp_path_factory):
    """The certificates of the archive, of the clinic and of a stranger."""
    folder = tmp_path_factory.mktemp("certificates")
    return {whose: str(certificates.make(folder / f"{whose}.pem")) for whose in ("archive", "clinic", "stranger")}


@VERSIONS
def test_an_object_arrives_at_an_archive_that_is_trusted(new_archive, pems, named, a_pdf, version):
    """As it was; and the archive says that it is there, and takes both kinds of object."""
    archive = new_archive(tls=certificates.server(pems["archive"], version=version))
    trusted = named(archive.address, tls=True, tls_trusted=pems["archive"])
    assert trusted.check() == []
    with trusted.connected() as store:
        store(a_pdf())
    (stored,) = archive.stored
    assert (stored.SOPInstanceUID, stored.PatientName) == ("2.25.1", "Berg^Anna")


@pytest.fixture
def chain(tmp_path):
    """The certificates of an authority, of one that it has signed, and of the archive, which that one has signed."""
    made: dict[str, Path] = {}
    for whose, signer in (("root", None), ("issuer", "root"), ("archive", "issuer")):
        signed_by = None if signer is None else made[signer]
        made[whose] = certificates.make(tmp_path / f"{whose}.pem", signed_by=signed_by)
    return made


@pytest.mark.parametrize("trusted", ["issuer", "archive"])
def test_whoever_signed_the_archives_certificate_may_be_trusted_alone(new_archive, chain, named, trusted):
    """Or that certificate itself: a hospital is often given no more of a maker's archive."""
    archive = new_archive(tls=certificates.server(chain["archive"]))
    assert named(archive.address, tls=True, tls_trusted=str(chain[trusted])).check() == []


def test_an_archive_may_show_by_whom_its_certificate_was_signed(new_archive, chain, named):
    """Then the authority above all is trusted, and suffices; without that it does not."""
    root, issuer, own = (chain[whose] for whose in ("root", "issuer", "archive"))
    bare = new_archive(tls=certificates.server(own))
    with pytest.raises(SendingError, match=r"not trusted \(unable to get local issuer certificate\)"):
        named(bare.address, tls=True, tls_trusted=str(root)).check()
    own.write_bytes(own.read_bytes() + issuer.read_bytes())
    assert named(new_archive(tls=certificates.server(own)).address, tls=True, tls_trusted=str(root)).check() == []


@pytest.mark.parametrize("trusted", ["stranger", None])
def test_one_that_is_not_trusted_is_told_nothing(new_archive, pems, named, trusted):
    """Another has signed its certificate; and by itself a machine trusts nobody who signed for himself."""
    archive = new_archive(tls=certificates.server(pems["archive"]))
    settings = {} if trusted is None else {"tls_trusted": pems[trusted]}
    with pytest.raises(SendingError, match=r"not trusted \(self-signed certificate\); have sending\.tls_trusted name"):
        named(archive.address, tls=True, **settings).check()


def test_one_whose_certificate_is_over_is_told_nothing(new_archive, named, tmp_path):
    """Whoever signed it: to name him would not help."""
    over = certificates.expired(tmp_path / "over.pem")
    archive = new_archive(tls=certificates.server(over))
    with pytest.raises(SendingError, match=r"not trusted \(certificate has expired\); have it renewed there"):
        named(archive.address, tls=True, tls_trusted=str(over)).check()


def test_one_of_another_host_is_told_nothing(new_archive, named, tmp_path):
    """A certificate is a host's, and sending.to names that."""
    other = certificates.make(tmp_path / "other.pem", host="DNS:pacs.example")
    archive = new_archive(tls=certificates.server(other))
    with pytest.raises(SendingError, match=r"IP address mismatch.* and sending\.to a host that it names\.$"):
        named(archive.address, tls=True, tls_trusted=str(other)).check()


@VERSIONS
def test_an_archive_that_asks_is_shown_the_certificate_of_the_clinic(new_archive, pems, named, version):
    """It speaks with nobody else; in TLS 1.3 it says so only when the connection stands."""
    archive = new_archive(tls=certificates.server(pems["archive"], clients=pems["clinic"], version=version))
    speaking = {"tls": True, "tls_trusted": pems["archive"]}
    assert named(archive.address, **speaking, tls_certificate=pems["clinic"]).check() == []
    for shown in ({}, {"tls_certificate": pems["stranger"]}):
        with pytest.raises(SendingError, match=r"refuses the clinic's .*alert.*; set sending\.tls_certificate"):
            named(archive.address, **speaking, **shown).check()


def test_one_that_speaks_in_the_clear_is_said_not_to_speak_tls(archive, named):
    """It is not spoken to in the clear for that."""
    with pytest.raises(SendingError, match=r"does not speak TLS \(.*\); name the port"):
        named(archive.address, tls=True).check()


def test_one_that_speaks_tls_does_not_answer_in_the_clear(new_archive, pems, named):
    """The sentence names the setting."""
    archive = new_archive(tls=certificates.server(pems["archive"]))
    with pytest.raises(SendingError, match=r"does not answer; .*sending\.tls"):
        named(archive.address).check()


def test_one_that_says_nothing_is_left(named):
    """An answer to the first word of TLS is waited for no longer than any other."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        archive = named(f"PACS@127.0.0.1:{silent.getsockname()[1]}", tls=True, timeout_seconds=0.3)
        with pytest.raises(SendingError, match="does not answer"):
            archive.check()


def test_a_certificate_that_was_renewed_is_read_without_a_new_start(new_archive, pems, named, tmp_path):
    """By the next association of the daemon."""
    archive = new_archive(tls=certificates.server(pems["archive"]))
    pem = tmp_path / "trusted.pem"
    trusting = named(archive.address, tls=True, tls_trusted=str(pem))
    shutil.copy(pems["stranger"], pem)
    with pytest.raises(SendingError, match="not trusted"):
        trusting.check()
    shutil.copy(pems["archive"], pem)
    assert trusting.check() == []


@pytest.mark.parametrize("setting", ["tls_trusted", "tls_certificate"])
@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_file_that_cannot_be_read_is_named(named, tmp_path, setting, content):
    """With the setting that names it."""
    file = tmp_path / "file.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SendingError, match=rf"^{file}, which sending\.{setting} names, cannot be read as .* in PEM \("):
        named("PACS@127.0.0.1:104", tls=True, **{setting: str(file)}).check()


def test_a_key_with_a_password_is_refused_and_nobody_asked_for_that(named, tmp_path):
    """A daemon has no terminal."""
    locked = certificates.make(tmp_path / "locked.pem", password="a secret")
    with pytest.raises(SendingError, match="cannot be read as a certificate and its key without a password in PEM"):
        named("PACS@127.0.0.1:104", tls=True, tls_certificate=str(locked)).check()
