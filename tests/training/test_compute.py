"""In which numbers a run computes, and by which threads a batch is read."""

import io
import threading
from collections.abc import Callable

import pytest
import torch
from rich.console import Console

from agcnn_models.precision import computes_bfloat16
from agcnn_training import compute
from agcnn_training.compute import EMULATED, settle_precision, shared
from agcnn_training.recipe import Precision, Recipe, load_recipe, stage_key
from agcnn_training.train import TrainRequest, train

CPU = torch.device("cpu")


def with_abilities(monkeypatch: pytest.MonkeyPatch, **abilities: bool) -> None:
    """Let torch find a processor with these instructions, whatever this one has."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities)


@pytest.mark.parametrize(
    ("abilities", "expected"),
    [
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, Precision.FLOAT32),
        ({"avx512_bf16": True}, Precision.BFLOAT16),
        ({"amx_bf16": True}, Precision.BFLOAT16),
        ({"neon": True, "bf16": True}, Precision.BFLOAT16),
        ({}, Precision.FLOAT32),
    ],
)
def test_auto_is_bfloat16_where_the_processor_has_it(monkeypatch, tiny: Recipe, abilities, expected) -> None:
    """Without instructions for bfloat16 a run computes in float32, which is many times faster than to emulate it."""
    with_abilities(monkeypatch, **abilities)
    auto = tiny.model_copy(update={"compute": tiny.compute.model_copy(update={"precision": Precision.AUTO})})
    assert settle_precision(auto, CPU).compute.precision is expected
    assert settle_precision(tiny, CPU) is tiny


def test_a_stage_is_shared_by_the_precision_that_it_was_trained_in(monkeypatch, tiny: Recipe) -> None:
    """A stage that "auto" trains without bfloat16 has the key of float32: stages are shared by what was done."""
    with_abilities(monkeypatch, avx2=True)
    auto = tiny.model_copy(update={"compute": tiny.compute.model_copy(update={"precision": Precision.AUTO})})
    assert stage_key(settle_precision(auto, CPU), 1, "data") == stage_key(tiny, 1, "data")


def test_the_shipped_recipe_computes_in_what_the_processor_has() -> None:
    """The starter's recipe insists on no number format: on an older processor it would take days."""
    assert load_recipe("starter").compute.precision is Precision.AUTO


def test_on_a_cpu_cores_share_a_batch_and_torch_has_its_threads_back(monkeypatch) -> None:
    """Three meet at a barrier that none would pass alone, each without company of torch's; the order is kept."""
    monkeypatch.setattr(compute, "usable_cores", lambda: 3)
    before, meeting = torch.get_num_threads(), threading.Barrier(3)

    def work(share: torch.Tensor) -> tuple[int, int]:
        meeting.wait(60)
        return int(share[0]), torch.get_num_threads()

    with shared(CPU) as shards:
        assert shards.each(work, torch.arange(7)) == [(0, 1), (3, 1), (5, 1)]
    assert torch.get_num_threads() == before


@pytest.mark.skipif(computes_bfloat16(CPU), reason="this processor has bfloat16")
def test_a_recipe_that_insists_is_told_what_it_costs(
    request_for: Callable[[str], TrainRequest], recipe_file, monkeypatch
) -> None:
    """bfloat16 on a processor that emulates it is done as asked, and said."""
    from agcnn_training import train as front_door

    class StopError(Exception):
        """Training itself is not this test's business."""

    def stop(*_: object) -> None:
        raise StopError

    recipe_file.write_text(recipe_file.read_text() + '[compute]\nprecision = "bfloat16"\n')
    monkeypatch.setattr(front_door, "train_stages", stop)
    said = io.StringIO()
    with pytest.raises(StopError):
        train(request_for("model"), Console(file=said, width=400))
    assert EMULATED in said.getvalue()
