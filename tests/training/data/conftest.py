"""A small copy of ChestX-ray14, in the shape in which NIH distributes it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

LABELLED = (
    # Patient 1 to 4 train or validate, 5 and 6 test.
    ("00000001_000.png", 1, "Mass"),
    ("00000001_001.png", 1, "Mass|Hernia"),
    ("00000001_002.png", 1, "No Finding"),
    ("00000002_000.png", 2, "Effusion"),
    ("00000002_001.png", 2, "No Finding"),
    ("00000003_000.png", 3, "No Finding"),
    ("00000004_000.png", 4, "Infiltration"),
    ("00000005_000.png", 5, "Nodule"),
    ("00000005_001.png", 5, "Infiltration"),
    ("00000006_000.png", 6, "No Finding"),
)


Drawer = Callable[[Path, int], None]


@pytest.fixture(scope="session")
def draw() -> Drawer:
    """Writes a film of noise, 48 x 44, for a path and a seed."""

    def write(path: Path, seed: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (48, 44), dtype=np.uint8)).save(path)

    return write


@pytest.fixture
def root(tmp_path: Path, draw: Drawer) -> Path:
    """Ten films of six patients in two archives, with the first release's label table, lists and boxes."""
    root = tmp_path / "ChestX-ray14"
    for index, (name, _, _) in enumerate(LABELLED):
        draw(root / f"images_{1 + index // 6:03d}" / "images" / name, index)
    header = (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
    )
    table = [f"{name},{labels},0,{patient},057Y,M,PA,2682,2749,0.143,0.143,\n" for name, patient, labels in LABELLED]
    (root / "Data_Entry_2017.csv").write_text(header + "".join(table))
    (root / "train_val_list.txt").write_text("\n".join(name for name, patient, _ in LABELLED if patient < 5))
    (root / "test_list.txt").write_text("\n".join(name for name, patient, _ in LABELLED if patient >= 5) + "\n")
    (root / "BBox_List_2017.csv").write_text(
        "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
        "00000005_001.png,Infiltrate,256,512,128.5,64\n"
        "00099999_000.png,Mass,1,2,3,4\n"
    )
    return root
