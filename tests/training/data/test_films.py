"""Films are read as serving reads them, and what is unknown of them stays unknown."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from agcnn_models.labels import LABELS, PATHOLOGIES
from agcnn_models.settings import Preprocessing
from agcnn_training.data.films import Films, _auxiliary_targets, auxiliary_width, films_on_device, load_films
from agcnn_training.data.pictures import Loading, read_picture
from agcnn_training.data.table import Row
from agcnn_training.errors import TrainingError
from agcnn_training.recipe import Auxiliary


def test_what_the_clinic_reads_otherwise_is_refused(tmp_path: Path) -> None:
    """Sixteen bits, which need not be filled, and transparent parts are for the clinic's own reader."""
    Image.fromarray(np.full((4, 5), 4095, np.uint16)).save(tmp_path / "deep.png")
    Image.new("LA", (5, 4), (200, 0)).save(tmp_path / "cut.png")
    for name in ("deep.png", "cut.png"):
        with pytest.raises(TrainingError, match=rf"{name} has 16 bits or transparent parts: train with `agcnn-clinic"):
            read_picture(tmp_path / name)


def test_what_is_neither_png_nor_jpeg_is_refused(tmp_path: Path) -> None:
    """A TIFF may hold any numbers: shares of white as floats had been a black film, and nobody was told."""
    Image.fromarray(np.full((4, 5), 0.5, np.float32)).save(tmp_path / "film.tif")
    with pytest.raises(TrainingError, match=r"film\.tif cannot be read .* replace it by a PNG or JPEG"):
        read_picture(tmp_path / "film.tif")


def test_grey_as_colour_is_grey(tmp_path: Path) -> None:
    """Three equal channels are one."""
    Image.fromarray(np.full((4, 5, 3), 51, np.uint8)).save(tmp_path / "colour.png")
    assert read_picture(tmp_path / "colour.png") == pytest.approx(51 / 255, abs=1e-6)


def test_the_loader_that_is_given_reads() -> None:
    """Films can come from anywhere: here from a function that draws them."""
    rows = [Row("a", "1", frozenset({"Mass"})), Row("b", "2", frozenset())]
    films = load_films(
        rows,
        [Path("a"), Path("b")],
        Preprocessing(resize=40, crop=32),
        loading=Loading(loader=lambda path: np.full((7, 9), (path.name == "a") * 0.2, "f4")),
    )
    assert films.pixels.shape == (2, 1, 40, 40)
    assert films.pixels[0].unique().tolist() == [51]
    assert films.targets[:, 4].tolist() == [1, 0]
    assert films.targets[:, 14].tolist() == [0, 1]


def test_auxiliary_targets_are_unknown_where_the_table_is_silent() -> None:
    """View, sex and three age bands; NaN for a missing value and for an age that cannot be."""
    kinds = (Auxiliary.VIEW, Auxiliary.SEX, Auxiliary.AGE)
    rows = [
        Row("a", "1", frozenset(), age=50, sex="F", view="AP"),
        Row("b", "2", frozenset(), age=411, sex=None, view="LL"),
    ]
    blank = Loading(loader=lambda _: np.zeros((4, 4), np.float32))
    films = load_films(rows, [Path("a"), Path("b")], Preprocessing(resize=40, crop=32), kinds, blank)
    assert auxiliary_width(kinds) == 5
    assert films.auxiliary[0].tolist() == [1, 0, 1, 1, 0]
    assert torch.isnan(films.auxiliary[1]).all()


def test_smaller_copies_are_antialiased() -> None:
    """One-pixel stripes become even grey, not moiré."""
    stripes = (np.indices((80, 80))[1] % 2).astype(np.float32)
    rows, loading = [Row("a", "1", frozenset())], Loading(loader=lambda _: stripes)
    films = load_films(rows, [Path("a")], Preprocessing(resize=80, crop=64), loading=loading)
    small = films.of_size(20)[0, 0, 2:-2, 2:-2].float()
    assert small.std() < 3
    assert small.mean() == pytest.approx(127.5, abs=2)


def test_history_is_a_column_for_each_finding_of_the_other_films() -> None:
    """Healthy films are a history too; without any other film all is unknown."""
    seen, healthy, alone = (
        _auxiliary_targets(Row("a", "1", frozenset(), history=history), [Auxiliary.HISTORY])
        for history in (frozenset({"Mass", "Hernia"}), frozenset(), None)
    )
    assert auxiliary_width([Auxiliary.HISTORY]) == len(seen) == 14
    assert {label for label, value in zip(PATHOLOGIES, seen, strict=True) if value} == {"Mass", "Hernia"}
    assert healthy == [0.0] * 14
    assert np.isnan(alone).all()


def test_uncertain_labels_are_no_targets() -> None:
    """NaN where nobody knows, and in No Finding where that hangs on it."""
    rows = [
        Row("a", "1", frozenset({"Mass"}), uncertain=frozenset({"Edema"})),
        Row("b", "1", frozenset(), uncertain=frozenset({"Hernia"})),
    ]
    blank = Loading(loader=lambda _: np.zeros((4, 4), np.float32))
    targets = load_films(rows, [Path("a"), Path("b")], Preprocessing(resize=40, crop=32), loading=blank).targets
    columns = [LABELS.index(label) for label in ("Mass", "Edema", "Hernia", "No Finding")]
    expected = torch.tensor([[1, torch.nan, 0, 0], [0, 0, torch.nan, torch.nan]])
    assert torch.equal(targets[:, columns].nan_to_num(-1), expected.nan_to_num(-1))


def test_films_go_where_the_network_is() -> None:
    """On the CPU they stay as they are; on a GPU, where there is one, they are the same pixels."""
    pixels = torch.randint(0, 256, (5000, 1, 8, 8), dtype=torch.uint8)
    films = Films(pixels, torch.zeros(5000, 15), torch.empty(5000, 0))
    assert films_on_device(films, torch.device("cpu")) is films
    if torch.cuda.is_available():
        moved = films_on_device(films, torch.device("cuda"))
        assert moved.pixels.is_cuda
        assert torch.equal(moved.pixels.cpu(), pixels)
