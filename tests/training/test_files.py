"""Files are whole or not there, also where the disk is full."""

import subprocess
import sys
from pathlib import Path

import pytest

from agcnn_training.errors import TrainingError
from agcnn_training.files import replace_file

# In a process of its own: the limit cannot be lifted again, and holds for every file.
FULL_DISK = """
import resource, sys
from pathlib import Path
import torch
from agcnn_training.errors import TrainingError
from agcnn_training.data.splits import split_by_patient
from agcnn_training.data.table import Row
from agcnn_training.evaluation.writing import write_json
from agcnn_training.met import Meeting, Met, write_given
from agcnn_training.run_folder import NOTHING_YET, Best, Checkpoint, RunFolder
rows = [Row(f"{number:050}", str(number), frozenset()) for number in range(600)]
met = Met([Meeting(row.image, row.patient, "train") for row in rows])
folder = RunFolder(Path(sys.argv[1]))
weights = {"weight": torch.zeros(100_000)}
folder.save(Checkpoint("global-1", 1, 0, 0.0, 0.0, {}, {}, {}, NOTHING_YET))
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
for name, write in (
    ("checkpoint", lambda: folder.save(Checkpoint("global-1", 2, 0, 0.0, 0.0, weights, {}, {}, NOTHING_YET))),
    ("phase", lambda: folder.finish("global-1", Best(weights, 0.5, "global-1", 1, 64))),
    ("metrics", lambda: folder.metrics.append({"phase": "global-1", "epoch": 1, "note": "x" * 30_000})),
    ("split", lambda: folder.write_split(rows, split_by_patient([row.patient for row in rows], 0.5, 0))),
    ("given", lambda: write_given(folder.path, [("a.safetensors", met)], [])),
    ("results", lambda: write_json(folder.path / "results.json", ["x" * 30_000])),
):
    try:
        write()
    except TrainingError as error:
        print(name, error)
print("kept", folder.load("global-1").epoch)
"""


def test_a_full_disk_keeps_the_earlier_checkpoint(tmp_path: Path) -> None:
    """Where the disk takes no more the run is told so in a sentence, and the last whole checkpoint stays."""
    output = subprocess.check_output([sys.executable, "-c", FULL_DISK, str(tmp_path)], text=True).splitlines()
    assert [line.split()[0] for line in output] == [
        "checkpoint",
        "phase",
        "metrics",
        "split",
        "given",
        "results",
        "kept",
    ]
    assert all(
        "free disk space and repeat the command; a training run goes on with --resume" in line for line in output[:-1]
    )
    assert output[-1] == "kept 1"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    """Ctrl-C in the middle of writing leaves what was there, and nothing beside it."""
    file = tmp_path / "checkpoint.pt"
    file.write_text("old")

    def write(partial: Path) -> None:
        partial.write_text("ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_file(file, write)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_that_is_gone_is_one_sentence(tmp_path: Path) -> None:
    """A run folder taken away while the run writes is named."""
    with pytest.raises(TrainingError, match=r"metrics\.csv cannot be written"):
        replace_file(tmp_path / "gone" / "metrics.csv", lambda partial: partial.write_text("x"))
