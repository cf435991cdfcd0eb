"""The connection to an archive: objects follow one another without a rest, and each answer reaches who waits for it."""

import time

from pynetdicom import AE
from pynetdicom.association import MODE_REQUESTOR, Association

from agcnn_clinic.sending.connection import Line


def test_an_answer_in_parts_does_not_wait_for_a_confirmation(new_archive, a_pdf, named):
    """A system puts that off for 0.04 s, and the second part, as DCMTK writes it, waits for it: for each object."""
    took = []
    with named(new_archive(in_parts=True).address).connected() as store:
        for number in range(10):
            began = time.perf_counter()
            store(a_pdf(f"2.25.{number}"))
            took.append(time.perf_counter() - began)
    assert min(took) < 0.03


def test_an_answer_is_kept_for_who_waits_for_it():
    """Another thread, which looks for requests, takes none: it may be late to hear that it is to stop."""
    association = Association(AE(), MODE_REQUESTOR)
    Line(timeout_seconds=1).opened(association)
    association.dimse.msg_queue.put((1, "an answer"))
    assert association.dimse.get_msg(block=False) == (None, None)
    assert association.dimse.get_msg(block=True) == (1, "an answer")
