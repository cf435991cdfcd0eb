"""Speaking to a DICOM archive: a real one, on loopback, that takes, refuses, or is not there."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from pydicom.uid import EncapsulatedPDFStorage, ImplicitVRLittleEndian

from agcnn_clinic.errors import SendingError
from agcnn_clinic.sending import connection
from agcnn_clinic.sending.archive import NotTakenError


@contextmanager
def answering(answer: Callable[[bytes], bytes]) -> Iterator[int]:
    """A port where whoever speaks hears what `answer` makes of each of his words."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = listener.accept()
                with peer:
                    while said := peer.recv(1 << 16):
                        peer.sendall(answer(said))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@contextmanager
def between(archive, changed: Callable[[bytes], bytes]) -> Iterator[int]:
    """A port behind which the archive is, of whose words `changed` makes others."""
    port = int(archive.address.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as far:

        def answer(said: bytes) -> bytes:
            far.sendall(said)
            return changed(far.recv(1 << 16))

        with answering(answer) as near:
            yield near


def test_an_archive_that_answers_is_well(archive, named):
    """It says so to C-ECHO, and takes both kinds of object."""
    assert named(archive.address).check() == []


def test_what_an_archive_does_not_take_is_named(new_archive, named):
    """Before a report is refused for it."""
    archive = new_archive(takes=[EncapsulatedPDFStorage])
    assert named(archive.address).check() == ["Comprehensive 3D SR Storage"]


def test_an_object_arrives_as_it_was(archive, a_pdf, named):
    """With its UID and its values, from the clinic's own title."""
    with named(archive.address).connected() as store:
        store(a_pdf())
    (stored,) = archive.stored
    assert (stored.SOPInstanceUID, stored.PatientName) == ("2.25.1", "Berg^Anna")


def test_an_archive_that_knows_implicit_vr_alone_is_sent_that(new_archive, a_pdf, named):
    """DICOM's default transfer syntax, which each must take (PS3.5 10.1): the object is encoded anew for it."""
    archive = new_archive(syntaxes=[ImplicitVRLittleEndian])
    with named(archive.address).connected() as store:
        store(a_pdf())
    (stored,) = archive.stored
    assert stored.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    assert (stored.SOPInstanceUID, stored.PatientName) == ("2.25.1", "Berg^Anna")


def test_one_that_is_not_there_is_named_with_what_to_do(archive, named):
    """Its title, host and port are those that config.toml has."""
    archive.stop()
    with pytest.raises(SendingError, match=rf"^The archive {archive.address} does not answer; see that it runs"):
        named(archive.address).check()


def test_a_title_that_it_does_not_know_is_said_to_be_refused(archive, named):
    """Two titles may be wrong, and both are named."""
    wrong = archive.address.replace("PACS", "PAX")
    with pytest.raises(SendingError, match=r"refuses to speak with AGCNN_CLINIC \(called ae title not recognised\)"):
        named(wrong).check()


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (b"\1\1\1", r"refuses to speak with AGCNN_CLINIC \(no reason given\); make the two titles known"),
        (b"\2\3\2", r"has no association free \(local limit exceeded\); let it take more at once"),
        (b"\2\3\1", r"has no association free \(temporary congestion\)"),
    ],
)
def test_a_refusal_says_whether_titles_are_wrong_or_the_archive_is_busy(named, refusal, told):
    """By its result, source and reason (PS3.8 Table 9-21)."""
    rejected = b"\3\0\0\0\0\4\0" + refusal  # an A-ASSOCIATE-RJ
    with answering(lambda _: rejected) as port, pytest.raises(SendingError, match=told):
        named(f"PACS@127.0.0.1:{port}").check()


@pytest.mark.parametrize("syntax", [b"1.2.840.10008.1.2.9", b"1.2.840.10008.5.1.4"])
@pytest.mark.parametrize("every", [True, False])
def test_an_archive_that_agrees_to_what_was_not_offered_is_sent_nothing(archive, a_pdf, named, syntax, every):
    """No transfer syntax at all, for one context or for each: pynetdicom trips over that, and `watch` does not."""
    offered = b"1.2.840.10008.1.2.1"

    def other(said: bytes) -> bytes:
        return said.replace(offered, syntax, -1 if every else 1) if said[:1] == b"\2" else said

    with (
        between(archive, other) as port,
        pytest.raises(SendingError, match=r"not take|not allow"),
        named(f"PACS@127.0.0.1:{port}").connected() as store,
    ):
        store(a_pdf())
    assert archive.stored == []


@pytest.mark.parametrize("status", [0xB000, 0xB006, 0xB007])
def test_a_warning_is_an_object_that_was_taken(archive, status, a_pdf, named):
    """Coerced elements and the like (PS3.4 Table B.2-1)."""
    archive.answers = [status]
    with named(archive.address).connected() as store:
        store(a_pdf())


def test_an_archive_that_knows_an_object_already_has_it(archive, a_pdf, named):
    """It was sent before, and the clinic ended before it could write that down: by its UID it is the same object."""
    archive.answers = [0x0111]
    with named(archive.address).connected() as store:
        store(a_pdf())


