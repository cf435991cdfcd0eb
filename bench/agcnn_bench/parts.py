"""Decoding and developing alone, on films in every form: what a child process of the clinic does, on one core."""

import os
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from agcnn_bench.clinics import Bench
from agcnn_bench.figures import timed
from agcnn_bench.films import MAX_PIXELS, Form
from agcnn_clinic.analysis.normalise import Wanted, develop
from agcnn_clinic.bundles import configured_bundle
from agcnn_clinic.config import Config
from agcnn_clinic.dicom import decode
from agcnn_clinic.dicom.attributes import read_dataset
from agcnn_clinic.reporting.paper import print_size
from agcnn_models.manifest_file import read_manifest

_SAMPLES = "dicom-syntaxes"
_MEGAPIXEL = 1_000_000


def run(bench: Bench) -> None:
    """A film of every form, and samples of the transfer syntaxes that cannot be written here."""
    config = Config()
    wanted = Wanted(read_manifest(configured_bundle(config)).preprocessing, print_size(config.reporting))
    for number, form in enumerate(Form):
        path = bench.films.write(bench.scratch, number, form)
        bench.results.facts[f"file_mb.{form}"] = round(path.stat().st_size / 1e6, 2)
        bench.results.add(f"decode.{form}", timed(_decoding(path, form), bench.runs))
        whole = timed(lambda p=path, f=form: develop(p, f.media_type, config.gate, wanted), bench.runs)  # type: ignore[misc]
        bench.results.add(f"develop.{form}", whole)
    _samples(bench)


def _decoding(path: Path, form: Form) -> Callable[[], object]:
    """From the file to stored values. `develop` decodes, too, and adds the gate, tables, a hash, and small pictures."""

    def png() -> None:
        with Image.open(path) as image:
            image.load()

    return png if form is Form.PNG else lambda: decode.stored_values(read_dataset(path), MAX_PIXELS)


def _samples(bench: Bench) -> None:
    """Transfer syntaxes that cannot be written here: by the samples where they are, in seconds a megapixel."""
    shared = Path(os.environ.get("AGCNN_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
    folder = shared / _SAMPLES
    for path in sorted(folder.glob("*_1.2.840.10008.1.2*.dcm")) if folder.is_dir() else ():
        dataset = read_dataset(path)
        size = dataset.Rows * dataset.Columns / _MEGAPIXEL
        name = path.name.partition(".dcm_")[2].partition("TransferSyntax")[0]
        figure = timed(lambda p=path: decode.stored_values(read_dataset(p), MAX_PIXELS), bench.runs, per=size)  # type: ignore[misc]
        bench.results.add(f"decode_megapixel.{name}", figure)
