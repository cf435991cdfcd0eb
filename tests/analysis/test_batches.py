"""Which films make a batch: those that are decoded, so that one that takes long keeps no other waiting."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from agcnn_clinic.analysis import loop
from agcnn_clinic.analysis.films import Film, FilmReader
from agcnn_clinic.analysis.reanalyse import Reanalysis
from agcnn_clinic.database.readings import Scope
from agcnn_clinic.database.tables import Inference

LONG = 30.0
"""Seconds after which a film that is kept back comes by itself: a step that waits for it ends, and its test fails."""


class Held:
    """A film that is kept back after real child processes have decoded it."""

    def __init__(self) -> None:
        self._may_come = threading.Event()
        self._is_begun = threading.Event()

    def begin(self, decoding: Future) -> Future:
        """What the analysis gets to wait for."""
        late: Future = Future()

        def come() -> None:
            self._may_come.wait(LONG)
            late.set_result(decoding.result())

        threading.Thread(target=come).start()
        self._is_begun.set()
        return late

    def let_go(self) -> None:
        self._may_come.set()

    def wait_until_begun(self) -> None:
        assert self._is_begun.wait(LONG)


@pytest.fixture
def hold(room, monkeypatch):
    """Have one of the films that are sent kept back, by its number; no other waits for it out of patience."""
    monkeypatch.setattr(loop, "PATIENCE_SECONDS", LONG)
    decode, held = FilmReader.decode, {}

    def kept_back(reader: FilmReader, film: Film) -> Future:
        decoding = decode(reader, film)
        return held[film.file_id].begin(decoding) if film.file_id in held else decoding

    monkeypatch.setattr(FilmReader, "decode", kept_back)
    yield lambda number: held.setdefault(number, Held())
    for film in held.values():
        film.let_go()


@pytest.fixture
def begin_step(room, hold):
    """Begin a step of the analysis in a thread of its own."""
    with ThreadPoolExecutor(1) as thread:
        yield lambda: thread.submit(room.analysis.step)


def outcomes(room) -> dict[str, str]:
    return {name: file.outcome for name, file in room.files().items()}


def test_a_film_that_takes_long_keeps_no_other_waiting(room, send, hold):
    """Two films a batch: of three the second and the third are read, then the first, which is not begun anew."""
    first = hold(1)
    send(1, 2, 3)
    assert room.analysis.step() == 2
    assert outcomes(room) == {"1.dcm": "pending", "2.dcm": "analysed", "3.dcm": "analysed"}
    first.let_go()
    assert [room.analysis.step() for _ in range(2)] == [1, 0]
    assert {(file.outcome, file.attempts) for file in room.files().values()} == {("analysed", 1)}


def test_a_decoded_film_waits_for_others_for_so_long_only(room, send, hold, monkeypatch):
    """Of two films one takes long: the other is read alone."""
    monkeypatch.setattr(loop, "PATIENCE_SECONDS", 0.1)
    hold(1)
    send(1, 2)
    assert room.analysis.step() == 1
    assert outcomes(room) == {"1.dcm": "pending", "2.dcm": "analysed"}


def test_a_film_that_comes_while_others_are_decoded_joins_their_batch(room, send, hold, begin_step):
    """It fills the batch, which then does not wait for the film that was there first."""
    hold(1)
    send(1, 2)
    first = hold(3)
    step = begin_step()
    send(3)
    first.wait_until_begun()
    first.let_go()
    assert step.result() == 2
    assert outcomes(room) == {"1.dcm": "pending", "2.dcm": "analysed", "3.dcm": "analysed"}


def test_a_batch_does_not_wait_for_what_came_after_it(room, send, hold, begin_step):
    """Films that come one by one, each before the one before is decoded, are not gathered until a batch is full."""
    first, second = hold(1), hold(2)
    send(1)
    step = begin_step()
    first.wait_until_begun()
    send(2)
    second.wait_until_begun()
    first.let_go()
    assert step.result() == 1
    assert {name: file.attempts for name, file in room.files().items()} == {"1.dcm": 1, "2.dcm": 1}
    assert outcomes(room) == {"1.dcm": "analysed", "2.dcm": "pending"}


def test_a_film_that_takes_long_keeps_no_other_waiting_to_be_read_again(room, send, hold, sandbox, other_reader):
    """Another model reads the second and the third of three at two a batch, then the first."""
    send(1, 2, 3)
    assert [room.analysis.step() for _ in range(2)] == [2, 1]
    first, told = hold(1), []

    def progress(tried: int) -> None:
        told.append(tried)
        first.let_go()

    again = Reanalysis(room.database, room.storage, sandbox, other_reader, room.config.gate, 2, counts=False)
    assert again.run(Scope(), progress).read == 3
    assert told == [2, 3]
    assert [reading.file_id for reading in room.all(Inference)] == [1, 2, 3, 2, 3, 1]