@pytest.mark.parametrize(("status", "told"), [(0xA900, "status A900, data set does not match"), (0xC123, "C123")])
def test_a_refusal_names_its_status_and_no_patient(archive, status, told, a_pdf, named):
    """Another object may be taken: the association goes on."""
    archive.answers = [status]
    with named(archive.address).connected() as store:
        with pytest.raises(NotTakenError, match=told) as refused:
            store(a_pdf())
        store(a_pdf("2.25.2"))
    assert "Berg" not in str(refused.value)
    assert [dataset.SOPInstanceUID for dataset in archive.stored] == ["2.25.2"]


@pytest.mark.parametrize("status", [0xA700, 0xA702])
def test_an_archive_without_room_takes_none(archive, a_pdf, named, status):
    """To try the next object would be in vain."""
    archive.answers = [status]
    with named(archive.address).connected() as store, pytest.raises(SendingError, match="has no room") as refused:
        store(a_pdf())
    assert not isinstance(refused.value, NotTakenError)


def test_a_class_that_was_not_agreed_upon_is_not_taken(new_archive, a_pdf, named):
    """The sentence names the setting by which it need not be sent."""
    archive = new_archive(takes=["1.2.840.10008.5.1.4.1.1.88.34"])
    with named(archive.address).connected() as store, pytest.raises(NotTakenError, match=r"sending\.objects"):
        store(a_pdf())


def test_an_archive_that_is_cut_off_is_gone(archive, a_pdf, named):
    """In the middle of an association: what was sent before stays sent."""
    with named(archive.address).connected() as store:
        store(a_pdf())
        archive.stop()
        with pytest.raises(SendingError, match="stopped answering"):
            store(a_pdf("2.25.2"))


def test_an_object_that_is_long_in_the_making_is_sent_all_the_same(archive, a_pdf, named):
    """The children that make it may be busy for longer than an answer may take."""
    with named(archive.address, timeout_seconds=0.5).connected() as store:
        assert not archive.is_left(within=1.5)
        store(a_pdf())
    assert archive.is_left(within=20)


def test_one_that_hangs_in_the_middle_of_a_message_is_left(named):
    """By itself pynetdicom waits for the rest of it for ever, and `watch`, told to stop, for that."""
    outcome: list[str] = []

    def ask() -> None:
        asked = named(f"PACS@127.0.0.1:{listener.getsockname()[1]}", timeout_seconds=0.5)
        with pytest.raises(SendingError) as error:
            asked.check()
        outcome.append(str(error.value))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        peer, _ = listener.accept()
        with peer:
            peer.recv(1 << 16)
            peer.sendall(b"\x02\0\0")  # of an A-ASSOCIATE-AC (PS3.8 9.3.3)
            asking.join(20)
    assert ["does not answer" in said for said in outcome] == [True]


def test_one_that_does_not_answer_is_soon_left_when_it_is_time_to_stop(archive, a_pdf, named, monkeypatch):
    """A service that is told to stop is killed by Docker after ten seconds, and an answer may take thirty."""
    monkeypatch.setattr(connection, "GRACE_SECONDS", 0.1)
    asked, over = threading.Event(), threading.Event()

    def hang(dataset) -> int:
        del dataset
        asked.set()
        over.wait(60)
        return 0

    archive.answer = hang
    with (
        pytest.raises(SendingError, match="stopped answering"),
        named(archive.address, timeout_seconds=600).connected(asked.is_set) as store,
    ):
        store(a_pdf())
    over.set()


def test_one_that_says_nothing_at_all_is_soon_left_then_too(named, monkeypatch):
    """Before there is an association."""
    monkeypatch.setattr(connection, "GRACE_SECONDS", 0.1)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(SendingError, match="does not answer"),
        named(f"PACS@127.0.0.1:{silent.getsockname()[1]}", timeout_seconds=600).connected(lambda: True),
    ):
        pass


def test_one_that_answers_is_heard_out_when_it_is_time_to_stop(archive, a_pdf, named):
    """What is in hand is finished."""
    with named(archive.address).connected(lambda: True) as store:
        store(a_pdf())
    assert len(archive.stored) == 1


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        ("PACS@pacs.example:104", ("PACS", "pacs.example", 104)),
        ("OUR PACS@10.0.0.7:11112", ("OUR PACS", "10.0.0.7", 11112)),
        ("PACS@[fd00::7]:104", ("PACS", "fd00::7", 104)),
    ],
)
def test_an_address_is_read_and_written_alike(written, parts, named):
    """Title, host and port."""
    archive = named(written, ae_title=" MINE ")
    assert (archive.title, archive.host, archive.port, archive.calling) == (*parts, "MINE")
    assert str(archive) == written


@pytest.mark.parametrize(
    "written",
    [
        "pacs.example:104",
        "PACS@pacs.example",
        "PACS@host:0",
        "PACS@host:65536",
        "A\\B@host:104",
        "x" * 17 + "@host:104",
        "PACS@pacs..example:104",
        "PACS@" + 64 * "x" + ":104",
    ],
)
def test_what_is_no_address_is_refused(written, named):
    """When the settings are read, not when the first report is due."""
    with pytest.raises(ValueError, match=r"TITLE@HOST:PORT|Application Entity Title|names a host"):
        named(written)
