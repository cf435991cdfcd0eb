"""A batch that threads share is read as one that they do not."""

import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from agcnn_models.agcnn import AGCNN, Diagnosis
from agcnn_models.shards import Shards


@pytest.fixture(autouse=True)
def same_threads_afterwards() -> Iterator[None]:
    """Shards tell torch how many threads to use; the other tests use as many as before."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_a_shared_batch_has_the_readings_of_an_unshared_one_in_its_order(model: AGCNN, threads: int) -> None:
    """However many share it: five films are cut into 5, 3 + 2, 2 + 2 + 1, or one each."""
    films = torch.rand(5, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    shared, whole = Shards(threads).read(model.read, films), model.read(films)
    assert torch.equal(shared.boxes, whole.boxes)
    for ours, theirs in zip(shared, whole, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_shares_are_read_side_by_side_each_with_one_thread_of_torch(model: AGCNN) -> None:
    """Three threads meet at a barrier, which none of them would pass alone, and none has company of torch's own."""
    meeting = threading.Barrier(3)
    of_torch: list[int] = []

    def work(films: Tensor) -> Diagnosis:
        meeting.wait(60)
        of_torch.append(torch.get_num_threads())
        return model.read(films)

    Shards(3).read(work, torch.rand(6, 3, 64, 64))
    assert of_torch == [1, 1, 1]


def test_a_single_film_has_all_threads_of_torch(model: AGCNN) -> None:
    """Nothing is there to be shared, and the film is waited for."""
    of_torch: list[int] = []

    def work(films: Tensor) -> Diagnosis:
        of_torch.append(torch.get_num_threads())
        return model.read(films)

    Shards(2).read(work, torch.rand(1, 3, 64, 64))
    assert of_torch == [2]


def test_an_error_in_one_share_is_the_error_of_the_batch() -> None:
    """No film counts as read because another one was."""

    def work(films: Tensor) -> Diagnosis:
        raise ValueError(f"{len(films)} films")

    with pytest.raises(ValueError, match="films"):
        Shards(2).read(work, torch.rand(4, 3, 64, 64))
