"""How far `analysis.precision` moves what is read, over real films.

    python bench/rounding.py FOLDER... [--model BUNDLE] [--films N] [--device cuda]

reads the PNG and JPEG films of the folders with the network as the clinic serves it, on the CPU in float32 and on the
device in each precision, and prints for each of them on how many films the attended region stayed where it was and how
far probabilities moved: the largest of the 15 of a film counts.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from agcnn_clinic.bundles import configured_bundle
from agcnn_clinic.config import Config
from agcnn_models.agcnn import AGCNN
from agcnn_models.bundle import open_bundle
from agcnn_models.cores import usable_cores
from agcnn_models.precision import Precision, compute_float32_as_such, number_formats
from agcnn_models.preprocessing import to_model_input
from agcnn_models.serving import serve
from agcnn_models.settings import Preprocessing
from agcnn_training.data.pictures import read_picture

AT_ONCE = 8
SUFFIXES = (".png", ".jpg", ".jpeg")
BRANCHES = ("global", "local", "fusion")


def main() -> None:
    """Read the films in each precision and print how they differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="where PNG and JPEG films lie")
    parser.add_argument("--model", type=Path, default=configured_bundle(Config()), help="a bundle (the starter model)")
    parser.add_argument("--films", type=int, help="read so many of each folder, spread over it (all)")
    parser.add_argument("--device", type=torch.device, default="cpu", help="what is compared with the CPU (cpu)")
    options = parser.parse_args()
    torch.set_num_threads(usable_cores())
    compute_float32_as_such()
    bundle = open_bundle(options.model)
    paths = [path for folder in options.folders for path in _films(folder, options.films)]
    preprocessing, cpu, device = bundle.manifest.preprocessing, torch.device("cpu"), options.device
    exact = _read(serve(bundle.load_model(cpu)), paths, preprocessing, cpu)
    model = bundle.load_model(device)
    precisions = [name for name in Precision if name is not Precision.AUTO and (name, device) != (name.FLOAT32, cpu)]
    readings = {
        name: _read(serve(model, number_formats(name, device)), paths, preprocessing, device) for name in precisions
    }
    print(f"{len(paths)} films, {bundle.manifest.name} {bundle.manifest.version}")  # noqa: T201
    print("precision | same region | branch | largest | 99th percentile | median | films moved by .01")  # noqa: T201
    for name, found in readings.items():
        same = int((found["boxes"] == exact["boxes"]).all(dim=1).sum())
        for branch in BRANCHES:
            moved = (found[branch] - exact[branch]).abs().amax(dim=1)
            print(  # noqa: T201
                f"{name} | {same} | {branch} | {moved.max():.4f} | {moved.quantile(0.99):.4f} | {moved.median():.4f} | "
                f"{int((moved >= 0.01).sum())}"
            )


def _films(folder: Path, most: int | None) -> list[Path]:
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    return found[:: max(1, len(found) // most)][:most] if most else found


def _read(network: AGCNN, paths: list[Path], preprocessing: Preprocessing, device: torch.device) -> dict[str, Tensor]:
    parts: dict[str, list[Tensor]] = {name: [] for name in (*BRANCHES, "boxes")}
    for images in _batches(paths, preprocessing):
        diagnosis = network.read(images.to(device))
        for branch in BRANCHES:
            parts[branch].append(getattr(diagnosis, f"{branch}_probabilities").cpu())
        parts["boxes"].append(diagnosis.boxes.cpu())
    return {name: torch.cat(part) for name, part in parts.items()}


def _batches(paths: list[Path], preprocessing: Preprocessing) -> Iterator[Tensor]:
    for first in range(0, len(paths), AT_ONCE):
        films = [to_model_input(read_picture(path), preprocessing) for path in paths[first : first + AT_ONCE]]
        yield torch.stack(films)


if __name__ == "__main__":
    main()
