"""What is drawn ahead is what would have been drawn in turn."""

import threading

import pytest
import torch

from agcnn_training.ahead import _drawing_stream, drawn_ahead


def test_order_and_values_stay() -> None:
    """Each key comes with its own draw, in order, from a drawer that keeps a state."""
    drawn: list[int] = []

    def draw(key: int) -> int:
        drawn.append(key)
        return sum(drawn)

    assert list(drawn_ahead(range(5), draw)) == [(0, 0), (1, 1), (2, 3), (3, 6), (4, 10)]
    assert list(drawn_ahead(range(0), draw)) == []


def test_the_next_is_drawn_while_this_one_is_used() -> None:
    """The second draw ends although nobody has asked for it yet; no third one begins."""
    ended = [threading.Event() for _ in range(3)]
    coming = drawn_ahead(range(3), lambda key: ended[key].set())
    next(coming)
    assert ended[1].wait(timeout=10)
    assert not ended[2].is_set()
    coming.close()


def test_what_a_draw_raises_comes_in_its_turn() -> None:
    """The first batch is handed out before the second one's failure is."""

    def draw(key: int) -> int:
        if key == 1:
            raise ValueError("no such film")
        return key

    coming = drawn_ahead(range(3), draw)
    assert next(coming) == (0, 0)
    with pytest.raises(ValueError, match="no such film"):
        next(coming)


def test_torch_keeps_its_threads() -> None:
    """The background's single thread is not what the network is left with."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert list(drawn_ahead(range(1), lambda _: torch.get_num_threads())) == [(0, 1)]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_gpu_has_one_stream_to_draw_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Epoch after epoch the same one: torch has few of them, and one is for recording."""
    monkeypatch.setattr(torch.cuda, "Stream", lambda _device: object())
    _drawing_stream.cache_clear()
    try:
        assert _drawing_stream(torch.device("cuda", 0)) is _drawing_stream(torch.device("cuda", 0))
        assert _drawing_stream(torch.device("cuda", 0)) is not _drawing_stream(torch.device("cuda", 1))
    finally:
        _drawing_stream.cache_clear()
