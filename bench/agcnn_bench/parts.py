"""Decoding and normalising alone, on films in every form: what a child process of the clinic does, on one core."""

import os
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from agcnn_bench.clinics import Bench
from agcnn_bench.figures import timed
from agcnn_bench.films import MAX_PIXELS, Form
from agcnn_clinic.analysis.normalise import normalise
from agcnn_clinic.config import Config
from agcnn_clinic.dicom import decode
from agcnn_clinic.dicom.attributes import read_dataset

_SAMPLES = "dicom-syntaxes"
_MEGAPIXEL = 1_000_000


def run(bench: Bench) -> None:
    """A film of every form, and samples of the transfer syntaxes that cannot be written here."""
    gate = Config().gate
    for number, form in enumerate(Form):
        path = bench.films.write(bench.scratch, number, form)
        bench.results.facts[f"file_mb.{form}"] = round(path.stat().st_size / 1e6, 2)
        bench.results.add(f"decode.{form}", timed(_decoding(path, form), bench.runs))
        whole = timed(lambda p=path, f=form: normalise(p, f.media_type, gate), bench.runs)  # type: ignore[misc]
        bench.results.add(f"normalise.{form}", whole)
    _samples(bench)


def _decoding(path: Path, form: Form) -> Callable[[], object]:
    """From the file to stored values. `normalise` decodes too, and adds the gate, the tables, square pixels, a hash."""

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
