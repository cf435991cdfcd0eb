"""The served form reads what the trained network reads."""

import pytest
import torch

from agcnn_models.agcnn import AGCNN, Diagnosis, build_agcnn
from agcnn_models.precision import Precision, number_formats
from agcnn_models.serving import read_within_memory, serve
from agcnn_models.settings import AttentionSettings, Backbone, Grid, Pooling

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=Backbone)
def model(request, trained):
    """Each backbone once."""
    return trained(request.param)


@pytest.fixture(scope="module")
def images():
    """Three small images."""
    return torch.randn(3, 3, 96, 96, generator=torch.Generator().manual_seed(8))


@pytest.mark.parametrize("pooling", Pooling)
def test_the_served_form_reads_as_the_trained_one(model, images, pooling):
    """Float rounding apart, with every pooling, and with the very boxes."""
    for branch in (model.global_branch, model.local_branch):
        branch.pooling = pooling
    eager, served = model.read(images[:2]), serve(model).read(images[:2])
    assert torch.equal(served.boxes, eager.boxes)
    torch.testing.assert_close(served.heat_map, eager.heat_map, rtol=0, atol=1e-5)
    torch.testing.assert_close(served.fusion_logits, eager.fusion_logits, rtol=1e-4, atol=1e-4)
    for name in ("global_probabilities", "local_probabilities", "fusion_probabilities"):
        torch.testing.assert_close(getattr(served, name), getattr(eager, name), rtol=0, atol=1e-5)


def test_the_served_form_attends_as_the_model_is_set_to(model, images):
    """Another tau and another grid than the paper's, as the starter has them, lead to the same other box."""
    settings = AttentionSettings(tau=0.2, grid=Grid.NATIVE)
    other = AGCNN(model.global_branch, model.local_branch, settings).eval()
    other.fusion = model.fusion
    found = serve(other).read(images[:1])
    assert torch.equal(found.boxes, other.read(images[:1]).boxes)
    assert not torch.equal(found.boxes, model.read(images[:1]).boxes)


def test_a_film_is_served_the_same_in_any_batch(model, images):
    """Batching across studies must not change what is found."""
    served = serve(model)
    together, alone = served.read(images), served.read(images[2:])
    assert torch.equal(together.boxes[2:], alone.boxes)
    torch.testing.assert_close(together.fusion_probabilities[2:], alone.fusion_probabilities, rtol=0, atol=1e-5)


def test_mixed_numbers_keep_the_region_and_move_no_probability_by_a_hundredth(model, images):
    """Against float32, whether the processor has bfloat16 or emulates it: what decides the region is the same."""
    exact, mixed = (
        serve(model, number_formats(precision, CPU)).read(images[:1])
        for precision in (Precision.FLOAT32, Precision.MIXED)
    )
    assert torch.equal(mixed.boxes, exact.boxes)
    assert torch.equal(mixed.heat_map, exact.heat_map)
    assert torch.equal(mixed.global_probabilities, exact.global_probabilities)
    moved = (mixed.local_probabilities - exact.local_probabilities).abs().max()
    assert 0 < moved < 0.01
    assert (mixed.fusion_probabilities - exact.fusion_probabilities).abs().max() < 0.01


def test_bfloat16_in_the_global_branch_moves_its_probabilities_by_less_than_a_hundredth(model, images):
    """By itself: where it attends is another matter, and why this is not what "auto" stands for."""
    exact, rounded = (
        serve(model, number_formats(precision, CPU)) for precision in (Precision.FLOAT32, Precision.BFLOAT16)
    )
    found = rounded.global_branch(images[:1]).sigmoid() - exact.global_branch(images[:1]).sigmoid()
    assert found.abs().max() < 0.01


def test_a_model_in_training_mode_is_not_served():
    """Its statistics are still moving."""
    with torch.device("meta"):
        model = build_agcnn(Backbone.RESNET50)
    with pytest.raises(RuntimeError, match=r"eval\(\)"):
        serve(model)


def test_what_is_served_already_is_not_served_again(model):
    """It has no convolutions left to fold statistics into."""
    with pytest.raises(TypeError, match="has no served form"):
        serve(serve(model))


class _Cramped:
    """A network with memory for so many films."""

    def __init__(self, room):
        self.room, self.batches = room, []

    def read(self, images):
        self.batches.append(len(images))
        if len(images) > self.room:
            raise torch.OutOfMemoryError("no room")
        column = images[:, 0, 0, 0]
        return Diagnosis(*(column,) * 6)


def test_too_large_a_batch_is_read_in_halves():
    """Seven films where there is room for one: nothing is lost, and the order is kept."""
    images = torch.arange(7.0)[:, None, None, None].expand(7, 3, 2, 2)
    cramped = _Cramped(1)
    assert read_within_memory(cramped.read, images).fusion_logits.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert cramped.batches == [7, 3, 1, 2, 1, 1, 4, 2, 1, 1, 2, 1, 1]


def test_a_film_too_large_for_the_device_is_an_error():
    """There is no half of a film."""
    with pytest.raises(torch.OutOfMemoryError):
        read_within_memory(_Cramped(0).read, torch.zeros(2, 3, 2, 2))


@pytest.mark.parametrize(
    ("precision", "able", "expected"),
    [
        (Precision.AUTO, True, Precision.MIXED),
        (Precision.AUTO, False, Precision.FLOAT32),
        (Precision.FLOAT32, True, Precision.FLOAT32),
        (Precision.MIXED, False, Precision.MIXED),
        (Precision.BFLOAT16, False, Precision.BFLOAT16),
    ],
)
def test_auto_is_what_the_processor_has(monkeypatch, precision, able, expected):
    """A choice by name is obeyed; "auto" takes bfloat16 only where there are instructions for it."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": able})
    assert number_formats(precision, CPU).precision is expected
