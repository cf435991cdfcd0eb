"""Finished stages are kept whole or not at all."""

import os
from pathlib import Path

import pytest
import torch

from agcnn_training.errors import TrainingError
from agcnn_training.stage_store import StageStore


def test_what_is_kept_is_found_under_its_key_alone(tmp_path: Path) -> None:
    """The folder is made when the first stage is kept, and holds nothing but whole files."""
    store = StageStore(tmp_path / "stages")
    assert store.load("a" * 64) is None
    store.save("a" * 64, {"weight": torch.arange(4.0).view(2, 2).T})
    kept = store.load("a" * 64)
    assert kept is not None
    assert torch.equal(kept["weight"], torch.arange(4.0).view(2, 2).T)
    assert store.load("b" * 64) is None
    assert [path.name for path in store.folder.iterdir()] == ["a" * 64 + ".safetensors"]


def test_a_stage_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power cut a key names a whole stage or none: the file is synced, then its folder."""
    synced = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(Path(f"/proc/self/fd/{number}").readlink()))
    StageStore(tmp_path).save("key", {"weight": torch.zeros(2)})
    assert synced == [tmp_path / f"key.safetensors.{os.getpid()}.partial", tmp_path]


def test_a_broken_stage_is_one_sentence(tmp_path: Path) -> None:
    """It is never taken for a finished one."""
    (tmp_path / "key.safetensors").write_bytes(b"half a fi")
    with pytest.raises(TrainingError, match="delete it, and it is trained anew"):
        StageStore(tmp_path).load("key")


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "stages").write_text("")
    with pytest.raises(TrainingError, match="use --resume"):
        StageStore(tmp_path / "stages").save("key", {"weight": torch.zeros(2)})
